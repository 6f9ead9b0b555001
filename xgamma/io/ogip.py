"""Spectra from OGIP files: one, a list of them, or all in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import axis_of
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.io.ogip_hdus import SUFFIX
from xgamma.io.ogip_read import Spectrum, read_spectrum
from xgamma.io.ogip_tables import same_energies

__all__ = ["is_spectrum", "read_ogip"]

#: Files that belong to a spectrum, by the names that programs give them.
COMPANION = re.compile(r"((^|_)(arf|rmf|bkg)(_.*)?\.(fits|fit|pha|pi)|\.(arf|rmf|rsp|bak|bkg))(\.gz)?$", re.IGNORECASE)
PathLike = str | os.PathLike[str]


def read_ogip(
    path: PathLike | Iterable[PathLike],
    *,
    arf: PathLike | None = None,
    rmf: PathLike | None = None,
    background: PathLike | None = None,
) -> xr.Dataset:
    """Read OGIP spectra with their responses and backgrounds.

    Parameters
    ----------
    path
        A PHA file; a list of them; or a folder, of which all spectra are read. ``$VARIABLES`` are expanded, files
        may be gzipped.
    arf, rmf, background
        Files for a single spectrum in place of those that its header names (ANCRFILE, RESPFILE, BACKFILE).

    Returns
    -------
    xarray.Dataset
        In memory, float64: ``counts``, ``mask_safe``, ``exposure`` (dim energy_true), ``edisp``, ``livetime``, with a
        background file ``counts_off``, ``acceptance``, ``acceptance_off``, ``background``; good times, region and off
        regions where the files have them. A single file gives a cube without dimension ``obs``, a list or folder one
        with it: in the order of the list; of a folder in the order of the cube that was written, else by OBS_ID.

    Raises
    ------
    FileNotFoundError
        If a file is missing, also an ARF, RMF or background that a header names.
    OSError
        If a file is truncated or not FITS.
    ValueError
        If a file is no Poisson spectrum, files contradict one another, or spectra have different axes.

    Warns
    -----
    UserWarning
        If a file asks for grouping, systematic errors or a correction, which are not applied.

    Notes
    -----
    OGIP memos 92-007 and CAL/GEN/92-002. ``exposure`` is SPECRESP * EXPOSURE * AREASCAL, ``mask_safe`` is
    QUALITY == 0. ``acceptance`` is BACKSCAL; ``acceptance_off`` is the BACKSCAL of the background times the ratio of
    its EXPOSURE * AREASCAL to that of the spectrum: the background is acceptance / acceptance_off * counts_off.

    Examples
    --------
    >>> import xgamma as xg
    >>> from xgamma.io.ogip_write import to_ogip
    >>> energy, true = (xg.energy_axis("1 TeV", "10 TeV", nbin=2, name=n) for n in ("energy", "energy_true"))
    >>> cube = xr.Dataset(coords=energy.coords).assign_coords(true.coords).assign_coords(obs=[7, 8])
    >>> cube["counts"] = ("obs", "energy"), [[4.0, 1.0], [3.0, 0.0]]
    >>> cube["exposure"] = ("obs", "energy_true"), [[1e12, 1e13], [2e12, 3e13]], {"units": "cm2 s"}
    >>> cube["livetime"] = "obs", [1800.0, 1700.0], {"units": "s"}
    >>> _ = to_ogip(cube, "runs")
    >>> read_ogip("runs").counts.values
    array([[4., 1.],
           [3., 0.]])
    """
    given = {"arf": arf, "rmf": rmf, "background": background}
    if isinstance(path, (str, os.PathLike)):
        place = Path(os.path.abspath(expand_path(path)))
        if not place.is_dir():
            return read_spectrum(place, **given).cube
        files = _files(place)
    else:
        files = [Path(os.path.abspath(expand_path(p))) for p in path]
        if not files:
            msg = "the list of files is empty"
            raise ValueError(msg)
    if any(v is not None for v in given.values()):
        named = [k for k, v in given.items() if v is not None]
        msg = f"{named} can be given for a single file only; {len(files)} spectra name their own"
        raise ValueError(msg)
    spectra = [read_spectrum(file) for file in files]
    if isinstance(path, (str, os.PathLike)):
        spectra = _sorted(spectra)
    return _join(spectra)


def is_spectrum(path: PathLike) -> bool:
    """Say whether a FITS file is an OGIP spectrum.

    Examples
    --------
    >>> fits.PrimaryHDU().writeto("empty.fits")
    >>> is_spectrum("empty.fits")
    False
    """
    with open_fits(path) as hdus:
        return any(_is_spectrum(h) for h in hdus)


def _is_spectrum(hdu: Any) -> bool:
    kind = str(hdu.header.get("HDUCLAS1", "")).strip().upper()
    return isinstance(hdu, fits.BinTableHDU) and "SPECTRUM" in (hdu.name.upper(), kind)


def _files(folder: Path) -> list[Path]:
    """Spectra in a folder; backgrounds are known by their name, their class, or because a spectrum names them."""
    found, backgrounds = [], set()
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not SUFFIX.search(file.name) or COMPANION.search(file.name):
            continue
        with open_fits(file) as hdus:
            headers = [h.header for h in hdus if _is_spectrum(h)]
        if headers and str(headers[0].get("HDUCLAS2", "")).strip().upper() != "BKG":
            found.append(file)
            backgrounds.add(str(headers[0].get("BACKFILE", "")).strip())
    files = [f for f in found if f.name not in backgrounds]
    if not files:
        msg = f"{folder} holds no OGIP spectra (files *.fits, *.pha or *.pi with an extension SPECTRUM)"
        raise FileNotFoundError(msg)
    return files


def _sorted(spectra: list[Spectrum]) -> list[Spectrum]:
    """Order of the cube that was written, if the spectra are of one; else by OBS_ID, numbers in it as numbers."""
    places = [tuple(s.layout.get("place", {}).values()) for s in spectra]
    if all(places) and len(set(places)) == len(places):
        return [spectra[i] for i in sorted(range(len(spectra)), key=places.__getitem__)]

    def natural(spectrum: Spectrum) -> list[tuple[bool, int, str]]:
        parts = re.split(r"(\d+)", spectrum.label)
        return [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts if p]

    return sorted(spectra, key=natural)


def _join(spectra: list[Spectrum]) -> xr.Dataset:
    """Join spectra along region, where they were cut along it, and along obs."""
    cubes = _common_axes(spectra)
    split = [list(s.layout.get("place", {})) for s in spectra]
    shared = spectra[0].layout.get("shared", {})
    if all("region" in s for s in split):
        groups: dict[Any, list[int]] = {}
        for i, spectrum in enumerate(spectra):
            groups.setdefault(spectrum.layout["place"].get("obs"), []).append(i)
        if len({len(g) for g in groups.values()}) > 1:
            numbers = sorted({len(g) for g in groups.values()})
            msg = f"the runs have different numbers of regions ({numbers}): files are missing"
            raise ValueError(msg)
        cubes = [
            _stack([cubes[i] for i in group], "region", shared.get("region"), spectra) for group in groups.values()
        ]
        if "obs" not in split[0]:
            return cubes[0]
    ours = all("obs" in s for s in split)
    return _stack(cubes, "obs", shared.get("obs") if ours else None, spectra)


def _common_axes(spectra: list[Spectrum]) -> list[xr.Dataset]:
    """Check that all have the axes of the first, and give them these."""
    first = spectra[0].cube
    names = [f"{n}{end}" for n in ("energy", "energy_true") for end in ("", "_min", "_max")]
    axes = [axis_of(first, n) for n in ("energy", "energy_true")]
    result = [first]
    for spectrum in spectra[1:]:
        cube = spectrum.cube
        for name in ("energy", "energy_true"):
            if not all(same_energies(cube[f"{name}_{e}"].values, first[f"{name}_{e}"].values) for e in ("min", "max")):
                msg = (
                    f"{spectrum.path} has other bins of {name} ({_range(cube, name)}) than {spectra[0].path} "
                    f"({_range(first, name)}): read them separately, and fit the cubes together"
                )
                raise ValueError(msg)
        cube = cube.drop_vars(names)
        for axis in axes:
            cube = cube.assign_coords(axis.coords)
        result.append(cube)
    return result


def _range(cube: xr.Dataset, axis: str) -> str:
    lo, hi = cube[f"{axis}_min"].values, cube[f"{axis}_max"].values
    return f"{len(lo)} bins, {lo[0]:.6g} to {hi[-1]:.6g} TeV"


def _stack(cubes: Sequence[xr.Dataset], dim: str, shared: Sequence[str] | None, spectra: list[Spectrum]) -> xr.Dataset:
    """Join cubes of equal axes along a new dimension in front."""
    first = cubes[0]
    cubes = _padded_times(cubes)
    variables = {str(n) for c in cubes for n in c.variables}
    lacking = {n: [i for i, c in enumerate(cubes) if n not in c.variables] for n in variables}
    lacking = {n: where for n, where in lacking.items() if where}
    if lacking:
        name, where = next(iter(sorted(lacking.items())))
        msg = f"{spectra[where[0]].path} gives no {name!r}, which others in the list have; read such spectra separately"
        raise ValueError(msg)
    arrays: dict[Hashable, Any] = {}
    labels = first.coords
    for name in sorted(variables):
        parts = [c.variables[name] for c in cubes]
        equal = all(p.equals(parts[0]) for p in parts[1:])
        axis = name.startswith("energy")
        together = equal and (name in shared if shared is not None else name in labels and name != dim)
        if axis:
            continue
        if together:
            arrays[name] = parts[0]
        else:
            values = np.stack([np.asarray(p.values) for p in parts])
            arrays[name] = xr.Variable((dim, *parts[0].dims), values, parts[0].attrs)
    _unique(arrays, dim, spectra)
    coords = {n: v for n, v in arrays.items() if n in labels}
    result = first.drop_vars([n for n in first.variables if not str(n).startswith("energy")])
    result = result.assign_coords(coords).assign({n: v for n, v in arrays.items() if n not in coords})
    result = result[
        [n for n in first.data_vars if n in result] + [n for n in result.data_vars if n not in first.data_vars]
    ]
    result.attrs = {k: v for k, v in first.attrs.items() if all(k in c.attrs and _same(c.attrs[k], v) for c in cubes)}
    return result


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one, dtype=object), np.asarray(other, dtype=object)))


def _unique(arrays: dict[Hashable, Any], dim: str, spectra: list[Spectrum]) -> None:
    """Check the labels of runs: equal types, and each one once."""
    if dim != "obs" or "obs" not in arrays:
        return
    values = [str(v) for v in arrays["obs"].values]
    if len(set(values)) < len(values):
        twice = next(v for v in values if values.count(v) > 1)
        msg = f"two spectra have OBS_ID {twice!r} ({spectra[0].path.parent}); read them separately and label them"
        raise ValueError(msg)


def _padded_times(cubes: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Good times padded with NaN to the same number."""
    longest = max((c.sizes.get("gti", 0) for c in cubes), default=0)
    if not longest:
        return list(cubes)
    model = next(c for c in cubes if "gti_start" in c)
    result = []
    for cube in cubes:
        new = {}
        for name in ("gti_start", "gti_stop"):
            values = cube[name].values if name in cube else np.empty(0)
            padding = [(0, 0)] * (values.ndim - 1) + [(0, longest - values.shape[-1])]
            dims = cube[name].dims if name in cube else ("gti",)
            new[name] = (dims, np.pad(values, padding, constant_values=np.nan), model[name].attrs)
        result.append(cube.drop_vars(["gti_start", "gti_stop"], errors="ignore").assign(new))
    return result
