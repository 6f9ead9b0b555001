"""Runs on a tile with a background from their own counts: on-off maps, and their sums.

A run is reduced on the tile and the halo that its background looks at, its energies are joined, the off counts are
taken, and the halo is cut off again. Nothing of a run outlives its turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xgamma.coords.sky import SkyGrid
from xgamma.dl3.observation import Observation
from xgamma.reduction.event_voxels import add_counts
from xgamma.reduction.footprint import check_plan, overlap
from xgamma.reduction.observation import Run
from xgamma.reduction.run_background import OffTask
from xgamma.reduction.safe_mask import safe_mask
from xgamma.reduction.settings import ReduceSettings
from xgamma.reduction.tasks import Arrays, Tile, at_rows, opened, run_scalars

__all__ = ["finish_on_off", "halo", "reduce_on_off"]

#: Maps of an on-off cube that depend on reconstructed energy.
PLANES = ("counts", "background", "counts_off", "acceptance", "acceptance_off")


def halo(tile: Tile, depth: tuple[int, int], shape: tuple[int, int]) -> Tile:
    """Return a tile and `depth` pixels around it, as far as the grid of this shape goes.

    Examples
    --------
    >>> halo((slice(0, 10), slice(10, 20)), (3, 4), (30, 22))
    (slice(0, 13, None), slice(6, 22, None))
    """
    y, x = (slice(max(t.start - d, 0), min(t.stop + d, n)) for t, d, n in zip(tile, depth, shape, strict=True))
    return y, x


def reduce_on_off(
    settings: ReduceSettings,
    usable: np.ndarray | None = None,
    *,
    runs: Sequence[Observation],
    tile: Tile,
    stack: bool,
    background: OffTask,
    rows: tuple[int, int] | None = None,
) -> Arrays:
    """Reduce runs onto a tile, each with a background from its own counts.

    Parameters
    ----------
    settings
        What to make.
    usable
        True where a pixel may be used for the background, on the tile and its halo; None for all.
    runs, tile, stack, rows
        As for `xgamma.reduction.tasks.reduce_maps`.
    background
        How the off counts are taken.

    Returns
    -------
    dict of numpy.ndarray
        ``counts``, ``background``, ``counts_off``, ``acceptance``, ``acceptance_off``, ``mask_safe`` of shape
        (n_group, ny, nx) and ``exposure`` if asked for, with a first axis of the runs where not stacked. Stacked,
        all are sums inside the safe masks, which add up; see `finish_on_off`.
    """
    area = halo(tile, background.depth, settings.grid.shape)
    part = settings.grid.tile(*area)
    shape = settings.grid.tile(*tile).shape
    result = _empty(settings, background, shape if stack else (max(len(runs), 1), *shape))
    scalars = []
    for k, observation in enumerate(runs):
        maps = result if stack else {name: values[k] for name, values in result.items()}
        with opened(observation, settings) as run:
            if settings.grid.shape != shape:
                check_plan(settings.grid, observation, run.pointing, settings.offset_max)
            _add_run(run, _Place(tile, area, part, usable), background, maps, stack=stack)
            scalars.append(run_scalars(run) if rows else {})
    return result | (at_rows(scalars, rows) if rows else {})


def finish_on_off(sums: Arrays) -> Arrays:
    """Give a stack the off acceptance that goes with its background: acceptance * counts_off / background.

    Where no background was counted off, the acceptance_off is the sum of the runs'.
    """
    background = sums["background"]
    has = background > 0
    ratio = sums["counts_off"] / np.where(has, background, np.inf)
    return {**sums, "acceptance_off": np.where(has, sums["acceptance"] * ratio, sums["acceptance_off"])}


class _Place:
    """A tile, the tile with its halo, and what is known of its pixels."""

    def __init__(self, tile: Tile, area: Tile, part: SkyGrid, usable: np.ndarray | None) -> None:
        self.tile, self.area, self.part, self.usable = tile, area, part, usable

    def inner(self, window: Tile) -> Tile:
        """Return a window of the tile with its halo in positions of the tile."""
        y, x = (
            slice(w.start + a.start - t.start, w.stop + a.start - t.start)
            for w, a, t in zip(window, self.area, self.tile, strict=True)
        )
        return y, x


def _empty(settings: ReduceSettings, background: OffTask, shape: tuple[int, ...]) -> Arrays:
    """Zeros of shape ([runs,] planes, ny, nx) for `shape` ([runs,] ny, nx)."""
    first, sky = shape[:-2], shape[-2:]
    number = settings.n_energy if background.groups is None else len(background.groups)
    maps = {name: np.zeros((*first, number, *sky)) for name in PLANES}
    if "exposure" in settings.selection:
        assert settings.energy_true is not None
        maps["exposure"] = np.zeros((*first, len(settings.energy_true), *sky))
    maps["mask_safe"] = np.zeros((*first, number, *sky), dtype=bool)
    return maps


def _add_run(run: Run, place: _Place, background: OffTask, maps: Arrays, *, stack: bool) -> None:
    """Add the on-off maps of a run to those of a tile."""
    out = _output_window(run, place, stack=stack)
    if out is None:
        return
    around = halo(out, background.depth, place.part.shape)
    planes = _joined(run, place, around, background)
    off = _off_maps(planes, None if place.usable is None else place.usable[around], background)
    inner = tuple(slice(o.start - a.start, o.stop - a.start) for o, a in zip(out, around, strict=True))
    made = {name: values[:, inner[0], inner[1]] for name, values in {**planes, **off}.items()}
    if "exposure" in maps:
        made["exposure"] = _exposure(run, place, out)
    if stack:
        for name in PLANES:
            # where, not a product: outside the mask there may be numbers that are not finite
            made[name] = np.where(made["mask_safe"], made[name], 0.0)
        if "exposure" in made:
            made["exposure"] = made["exposure"] * made["mask_safe"].any(axis=0)
    y, x = place.inner(out)
    for name, values in made.items():
        target = maps[name][:, y, x]
        np.logical_or(target, values, out=target) if values.dtype == bool else np.add(target, values, out=target)


def _output_window(run: Run, place: _Place, *, stack: bool) -> Tile | None:
    """Window of the tile with its halo that the run fills; the whole tile where runs stay apart.

    Outside a run's footprint there are off counts, but nothing is safe: a stack needs none of it.
    """
    parts = [
        tuple(slice(max(f.start, t.start), min(f.stop, t.stop)) for f, t in zip(part, place.tile, strict=True))
        for part in run.footprint
    ]
    parts = [part for part in parts if all(s.stop > s.start for s in part)]
    if not stack:
        parts = [place.tile] if overlap(run.footprint, place.area) else []
    if not parts:
        return None
    y, x = (
        slice(min(p[k].start for p in parts) - a.start, max(p[k].stop for p in parts) - a.start)
        for k, a in enumerate(place.area)
    )
    return y, x


def _footprint_windows(run: Run, place: _Place, window: Tile) -> list[tuple[Tile, Tile]]:
    """Parts of the footprint inside a window, in positions of the window and of the tile with its halo."""
    whole = tuple(slice(w.start + a.start, w.stop + a.start) for w, a in zip(window, place.area, strict=True))
    result = []
    for y, x in overlap(run.footprint, (whole[0], whole[1])):
        outer = (
            slice(y.start + window[0].start, y.stop + window[0].start),
            slice(x.start + window[1].start, x.stop + window[1].start),
        )
        result.append(((y, x), outer))
    return result


def _shape(window: Tile) -> tuple[int, int]:
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def _joined(run: Run, place: _Place, window: Tile, background: OffTask) -> Arrays:
    """Counts, acceptance (the background model) and safe mask of a run, with energies joined."""
    settings = run.settings
    number = settings.n_energy if background.groups is None else len(background.groups)
    result = {name: np.zeros((number, *_shape(window))) for name in ("counts", "acceptance")}
    result["mask_safe"] = np.zeros((number, *_shape(window)), dtype=bool)
    for (y, x), outer in _footprint_windows(run, place, window):
        geometry = place.part.geometry.window(*outer)
        offset = run.offset(geometry.vectors)
        model = run.background(geometry, offset)
        mask = safe_mask(run, offset, model)
        counts = np.zeros(mask.shape)
        add_counts(run, place.part.tile(*outer), counts)
        maps = {"counts": counts, "acceptance": model}
        if background.groups is not None:
            maps = {n: _join(np.where(mask, values, 0.0), background.groups) for n, values in maps.items()}
            mask = np.stack([mask[g].any(axis=0) for g in background.groups])
        for name, values in {**maps, "mask_safe": mask}.items():
            result[name][:, y, x] = values
    return result


def _join(values: np.ndarray, groups: Sequence[slice]) -> np.ndarray:
    return np.stack([values[g].sum(axis=0) for g in groups])


def _exposure(run: Run, place: _Place, window: Tile) -> np.ndarray:
    assert run.settings.energy_true is not None
    result = np.zeros((len(run.settings.energy_true), *_shape(window)))
    for (y, x), outer in _footprint_windows(run, place, window):
        result[:, y, x] = run.exposure(run.offset(place.part.geometry.vectors[outer]))
    return result


def _off_maps(planes: Arrays, usable: np.ndarray | None, background: OffTask) -> Arrays:
    """Off counts, their acceptance and the background; the mask is cut where there is no background."""
    counts, acceptance, safe = planes["counts"], planes["acceptance"], planes["mask_safe"]
    keep = np.isfinite(counts) & np.isfinite(acceptance)
    if usable is not None:
        keep &= usable
    if background.safe_only:
        keep &= safe
    counts_off, acceptance_off = background.off(
        np.where(keep, counts, 0.0), np.where(keep, acceptance, 0.0), acceptance
    )
    has_off = acceptance_off > 0
    level = np.where(has_off, acceptance / np.where(has_off, acceptance_off, 1.0) * counts_off, 0.0)
    return {
        "counts_off": counts_off,
        "acceptance_off": acceptance_off,
        "background": level,
        "mask_safe": has_off & safe,
    }
