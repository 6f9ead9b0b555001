"""Spectra of regions of a map: many regions at once, lazily, and only from the tiles that they touch."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from operator import getitem
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from xgamma.coords.nodes import with_bins
from xgamma.coords.region_pixels import PixelWindow, region_pixels
from xgamma.coords.region_shapes import regions_on_grid
from xgamma.coords.regions import is_one_region, region_center, to_ds9
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import canonical_attrs, to_unit
from xgamma.reduction.graph import batches
from xgamma.reduction.map_response import edisp_of_regions, psf_containment
from xgamma.reduction.map_spectrum_task import SUMS, RegionPart, add_sums, finish_regions, sum_regions

if TYPE_CHECKING:
    from regions import SkyRegion

__all__ = ["to_spectrum"]

#: Regions in one task at most, and tiles that one task adds up.
REGIONS, TILES = 64, 16
#: What a spectrum keeps as it is.
KEPT = ("livetime", "ontime", "gti_start", "gti_stop", "pointing_lon", "pointing_lat")
MASKS = ("mask_safe", "mask_fit")


def to_spectrum(
    cube: xr.Dataset,
    regions: Any,
    *,
    containment_correction: bool = False,
    use_region_center: bool = True,
) -> xr.Dataset:
    """Take spectra of regions out of a cube of maps; lazy stays lazy.

    Parameters
    ----------
    cube
        Cube with dims (..., energy, y, x): ``counts`` with a ``background``, or with ``counts_off``, ``acceptance`` and
        ``acceptance_off``; ``exposure``, ``mask_safe``, ``edisp`` and ``psf`` where they are there.
    regions
        A sky region of the `regions` package, a DS9 string, or a list of them: circles, ellipses, boxes, rings of
        these, polygons, points, and what `&`, `|` and `^` make of them. Pixel regions count from the map's first pixel.
    containment_correction
        Multiply the exposure with the part of the point spread function that a circle around a point source holds; for
        circles.
    use_region_center
        Take the energy dispersion at the centre of each region. False averages it over the pixels of the region, with
        the exposure as weight.

    Returns
    -------
    xarray.Dataset
        Spectrum cube, dims (..., region, energy), without ``region`` where one region is given. ``counts``,
        ``background``, ``counts_off`` and ``acceptance`` are sums over the safe pixels of a region, ``exposure`` is the
        mean over all its pixels. Coordinates ``region`` (DS9 text), ``region_lon``, ``region_lat`` (ICRS degrees),
        ``n_pixels``.

    Raises
    ------
    TypeError
        If something else than regions is given, or the containment of something else than a circle is asked for.
    ValueError
        If a region reaches beyond the map or holds no pixel centre, or the cube has no counts or lacks a response.

    See Also
    --------
    xgamma.reduce : spectra straight from the events, which need no pixels.

    Notes
    -----
    A pixel belongs to a region if its centre lies inside, and then with all that it holds: pixels that the edge cuts
    are never divided, so counts stay whole numbers. Regions are taken in the plane of the projection, as in
    `xgamma.region_mask`. The exposure is the mean over the same pixels. A flux that is fitted to such a spectrum is
    that of a source all of which lies inside the region; what a region of a larger source holds adds to it.

    Where the safe mask differs between the pixels of a region, its counts come from the safe ones alone, and the
    columns of ``edisp`` are multiplied with the part of the exposure that these have: exposure times energy dispersion
    then predicts them for a source of even brightness. In a cube without ``edisp`` such bins are not safe. A bin is
    inside ``mask_fit`` where any pixel is.

    Nodes of true energy, at which the exposure of Fermi-LAT cubes is given, become bins that end half way between them.

    The off acceptance is set such that the background stays the sum of the pixels' backgrounds. Off counts of a ring
    background are shared by neighbouring pixels: their sum counts events several times, and the statistic takes
    the background for better known than it is.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.coords.grid import sky_grid
    >>> grid = sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg", energy=energy_axis("1 TeV", "10 TeV", nbin=2))
    >>> cube = grid.assign(counts=(("energy", "y", "x"), np.ones((2, 10, 10))))
    >>> to_spectrum(cube, ["icrs;circle(0, 0, 0.11)", "icrs;circle(0, 0, 0.3)"]).counts.values
    array([[ 4.,  4.],
           [32., 32.]])
    """
    grid = grid_of(cube)
    cube = with_bins(cube)
    items = regions_on_grid(grid, regions)
    single = is_one_region(regions)
    variables = _inputs(cube)
    texts = [to_ds9(r) for r in items]
    windows = _checked(grid, region_pixels(grid, items), texts)
    centers = _centers(grid, items)
    coords = _labels(grid, texts, centers, windows)
    fold = {"mask_safe", "exposure"} <= set(variables) and "edisp" in cube
    arrays = _arrays(variables, windows, fold)
    result = xr.Dataset(
        {n: (_dims(variables, n), a, _attrs(cube, n)) for n, a in arrays.items() if n != "coverage"},
        coords=_axes(cube, variables),
    )
    if "edisp" in cube:
        position = _positions(windows, grid)
        edisp = edisp_of_regions(cube, centers, None if use_region_center else position)
        if fold:
            edisp = edisp * xr.Variable(_dims(variables, "coverage"), arrays["coverage"])
        if "region" not in edisp.dims:
            edisp = edisp.set_dims({"region": len(items), **dict(edisp.sizes)})
        lead = [d for d in edisp.dims if d not in ("region", "energy_true", "energy")]
        result["edisp"] = edisp.transpose(*lead, "region", "energy_true", "energy")
        result["edisp"].attrs = canonical_attrs("", "Energy dispersion")
    if containment_correction:
        result["exposure"] = _contained(cube, result, items, centers)
    result = result.assign({n: cube[n].variable for n in KEPT if n in cube}).assign_coords(coords)
    result.attrs = dict(cube.attrs)
    return result.isel(region=0) if single else result


def _inputs(cube: xr.Dataset) -> dict[str, xr.Variable]:
    """Variables of the cube, all with the dims (lead..., bin, y, x)."""
    if "counts" not in cube:
        msg = f"spectra need 'counts', this cube has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    counts = cube["counts"]
    if "energy" not in counts.dims:
        msg = f"spectra need counts with the dim energy, not {counts.dims}"
        raise ValueError(msg)
    lead = [d for d in counts.dims if d not in ("energy", "y", "x")]
    found = {n: cube[n] for n in (*SUMS, *MASKS, "exposure") if n in cube}
    lacking = [n for n in ("acceptance", "acceptance_off") if "counts_off" in cube and n not in cube]
    if lacking:
        msg = f"a cube with 'counts_off' needs {lacking}, too"
        raise ValueError(msg)
    if "counts_off" in found and "background" not in found:
        off = found["acceptance_off"]
        found["background"] = (found["acceptance"] / off.where(off > 0, np.inf)).fillna(0.0) * found["counts_off"]
    result = {}
    for name, array in found.items():
        axis = "energy_true" if name == "exposure" else "energy"
        sizes = {d: counts.sizes[d] for d in lead} | {
            axis: cube.sizes[axis],
            "y": cube.sizes["y"],
            "x": cube.sizes["x"],
        }
        wrong = [d for d in array.dims if d not in sizes]
        if wrong:
            msg = f"{name!r} has the dims {array.dims}; spectra are taken from maps with (..., {axis}, y, x)"
            raise ValueError(msg)
        variable = (to_unit(array, "cm2 s") if name == "exposure" else array).variable
        if name in MASKS and variable.dtype != bool:
            variable = variable != 0
        result[name] = variable.set_dims(sizes).transpose(*sizes)
    return result


def _checked(grid: SkyGrid, found: list[list[PixelWindow]], texts: Sequence[str]) -> list[list[PixelWindow]]:
    """Refuse regions that reach beyond the map, or hold no pixel."""
    ny, nx = grid.shape
    result = []
    for windows, text in zip(found, texts, strict=True):
        inside = [w for w in (one.cut(0, ny, 0, nx) for one in windows) if w is not None]
        all_of = sum(int(w.mask.sum()) for w in windows)
        kept = sum(int(w.mask.sum()) for w in inside)
        shown = f"the map of {nx} x {ny} pixels, {grid.frame}"
        if not all_of:
            msg = f"region {text!r} holds no pixel centre of {shown}: it lies outside, or it is smaller than a pixel"
            raise ValueError(msg)
        if kept < all_of:
            msg = f"region {text!r} reaches beyond {shown}: its exposure there is not known; make it smaller"
            raise ValueError(msg)
        result.append(inside)
    return result


def _centers(grid: SkyGrid, regions: Sequence[SkyRegion]) -> np.ndarray:
    """Centres in degrees of the frame of the grid, shape (n, 2)."""
    result = []
    celestial = grid.frame.celestial
    for region in regions:
        center = region_center(region)
        if center.frame.name == celestial.name and center.frame.is_equivalent_frame(celestial):
            data = center.frame.spherical
            result.append((float(data.lon.deg), float(data.lat.deg)))
        else:
            lon, lat = grid.frame.position(center)
            result.append((float(lon), float(lat)))
    return np.array(result)


def _labels(
    grid: SkyGrid, texts: Sequence[str], centers: np.ndarray, windows: Sequence[list[PixelWindow]]
) -> dict[str, Any]:
    lon, lat = grid.frame.to_icrs(*centers.T)
    number = [sum(int(w.mask.sum()) for w in one) for one in windows]
    return {
        "region": ("region", np.array(texts), {"long_name": "Region"}),
        "region_lon": ("region", lon, canonical_attrs("deg", "Right ascension of the region")),
        "region_lat": ("region", lat, canonical_attrs("deg", "Declination of the region")),
        "n_pixels": ("region", np.array(number), canonical_attrs("", "Number of pixels of the region")),
    }


def _dims(variables: Mapping[str, xr.Variable], name: str) -> tuple[str, ...]:
    lead = tuple(str(d) for d in variables["counts"].dims[:-3])
    more = {"exposure": ("energy_true",), "coverage": ("energy_true", "energy")}.get(name, ("energy",))
    return (*lead, "region", *more)


def _attrs(cube: xr.Dataset, name: str) -> dict[str, Any]:
    if name == "exposure":
        return canonical_attrs("cm2 s", "Exposure")
    return dict(cube[name].attrs) if name in cube else canonical_attrs("", name.replace("_", " ").capitalize())


def _axes(cube: xr.Dataset, variables: Mapping[str, xr.Variable]) -> xr.Coordinates:
    """Coordinates that do not belong to pixels or to responses."""
    lead = [str(d) for d in variables["counts"].dims[:-3]]
    dims = {"energy", *lead} | ({"energy_true"} if "exposure" in variables or "edisp" in cube else set())
    drop = [n for n, c in cube.coords.items() if not set(c.dims) <= dims or str(n).endswith("wcs")]
    return cube.drop_vars(drop).coords


def _positions(windows: Sequence[list[PixelWindow]], grid: SkyGrid) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixel numbers (y, x) of the pixels of each region."""
    result = []
    for one in windows:
        places = [np.nonzero(w.mask) for w in one]
        y = np.concatenate([p[0] + w.y for p, w in zip(places, one, strict=True)]) + grid.y.start
        x = np.concatenate([p[1] + w.x for p, w in zip(places, one, strict=True)]) + grid.x.start
        result.append((y, x))
    return result


