"""TS maps: the flux of a source at each pixel of a map, and how significant it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.background.correlate import positive_angle
from xgamma.background.windows import Span, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.bins import axis_of, bin_axis
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import grid_of
from xgamma.coords.units import canonical_attrs, to_value
from xgamma.estimators.sed import reference_fluxes
from xgamma.estimators.ts_inputs import checked_mask, cube_arrays, cube_settings, map_zones, needed_ranges
from xgamma.estimators.ts_planes import MapSettings, ts_of_window
from xgamma.estimators.ts_source import OVERSAMPLING, Source, source_of
from xgamma.fitting.cubes import Cubes, named_cubes
from xgamma.io.flux_layout import flux_attrs
from xgamma.kernels.ts_fit import TSSettings

__all__ = ["ts_map"]

#: What can be asked for beside norm, error and significance.
SELECTION = ("errn-errp", "ul", "scan")
#: Norms of the likelihood profile by default.
SCAN_NORMS = np.geomspace(0.2, 5.0, 11)


def ts_map(
    cubes: Cubes,
    model: Any = None,
    *,
    kernel_width: Any = "1 deg",
    energy_edges: Any = None,
    selection: str | Iterable[str] = (),
    models: Any = None,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    scan_values: Any = None,
    exposure: str | None = None,
    zone_width: Any = "2 deg",
    mask: xr.DataArray | None = None,
    where: xr.DataArray | None = None,
) -> xr.Dataset:
    """Fit the flux of a source of given shape and spectrum at each pixel of a map.

    Parameters
    ----------
    cubes
        Cube with dims ([obs,] energy, y, x): ``counts``, ``background``, ``exposure`` and ``psf``, and where present
        ``edisp``, ``mask_safe``, ``mask_fit``; several as a mapping, a list or a DataTree, on one grid, whose energy
        axes may differ. Runs (dim ``obs``) and cubes share one norm in each energy group.
    model
        Source: a spectral model, a spatial model, or a SkyModel of both. By default a point with a power law of
        index 2 and ``1e-12 cm-2 s-1 TeV-1`` at 1 TeV. Its position does not matter.
    kernel_width
        Side of the square around each pixel whose counts are used, an angle; it becomes an odd number of pixels.
    energy_edges
        Edges of the energy groups, shape (n + 1,); by default one group of all bins. Inside a group the bins
        are fitted together, each with its own point spread function.
    selection
        More maps: any of ``"errn-errp"``, ``"ul"``, ``"scan"``, or ``"all"``.
    models
        Sources that are known: their predicted counts are added to the background.
    n_sigma, n_sigma_ul
        Standard deviations of errors and of the upper limit.
    scan_values
        Norms of the likelihood profile, shape (k,); by default 11 from 0.2 to 5.
    exposure
        ``"source"`` takes the exposure at the source, which is exact for a point and the default for it, ``"counts"``
        at the pixel of the counts, which is better for sources over which the exposure changes, their default.
    zone_width
        Side of the squares within which one point spread function is used, the mean over the square; None takes one
        for the whole map.
    mask
        Further pixels to leave out where False, bool, dims (y, x) or (energy, y, x) of a cube.
    where
        Pixels at which to fit, bool, dims (y, x); all others are NaN, but their counts are used. None for all.

    Returns
    -------
    xarray.Dataset
        Dims (energy, y, x), lazy if a cube is lazy: ``ts``, ``sqrt_ts`` (with the sign of the norm), ``norm``,
        ``norm_err``, ``stat``, ``stat_null``, ``counts``, ``npred`` and ``npred_excess`` in the window of the pixel,
        what `selection` asks for (``norm_errn``, ``norm_errp``, ``norm_ul``; ``stat_scan`` with the dim ``scan`` in
        front and its norms in ``norm_scan``), and the fluxes to which norms refer, ``ref_dnde``, ``ref_flux``,
        ``ref_eflux``, ``ref_e2dnde``: `~xgamma.estimators.sed.to_sed_type` makes maps of flux. NaN where no bin of the
        pixel is inside the masks, and where no signal is expected.

    Raises
    ------
    ValueError
        If a variable is missing, cubes have different grids, or an argument is not valid.
    TypeError
        If the model is not a model of a source.

    Warns
    -----
    UserWarning
        If an energy edge is moved to the nearest edge of a cube.

    See Also
    --------
    xgamma.estimators.peaks.find_peaks : positions of sources on the map.
    xgamma.estimators.catalogue.source_catalogue : from cube to table.

    Notes
    -----
    Cash is minimised over one norm at each pixel, over all voxels in the window, the masks and the map. Only voxels
    with counts enter logarithms, the sum of the signal is one convolution. Norms may be negative as long as voxels with
    counts are predicted positive; in empty voxels a negative prediction counts as zero. Where the window holds no
    counts, the norm is the lowest at which nothing is predicted negative, and the upper limit is that above zero.

    The point spread function is not scaled to the window: the part of the source outside is missing in counts and in
    the prediction, and fluxes are those of the whole source. An on-off cube is fitted with its ``background`` as known.

    References
    ----------
    .. [1] I. M. Stewart, A&A 495, 989 (2009): maximum likelihood detection in maps.
    .. [2] W. Cash, ApJ 228, 939 (1979).

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1.1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube["background"] = ("energy", "y", "x"), np.full((1, 11, 11), 0.5)
    >>> cube["exposure"] = ("energy_true", "y", "x"), np.full((1, 11, 11), 1e13)
    >>> rad = cube.rad.values
    >>> cube["psf"] = ("energy_true", "rad"), [np.exp(-0.5 * (rad / 0.1) ** 2)]
    >>> cube["counts"] = cube.background.round() * 0
    >>> cube["counts"][0, 4:7, 4:7] = 3
    >>> maps = ts_map(cube, kernel_width="0.7 deg")
    >>> maps.sqrt_ts.argmax(...)["y"].item(), round(maps.sqrt_ts.max().item(), 3)
    (5, 6.139)
    """
    named = _checked(cubes, models)
    first = next(iter(named.values()))
    source = source_of(model, first)
    half = _half(first, positive_angle(kernel_width, "kernel_width"))
    groups, axis = _groups(named, energy_edges)
    names = _selection(selection)
    fit = TSSettings(
        names, _positive(n_sigma, "n_sigma"), _positive(n_sigma_ul, "n_sigma_ul"), _norms(scan_values, names)
    )
    zones = map_zones(named.values(), None if zone_width is None else positive_angle(zone_width, "zone_width"))
    arrays: dict[str, xr.Variable] = {}
    settings = []
    for number, (name, cube) in enumerate(named.items()):
        arrays |= cube_arrays(number, name, cube, mask, source)
        settings.append(cube_settings(cube, groups[name], source, zones))
    if where is not None:
        arrays["where"] = checked_mask(where, first, "where").transpose("y", "x")
    lazy = any(a.chunks is not None for a in arrays.values())
    whole = MapSettings(
        cubes=tuple(settings),
        n_groups=axis.sizes["energy"],
        half=half,
        pixel=pixel_scale(first),
        shape=source.shape,
        parts=1 if source.shape is None else OVERSAMPLING,
        at_source=_at_source(exposure, source),
        zones=zones,
        fit=fit,
        # the threads of Dask run beside each other; without them the rows of a map are divided
        threads=1
        if lazy
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
    )
    plan = _plan(arrays, whole)
    maps = map_windows(ts_of_window, arrays, fit.names, plan, needed_ranges(arrays, whole), settings=whole)
    maps = split_again(maps, sky_chunks(arrays.values()))
    return _wrap(first, maps, axis, source, whole)


def _checked(cubes: Any, models: Any) -> dict[str, xr.Dataset]:
    """Return the cubes by name, with the predicted counts of known sources in their background."""
    named = named_cubes(cubes)
    grid = None
    for name, cube in named.items():
        missing = [n for n in ("counts", "background", "exposure") if n not in cube]
        if missing:
            msg = f"a TS map needs counts, background and exposure; {missing} are missing in {name!r}"
            raise ValueError(msg)
        if not {"energy", "y", "x"} <= set(cube["counts"].dims):
            msg = f"the counts of {name!r} have the dims {cube['counts'].dims}; a TS map needs ([obs,] energy, y, x)"
            raise ValueError(msg)
        if "energy_true" not in cube["exposure"].dims:
            msg = f"the exposure of {name!r} has the dims {cube['exposure'].dims}; a TS map needs energy_true"
            raise ValueError(msg)
        other = [d for d in cube["counts"].dims if d not in ("obs", "energy", "y", "x")]
        if other:
            msg = f"the counts of {name!r} have the dims {other}; select one, or give a list of cubes"
            raise ValueError(msg)
        if grid is not None and grid_of(cube) != grid:
            msg = f"{name!r} is on another grid than the first cube; reproject it or take cutouts first"
            raise ValueError(msg)
        grid = grid_of(cube)
    if models is None:
        return named
    from xgamma.fitting.predict import npred_signal

    return {n: c.assign(background=c["background"] + npred_signal(c, models, name=n)) for n, c in named.items()}


def _half(cube: xr.Dataset, width: float) -> tuple[int, int]:
    """Pixels of the kernel beyond its middle."""
    sizes = cube.sizes["y"], cube.sizes["x"]
    half = tuple(math.ceil(0.5 * width / p - 0.5 - 1e-9) if width > p else 0 for p in pixel_scale(cube))
    if any(2 * h + 1 > n for h, n in zip(half, sizes, strict=True)):
        msg = (
            f"kernel_width of {width:g} deg is larger than the map of {sizes} pixels (y, x) of {pixel_scale(cube)} deg"
        )
        raise ValueError(msg)
    return half[0], half[1]


def _groups(named: Mapping[str, xr.Dataset], edges: Any) -> tuple[dict[str, tuple[int, ...]], xr.DataArray]:
    """Return the energy group of each bin of each cube, and the axis of the groups."""
    if edges is None:
        axes = [axis_of(cube, "energy") for cube in named.values()]
        low, high = (
            f(e(a[f"energy_{end}"].values) for a in axes) for f, e, end in ((min, np.min, "min"), (max, np.max, "max"))
        )
        axis = bin_axis(
            "energy", [low], [high], "TeV", axes[0]["energy"].attrs.get("interp", "log"), long_name="Energy"
        )
        return {n: (0,) * a.sizes["energy"] for n, a in zip(named, axes, strict=True)}, axis
    found = {}
    common: xr.DataArray | None = None
    for name, cube in named.items():
        slices, own = energy_groups(cube, edges)
        numbers = np.full(axis_of(cube, "energy").sizes["energy"], -1)
        for number, part in enumerate(slices):
            numbers[part] = number
        found[name] = tuple(numbers.tolist())
        common = own if common is None else common
    assert common is not None
    return found, common


def _selection(selection: str | Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys((selection,) if isinstance(selection, str) else selection))
    if names == ("all",):
        return SELECTION
    unknown = [n for n in names if n not in SELECTION]
    if unknown:
        msg = f"selection {unknown} not known; choose from {list(SELECTION)} or 'all'"
        raise ValueError(msg)
    return names


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < np.inf:
        msg = f"{name}={value!r} must be a positive number of standard deviations"
        raise ValueError(msg)
    return float(value)


def _norms(values: Any, selection: Sequence[str]) -> tuple[float, ...]:
    if "scan" not in selection:
        return ()
    norms = np.asarray(SCAN_NORMS if values is None else to_value(values, "", "scan_values"), dtype=float)
    if norms.ndim != 1 or not norms.size or not np.isfinite(norms).all():
        msg = f"scan_values={values!r} must be a list of norms"
        raise ValueError(msg)
    return tuple(norms.tolist())


def _at_source(exposure: str | None, source: Source) -> bool:
    if exposure is None:
        return source.shape is None
    if exposure not in ("source", "counts"):
        msg = f"exposure={exposure!r} must be 'source' or 'counts'"
        raise ValueError(msg)
    return exposure == "source"


def _plan(arrays: Mapping[str, xr.Variable], settings: MapSettings) -> dict[str, tuple[Span, ...]]:
    groups = settings.n_groups
    bins = sum(a.size // (a.sizes["y"] * a.sizes["x"]) for n, a in arrays.items() if n.endswith(":counts"))
    # beside the results of a tile stand its counts, background, exposure and copies of these
    tiles = tile_sizes(sky_chunks(arrays.values()), settings.half, 8.0 * (len(settings.fit.names) * groups + 6 * bins))
    plan: dict[str, tuple[Span, ...]] = {"energy": (Span(0, groups, 0, groups),)}
    return plan | {d: spans(s, h) for d, s, h in zip(("y", "x"), tiles, settings.half, strict=True)}


def _wrap(
    cube: xr.Dataset, maps: dict[str, xr.Variable], axis: xr.DataArray, source: Source, settings: MapSettings
) -> xr.Dataset:
    coords = grid_of(cube).coords()
    result = xr.Dataset(coords=coords).assign_coords(axis.coords)
    scan = [n for n in maps if n.startswith("stat_scan_")]
    for name, array in maps.items():
        if name not in scan:
            result[name] = xr.Variable(array.dims, array.data, flux_attrs(name))
    if scan:
        stacked = xr.Variable.concat([maps[n] for n in scan], "scan")
        result["stat_scan"] = xr.Variable(stacked.dims, stacked.data, flux_attrs("stat_scan"))
        result["norm_scan"] = xr.Variable("scan", np.asarray(settings.fit.scan), flux_attrs("norm_scan"))
        result = result.set_coords("norm_scan")
    fluxes = reference_fluxes(axis, source.spectral)
    result = result.assign({n: xr.Variable("energy", f.values, f.attrs) for n, f in fluxes.items()})
    result["norm"].attrs.update(canonical_attrs("", "Norm"))
    result.attrs = {k: v for k, v in cube.attrs.items() if k in ("name", "telescope", "instrument", "origin")}
    ny, nx = (2 * h + 1 for h in settings.half)
    result.attrs.update(
        sed_type="likelihood",
        n_sigma=settings.fit.n_sigma,
        n_sigma_ul=settings.fit.n_sigma_ul,
        kernel_pixels=f"{ny} x {nx}",
        exposure_at="source" if settings.at_source else "counts",
        model=source.text,
    )
    return result
