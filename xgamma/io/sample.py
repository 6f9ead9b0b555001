"""The small simulated survey that comes with the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sample_path"]

PACKAGE = Path(__file__).resolve().parents[1]


def sample_path(*parts: str) -> Path:
    """Return the folder of the simulated sample data, or a path inside it.

    In an installed wheel the data lie inside the package, in a checkout (editable installation)
    in the repository's ``data/`` folder.

    Parameters
    ----------
    *parts
        Names below that folder, for example ``"hdu-index.fits.gz"``.

    Returns
    -------
    pathlib.Path
        An existing file or folder; read-only for a user.

    Raises
    ------
    FileNotFoundError
        If the sample data, or the part of them that `parts` names, do not exist.
    ValueError
        If `parts` leads out of the folder.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> sample_path().is_dir()
    True
    """
    root = _sample_root(PACKAGE)
    path = root.joinpath(*parts)
    if not path.resolve().is_relative_to(root.resolve()):
        msg = f"{'/'.join(parts)!r} leads out of the sample data in '{root}'"
        raise ValueError(msg)
    if not path.exists():
        names = ", ".join(sorted(p.name for p in root.iterdir())) or "nothing"
        msg = f"the sample data have no {'/'.join(parts)!r}; '{root}' holds {names}"
        raise FileNotFoundError(msg)
    return path


def _sample_root(package: Path) -> Path:
    """Find the data of an installed `package`, or of the checkout that it lies in."""
    packaged, checkout = package / "_data", package.parent / "data"
    if packaged.is_dir():
        return packaged
    # a folder named data beside an installed package is somebody else's; a checkout has a pyproject.toml
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    msg = f"the sample data are missing: neither '{packaged}' nor '{checkout}' exists; install xgamma again"
    raise FileNotFoundError(msg)
