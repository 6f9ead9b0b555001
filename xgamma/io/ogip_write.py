"""Spectra as OGIP files: PHA, ARF, RMF and BKG that gammapy, sherpa and XSPEC read."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import axis_of
from xgamma.io.atomic import atomic_path, check_target, remove
from xgamma.io.fits_file import expand_path
from xgamma.io.ogip_hdus import SUFFIX, check_cube, companion_name, file_hdus, spectrum_label

__all__ = ["to_ogip"]

#: Names of a run's files in a folder.
TEMPLATE = "pha_obs{obs}.fits"
#: Dims along which a cube is divided into spectra.
SPLIT = ("obs", "region")


def to_ogip(
    cube: xr.Dataset,
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    energy_unit: str = "keV",
    fractional: str = "keep",
) -> list[Path]:
    """Write spectra as OGIP files, which gammapy, sherpa and XSPEC read: four files a spectrum.

    Parameters
    ----------
    cube
        Spectra: dims (energy,) with ``obs`` and ``region`` where there are many; ``counts``, ``exposure``,
        ``livetime``, and with a background ``counts_off``, ``acceptance``, ``acceptance_off``. Computed if lazy.
    path
        A folder: the files are ``pha_obs{obs}.fits``, ``pha_obs{obs}_arf.fits``, ``..._rmf.fits``, ``..._bkg.fits``.
        Or the name of the PHA file, ``*.fits`` or ``*.fits.gz``, with ``{obs}`` (and ``{region}``) where the label goes
        if the cube has that dimension.
    overwrite
        Replace spectra that are there. Spectra of an earlier call in the folder are removed, other files stay.
    energy_unit
        Unit of the energies: ``"keV"``, which sherpa and XSPEC take for granted, or for example ``"TeV"`` for people
        who look into the files.
    fractional
        What to do with counts that are not whole (Asimov data, weights): ``"keep"`` writes float64, ``"raise"``
        refuses.

    Returns
    -------
    list of pathlib.Path
        The PHA files, in the order of the cube.

    Raises
    ------
    FileExistsError
        If a file is there and `overwrite` is False.
    ValueError
        If the cube has no livetime or exposure, numbers that are no counts, or a part that has no place in a spectrum.

    Warns
    -----
    UserWarning
        If variables with other dims than energy are left out.

    Notes
    -----
    OGIP memos 92-007 (spectra) and CAL/GEN/92-002 (responses). EXPOSURE is the livetime, SPECRESP the exposure
    divided by it, in cm2; BACKSCAL is the acceptance of each channel, QUALITY is 1 where ``mask_safe`` is False. A
    background that is not counted but expected is written as background file without errors (POISSERR F, STAT_ERR
    0). What OGIP has no place for stands in the table ``XGAMMA``, so that `xgamma.read_ogip` gives the cube back.
    Each file is written under another name and renamed, the PHA file last.

    Examples
    --------
    >>> import numpy as np
    >>> import xgamma as xg
    >>> energy, true = (xg.energy_axis("1 TeV", "10 TeV", nbin=2, name=n) for n in ("energy", "energy_true"))
    >>> cube = xr.Dataset(coords=energy.coords).assign_coords(true.coords).assign_coords(obs=7)
    >>> cube["counts"] = "energy", [4.0, 1.0]
    >>> cube["exposure"] = "energy_true", [1e12, 1e13], {"units": "cm2 s"}
    >>> cube["livetime"] = (), 1800.0, {"units": "s"}
    >>> [file.name for file in to_ogip(cube, "spectra")]
    ['pha_obs7.fits']
    """
    if fractional not in ("keep", "raise"):
        msg = f"fractional={fractional!r} must be 'keep' or 'raise'"
        raise ValueError(msg)
    check_cube(cube)
    folder, names = _names(cube, os.fspath(path))
    _check_free(folder, names, overwrite, whole=not SUFFIX.search(os.fspath(path)))
    computed = cube.compute()
    axes = {n: axis_of(computed, n) for n in ("energy", "energy_true")}
    pieces = [file_hdus(computed, place, name, axes, energy_unit, fractional) for name, place in names.items()]
    if SUFFIX.search(os.fspath(path)):
        _write_files(pieces, folder, overwrite)
    else:
        _write_folder(pieces, folder, overwrite)
    return [folder / name for name in names]


def _names(cube: xr.Dataset, path: str) -> tuple[Path, dict[str, dict[str, int]]]:
    """Return the folder, and for each PHA file where in the cube its spectrum is."""
    text = str(expand_path(path))
    folder, template = (Path(text).parent, Path(text).name) if SUFFIX.search(text) else (Path(text), TEMPLATE)
    dims = [d for d in SPLIT if d in cube.dims]
    if not SUFFIX.search(text):
        template = template if "region" not in dims else "pha_obs{obs}_region{region}.fits"
        if "obs" not in dims:
            template = template.replace("{obs}", _plain(spectrum_label(cube)))
    for dim in dims:
        if f"{{{dim}}}" not in template:
            msg = (
                f"the cube has {cube.sizes[dim]} spectra along {dim!r}: give a folder, or a name with {{{dim}}} where "
                f"its label goes, such as 'pha_obs{{{dim}}}.fits'"
            )
            raise ValueError(msg)
    names: dict[str, dict[str, int]] = {}
    for index in np.ndindex(*(cube.sizes[d] for d in dims)):
        place = dict(zip(dims, (int(i) for i in index), strict=True))
        name = template
        for dim, i in place.items():
            label = str(cube["obs"].values[i]) if dim == "obs" and "obs" in cube.coords else str(i)
            name = name.replace(f"{{{dim}}}", _plain(label))
        if name in names:
            msg = f"two spectra would be written to {name}: the labels of obs must differ in their letters and digits"
            raise ValueError(msg)
        if not name.isascii():
            msg = f"the name {name!r} must be ASCII: the cards of a FITS header name the files beside it"
            raise ValueError(msg)
        names[name] = place
    if not names:
        msg = "the cube has no spectrum: a dimension has length 0"
        raise ValueError(msg)
    return Path(os.path.abspath(folder)), names


def _plain(label: str) -> str:
    """Label without what a file name should not have."""
    return re.sub(r"[^\w.+-]", "_", label, flags=re.ASCII)


def _check_free(folder: Path, names: Mapping[str, Any], overwrite: bool, whole: bool) -> None:
    """Check before any work that the files may be written."""
    if whole:
        check_target(folder, overwrite=True)
        if folder.exists() and not folder.is_dir():
            msg = f"{folder} is a file; give a folder for the spectra, or a name that ends in .fits"
            raise NotADirectoryError(msg)
        found = _spectra(folder)
        if found and not overwrite:
            msg = (
                f"{folder} holds spectra already ({found[0].name}, ...); pass overwrite=True to replace them, or "
                "choose another folder"
            )
            raise FileExistsError(msg)
    for name in names:
        for kind in ("", "arf", "rmf", "bkg"):
            target = folder / (companion_name(name, kind) if kind else name)
            if not (whole and not folder.exists()):
                check_target(target, overwrite)


def _spectra(folder: Path) -> list[Path]:
    """Files in a folder that `to_ogip` may have written there."""
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if re.fullmatch(r"pha_obs.*\.fits(\.gz)?", f.name))


def _write_files(pieces: list[dict[str, fits.HDUList]], folder: Path, overwrite: bool) -> None:
    """Write each set of files, the PHA file last, since it names the others."""
    for piece in pieces:
        for name, hdus in piece.items():
            with atomic_path(folder / name, overwrite) as temporary:
                hdus.writeto(temporary)


def _write_folder(pieces: list[dict[str, fits.HDUList]], folder: Path, overwrite: bool) -> None:
    """Write all files beside the folder, and put them there when they are complete."""
    with _scratch(folder) as temporary:
        for piece in pieces:
            for name, hdus in piece.items():
                hdus.writeto(temporary / name)
        if not folder.exists():
            temporary.rename(folder)
            return
        # spectra first go, then come: what is read in between is fewer spectra, never a mixture of old and new
        for file in _spectra(folder):
            if not overwrite:
                msg = f"{file} has come while the spectra were written; pass overwrite=True to replace it"
                raise FileExistsError(msg)
            file.unlink()
        for piece in pieces:
            for name in piece:
                (temporary / name).replace(folder / name)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:12]}")
    temporary.mkdir()
    try:
        yield temporary
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
            remove(temporary)
