"""Cubes in gammapy's FITS layout (MapDataset and MapDatasetOnOff files), read lazily."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.units import Quantity

from xgamma.coords.bins import rename_axis
from xgamma.coords.sky import SkyGrid
from xgamma.coords.units import conversion_factor
from xgamma.io.attrs import from_json
from xgamma.io.fits_axes import same_axis
from xgamma.io.fits_extras import ATTRS_HDU
from xgamma.io.fits_file import open_fits, read_column, read_values
from xgamma.io.fits_map import MapHDU, find_maps, load_map
from xgamma.io.fits_region import region_coords, split_region, with_off_regions
from xgamma.io.fits_time import reference_seconds
from xgamma.io.fits_write import OFF_REGIONS, to_fits

__all__ = ["read_fits", "read_gti_hdu", "to_fits"]

#: Variable, unit inside and label of the maps of a dataset file, in the order in which axes are taken from them.
MAPS = {
    "COUNTS": ("counts", "", "Counts"),
    "EXPOSURE": ("exposure", "cm2 s", "Exposure"),
    "BACKGROUND": ("background", "", "Predicted background counts"),
    "MASK_SAFE": ("mask_safe", "", "Safe data range"),
    "MASK_FIT": ("mask_fit", "", "Fit range"),
    "COUNTS_OFF": ("counts_off", "", "Off counts"),
    "ACCEPTANCE": ("acceptance", "", "Acceptance"),
    "ACCEPTANCE_OFF": ("acceptance_off", "", "Off acceptance"),
    "EDISP": ("edisp", "", "Energy dispersion"),
    "EDISP_EXPOSURE": ("edisp_exposure", "cm2 s", "Exposure of the energy dispersion"),
    "PSF": ("psf", "sr-1", "Point spread function"),
    "PSF_EXPOSURE": ("psf_exposure", "cm2 s", "Exposure of the point spread function"),
    "IRF_EXPOSURE": ("irf_exposure", "cm2 s", "Exposure of the responses"),
}
RESPONSES = ("EDISP", "EDISP_EXPOSURE", "PSF", "PSF_EXPOSURE", "IRF_EXPOSURE")


def read_fits(path: str | os.PathLike[str], *, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
    """Open a MapDataset or MapDatasetOnOff file, or any FITS file of maps, lazily.

    Parameters
    ----------
    path
        File, plain or gzipped.
    drop_variables
        Names of variables that are left out, for example because they are on another grid.

    Returns
    -------
    xarray.Dataset
        One Dask chunk a map, float64, canonical units. A PSF or energy dispersion in a single
        spatial bin has no ``irf_y``, ``irf_x``; one with energy bins of its own has the dimension
        ``psf_energy_true`` or ``edisp_energy_true``. Maps with other names than those of a dataset
        have the name of their HDU in small letters, ``map`` for the primary one, and their own unit. A file of the
        Fermi-LAT tools is a cube of ``counts``, ``exposure``, ``psf`` or ``edisp`` (see `xgamma.io.fermi.open_fermi`).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is truncated or not FITS.
    ValueError
        If it holds no map, or maps on different grids or axes, or in wrong units.

    Notes
    -----
    ``irf_exposure`` is the EDISP_EXPOSURE map; where that of the PSF differs, it is ``psf_exposure``.
    For this comparison the two small maps are read when the file is opened.
    """
    dropped = {drop_variables} if isinstance(drop_variables, str) else set(drop_variables or ())
    try:
        layouts = {m.name: m for m in find_maps(path)}
    except ValueError:
        # tables of the Fermi-LAT tools (point spread function, energy dispersion) are no maps
        fermi = _fermi(path, dropped)
        if fermi is None:
            raise
        return fermi
    if list(layouts) == ["PRIMARY"] and (fermi := _fermi(path, dropped)) is not None:
        return fermi
    order = [n for n in MAPS if n in layouts] + [n for n in layouts if n not in MAPS]
    keep = [
        n for n in order if _variable(n) not in dropped and not (n.endswith("F_EXPOSURE") and "irf_exposure" in dropped)
    ]
    builder = _Builder(os.fspath(path))
    for name in keep:
        builder.add(layouts[name])
    dataset = _responses_exposure(builder.dataset(), layouts)
    if builder.region is not None and not builder.grids:
        dataset = _spectrum(dataset, dropped)
    return _tables(dataset.drop_vars(dropped & set(dataset.variables)), path, layouts)


def _fermi(path: str | os.PathLike[str], dropped: set[str]) -> xr.Dataset | None:
    """Cube of one file of the Fermi-LAT tools, None where it is something else."""
    from xgamma.io.fermi import open_fermi_file

    cube = open_fermi_file(path)
    return None if cube is None else cube.drop_vars(dropped & set(cube.variables))


def _variable(name: str) -> str:
    return MAPS[name][0] if name in MAPS else "map" if name == "PRIMARY" else name.lower()


class _Builder:
    """Collects maps of one file and checks that their axes and grids agree."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.axes: dict[str, tuple[xr.DataArray, str]] = {}
        self.grids: dict[str, tuple[SkyGrid, str]] = {}
        self.region: str | None = None
        self.off_regions: list[str] = []
        self.variables: dict[str, xr.Variable] = {}

    def add(self, layout: MapHDU) -> None:
        """Add one map as a lazy variable."""
        values = lazy_map(layout)
        axes = [self._renamed(axis, layout) for axis in layout.axes]
        response = layout.name in RESPONSES
        grid = layout.grid
        if response:
            values, axes = _without_sums(values, axes, layout)
            if grid is not None and _whole_sky(grid):
                values, grid = values.map_blocks(_single, layout.where, drop_axis=[-2, -1], dtype=values.dtype), None
        dims = [self._axis(axis, layout.name) for axis in axes]
        if grid is not None:
            prefix = "irf_" if response else ""
            self._grid(grid, prefix, layout.name)
            dims += [f"{prefix}y", f"{prefix}x"]
        elif not response and layout.name not in OFF_REGIONS:
            self.region = self.region or layout.region
        elif not response and layout.region not in (None, self.region):
            self.off_regions = split_region(str(layout.region))
        variable, attrs, factor = _attrs(layout)
        data = values if factor == 1 else values * factor
        result = xr.Variable(dims, data, attrs)
        if layout.name == "PSF" and "rad" in dims:
            result = result.transpose(..., "rad")
        self.variables[variable] = result

    def _renamed(self, axis: xr.DataArray, layout: MapHDU) -> xr.DataArray:
        """Exposure is a function of true energy, whatever old files call it."""
        return rename_axis(axis, "energy_true") if layout.name == "EXPOSURE" and axis.name == "energy" else axis

    def _axis(self, axis: xr.DataArray, hdu: str) -> str:
        name = str(axis.name)
        known = self.axes.get(name)
        if known is not None and not same_axis(known[0], axis) and hdu in RESPONSES and name == "energy_true":
            # responses may have energy bins of their own
            name = f"{hdu.split('_')[0].lower()}_energy_true"
            axis = rename_axis(axis, name)
            known = self.axes.get(name)
        if known is None:
            self.axes[name] = (axis, hdu)
        elif not same_axis(known[0], axis):
            msg = f"{self.path}: axis {name!r} of {hdu} differs from that of {known[1]}; {_hint(hdu)}"
            raise ValueError(msg)
        return name

    def _grid(self, grid: SkyGrid, prefix: str, hdu: str) -> None:
        known = self.grids.setdefault(prefix, (grid, hdu))
        if known[0] != grid:
            msg = (
                f"{self.path}: {hdu} is on another sky grid "
                f"({grid.frame}, {grid.shape[0]} x {grid.shape[1]} pixels) than "
                f"{known[1]} ({known[0].frame}, {known[0].shape[0]} x {known[0].shape[1]}); {_hint(hdu)}"
            )
            raise ValueError(msg)

    def dataset(self) -> xr.Dataset:
        """Return the variables with their coordinates."""
        dataset = xr.Dataset(self.variables)
        for axis, _ in self.axes.values():
            dataset = dataset.assign_coords(axis.coords)
        for prefix, (grid, _) in self.grids.items():
            dataset = dataset.assign_coords(grid.coords(prefix))
        if self.region is not None and "" not in self.grids:
            dataset = dataset.assign_coords(region_coords(self.region))
            if self.off_regions:
                dataset = with_off_regions(dataset, self.off_regions)
        return dataset


