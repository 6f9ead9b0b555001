"""`reduce`: from runs to one lazy cube."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xgamma.dl3.observation import Observation
from xgamma.dl3.store import Observations
from xgamma.io.provenance import provenance
from xgamma.reduction.builder import Builder
from xgamma.reduction.footprint import plan_pointing, tiles_of_runs
from xgamma.reduction.region_background import SpectrumBackground
from xgamma.reduction.response_size import warn_large_responses
from xgamma.reduction.run_background import PreparedBackground, RunBackground, check_background
from xgamma.reduction.run_norm import PreparedNorm
from xgamma.reduction.settings import DEFAULT_SELECTION, ReduceSettings, reduce_settings
from xgamma.reduction.spectrum import reduce_to_spectra
from xgamma.reduction.spectrum_settings import is_region_grid

__all__ = ["reduce", "runs_of"]

#: Bytes of one variable in one tile that automatic chunks aim at.
TILE_BYTES = 64 * 2**20


def reduce(
    observations: Observations | Sequence[Observation] | Observation,
    grid: xr.Dataset,
    *,
    selection: Sequence[str] | str | None = None,
    offset_max: Any = None,
    safe_mask: Any = None,
    stack: bool = True,
    chunks: Mapping[str, int] | None = None,
    background: RunBackground | SpectrumBackground | None = None,
    background_oversampling: int = 1,
    max_gti: int = 8,
    containment_correction: bool = False,
    use_region_center: bool = True,
) -> xr.Dataset:
    """Reduce runs onto a grid, of the sky or of regions: a lazy cube of counts, exposure, background and responses.

    Nothing is read before the cube is computed, written or plotted.

    Parameters
    ----------
    observations
        Runs, from `open_store` and its ``select``.
    grid
        Coordinates to fill: a map from `sky_grid`, spectra from `region_grid`.
    selection
        Variables to make, of ``counts``, ``exposure``, ``background``, ``psf``, ``edisp``; ``"all"`` for
        all. By default maps have the first three, since PSF and energy dispersion are for fits: ask for them where
        you need them. Spectra have all but ``psf``, and ``background`` where every run has a model of it and no other
        background is asked for.
    offset_max
        A run fills the square of twice this side around its pointing; by default the whole grid. It is
        also the limit of the safe mask ``"offset-max"``. Spectra: a run is used for regions closer than this.
    safe_mask
        Name of a safe mask, a list of names, or a mapping from names to options: ``"aeff-default"``,
        ``"aeff-max"`` (aeff_percent=10), ``"edisp-bias"`` (bias_percent=10), both with position or
        fixed_offset, ``"offset-max"`` (offset_max), ``"bkg-peak"``. Spectra are judged at the centre of their region.
    stack
        Add all runs up inside their safe masks, or keep them apart along dim ``obs``.
    chunks
        Sides in pixels of the sky tiles, ``{"y": 500, "x": 500}``; by default the whole grid, or tiles
        of 64 MiB a variable on a large one. Spectra: the number of runs in one task, ``{"obs": 10}``.
    background
        A background from each run's own counts. For maps `xgamma.FoVBackground`, which scales the model of each run,
        and `xgamma.RingBackground`, which makes an on-off cube in the same pass; for spectra
        `xgamma.ReflectedRegions`, `xgamma.WobbleRegions`, `xgamma.PhaseBackground`. By default the background model of
        the runs as it is.
    background_oversampling
        Steps in which the background is integrated over each energy bin.
    max_gti
        Good time intervals kept for each run; more are joined over their shortest gaps. Livetime and
        ontime are those of the file in any case.
    containment_correction
        Spectra of circles: multiply the exposure with the part of the PSF inside the radius, at the run's
        offset and each true energy.
    use_region_center
        Spectra: take the responses at the centre of the region, or (False) average them over its area, in pixels of
        0.1 deg with their part inside the region as weight. For regions in which the responses change.

    Returns
    -------
    xarray.Dataset
        Dims ([obs,] energy, y, x) for ``counts``, ``background`` and ``mask_safe``, ([obs,] energy_true, y, x)
        for ``exposure`` (cm2 s), the coarse grid for ``psf`` ([obs,] energy_true, irf_y, irf_x, rad; sr-1) and
        ``edisp`` ([obs,] energy_true, energy, irf_y, irf_x) with their weight ``irf_exposure``, and numbers
        of the runs: ``livetime``, ``ontime`` (s), ``gti_start``, ``gti_stop`` (s since J2000.0 (TT), padded with NaN).
        All on Dask; ``attrs`` hold the provenance. With off counts also ``counts_off``, ``acceptance`` (the
        background model) and ``acceptance_off``, and ``background`` is what they make; ``energy`` is what the
        settings of the background make of it.

        Spectra have no y and x: dims ([obs,] [region,] energy) and ([obs,] [region,] energy_true), where ``region`` is
        a dim for a list of regions and a label for one; ``edisp`` ([obs,] [region,] energy_true, energy) has none of
        irf_y, irf_x and is weighted with ``exposure`` itself. With off regions, ``n_off_regions`` tells how many
        there were and the coordinate ``off_regions`` (kept apart only) their DS9 texts, one a line, as lazy as the
        rest; ``load`` loads them, and files keep them.

    Raises
    ------
    ValueError
        If there is no run, none touches the grid, the grid lacks an axis, or an option is not known.

    Warns
    -----
    UserWarning
        Runs that do not touch the grid or lack a response are left out and named. PSF and energy dispersion that
        take more than 256 MiB and more than a tenth of the maps. When spectra are computed: runs that do not see a
        region or have no room for off regions; they are kept, with nothing safe.

    Notes
    -----
    Exposure is the effective area at the pixel's centre times livetime; the background rate is integrated
    over energy (log-log trapezoid) and multiplied with the pixel's solid angle and the ontime [1]_. Where the
    cube has a background, voxels in which it is not positive are never safe. Stacking adds counts and
    background per safe voxel, exposure per pixel that is safe at any energy, and averages responses
    weighted by exposure.

    PSF and energy dispersion of a survey are kept on the coarse grid (`irf_binsize` of `sky_grid`), in tiles of
    24 x 24 of its pixels that are made apart from the maps, and averaged over the runs with their exposure as
    weight. They change with the offset from the pointings, that is over degrees: choose the coarse pixels such that
    they take less than a tenth of the maps, and a ``rad`` axis that ends where the PSF does
    (`xgamma.reduction.rad.containment_rad_axis`).

    References
    ----------
    .. [1] Donath et al. 2023, A&A 678, A157, section 3 (arXiv:2308.13584).

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.io.sample import sample_path
    >>> store = xg.open_store(sample_path() / "survey")
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> center = SkyCoord(150, -25, unit="deg")
    >>> grid = xg.sky_grid(center, "2 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube = xg.reduce(store.observations, grid, offset_max="2.5 deg", safe_mask="offset-max")
    >>> cube.counts.dims
    ('energy', 'y', 'x')
    >>> regions = xg.region_grid("icrs;circle(150, -25, 0.2)", energy=energy, energy_true=energy)
    >>> xg.reduce(store.observations, regions, background=xg.ReflectedRegions(), stack=False).counts_off.dims
    ('obs', 'energy')
    """
    if not isinstance(grid, xr.Dataset):
        msg = f"grid={grid!r} must be a grid from xgamma.sky_grid"
        raise TypeError(msg)
    given = runs_of(observations)
    if is_region_grid(grid):
        return reduce_to_spectra(
            given,
            grid,
            background=background,
            stack=stack,
            chunks=chunks,
            selection=selection,
            safe_mask=safe_mask,
            offset_max=offset_max,
            background_oversampling=background_oversampling,
            max_gti=max_gti,
            containment_correction=containment_correction,
            use_region_center=use_region_center,
        )
    if containment_correction or not use_region_center:
        msg = "containment_correction and use_region_center are for spectra: reduce onto a xgamma.region_grid"
        raise ValueError(msg)
    selection = DEFAULT_SELECTION if selection is None else selection
    settings = reduce_settings(grid, selection, safe_mask, offset_max, background_oversampling, max_gti)
    warn_large_responses(settings)
    edges = _tile_edges(settings, chunks)
    prepared = _prepare(background, grid, settings, edges)
    # apart, runs have off counts around the pixels that they fill
    on_off = prepared if isinstance(prepared, PreparedBackground) else None
    norm = prepared if isinstance(prepared, PreparedNorm) else None
    margin = (0, 0) if stack or on_off is None else on_off.task.depth
    runs, tiles = _plan(given, settings, edges, margin)
    builder = Builder(runs, tiles, settings, edges, stack=stack, background=on_off, norm=norm)
    axis = None if on_off is None else on_off.axis
    coords = _coords(grid, settings, runs, axis, stack=stack)
    if norm is not None and stack:
        coords = coords.assign(run=("run", [run.obs_id for run in runs], {"long_name": "Run"}))
    cube = xr.Dataset(builder.variables(), coords=coords)
    cube.attrs = provenance(
        obs_ids=[run.obs_id for run in runs],
        settings={
            "selection": list(settings.selection),
            "offset_max": None if offset_max is None else f"{settings.offset_max:g} deg",
            "safe_mask": [mask.describe() for mask in settings.masks],
            "stack": stack,
            "background_oversampling": settings.background_oversampling,
            **({} if prepared is None else {"background": prepared.method}),
        },
    )
    if prepared is not None:
        cube.attrs["background_method"] = prepared.method
    return cube


def _prepare(
    background: Any, grid: xr.Dataset, settings: ReduceSettings, edges: tuple[np.ndarray, np.ndarray]
) -> PreparedBackground | PreparedNorm | None:
    """Check a background that is made run by run."""
    if background is None:
        return None
    lacking = [n for n in ("counts", "background") if n not in settings.selection]
    if lacking:
        msg = f"a background from the counts of each run needs {lacking} in the selection: it starts from the model"
        raise ValueError(msg)
    y, x = (tuple(int(n) for n in np.diff(e)) for e in edges)
    prepared = check_background(background).prepare(grid, (y, x))
    responses = [n for n in ("psf", "edisp") if n in settings.selection]
    if responses and isinstance(prepared, PreparedBackground):
        msg = (
            f"{responses} are not made together with background={type(background).__name__}: what is safe is known "
            "only where the off counts are; reduce the responses by a call of their own, with the same grid"
        )
        raise ValueError(msg)
    return prepared


def runs_of(observations: Any) -> list[Observation]:
    """Return what was given as a list of runs: a single one, or any number of them.

    Raises
    ------
    TypeError
        If it is something else.
    """
    runs = [observations] if isinstance(observations, Observation) else observations
    if isinstance(runs, (str, bytes)) or not isinstance(runs, Iterable):
        msg = f"observations={observations!r} must be runs of a store: xgamma.open_store(path).select(...)"
        raise TypeError(msg)
    runs = list(runs)
    wrong = [run for run in runs if not isinstance(run, Observation)]
    if wrong:
        msg = f"{wrong[0]!r} is not a run; take runs from xgamma.open_store(path).select(...)"
        raise TypeError(msg)
    return runs


def _coords(
    grid: xr.Dataset, settings: ReduceSettings, runs: Sequence[Observation], axis: xr.DataArray | None, *, stack: bool
) -> xr.Coordinates:
    """Coordinates of the cube: those of the grid that its variables need, or another energy axis."""
    needless: list[str] = []
    if not {"psf", "edisp"} & set(settings.selection):
        needless += ["irf_y", "irf_x", "irf_lon", "irf_lat", "irf_wcs"]
    if "psf" not in settings.selection:
        needless += ["rad", "rad_min", "rad_max"]
    if not {"exposure", "psf", "edisp"} & set(settings.selection):
        needless += ["energy_true", "energy_true_min", "energy_true_max"]
    if axis is not None:
        needless += ["energy", "energy_min", "energy_max"]
    kept = grid.drop_vars([n for n in needless if n in grid.variables])
    coords = kept.coords if axis is None else kept.assign_coords(axis.coords).coords
    if stack:
        return coords
    return coords.assign(obs=("obs", [run.obs_id for run in runs], {"long_name": "Run"}))


def _tile_edges(settings: ReduceSettings, chunks: Mapping[str, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Array positions of the tile edges along (y, x)."""
    if chunks is not None and not isinstance(chunks, Mapping):
        msg = f"chunks={chunks!r} must be a mapping from dims to sides, such as {{'y': 500, 'x': 500}}"
        raise TypeError(msg)
    given = dict(chunks or {})
    unknown = sorted(set(given) - {"y", "x", "obs", "energy", "energy_true"})
    if unknown:
        msg = f"chunks={chunks!r}: {unknown} are not dims of the tiles; give the sides along y and x"
        raise ValueError(msg)
    planes = max(settings.n_energy, 0 if settings.energy_true is None else len(settings.energy_true))
    shape = settings.grid.shape
    default = max(16, int(np.sqrt(TILE_BYTES / 8 / planes)))
    edges = []
    for dim, length in zip(("y", "x"), shape, strict=True):
        side = given.get(dim, default if shape[0] * shape[1] > default**2 else length)
        side = length if side in (-1, None) else int(side)
        if side < 1:
            msg = f"chunks={chunks!r}: the side of a tile along {dim!r} must be at least 1"
            raise ValueError(msg)
        edges.append(np.append(np.arange(0, length, side), length))
    return edges[0], edges[1]


def _plan(
    observations: list[Observation],
    settings: ReduceSettings,
    edges: tuple[np.ndarray, np.ndarray],
    margin: tuple[int, int] = (0, 0),
) -> tuple[list[Observation], dict[tuple[int, int], list[int]]]:
    """Runs to reduce, and for each tile the positions of the runs that touch it."""
    if not observations:
        msg = "there are no runs to reduce: the selection is empty"
        raise ValueError(msg)
    complete, lacking = [], {}
    for run in observations:
        missing = [t for t in settings.required if t not in run.available and t != "gti"]
        if missing:
            lacking[run.obs_id] = missing
        else:
            complete.append(run)
    _warn_dropped(lacking, observations, settings)
    pointings = np.array([plan_pointing(run) for run in complete], dtype=float).reshape(-1, 2)
    touched = tiles_of_runs(settings.grid, pointings[:, 0], pointings[:, 1], settings.offset_max, edges, margin)
    runs = [run for run, tiles in zip(complete, touched, strict=True) if tiles]
    outside = [run.obs_id for run, tiles in zip(complete, touched, strict=True) if not tiles]
    if not runs:
        lon, lat = settings.grid.center
        msg = f"no run touches the grid around {settings.grid.frame.name} ({lon:.3f}, {lat:.3f}) deg: {_names(outside)}"
        raise ValueError(msg)
    if outside:
        msg = f"{len(outside)} of {len(observations)} runs do not touch the grid and are left out: {_names(outside)}"
        warnings.warn(msg, UserWarning, stacklevel=3)
    plan: dict[tuple[int, int], list[int]] = {}
    for position, tiles in enumerate(t for t in touched if t):
        for tile in tiles:
            plan.setdefault(tile, []).append(position)
    return runs, plan


def _warn_dropped(
    lacking: Mapping[Any, list[str]], observations: Sequence[Observation], settings: ReduceSettings
) -> None:
    if not lacking:
        return
    kinds = sorted({name for missing in lacking.values() for name in missing})
    if len(lacking) == len(observations):
        msg = (
            f"none of the {len(observations)} runs has all of {list(settings.required)}: "
            f"{kinds} are missing; change the selection"
        )
        raise ValueError(msg)
    msg = f"{len(lacking)} of {len(observations)} runs have no {kinds} and are left out: {_names(list(lacking))}"
    warnings.warn(msg, UserWarning, stacklevel=4)


def _names(obs_ids: Sequence[Any], most: int = 20) -> str:
    text = ", ".join(str(i) for i in obs_ids[:most])
    return text if len(obs_ids) <= most else f"{text}, ... ({len(obs_ids)} in all)"