def _contained(cube: xr.Dataset, result: xr.Dataset, regions: Sequence[SkyRegion], centers: np.ndarray) -> xr.DataArray:
    """Exposure of point sources in the middle of circles."""
    missing = [n for n in ("psf", "exposure") if n not in cube]
    if missing:
        msg = f"containment_correction needs {missing}, which this cube has not"
        raise ValueError(msg)
    radii = []
    for region in regions:
        if type(region).__name__ != "CircleSkyRegion":
            msg = f"containment_correction is for circles around point sources, not for a {type(region).__name__}"
            raise TypeError(msg)
        radii.append(float(region.radius.to_value("deg")))
    part = psf_containment(cube, centers, np.array(radii))
    exposure = result["exposure"]
    return exposure.copy(data=(exposure.variable * part).transpose(*exposure.dims).data)


def _arrays(variables: Mapping[str, xr.Variable], windows: Sequence[list[PixelWindow]], fold: bool) -> dict[str, Any]:
    """Return the variables of the spectra as arrays of numpy, or of Dask where any map is one."""
    if all(v.chunks is None for v in variables.values()):
        parts = [RegionPart(i, w) for i, one in enumerate(windows) for w in one]
        arrays = {n: np.asarray(v.data) for n, v in variables.items()}
        return finish_regions(sum_regions(arrays, parts=parts, number=len(windows), fold=fold))
    return _lazy(variables, windows, fold)


