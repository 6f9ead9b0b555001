"""The runs that a configuration selects."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from xgamma.analysis.config import Observations as Section
from xgamma.analysis.options import sky_position
from xgamma.dl3.store import Observations, open_store
from xgamma.io.fits_file import expand_path

__all__ = ["select_runs"]

log = logging.getLogger("xgamma")


def select_runs(section: Section) -> Observations:
    """Return the runs that a configuration selects; index tables only are read.

    Parameters
    ----------
    section
        The section ``observations``.

    Returns
    -------
    Observations
        Runs that lack a required response are left out and named in a warning.

    Raises
    ------
    FileNotFoundError
        If the store or ``obs_file`` does not exist.
    """
    store = open_store(section.datastore)
    labels = section.obs_ids or (None if section.obs_file is None else _read_obs_ids(section.obs_file))
    conditions: dict[str, Any] = {"obs_id": labels or None}
    cone = section.obs_cone
    if cone.lon is not None:
        conditions["cone"] = (sky_position(cone, "observations.obs_cone"), cone.radius)
    times = section.obs_time.pairs()
    if times:
        conditions["time"] = times
    chosen = store.select(**conditions)
    runs = chosen.select(required=("events", *section.required_irf))
    lacking = [str(label) for label in chosen.obs_ids if label not in runs.obs_ids]
    if lacking:
        msg = (
            f"{len(lacking)} of {len(chosen)} runs have not all of observations.required_irf="
            f"{section.required_irf} and are left out: {', '.join(lacking)}"
        )
        warnings.warn(msg, UserWarning, stacklevel=3)
    log.info("%d runs selected from %s", len(runs), store.path)
    return runs.filter(time=times) if times else runs


def _read_obs_ids(path: str) -> list[int]:
    """Labels from the first column of a text file; '#' starts a comment."""
    file = expand_path(path)
    if not file.is_file():
        msg = f"observations.obs_file: {file} does not exist"
        raise FileNotFoundError(msg)
    lines = [line.split("#")[0].replace(",", " ").split() for line in file.read_text(encoding="utf-8").splitlines()]
    try:
        labels = [int(words[0]) for words in lines if words]
    except ValueError as error:
        msg = f"observations.obs_file: {file} must begin each line with the number of a run: {error}"
        raise ValueError(msg) from error
    if not labels:
        msg = f"observations.obs_file: {file} lists no run"
        raise ValueError(msg)
    return labels
