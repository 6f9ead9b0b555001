"""Producing a survey: runs into a store on disk, whatever happens to some of the runs."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import xarray as xr

from xgamma.dl3.observation import Observation
from xgamma.dl3.store import Observations
from xgamma.io.cube import to_zarr
from xgamma.io.encoding import float_type
from xgamma.io.location import Location
from xgamma.io.resume import Written
from xgamma.reduction.plan import SurveyPlan, plan_survey
from xgamma.reduction.survey import reduce, runs_of

__all__ = ["write_survey"]

log = logging.getLogger("xgamma")


def write_survey(
    observations: Observations | Sequence[Observation],
    grid: xr.Dataset,
    store: str | os.PathLike[str],
    *,
    on_fault: Literal["raise", "leave out"] = "raise",
    update: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    dtype: Any = "float32",
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    **options: Any,
) -> Written | SurveyPlan:
    """Reduce runs and write the cube piece by piece; call it again after a stop to go on.

    Parameters
    ----------
    observations, grid
        As `reduce` takes them.
    store
        Folder or URL of the Zarr store.
    on_fault
        What to do about a run that cannot be read: ``"raise"`` (what is done stays done), or ``"leave out"``: the
        tiles that it touches are made without it, also those that were done before its file was damaged.
    update, overwrite, progress, dtype, storage_options
        As `xgamma.io.cube.to_zarr` takes them.
    dry_run
        Compute and write nothing, and return what it would take: see `xgamma.reduction.plan.plan_survey`.
    **options
        Further arguments of `reduce`.

    Returns
    -------
    Written or SurveyPlan
        ``missing`` names the runs that were left out, and why; so does the attribute ``missing_runs`` of the
        store. After faults ``n_written`` counts the pieces of the last pass.

    Raises
    ------
    ValueError
        As `reduce` and `to_zarr`; also if no run is left, or runs are to be kept apart (``stack=False``).
    OSError
        If a run cannot be read and `on_fault` is ``"raise"``: the message names run and file, the attribute
        ``faults`` all runs that were found.
    BlockingIOError
        If another program is writing the store.
    ConnectionError
        If the scheduler of a cluster goes away; call again to go on.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.io.sample import sample_path
    >>> runs = xg.open_store(sample_path("survey")).observations
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> grid = xg.sky_grid(SkyCoord(150.6, -24.5, unit="deg"), "1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> write_survey(runs, grid, "survey.zarr", offset_max="2.5 deg", chunks={"y": 5, "x": 5}).n_written
    5
    """
    if on_fault not in ("raise", "leave out"):
        msg = f"on_fault={on_fault!r} must be 'raise' or 'leave out'"
        raise ValueError(msg)
    if not options.pop("stack", True):
        msg = "a survey is the sum of its runs; stack=False keeps them apart: xgamma.reduce(..., stack=False)"
        raise ValueError(msg)
    Location.of(store, storage_options)
    dtype = float_type(dtype)
    if dry_run:
        return plan_survey(observations, grid, dtype=dtype, **options)
    runs = runs_of(observations)
    missing: dict[str, str] = {}
    # an earlier call may have left other runs out
    again = update or on_fault == "leave out"
    while True:
        cube = reduce(runs, grid, stack=True, **options)
        cube.attrs["missing_runs"] = json.dumps(missing)
        try:
            written = to_zarr(
                cube,
                store,
                resume=True,
                update=again,
                overwrite=overwrite,
                progress=progress,
                dtype=dtype,
                storage_options=storage_options,
            )
        except Exception as error:
            faults = getattr(error, "faults", None)
            if on_fault == "raise" or not faults:
                raise
            for label, words in faults.items():
                log.warning("run %s is left out: %s", label, words)
                missing[str(label)] = words
            runs = [run for run in runs if run.obs_id not in faults]
            if not runs:
                msg = f"no run is left, none of {len(missing)} can be read; the first: {next(iter(missing.values()))}"
                raise ValueError(msg) from error
            # a second pass goes on with what the first has written
            overwrite = False
            continue
        assert isinstance(written, Written)
        return dataclasses.replace(written, missing=missing)