def _lazy(variables: Mapping[str, xr.Variable], windows: Sequence[list[PixelWindow]], fold: bool) -> dict[str, Any]:
    """Build the graph: one task for a tile and a batch of regions, a tree of sums, and cheap tasks for variables."""
    arrays = _aligned(variables)
    counts = arrays["counts"]
    groups = [list(g) for g in batches(list(range(len(windows))), REGIONS)]
    tiles = [np.concatenate([[0], np.cumsum(c)]).astype(int) for c in counts.chunks[-2:]]
    masks = [[(w.y, w.x, w.mask) for w in one] for one in windows]
    name = f"region-spectra-{tokenize({n: a.name for n, a in arrays.items()}, masks, fold)}"
    layer: dict[Any, Any] = {}
    for b, group in enumerate(groups):
        touched = _touched([windows[i] for i in group], tiles)
        for lead in np.ndindex(*counts.numblocks[:-3]):
            level = []
            for (i, j), parts in touched.items():
                call = functools.partial(_sum_tile, names=tuple(arrays), parts=parts, number=len(group), fold=fold)
                key = (f"{name}-tile", b, *lead, i, j)
                layer[key] = (call, *((a.name, *lead, 0, i, j) for a in arrays.values()))
                level.append(key)
            layer[name, b, *lead] = (finish_regions, _tree(layer, (f"{name}-sum", b, *lead), level))
    return {n: _variable(name, layer, arrays, n, [len(g) for g in groups]) for n in _outputs(arrays, fold)}


