"""The Dask arrays of a reduction: one fat task makes all maps of a tile and a batch of runs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.dl3.observation import Observation
from xgamma.io.pieces import TileTokens
from xgamma.reduction.allocator import few_arenas
from xgamma.reduction.footprint import plan_pointing, tiles_of_runs
from xgamma.reduction.graph import Key, batches, running_sum_graph, variable
from xgamma.reduction.measure_norm import norm_graph, norm_table
from xgamma.reduction.measured import measured
from xgamma.reduction.on_off import PLANES, finish_on_off, reduce_on_off
from xgamma.reduction.run_background import PreparedBackground
from xgamma.reduction.run_norm import PreparedNorm
from xgamma.reduction.settings import ReduceSettings
from xgamma.reduction.tasks import join_scalars, reduce_maps, reduce_responses, reduce_scalars
from xgamma.reduction.usable import UsableTiles, usable_tiles

__all__ = ["Builder"]

Edges = tuple[np.ndarray, np.ndarray]

#: Attributes of what a reduction makes: units and label.
ATTRS = {
    "counts": ("", "Counts"),
    "background": ("", "Predicted background counts"),
    "exposure": ("cm2 s", "Exposure"),
    "mask_safe": ("", "Safe data range"),
    "counts_off": ("", "Counts in the off regions"),
    "acceptance": ("", "Acceptance"),
    "acceptance_off": ("", "Acceptance in the off regions"),
    "psf": ("sr-1", "Point spread function"),
    "edisp": ("", "Energy dispersion"),
    "irf_exposure": ("cm2 s", "Exposure on the grid of the responses"),
    "livetime": ("s", "Livetime"),
    "ontime": ("s", "Ontime"),
    "pointing_lon": ("deg", "Right ascension of the pointing"),
    "pointing_lat": ("deg", "Declination of the pointing"),
    "gti_start": ("s", "Start of good time, since J2000.0 (TT)"),
    "gti_stop": ("s", "Stop of good time, since J2000.0 (TT)"),
}
#: Longest side in pixels of a tile of the coarse grid.
IRF_TILE = 24
#: Tasks over all tiles at least, so that a small grid keeps several cores busy. Parts of a tile wait in memory for each
#: other: where the tiles are many, the runs of a tile are not split for this.
FEWEST_BATCHES = 8
#: Runs in one task at most. A task adds them up in one place, so that memory does not grow with their number; many
#: tasks a tile would hold as many parts of a sum. It is also what a lost worker has to do again: seconds.
LARGEST_BATCH = 256
#: Runs whose numbers one task reads.
SCALARS_BATCH = 32


class Builder:
    """Makes the variables of a reduced cube.

    Parameters
    ----------
    runs
        Runs to reduce.
    tiles
        For each tile (row, column) the positions in `runs` of those that touch it.
    settings
        What to make.
    edges
        Array positions of the tile edges along (y, x).
    stack
        Add the runs up or keep them apart.
    background
        A background of each run from its own counts: makes on-off maps.
    norm
        Scales the background model of each run to its counts.
    """

    def __init__(
        self,
        runs: list[Observation],
        tiles: dict[tuple[int, int], list[int]],
        settings: ReduceSettings,
        edges: Edges,
        *,
        stack: bool,
        background: PreparedBackground | None = None,
        norm: PreparedNorm | None = None,
    ) -> None:
        self.runs, self.tiles, self.settings, self.edges, self.stack = runs, tiles, settings, edges, stack
        self.background, self.norm = background, norm
        sky = (settings.grid, settings.irf_grid, settings.selection, settings.masks, settings.offset_max)
        # responses are taken at the centres of the bins, which the edges do not fix
        axes = [settings.energy_edges, settings.energy_true_edges, settings.energy, settings.energy_true]
        numbers = (settings.background_oversampling, settings.max_gti, stack, [e.tolist() for e in edges])
        text = "".join(part.token for part in (background, norm) if part is not None)
        self.settings_token = tokenize(repr(sky), axes, numbers, settings.rad_edges, *([text] if text else []))
        self._run_tokens = [_digest(repr(run.__dask_tokenize__())) for run in runs]
        self.token = _digest(self.settings_token, repr(sorted(tiles.items())), *self._run_tokens)
        self.settings_key = f"reduce-settings-{self.token}"

    def variables(self) -> dict[str, xr.Variable]:
        """Return all variables of the cube, lazy."""
        few_arenas()
        arrays = {**self._maps(), **self._responses(), **self._scalars()}
        made = {name: xr.Variable(*_dims(name, a, self.stack), attrs=_attrs(name)) for name, a in arrays.items()}
        return made | self._norm_variables()

    def _task(self, function: Callable[..., Any], **kwargs: Any) -> tuple[Any, ...]:
        # literals are bound into a partial, where dask does not look for keys
        return functools.partial(measured, function=function, **kwargs), self.settings_key

    @property
    def _single_tile(self) -> bool:
        return len(self.edges[0]) == 2 and len(self.edges[1]) == 2

    def _maps(self) -> dict[str, da.Array]:
        settings = self.settings
        number = settings.n_energy if self.background is None else self.background.axis.sizes["energy"]
        planes = dict.fromkeys(("counts", "background", "mask_safe"), number)
        if self.background is not None:
            planes |= dict.fromkeys(PLANES, number)
        if settings.energy_true is not None:
            planes["exposure"] = len(settings.energy_true)
        made = (*settings.selection, "mask_safe", *(() if self.background is None else PLANES))
        names = [n for n in planes if n in made]
        sky = tuple(tuple(int(n) for n in np.diff(e)) for e in self.edges)
        return {
            n: self._variable(self._maps_layer, n, ((planes[n],), *sky), bool if n == "mask_safe" else float)
            for n in names
        }

    def _variable(
        self,
        layer: tuple[str, dict[Key, Any]],
        name: str,
        chunks: tuple[tuple[int, ...], ...],
        dtype: Any,
        sky: int = 1,
    ) -> da.Array:
        """Take `name` out of a layer; the two sky dims start at axis `sky` of a run's block."""
        if self.stack:
            return variable(layer[0], layer[1], name, chunks, dtype, lambda b: b[sky : sky + 2])
        chunks = ((1,) * len(self.runs), *chunks)
        return variable(layer[0], layer[1], name, chunks, dtype, lambda b: (b[0], *b[sky + 1 : sky + 3]))

    @functools.cached_property
    def _maps_layer(self) -> tuple[str, dict[Key, Any]]:
        """Tasks that make the maps of a tile: key (name, j, i), or (name, run, j, i) where not stacked."""
        name = f"reduce-maps-{self.token}"
        if self.background is None:
            call = functools.partial(self._normed_task, reduce_maps)
            layer = self._tile_layer(name, call, self.edges, self.tiles, with_scalars=self._single_tile)
            return name, layer | self._norms
        layer = self._tile_layer(name, self._on_off_task, self.edges, self.tiles, with_scalars=self._single_tile)
        layer |= self._usable.tasks
        return name, self._finished(name, layer) if self.stack else layer

    @functools.cached_property
    def _usable(self) -> UsableTiles:
        assert self.background is not None
        depth = self.background.task.depth
        return usable_tiles(self.background.usable, self.tiles, self.edges, depth, f"reduce-usable-{self.token}")

    @functools.cached_property
    def _norms(self) -> dict[Key, Any]:
        """Tasks that scale the background model of each run, and the masks that they need."""
        if self.norm is None:
            return {}
        usable = usable_tiles(self.norm.usable, self.tiles, self.edges, (0, 0), f"reduce-usable-{self.token}")
        name = f"reduce-norm-{self.token}"
        return usable.tasks | norm_graph(name, self.norm, self.runs, self.tiles, self.edges, usable, self.settings_key)

    def _normed_task(
        self, function: Callable[..., Any], *, runs: tuple[Observation, ...], **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return a task that also takes the norms of its runs."""
        task = self._task(function, runs=runs, **kwargs)
        if self.norm is None or not runs:
            return task
        return *task, [(f"reduce-norm-{self.token}", self._position[id(run)]) for run in runs]

    @functools.cached_property
    def _position(self) -> dict[int, int]:
        return {id(run): k for k, run in enumerate(self.runs)}

    def _norm_variables(self) -> dict[str, xr.Variable]:
        """Return the numbers of the norms, along ``run`` where runs are added up."""
        if self.norm is None:
            return {}
        source, number = f"reduce-norms-{self.token}", len(self.runs)
        groups = [tuple(range(number))] if self.stack else [(k,) for k in range(number)]
        table = functools.partial(norm_table, names=tuple(self.norm.variables))
        layer: dict[Any, Any] = {self.settings_key: self.settings, **self._norms}
        layer |= {
            (source, i): (table, [(f"reduce-norm-{self.token}", k) for k in group]) for i, group in enumerate(groups)
        }
        chunks = (tuple(len(group) for group in groups),)
        labels = {**self.norm.variables, "fov_success": ("", "A norm was found")}
        return {
            name: xr.Variable(
                "run" if self.stack else "obs",
                variable(source, layer, name, chunks, bool if name == "fov_success" else float, lambda b: b),
                {"units": units, "long_name": label},
            )
            for name, (units, label) in labels.items()
        }

    def _on_off_task(self, *, tile: tuple[slice, slice], **kwargs: Any) -> tuple[Any, ...]:
        assert self.background is not None
        task = self._task(reduce_on_off, tile=tile, background=self.background.task, **kwargs)
        key = self._usable.keys.get((tile[0].start, tile[1].start))
        return task if key is None or not kwargs["runs"] else (*task, key)

    def _finished(self, name: str, layer: dict[Key, Any]) -> dict[Key, Any]:
        """Put the last step behind the sums of a tile."""
        sums = f"{name}-sum"
        for key in [k for k in layer if isinstance(k, tuple) and k[0] == name]:
            layer[(sums, *key[1:])] = layer[key]
            layer[key] = (finish_on_off, (sums, *key[1:]))
        return layer

    def _tile_layer(
        self,
        name: str,
        call: Callable[..., tuple[Any, ...]],
        edges: Edges,
        tiles: dict[tuple[int, int], list[int]],
        *,
        with_scalars: bool = False,
    ) -> dict[Key, Any]:
        layer: dict[Any, Any] = {self.settings_key: self.settings}
        layer[TileTokens.key(name)] = TileTokens(*self._tile_tokens(edges, tiles), timed=True)
        number = len(self.runs)
        for j, i in np.ndindex(len(edges[0]) - 1, len(edges[1]) - 1):
            tile = tuple(slice(int(e[k]), int(e[k + 1])) for e, k in zip(edges, (j, i), strict=True))
            make = functools.partial(call, tile=tile, stack=self.stack)
            touching = tiles.get((j, i), [])
            if not self.stack:
                here = set(touching)
                extra: dict[str, Any] = {"rows": (0, 1)} if with_scalars else {}
                for k in range(number):
                    layer[name, k, j, i] = make(runs=(self.runs[k],), **extra) if k in here else make(runs=())
                continue
            work = []
            for group in batches(touching, _batch_size(len(touching), len(tiles))):
                extra = {"rows": (group[0], number)} if with_scalars else {}
                work.append(make(runs=tuple(self.runs[k] for k in group), **extra))
            layer |= running_sum_graph(name, (j, i), work, make(runs=()))
        return layer

    def _tile_tokens(
        self, edges: Edges, tiles: Mapping[tuple[int, int], list[int]]
    ) -> tuple[dict[tuple[int, ...], str], dict[tuple[int, ...], int]]:
        """Hash of settings, pixels and runs of each block: the same in a survey to which runs are added elsewhere.

        With it comes the number of the runs.
        """
        tokens: dict[tuple[int, ...], str] = {}
        numbers: dict[tuple[int, ...], int] = {}
        for j, i in np.ndindex(len(edges[0]) - 1, len(edges[1]) - 1):
            place = f"{self.settings_token} {edges[0][j : j + 2]} {edges[1][i : i + 2]}"
            if self.background is not None:
                place += self._usable.hashes.get((int(edges[0][j]), int(edges[1][i])), "")
            touching = tiles.get((j, i), [])
            if self.stack:
                tokens[j, i] = _digest(place, *(self._run_tokens[k] for k in touching))
                numbers[j, i] = len(touching)
            else:
                here = set(touching)
                for k, run in enumerate(self._run_tokens):
                    tokens[k, j, i] = _digest(place, run if k in here else "")
                    numbers[k, j, i] = int(k in here)
        return tokens, numbers

    def _responses(self) -> dict[str, da.Array]:
        """PSF and energy dispersion on the coarse grid, in tiles of their own."""
        settings = self.settings
        kinds = [k for k in ("psf", "edisp") if k in settings.selection]
        if not kinds:
            return {}
        assert settings.irf_grid is not None
        assert settings.energy_true is not None
        edges = tuple(np.append(np.arange(0, n, IRF_TILE), n) for n in settings.irf_grid.shape)
        tiles: dict[tuple[int, int], list[int]] = {}
        lon, lat = np.array([plan_pointing(run) for run in self.runs], dtype=float).reshape(-1, 2).T
        touched = tiles_of_runs(settings.irf_grid, lon, lat, settings.offset_max, (edges[0], edges[1]))
        for k, found in enumerate(touched):
            for tile in found:
                tiles.setdefault(tile, []).append(k)
        true = (len(settings.energy_true),)
        sky = tuple(tuple(int(n) for n in np.diff(e)) for e in edges)
        result: dict[str, da.Array] = {}
        for kind in kinds:
            name = f"reduce-{kind}-{self.token}"
            call = functools.partial(self._normed_task, reduce_responses, kind=kind)
            layer = name, self._tile_layer(name, call, (edges[0], edges[1]), tiles) | self._norms
            weight = self._variable(layer, "irf_exposure", (true, *sky), float)
            if kind == "psf":
                assert settings.rad_edges is not None
                values = self._variable(layer, "psf", (true, *sky, (len(settings.rad_edges) - 1,)), float)
                shaped = weight[..., np.newaxis]
            else:
                values = self._variable(layer, "edisp", (true, (settings.n_energy,), *sky), float, sky=2)
                shaped = weight[..., np.newaxis, :, :]
            result[kind] = (
                da.where(shaped > 0, values / da.where(shaped > 0, shaped, 1.0), 0.0) if self.stack else values
            )
            result["irf_exposure"] = weight
        return result

    def _scalars(self) -> dict[str, da.Array]:
        """Numbers of the runs: from the only tile's tasks, which have the files open, or from tasks of their own."""
        number, n_gti = len(self.runs), self.settings.max_gti
        names = ("livetime", "ontime", "pointing_lon", "pointing_lat", "gti_start", "gti_stop")
        if self._single_tile:
            source, layer = self._maps_layer
            rows = (number,) if self.stack else (1,) * number
            arrays = {
                n: self._from_rows(source, layer, n, rows, n_gti, lambda b: (0, 0) if self.stack else (b[0], 0, 0))
                for n in names
            }
        else:
            source = f"reduce-scalars-{self.token}"
            # along obs, all variables have the same chunks
            groups = batches(self.runs, _even(number, SCALARS_BATCH) if self.stack else 1)
            layer = {self.settings_key: self.settings}  # type: ignore[dict-item]
            layer |= {(source, i): self._task(reduce_scalars, runs=group) for i, group in enumerate(groups)}
            if self.stack:
                return self._joined_scalars(layer, [(source, i) for i in range(len(groups))], number * n_gti)
            rows = tuple(len(g) for g in groups)
            arrays = {n: self._from_rows(source, layer, n, rows, n_gti, lambda b: b[:1]) for n in names}
        if not self.stack:
            return arrays
        totals = {n: arrays[n].sum() for n in ("livetime", "ontime")}
        return totals | {n: arrays[n].reshape(-1) for n in ("gti_start", "gti_stop")}

    def _joined_scalars(self, layer: dict[Key, Any], parts: list[Key], n_gti: int) -> dict[str, da.Array]:
        """Numbers of all runs together, in one block each: to rechunk several, Dask would load its scheduler."""
        source = f"reduce-scalars-joined-{self.token}"
        layer = {**layer, (source,): (join_scalars, parts)}
        chunks = {"livetime": (), "ontime": (), "gti_start": ((n_gti,),), "gti_stop": ((n_gti,),)}
        return {n: variable(source, layer, n, c, float, lambda _: ()) for n, c in chunks.items()}

    @staticmethod
    def _from_rows(
        source: str,
        layer: dict[Key, Any],
        name: str,
        rows: tuple[int, ...],
        n_gti: int,
        place: Callable[[tuple[int, ...]], tuple[int, ...]],
    ) -> da.Array:
        chunks = (rows, (n_gti,)) if name.startswith("gti") else (rows,)
        return variable(source, layer, name, chunks, float, place)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _batch_size(number: int, tiles: int) -> int:
    """Runs of one task, of the `number` that touch a tile."""
    return _even(number, min(LARGEST_BATCH, -(-number // max(1, FEWEST_BATCHES // tiles))))


def _even(number: int, most: int) -> int:
    """Size of the batches if `number` is divided into as few as possible of at most `most`, none much smaller."""
    return -(-number // -(-number // max(1, most))) if number else 1


def _dims(name: str, array: da.Array, stack: bool) -> tuple[tuple[str, ...], da.Array]:
    """Dims of a variable, and the array."""
    sky, irf = ("y", "x"), ("irf_y", "irf_x")
    dims = {
        "counts": ("energy", *sky),
        "background": ("energy", *sky),
        "mask_safe": ("energy", *sky),
        **dict.fromkeys(("counts_off", "acceptance", "acceptance_off"), ("energy", *sky)),
        "exposure": ("energy_true", *sky),
        "psf": ("energy_true", *irf, "rad"),
        "edisp": ("energy_true", "energy", *irf),
        "irf_exposure": ("energy_true", *irf),
        "gti_start": ("gti",),
        "gti_stop": ("gti",),
    }.get(name, ())
    return (dims if stack else ("obs", *dims)), array


def _attrs(name: str) -> dict[str, str]:
    units, long_name = ATTRS[name]
    return {"units": units, "long_name": long_name}
