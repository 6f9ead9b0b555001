"""Fetching the public data sets, each file with its checksum."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from xgamma.io.fits_file import expand_path

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BASE_URL", "data_sets", "download", "read_registry"]

#: Raw files of the repository of public data sets that gammapy keeps.
BASE_URL = "https://github.com/gammapy/gammapy-data/raw/main/"
VARIABLE = "GAMMAPY_DATA"


def read_registry(text: str | None = None) -> dict[str, str]:
    """Return the SHA-256 checksum of every known file.

    Parameters
    ----------
    text
        Lines of checksum and path; default: the list that comes with the package.

    Returns
    -------
    dict
        Path below the data folder -> ``"sha256:..."``.

    Raises
    ------
    ValueError
        If a line is not a checksum and a path inside the data folder.

    Examples
    --------
    >>> len(read_registry()["hess-dl3-dr1/hdu-index.fits.gz"])
    71
    """
    lines = (text if text is not None else files("xgamma.dl3").joinpath("registry.txt").read_text("utf-8")).splitlines()
    registry = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        checksum, _, path = line.strip().partition("  ")
        parts = Path(path).parts
        if len(checksum) != 64 or not path or Path(path).is_absolute() or ".." in parts:
            msg = f"line {number} of the registry is not 'checksum  path': {line!r}"
            raise ValueError(msg)
        registry[path] = f"sha256:{checksum}"
    return registry


def data_sets(registry: Mapping[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    """Return the files of each data set; a data set is a folder of the repository.

    Examples
    --------
    >>> "hess-dl3-dr1" in data_sets()
    True
    """
    sets: dict[str, list[str]] = {}
    for path in read_registry() if registry is None else registry:
        folder = path.split("/", 1)[0] if "/" in path else ""
        if folder:
            sets.setdefault(folder, []).append(path)
    return {name: tuple(sorted(paths)) for name, paths in sorted(sets.items())}


def download(
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    base_url: str = BASE_URL,
    registry: Mapping[str, str] | None = None,
    progress: bool = False,
) -> Path:
    """Fetch a public data set; files that are there and right are not fetched again.

    Parameters
    ----------
    name
        Data set, one of `data_sets`, for example ``"hess-dl3-dr1"``, or ``"all"``.
    path
        Folder; default ``$GAMMAPY_DATA``.
    base_url
        Where the files are.
    registry
        Path -> checksum; default: the list that comes with the package.
    progress
        Show a line for each file.

    Returns
    -------
    pathlib.Path
        Folder of the data set.

    Raises
    ------
    ValueError
        If the data set is not known, there is no folder to write to, or a file is not what its
        checksum says (it is not kept).
    OSError
        If a file cannot be fetched; those that were fetched stay, and a second call goes on from there.

    Examples
    --------
    >>> download("magic", "data")  # doctest: +SKIP
    PosixPath('data/magic')
    """
    import pooch

    known = read_registry() if registry is None else dict(registry)
    sets = data_sets(known)
    if name != "all" and name not in sets:
        msg = f"there is no data set {name!r}; there are {', '.join(sets)}, or 'all'"
        raise ValueError(msg)
    folder = _folder(path)
    wanted = [f for files_of in sets.values() for f in files_of] if name == "all" else list(sets[name])
    manager = pooch.create(folder, base_url=base_url.rstrip("/") + "/", registry={f: known[f] for f in wanted})
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        for number, file in enumerate(wanted, 1):
            if progress:
                print(f"[{number}/{len(wanted)}] {file}")  # noqa: T201
            _fetch(manager, file)
    finally:
        logger.setLevel(level)
    return folder if name == "all" else folder / name


def _folder(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        if not os.environ.get(VARIABLE):
            msg = f"say where the data should go: give a path, or set the environment variable {VARIABLE}"
            raise ValueError(msg)
        path = os.environ[VARIABLE]
    folder = expand_path(path)
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file, not a folder"
        raise ValueError(msg)
    return folder


def _fetch(manager: object, file: str) -> None:
    try:
        manager.fetch(file)  # type: ignore[attr-defined]
    except ValueError as error:
        msg = f"{file} was refused: {error}"
        raise ValueError(msg) from error
    except OSError as error:
        # requests' errors are OSErrors too
        msg = f"{file} could not be fetched ({error}); check the network and call again, files that are there are kept"
        raise OSError(msg) from error