def _aligned(variables: Mapping[str, xr.Variable]) -> dict[str, da.Array]:
    """Dask arrays with the tiles of the first lazy one, and all energies in one chunk."""
    first = next(v for v in variables.values() if v.chunks is not None)
    tiles = {d: c for d, c in zip(first.dims, first.chunks or (), strict=True) if d not in ("energy", "energy_true")}
    result = {}
    for name, variable in variables.items():
        result[name] = variable.chunk({**tiles, variable.dims[-3]: -1}).data
    return result


def _touched(
    windows: Sequence[list[PixelWindow]], tiles: Sequence[np.ndarray]
) -> dict[tuple[int, int], list[RegionPart]]:
    """Return the parts of regions on each tile that they touch."""
    ys, xs = tiles
    result: dict[tuple[int, int], list[RegionPart]] = {}
    for number, one in enumerate(windows):
        for window in one:
            rows, columns = (
                range(int(np.searchsorted(e, p, "right")) - 1, int(np.searchsorted(e, p + n - 1, "right")))
                for e, p, n in zip((ys, xs), (window.y, window.x), window.mask.shape, strict=True)
            )
            for i in rows:
                for j in columns:
                    part = window.cut(int(ys[i]), int(ys[i + 1]), int(xs[j]), int(xs[j + 1]))
                    if part is not None:
                        result.setdefault((i, j), []).append(RegionPart(number, part))
    return dict(sorted(result.items()))


def _sum_tile(*arrays: np.ndarray, names: Sequence[str], parts: Sequence[RegionPart], number: int, fold: bool) -> Any:
    return sum_regions(dict(zip(names, arrays, strict=True)), parts=parts, number=number, fold=fold)


def _tree(layer: dict[Any, Any], name: tuple[Any, ...], level: list[Any]) -> Any:
    """Put a tree of sums into the graph, the order of which is fixed; return the key of the sum."""
    depth = 0
    while len(level) > 1:
        keys = []
        for i, group in enumerate(batches(level, TILES)):
            keys.append((*name, depth, i))
            layer[keys[-1]] = (add_sums, *group)
        level, depth = keys, depth + 1
    return level[0]


def _outputs(arrays: Mapping[str, da.Array], fold: bool) -> dict[str, tuple[int, ...]]:
    """Names of the variables, and their shape behind the regions."""
    result: dict[str, tuple[int, ...]] = {n: (a.shape[-3],) for n, a in arrays.items()}
    if fold:
        result["coverage"] = (arrays["exposure"].shape[-3], arrays["counts"].shape[-3])
    return result


def _variable(
    name: str, layer: Mapping[Any, Any], arrays: Mapping[str, da.Array], variable: str, groups: Sequence[int]
) -> da.Array:
    counts = arrays["counts"]
    own = f"{variable}-{name}"
    behind = _outputs(arrays, variable == "coverage")[variable]
    chunks = (*counts.chunks[:-3], tuple(groups), *((n,) for n in behind))
    blocks = {
        (own, *lead, b, *(0,) * len(behind)): (getitem, (name, b, *lead), variable)
        for b in range(len(groups))
        for lead in np.ndindex(*counts.numblocks[:-3])
    }
    layers: dict[str, Any] = {name: dict(layer), own: blocks}
    dependencies: dict[str, set[str]] = {name: set(), own: {name}}
    for array in arrays.values():
        layers |= dict(array.dask.layers)
        dependencies |= {key: set(value) for key, value in array.dask.dependencies.items()}
        dependencies[name].add(array.name)
    dtype = bool if variable in MASKS else float
    graph = HighLevelGraph(layers, dependencies)
    return da.Array(graph, own, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype=dtype))
