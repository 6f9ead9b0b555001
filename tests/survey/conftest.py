"""A small survey: twelve runs on 3 x 3 tiles, and the store that an undisturbed run makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import xarray as xr

import xgamma as xg
from xgamma.reduction.production import write_survey

#: Programs and helpers of the tests, no tests.
collect_ignore = ["same_store.py", "survey_driver.py"]


@pytest.fixture(scope="session")
def survey_grid() -> xr.Dataset:
    from survey_driver import make_grid

    return make_grid()


@pytest.fixture
def runs_folder(tmp_path) -> Path:
    """A copy of the sample survey that may be damaged."""
    shutil.copytree(xg.sample_path("survey"), tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def undisturbed(survey_grid, tmp_path_factory) -> Path:
    """Store of all runs, made without any fault."""
    from survey_driver import OPTIONS

    path = tmp_path_factory.mktemp("undisturbed") / "survey.zarr"
    write_survey(xg.open_store(xg.sample_path("survey")).observations, survey_grid, path, **OPTIONS)
    return path


@pytest.fixture(scope="session")
def without_run_3(survey_grid, tmp_path_factory) -> Path:
    """Store of all runs but the third."""
    from survey_driver import OPTIONS

    path = tmp_path_factory.mktemp("without") / "survey.zarr"
    runs = [run for run in xg.open_store(xg.sample_path("survey")).observations if run.obs_id != 3]
    write_survey(runs, survey_grid, path, **OPTIONS)
    return path