def _hint(hdu: str) -> str:
    return f"open the file with drop_variables={_variable(hdu)!r}, and that map with read_map(path, hdu={hdu!r})"


def _attrs(layout: MapHDU) -> tuple[str, dict[str, Any], float]:
    """Name, attributes and factor to the unit inside."""
    if layout.name not in MAPS:
        attrs: dict[str, Any] = {"units": layout.units}
        return _variable(layout.name), {**attrs, **({"meta": layout.meta} if layout.meta else {})}, 1.0
    name, units, label = MAPS[layout.name]
    try:
        factor = conversion_factor(layout.units, units)
    except ValueError as error:
        have = f"unit {layout.units!r}" if layout.units else "no unit (BUNIT)"
        msg = f"{layout.where}: {name} has {have}, it should be one that converts to {units!r}"
        raise ValueError(msg) from error
    attrs = {"units": units, "long_name": label}
    meta = {k: v for k, v in layout.meta.items() if k not in ("livetime", "ontime")}
    return name, {**attrs, **({"meta": meta} if meta else {})}, factor


def lazy_map(layout: MapHDU) -> Any:
    """Dask array of one chunk that reads the map when it is computed."""
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed

    status = os.stat(layout.path)
    token = tokenize(layout.path, layout.index, status.st_mtime_ns, status.st_size)
    # labels stay here: a worker needs to know where the numbers lie and how many they are
    flat = replace(layout, axes=tuple(xr.DataArray(np.empty(a.size), dims=str(a.name)) for a in layout.axes), meta={})
    read = delayed(partial(load_map, flat), name=f"fits-map-{token}", pure=True, traverse=False)
    values = read(dask_key_name=f"fits-map-values-{token}")
    return da.from_delayed(values, shape=layout.shape, dtype=bool if layout.is_mask else np.float64)


