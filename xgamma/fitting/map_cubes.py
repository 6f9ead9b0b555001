"""The maps among the cubes of a fit: their grids, and their responses as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import to_unit
from xgamma.fitting.cubes import Spectra, axes_of, labels_of
from xgamma.fitting.map_irf import CoarseMap, EnergyDispersion, MapResponse, PointSpread
from xgamma.fitting.own_axes import on_axes_of_cube
from xgamma.fitting.response import Axes
from xgamma.fitting.varying import gti_of_models
from xgamma.models.background_model import FoVBackgroundModel, TemplateNPredModel
from xgamma.models.models import Models
from xgamma.models.sky_model import Model, SkyModel

__all__ = ["Maps", "ResponseAxes", "at_row", "check_map_models", "is_map", "map_response", "maps_of", "response_arrays"]

FloatArray = NDArray[np.float64]

#: Dims of the responses, in front of which those of the runs may stand.
RESPONSES = {
    "exposure": ("energy_true", "y", "x"),
    "psf": ("energy_true", "irf_y", "irf_x", "rad"),
    "edisp": ("energy_true", "irf_y", "irf_x", "energy"),
    "irf_exposure": ("energy_true", "irf_y", "irf_x"),
    # files of others may weigh their point spread function with an exposure of its own
    "psf_exposure": ("energy_true", "irf_y", "irf_x"),
}


@dataclass(frozen=True, eq=False)
class Maps(Spectra):
    """What a fit and a prediction need to know of a cube of maps before its values; as `Spectra`, with the sky.

    Parameters
    ----------
    grid
        Grid of the map.
    irf_grid
        Coarse grid of the responses, None where they have none.
    """

    grid: SkyGrid
    irf_grid: SkyGrid | None

    @property
    def bins(self) -> tuple[int, int, int]:
        """Shape (energy, y, x) of one map."""
        return (self.axes.low.size, *self.grid.shape)


def is_map(cube: Any) -> bool:
    """Return whether a cube has counts on a map."""
    return isinstance(cube, xr.Dataset) and "counts" in cube and {"y", "x"} <= set(cube["counts"].dims)


def maps_of(name: str, cube: xr.Dataset, alone: bool = True) -> Maps:
    """Return what a cube of maps is made of.

    Parameters
    ----------
    name
        Name of the cube.
    cube
        Cube with dims (..., energy, y, x).
    alone
        Whether it is the only cube; the labels of several bring the name of theirs.

    Raises
    ------
    ValueError
        If axes are missing, or the sky is.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube["counts"] = ("energy", "y", "x"), np.ones((2, 10, 10))
    >>> maps_of("crab", cube).bins
    (2, 10, 10)
    """
    dims = tuple(map(str, cube["counts"].dims))
    axes = axes_of(name, cube, dims)
    cube = on_axes_of_cube(name, cube)
    lead = tuple(d for d in dims if d not in ("energy", "y", "x"))
    try:
        grid = grid_of(cube)
        irf_grid = grid_of(cube, "irf_") if {"irf_y", "irf_x"} <= set(map(str, cube.dims)) else None
    except ValueError as error:
        msg = f"{name!r} cannot be fitted: {error}"
        raise ValueError(msg) from error
    shape = tuple(cube.sizes[d] for d in lead)
    return Maps(name, cube, lead, shape, labels_of(name, cube, lead, alone), axes, grid, irf_grid)


def response_arrays(
    s: Maps, models: Iterable[Model] = (), names: tuple[str, ...] = tuple(RESPONSES)
) -> dict[str, xr.Variable]:
    """Return the responses that a cube has; the dims of runs have size 1 where runs share them. Lazy stays lazy.

    Good time intervals are among them where one of the models varies in time.

    Raises
    ------
    ValueError
        If a response has other dims or units than those of a map, or a model varies and there are no intervals.
    """
    result = gti_of_models(s, models)
    for name in names:
        if name not in s.cube:
            continue
        array = s.cube[name]
        unit = "cm2 s" if "exposure" in name else "sr-1" if name == "psf" else None
        # a conversion copies, also by a factor of 1
        if unit is not None and array.attrs.get("units") != unit:
            try:
                array = to_unit(array, unit)
            except ValueError as error:
                msg = f"{name!r} of {s.name!r}: {error}"
                raise ValueError(msg) from error
        core = RESPONSES[name]
        if name == "edisp" and "migra" in array.dims:
            core = (*core[:-1], "migra")
        # responses that are the same all over the map have no coarse grid
        core = tuple(d for d in core if d in array.dims or not d.startswith("irf_"))
        dims = (*s.lead, *core)
        odd = [str(d) for d in array.dims if d not in dims]
        missing = [d for d in core if d not in array.dims]
        if odd or missing:
            wrong = f"has dim {odd[0]!r}" if odd else f"lacks dim {missing[0]!r}"
            msg = f"{name!r} of {s.name!r} {wrong}: it should have {RESPONSES[name]}, and {s.lead} where runs differ"
            raise ValueError(msg)
        result[name] = array.variable.set_dims({d: array.sizes.get(d, 1) for d in dims}).transpose(*dims)
    return result


@dataclass(frozen=True, eq=False)
class ResponseAxes:
    """Axes of the responses of a map: what a task needs beside their arrays.

    Parameters
    ----------
    name
        Name of the cube.
    axes
        Bins of measured and true energy.
    irf_grid
        Coarse grid, None where there is none.
    rad, migra
        Edges of separation in deg and of migration, None where there are none.
    """

    name: str
    axes: Axes
    irf_grid: SkyGrid | None
    rad: FloatArray | None
    migra: FloatArray | None

    @classmethod
    def of(cls, s: Maps) -> ResponseAxes:
        """Return the axes of a cube."""
        rad = _edges(axis_of(s.cube, "rad")) if "psf" in s.cube else None
        migra = _edges(axis_of(s.cube, "migra")) if "edisp" in s.cube and "migra" in s.cube["edisp"].dims else None
        return cls(s.name, s.axes, s.irf_grid, rad, migra)


def map_response(
    kind: ResponseAxes,
    values: Mapping[str, FloatArray],
    model: SkyModel,
    grid: SkyGrid,
    exposure_grid: SkyGrid | None = None,
    *,
    everywhere: bool = True,
) -> MapResponse:
    """Return the responses of one map that a model wants.

    Parameters
    ----------
    kind
        Their axes.
    values
        Arrays of `response_arrays` for one map, without the dims in front.
    model
        Model, whose ``apply_irf`` chooses.
    grid
        Grid of the map.
    exposure_grid
        That of the exposure, if it is another.
    everywhere
        Whether the point spread function is cut off at one radius for all positions.

    Raises
    ------
    ValueError
        If the cube lacks its exposure.
    """
    exposure = None
    if model.apply_irf["exposure"]:
        if "exposure" not in values:
            msg = f"{kind.name!r} has no 'exposure', which model {model.name!r} needs"
            raise ValueError(msg)
        exposure = values["exposure"]
    weight = values.get("irf_exposure")
    psf = edisp = None
    if model.apply_irf["psf"] and "psf" in values:
        assert kind.rad is not None
        own = values.get("psf_exposure", weight)
        psf = PointSpread(_coarse(values["psf"], kind.irf_grid, own), kind.rad, everywhere)
    if model.apply_irf["edisp"] and "edisp" in values:
        table = _coarse(values["edisp"], kind.irf_grid, weight)
        edisp = EnergyDispersion(table)
        if kind.migra is not None:
            true = np.sqrt(kind.axes.true_low * kind.axes.true_high)
            edisp = EnergyDispersion(table, kind.migra, true, np.append(kind.axes.low, kind.axes.high[-1]))
    return MapResponse(grid, kind.axes, exposure, grid if exposure_grid is None else exposure_grid, psf, edisp)


def at_row(values: Any, place: tuple[int, ...]) -> Any:
    """Return the part of an array that belongs to one map, of arrays that maps share the whole."""
    return values[tuple(0 if values.shape[i] == 1 else k for i, k in enumerate(place))]


def _edges(axis: xr.DataArray) -> FloatArray:
    low, high = (axis[f"{axis.name}_{end}"].values.astype(float) for end in ("min", "max"))
    return np.append(low, high[-1])


def _coarse(values: FloatArray, grid: SkyGrid | None, weight: FloatArray | None) -> CoarseMap:
    if values.ndim == 2 or grid is None:
        return CoarseMap(None, values.reshape(values.shape[0], -1))
    # old files write an exposure of zero where they know none
    if weight is not None and (weight.ndim != 3 or not weight.any()):
        weight = None
    return CoarseMap(grid, values, weight)


def check_map_models(models: Models, maps: list[Maps]) -> None:
    """Check that models can be predicted on maps.

    Raises
    ------
    TypeError
        If a model is of another kind, or has no spatial part.
    ValueError
        If a norm stands where a spectrum should, or a background belongs to no background.
    """
    for model in models:
        where = [s for s in maps if s.rows(model).any()]
        if not where:
            continue
        kind = type(model).__name__
        if isinstance(model, FoVBackgroundModel):
            missing = [s.name for s in where if "background" not in s.cube]
            if missing:
                msg = f"{model.name!r} scales a background, which {missing} lack; name its datasets, or reduce with it"
                raise ValueError(msg)
            off = [s.name for s in where if "counts_off" in s.cube]
            if off:
                msg = f"{model.name!r} scales a background, but {off} measure theirs in off regions (counts_off)"
                raise ValueError(msg)
            continue
        if isinstance(model, TemplateNPredModel):
            continue
        if not isinstance(model, SkyModel):
            msg = f"{model.name!r} is a {kind}; maps take SkyModel, FoVBackgroundModel and TemplateNPredModel"
            raise TypeError(msg)
        if model.spatial is None:
            msg = (
                f"{model.name!r} has no spatial model, which the map {where[0].name!r} needs: "
                f"SkyModel(spectral=..., spatial=xgamma.PointSpatialModel(...), name={model.name!r})"
            )
            raise TypeError(msg)
