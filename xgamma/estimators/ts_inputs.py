"""What a TS map takes of a cube: arrays under names of their own, and what is known before anything is computed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xgamma.background.windows import Span, Window
from xgamma.coords.bins import axis_of
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import SkyGrid, grid_of, has_sky
from xgamma.estimators.ts_planes import MASKS, CubeSettings, MapSettings, Ranges, Zones
from xgamma.estimators.ts_source import Source

__all__ = ["RESPONSES", "checked_mask", "cube_arrays", "cube_settings", "map_zones", "needed_ranges"]

#: Responses that are averaged over zones.
RESPONSES = ("psf", "edisp", "irf_exposure")


def map_zones(cubes: Iterable[xr.Dataset], width: float | None) -> Zones:
    """Return the zones of a map; one where the responses of all cubes are the same everywhere."""
    cubes = list(cubes)
    cube = cubes[0]
    edges = []
    for dim, size in zip(("y", "x"), pixel_scale(cube), strict=True):
        number = cube.sizes[dim]
        zones = 1 if width is None else min(number, max(1, round(number * size / width)))
        edges.append(tuple(np.linspace(0, number, zones + 1).round().astype(int).tolist()))
    if not any(f"irf_{d}" in c[n].dims for c in cubes for n in RESPONSES if n in c for d in "yx"):
        edges = [(e[0], e[-1]) for e in edges]
    return Zones(*edges)


def cube_arrays(
    number: int, name: str, cube: xr.Dataset, mask: xr.DataArray | None, source: Source
) -> dict[str, xr.Variable]:
    """Return the variables of a cube under names and dims of their own."""
    if "psf" not in cube and source.shape is None:
        msg = f"{name!r} has no 'psf': reduce it with the point spread function, or give an extended model"
        raise ValueError(msg)
    if "edisp" in cube and "energy" not in cube["edisp"].dims:
        msg = (
            f"the energy dispersion of {name!r} has the dims {cube['edisp'].dims}; a TS map needs (energy_true, energy)"
        )
        raise ValueError(msg)
    found = {n: cube[n].variable for n in ("counts", "background", "exposure", *MASKS[:2], *RESPONSES) if n in cube}
    if mask is not None:
        found["mask"] = checked_mask(mask, cube, "mask")
    if "irf_exposure" not in found or not {"irf_y", "irf_x"} & set(found["irf_exposure"].dims):
        # where responses are the same everywhere, files may hold zeros here
        found["irf_exposure"] = _mean_exposure(found["exposure"])
    sizes = cube["counts"].sizes
    for what in ("background", *MASKS):
        wrong = [d for d, n in found[what].sizes.items() if sizes.get(d) != n] if what in found else []
        if wrong:
            msg = f"{what!r} of {name!r} differs from the counts along {wrong}"
            raise ValueError(msg)
    return {
        f"{number}:{n}": xr.Variable([d if d in ("y", "x") else f"{number}:{d}" for d in v.dims], v.data)
        for n, v in found.items()
    }


def _mean_exposure(exposure: xr.Variable) -> xr.Variable:
    """Mean over the map. Of a lazy one it reads tiles by tasks of its own: shared ones would all wait for the mean."""
    if exposure.chunks is not None:
        from dask.graph_manipulation import clone

        exposure = exposure.copy(data=clone(exposure.data))
    return exposure.mean(("y", "x"))


def checked_mask(mask: xr.DataArray, cube: xr.Dataset, name: str) -> xr.Variable:
    """Return a mask after checking that it is one, on the grid of the cube."""
    if not isinstance(mask, xr.DataArray) or mask.dtype != bool:
        msg = f"{name} must be a DataArray of bools"
        raise TypeError(msg)
    if grid_of(mask) != grid_of(cube):
        msg = f"{name} is on another grid than the cube; select or reproject it first"
        raise ValueError(msg)
    return mask.variable


def cube_settings(cube: xr.Dataset, groups: tuple[int, ...], source: Source, zones: Zones) -> CubeSettings:
    """Return what is known of a cube from its axes and grids."""
    true = axis_of(cube, "energy_true")
    low, high = _true_bins(true)
    if "edisp" in cube:
        flux = source.flux(low, high)[:, None]
    else:
        energy = axis_of(cube, "energy")
        lo, hi = (energy[f"energy_{end}"].values for end in ("min", "max"))
        flux = source.flux(np.maximum(low[:, None], lo), np.minimum(high[:, None], hi))
    rad, edges, nodes = _separations(cube)
    own = axis_of(cube, "psf_energy_true").values if "psf" in cube and "psf_energy_true" in cube["psf"].dims else ()
    irf_y, irf_x = _irf_ranges(cube, zones)
    return CubeSettings(
        groups=groups,
        flux=tuple(tuple(row) for row in flux.tolist()),
        true_energy=tuple(true.values.tolist()),
        psf_energy=tuple(float(e) for e in own),
        rad=rad,
        rad_edges=edges,
        nodes=nodes,
        irf_y=irf_y,
        irf_x=irf_x,
    )


def _true_bins(true: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the bins of true energy; nodes stand for bins that meet halfway in log energy."""
    low, high = (true[f"energy_true_{end}"].values for end in ("min", "max"))
    if (high > low).all():
        return low, high
    if len(low) < 2:
        msg = "energy_true has one node and no bins: give it edges"
        raise ValueError(msg)
    logs = np.log(true.values)
    steps = np.diff(logs)
    edges = np.exp(np.concatenate([[logs[0] - 0.5 * steps[0]], logs[:-1] + 0.5 * steps, [logs[-1] + 0.5 * steps[-1]]]))
    return edges[:-1], edges[1:]