def _without_sums(values: Any, axes: list[xr.DataArray], layout: MapHDU) -> tuple[Any, list[xr.DataArray]]:
    """Drop the axis of length 1 that exposures of responses have for the axis of the response."""
    if not layout.name.endswith("_EXPOSURE"):
        return values, axes
    for position in reversed(range(len(axes))):
        if axes[position].name != "energy_true" and axes[position].size == 1:
            values = values[(slice(None),) * position + (0,)]
            axes = axes[:position] + axes[position + 1 :]
    return values, axes


def _whole_sky(grid: SkyGrid) -> bool:
    """True for the map of two pixels, each half the sky, that stands for 'the same everywhere'."""
    return grid.shape == (1, 2) and grid.frame.binsize[1] >= 179


def _single(values: np.ndarray, where: str) -> np.ndarray:
    first = values[..., 0, 0]
    if not np.array_equal(values, np.broadcast_to(first[..., np.newaxis, np.newaxis], values.shape), equal_nan=True):
        msg = f"{where}: the two halves of the sky differ; such a response is not supported"
        raise ValueError(msg)
    return first


def _responses_exposure(dataset: xr.Dataset, layouts: dict[str, MapHDU]) -> xr.Dataset:
    """Name the weight of the responses `irf_exposure`; keep two where they differ."""
    both = [n for n in ("edisp_exposure", "psf_exposure") if n in dataset]
    common = [n for n in both if f"{n.split('_')[0]}_energy_true" not in dataset[n].dims]
    if not common or "irf_exposure" in dataset:
        return dataset
    first = common[0]
    if len(common) == 2 and dataset[common[0]].dims == dataset[common[1]].dims:
        one, two = (
            load_map(layouts[n]) * conversion_factor(layouts[n].units, "cm2 s")
            for n in ("EDISP_EXPOSURE", "PSF_EXPOSURE")
        )
        if one.size == two.size and np.allclose(one.ravel(), two.ravel(), rtol=1e-6, atol=0):
            dataset = dataset.drop_vars("psf_exposure")
    dataset = dataset.rename_vars({first: "irf_exposure"})
    dataset["irf_exposure"].attrs["long_name"] = "Exposure of the responses"
    return dataset


