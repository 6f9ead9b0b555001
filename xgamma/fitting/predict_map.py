r"""Counts that models predict on maps.

.. math::

    \mathrm{npred}(E, p) = \sum_{E_t} R(E_t, E) \, \left[ \mathrm{PSF}_{E_t} *
        \left( \epsilon_{E_t} \, \phi_{E_t} \, M \right) \right] (p)

with the flux :math:`\phi` in each bin of true energy, the exposure :math:`\epsilon`, the integral of the model over
pixels :math:`M`, and point spread function and energy dispersion at the model's centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import accumulate, product
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.fitting.map_compile import source_contribution
from xgamma.fitting.map_contribution import KeptBins
from xgamma.fitting.map_cubes import (
    Maps,
    ResponseAxes,
    at_row,
    check_map_models,
    map_response,
    maps_of,
    response_arrays,
)
from xgamma.fitting.map_irf import pixel_of
from xgamma.fitting.map_template import background_shape, template_counts
from xgamma.fitting.systematics import NO_SYSTEMATICS, Nuisance, background_factor, without_systematics
from xgamma.fitting.varying import GoodTime
from xgamma.kernels.sphere import separation
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.spatial_geometry import axes_at
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.systematics import Systematics

__all__ = ["background_of_map", "signal_of_map"]

FloatArray = NDArray[np.float64]

#: Pixels around a tile, beyond the reach of the point spread function, whose exposure is handed to it.
HALO = 4


def signal_of_map(name: str, cube: xr.Dataset, models: Models) -> xr.Variable:
    """Return the counts of sources and templates, dims of the counts; lazy where counts or responses are.

    Parameters
    ----------
    name
        Name of the cube.
    cube
        Cube of maps.
    models
        Models that were checked.

    Notes
    -----
    Tiles of a lazy map are predicted one by one: those that no source reaches are zeros, others see the exposure around
    them as far as the point spread function reaches.
    """
    s = maps_of(name, cube)
    plain, systematics = without_systematics(models)
    check_map_models(plain, [s])
    # a lazy prediction is that of the values at this moment
    copies = Models([*plain, *systematics]).copy()
    sources = [m for m in copies if isinstance(m, (SkyModel, Systematics))]
    parts = []
    if any(isinstance(m, SkyModel) for m in sources):
        responses = response_arrays(s, sources)
        lazy = any(v.chunks for v in (cube["counts"].variable, *responses.values()))
        parts.append(_lazy(s, sources, responses) if lazy else _in_memory(s, sources, responses))
    for model in models:
        if isinstance(model, TemplateNPredModel):
            values = model.spectral.evaluate(_energy(s), *model.spectral.values)
            factor = xr.Variable((*s.lead, "energy"), s.rows(model)[..., None] * np.asarray(values, float))
            parts.append(template_counts(model, s) * factor)
    counts = cube["counts"].variable
    if not parts:
        return xr.zeros_like(counts, dtype=float)
    total = reduce(lambda a, b: a + b, parts)
    return total.set_dims(dict(zip(counts.dims, counts.shape, strict=True))).transpose(*counts.dims)


def background_of_map(name: str, cube: xr.Dataset, models: Models) -> xr.Variable:
    """Return the background of a cube times the factors of its background models; 0 without a background."""
    s = maps_of(name, cube)
    plain, systematics = without_systematics(models)
    check_map_models(plain, [s])
    if "background" not in cube:
        return xr.zeros_like(cube["counts"].variable, dtype=float)
    result = cube["background"].variable
    if systematics:
        result = result * background_factor(s, systematics)
    for model in plain:
        if not isinstance(model, FoVBackgroundModel):
            continue
        rows = s.rows(model)[..., None]
        values = np.asarray(model.spectral.evaluate(_energy(s), *model.spectral.values), float)
        result = result * xr.Variable((*s.lead, "energy"), np.where(rows, values, 1.0))
        shape = background_shape(model, s.grid)
        if shape is not None:
            result = result * xr.Variable((*s.lead, "y", "x"), np.where(rows[..., None], shape, 1.0))
    return result.transpose(*cube["counts"].dims)


def _energy(s: Maps) -> FloatArray:
    return np.sqrt(s.axes.low * s.axes.high)


def _places(s: Maps) -> list[tuple[int, ...]]:
    return list(np.ndindex(*s.shape)) if s.shape else [()]


def _in_memory(s: Maps, sources: Sequence[Model], responses: dict[str, xr.Variable]) -> xr.Variable:
    axes = ResponseAxes.of(s)
    result = np.zeros((*s.shape, *s.bins))
    for place in _places(s):
        chosen = [m for m in sources if s.rows(m)[place]]
        arrays = {n: at_row(v.values, place) for n, v in responses.items()}
        result[place] = predict_tile(axes, arrays, chosen, s.grid, s.grid)
    return xr.Variable((*s.lead, "energy", "y", "x"), result)


def predict_tile(
    axes: ResponseAxes,
    values: dict[str, FloatArray],
    sources: Sequence[Model],
    grid: SkyGrid,
    exposure_grid: SkyGrid,
) -> FloatArray:
    """Return the counts that sources predict in a part of a map, shape (energy, y, x).

    Parameters
    ----------
    axes
        Axes of the responses.
    values
        Their arrays.
    sources
        Sources with a spatial part, and systematic errors of the instrument.
    grid
        Grid of the part.
    exposure_grid
        Grid of the exposure, which reaches further.
    """
    number = axes.axes.low.size
    bins = KeptBins.of(np.ones((number, *grid.shape), bool))
    total = np.zeros(bins.size)
    beyond = np.zeros(number, bool)
    _, systematics = without_systematics(sources)
    for model in (m for m in sources if isinstance(m, SkyModel)):
        response = map_response(axes, values, model, grid, exposure_grid, everywhere=False)
        if response.edisp is None:
            low, high = response.axes.true_low.min(), response.axes.true_high.max()
            beyond |= (response.axes.low < low * (1 - 1e-9)) | (response.axes.high > high * (1 + 1e-9))
        parameters = Models([model, *systematics]).parameters
        nuisance = Nuisance.of(systematics, parameters) if model.apply_irf["exposure"] else NO_SYSTEMATICS
        intervals = GoodTime(axes.name, values)
        part = source_contribution(model, parameters, response, bins, nuisance=nuisance, intervals=intervals)
        part.add_to(total, parameters.values)
    result = total.reshape(number, *grid.shape)
    result[beyond] = np.nan  # nothing is known of these energies
    return result


def _lazy(s: Maps, sources: Sequence[Model], responses: dict[str, xr.Variable]) -> xr.Variable:
    """Blocks of the map, each a task of its own."""
    axes = ResponseAxes.of(s)
    chunks_y, chunks_x = (_chunks(s, responses, d) for d in ("y", "x"))
    blocks: Any = np.empty((*s.shape, 1, len(chunks_y), len(chunks_x)), object)
    reach = 0.0 if axes.rad is None else float(axes.rad[-1])
    for place in _places(s):
        chosen, systematics = without_systematics(m for m in sources if s.rows(m)[place])
        # a wider function reaches further
        far = reach * float(np.prod([m.nuisance.psf.value for m in systematics]))
        own = {n: at_row(v.data, place) for n, v in responses.items()}
        for (j, y), (i, x) in product(enumerate(_slices(chunks_y)), enumerate(_slices(chunks_x))):
            grid = s.grid.tile(y, x)
            near: list[Model] = [m for m in chosen if isinstance(m, SkyModel) and _touches(m, grid, far)]
            near += systematics if near else ()
            blocks[(*place, 0, j, i)] = _block(axes, own, near, s.grid, (y, x), far, (1,) * len(s.lead))
    return xr.Variable((*s.lead, "energy", "y", "x"), da.block(blocks.tolist()))


def _chunks(s: Maps, responses: dict[str, xr.Variable], dim: str) -> tuple[int, ...]:
    for variable in (s.cube["counts"].variable, *(responses[n] for n in ("exposure",) if n in responses)):
        if variable.chunks:
            return tuple(variable.chunksizes[dim])
    return (s.cube.sizes[dim],)


def _slices(chunks: tuple[int, ...]) -> list[slice]:
    return [slice(stop - size, stop) for size, stop in zip(chunks, accumulate(chunks), strict=True)]


def _touches(model: SkyModel, grid: SkyGrid, reach: float) -> bool:
    """Whether a model may reach a tile."""
    spatial = model.spatial
    assert isinstance(spatial, SpatialModel)
    center = spatial.center(*spatial.values)
    radius = spatial.evaluation_radius(*spatial.values)
    if center is None or not np.isfinite(radius):
        return True
    ny, nx = grid.shape
    y, x = ([r.start - 1, 0.5 * (r.start + r.stop - 1), r.stop] for r in (grid.y, grid.x))
    vectors = grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(*np.meshgrid(y, x, indexing="ij")))
    # a tile at the edge of the sky may hold anything
    if not np.isfinite(vectors).all() or max(ny, nx) * max(grid.frame.binsize) > 60.0:
        return True
    half = float(separation(vectors, vectors[1, 1]).max())
    distance = float(separation(axes_at(*center, spatial.frame).center, vectors[1, 1]))
    return distance < 1.1 * half + radius + reach + HALO * max(grid.frame.binsize)


def _block(
    axes: ResponseAxes,
    values: dict[str, Any],
    sources: list[Model],
    grid: SkyGrid,
    tile: tuple[slice, slice],
    reach: float,
    lead: tuple[int, ...],
) -> da.Array:
    part = grid.tile(*tile)
    shape = (*lead, axes.axes.low.size, *part.shape)
    if not sources:
        return da.zeros(shape, chunks=shape)
    lat = np.nan_to_num(part.frame.pixel_to_sky([part.y.start, part.y.stop - 1], [part.x.start] * 2)[1])
    stretch = 1.0 / max(float(np.cos(np.deg2rad(np.abs(lat).max()))), 0.05) if part.frame.period is not None else 2.0
    halo = [int(np.ceil(reach * k / size)) + HALO for size, k in zip(part.frame.binsize, (1.0, stretch), strict=True)]
    wide = [
        slice(max(t.start - h, 0), min(t.stop + h, len(r)))
        for t, h, r in zip(tile, halo, (grid.y, grid.x), strict=True)
    ]
    own = {n: v[:, wide[0], wide[1]] if n == "exposure" else v for n, v in values.items()}
    near = axes
    if axes.irf_grid is not None:
        window = _irf_window(axes.irf_grid, part, sources)
        near = replace(axes, irf_grid=axes.irf_grid.tile(*window))
        # responses that are the same all over the map have no axes to cut
        coarse = [n for n in own if n != "exposure" and own[n].shape[1:3] == axes.irf_grid.shape]
        own |= {n: own[n][:, window[0], window[1]] for n in coarse}
    task = delayed(_task)(near, own, sources, part, grid.tile(*wide), shape)
    return da.from_delayed(task, shape, float)


def _irf_window(irf_grid: SkyGrid, grid: SkyGrid, sources: Sequence[Model]) -> tuple[slice, slice]:
    """Part of the coarse grid that holds a tile and the centres of its sources."""
    ends = [[r.start, 0.5 * (r.start + r.stop - 1), r.stop - 1] for r in (grid.y, grid.x)]
    vectors = grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(*np.meshgrid(*ends, indexing="ij"))).reshape(-1, 3)
    for model in (m for m in sources if isinstance(m, SkyModel)):
        assert isinstance(model.spatial, SpatialModel)
        center = model.spatial.center(*model.spatial.values)
        if center is not None:
            vectors = np.vstack([vectors, axes_at(*center, model.spatial.frame).center])
    places = np.array([pixel_of(irf_grid, v) for v in vectors])
    places = places[np.isfinite(places).all(axis=1)]
    if not places.size:
        return slice(0, len(irf_grid.y)), slice(0, len(irf_grid.x))
    window = []
    for axis, pixels in enumerate((irf_grid.y, irf_grid.x)):
        first = int(np.clip(np.floor(places[:, axis].min()) - 2 - pixels.start, 0, len(pixels) - 1))
        last = int(np.clip(np.ceil(places[:, axis].max()) + 3 - pixels.start, first + 1, len(pixels)))
        window.append(slice(first, last))
    return window[0], window[1]


def _task(
    axes: ResponseAxes,
    values: dict[str, FloatArray],
    sources: list[Model],
    grid: SkyGrid,
    exposure_grid: SkyGrid,
    shape: tuple[int, ...],
) -> FloatArray:
    arrays = {n: np.asarray(v) for n, v in values.items()}
    return predict_tile(axes, arrays, sources, grid, exposure_grid).reshape(shape)