def _separations(cube: xr.Dataset) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Separations of the point spread function, ends of their steps, and whether they are nodes."""
    if "psf" not in cube:
        return (), (), False
    rad = axis_of(cube, "rad")
    low, high = (rad[f"rad_{end}"].values for end in ("min", "max"))
    nodes = bool((low == high).all())
    edges = rad.values if nodes else np.append(low, high[-1])
    if edges[0] > 0:
        edges = np.insert(edges, 0, 0.0)
    return tuple(rad.values.tolist()), tuple(edges.tolist()), nodes


def _irf_ranges(cube: xr.Dataset, zones: Zones) -> tuple[Ranges, Ranges]:
    """Pixels of the responses that lie in each zone, along each axis; the nearest where none does."""
    if not has_sky(cube, "irf_") or not any("irf_y" in cube[n].dims for n in RESPONSES if n in cube):
        return (), ()
    grid, irf = grid_of(cube), grid_of(cube, "irf_")
    middle = (0.5 * (irf.y.start + irf.y.stop - 1), 0.5 * (irf.x.start + irf.x.stop - 1))
    rows = _pixels(grid, irf, np.asarray(irf.y, dtype=float), np.full(len(irf.y), middle[1]))[0] - grid.y.start
    columns = _pixels(grid, irf, np.full(len(irf.x), middle[0]), np.asarray(irf.x, dtype=float))[1] - grid.x.start
    return _ranges(rows, zones.y), _ranges(columns, zones.x)


def _pixels(grid: SkyGrid, irf: SkyGrid, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lon, lat = irf.frame.pixel_to_sky(y, x)
    return grid.sky_to_pixel(*grid.frame.from_icrs(*irf.frame.to_icrs(lon, lat)))


def _ranges(places: np.ndarray, edges: tuple[int, ...]) -> Ranges:
    found = []
    for start, stop in itertools.pairwise(edges):
        inside = np.flatnonzero((places >= start - 0.5) & (places < stop - 0.5))
        if not inside.size:
            inside = np.atleast_1d(np.nanargmin(np.abs(places - 0.5 * (start + stop - 1))))
        found.append((int(inside[0]), int(inside[-1]) + 1))
    return tuple(found)


def needed_ranges(arrays: Mapping[str, xr.Variable], settings: MapSettings) -> dict[str, Any]:
    """Return ranges of the dims that maps have not: all bins, and the response pixels that a tile's zones need."""
    extra: dict[str, Any] = {}
    for array in arrays.values():
        for dim in (str(d) for d in array.dims if d not in ("y", "x")):
            number, _, name = dim.partition(":")
            ranges = getattr(settings.cubes[int(number)], name) if name in ("irf_y", "irf_x") else ()
            if ranges:
                extra[dim] = _Needed(name[-1], settings.zones, ranges)
            else:
                extra[dim] = _Whole(array.sizes[dim])
    return extra


class _Whole:
    """All of a dimension."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, window: Window) -> Span:
        return Span(0, self.size, 0, self.size)


class _Needed:
    """The pixels of the responses for the zones that a window touches."""

    def __init__(self, dim: str, zones: Zones, ranges: Ranges) -> None:
        self.dim, self.zones, self.ranges = dim, zones, ranges

    def __call__(self, window: Window) -> Span:
        needed = [self.ranges[zone] for zone, _, _ in self.zones.along(self.dim, window[self.dim])]
        first, last = min(a for a, _ in needed), max(b for _, b in needed)
        return Span(first, last, first, last)