def _spectrum(dataset: xr.Dataset, dropped: set[str]) -> xr.Dataset:
    """Make a cube of a region what a spectrum is here: one exposure, and the background that was counted off."""
    if "irf_exposure" in dataset and "psf" not in dataset and dataset["irf_exposure"].dims == ("energy_true",):
        weight = dataset["irf_exposure"].values
        same = "exposure" in dataset and dataset["exposure"].shape == weight.shape
        if same and np.allclose(weight, dataset["exposure"].values, rtol=1e-6, atol=0):
            dataset = dataset.drop_vars("irf_exposure")
    needed = ("counts_off", "acceptance", "acceptance_off")
    if all(n in dataset for n in needed) and "background" not in dataset.data_vars.keys() | dropped:
        counts, acceptance, off = (dataset[n] for n in needed)
        has = off > 0
        dataset["background"] = (acceptance / off.where(has, 1.0) * counts).where(has, 0.0)
        dataset["background"].attrs = {"units": "", "long_name": "Background"}
    return dataset


def _tables(dataset: xr.Dataset, path: str | os.PathLike[str], layouts: dict[str, MapHDU]) -> xr.Dataset:
    """Add good times, livetime and attributes."""
    with open_fits(path) as hdus:
        names = [str(h.name).upper() for h in hdus]
        if "GTI" in names and any(n in MAPS for n in layouts):
            dataset = dataset.assign(read_gti_hdu(hdus["GTI"], os.fspath(path)))
        if "META_TABLE" in names:
            table = hdus["META_TABLE"]
            dataset.attrs["meta_table"] = {n: read_values(table, n).tolist() for n in table.columns.names}
        stored: dict[str, Any] = {}
        if ATTRS_HDU in names:
            stored = from_json(str(hdus[ATTRS_HDU].data["JSON"][0]), ATTRS_HDU)
            dataset.attrs.update(stored["attrs"])
            for key in ("coords", "variables"):
                values = {n: ((), v["value"], v["attrs"]) for n, v in stored[key].items()}
                dataset = dataset.drop_vars([n for n in values if n in dataset.variables])
                dataset = dataset.assign_coords(values) if key == "coords" else dataset.assign(values)
        if "NAME" in hdus[0].header and stored.get("named", True):
            dataset.attrs = {"name": str(hdus[0].header["NAME"]), **dataset.attrs}
    meta = layouts["EXPOSURE"].meta if "EXPOSURE" in layouts else {}
    for name in ("livetime", "ontime"):
        if name in meta and name not in dataset:
            dataset[name] = ((), _seconds(meta[name], name, path), {"units": "s", "long_name": name.capitalize()})
    return dataset


def _seconds(value: Any, name: str, path: str | os.PathLike[str]) -> float:
    try:
        return float(Quantity(value).to_value("s"))
    except (TypeError, ValueError) as error:  # UnitConversionError is a TypeError and a ValueError
        msg = f"{os.fspath(path)}: META of EXPOSURE has {name}={value!r}, which is not a time"
        raise ValueError(msg) from error


def read_gti_hdu(hdu: fits.BinTableHDU, where: str) -> dict[str, Any]:
    """Return ``gti_start`` and ``gti_stop`` in seconds since J2000.0 (TT); nothing for an empty table.

    Parameters
    ----------
    hdu
        GTI extension: START, STOP, and a time reference in TT, UTC or TAI.
    where
        File, for messages.

    Raises
    ------
    ValueError
        If columns or the time reference are missing.
    """
    start, stop = (read_column(hdu, name, unit="s", assume="s", where=where) for name in ("START", "STOP"))
    if start.size == 0:
        return {}
    # files of the Fermi-LAT tools have tables without a reference: the mission's epoch is not guessed
    try:
        zero = reference_seconds(hdu.header)
    except ValueError as error:
        msg = f"{where}, HDU GTI: {error}"
        raise ValueError(msg) from error
    ends = {"gti_start": ("Start", start), "gti_stop": ("Stop", stop)}
    return {
        name: ("gti", times + zero, {"units": "s", "long_name": f"{end} of good time, since J2000.0 (TT)"})
        for name, (end, times) in ends.items()
    }
