"""Bad input: clear errors, early where the input shows it, naming run and file where only a file does."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits

import xgamma as xg
from xgamma.coords.grid import sky_grid
from xgamma.io.sample import sample_path

CENTER = SkyCoord(150, -25, unit="deg")
ENERGY = xg.energy_axis("0.5 TeV", "50 TeV", nbin=2)
TRUE = xg.energy_axis("0.5 TeV", "50 TeV", nbin=2, name="energy_true")


@pytest.fixture
def grid():
    return sky_grid(CENTER, "3 deg", "0.2 deg", energy=ENERGY, energy_true=TRUE)


@pytest.fixture
def store_copy(tmp_path):
    """A copy of the sample survey that may be broken."""
    folder = tmp_path / "survey"
    shutil.copytree(sample_path("survey"), folder)
    return folder


def run_file(folder, number):
    return folder / "data" / f"run_{number:06d}.fits.gz"


def edit(path, change):
    """Change the HDUs of a file."""
    with fits.open(path) as hdus:
        copies = fits.HDUList([h.copy() for h in hdus])
    change(copies)
    copies.writeto(path, overwrite=True)


def _plain(header):
    """Cards that say nothing of columns."""
    return fits.Header([c for c in header.cards if not c.keyword.startswith(("TTYPE", "TFORM", "TUNIT"))])


def reduce_broken(folder, grid, **options):
    """Build the cube of the first three runs, which has to work, and compute it."""
    observations = xg.open_store(folder).select(obs_id=[1, 2, 3])
    cube = xg.reduce(observations, grid, **options)
    return cube.compute(scheduler="sync")


def test_missing_file(store_copy, grid):
    run_file(store_copy, 2).unlink()
    with pytest.raises(FileNotFoundError, match=r"run 2\b.*run_000002\.fits\.gz"):
        reduce_broken(store_copy, grid)


def test_missing_responses(store_copy, grid):
    (store_copy / "responses.fits.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"run \d\b.*responses\.fits\.gz"):
        reduce_broken(store_copy, grid)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.6, 0.99])
def test_truncated_file(store_copy, grid, part):
    path = run_file(store_copy, 2)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises((OSError, ValueError), match=r"run 2\b.*run_000002\.fits\.gz"):
        reduce_broken(store_copy, grid)


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_without_compression(make_store, grid, part):
    run = make_store({}).get(1)
    path = Path(run.location("events").file)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises((OSError, ValueError), match=r"run 1\b.*run_1\.fits"):
        xg.reduce(run, grid).compute(scheduler="sync")


@pytest.mark.parametrize("content", [b"no fits at all", gzip.compress(b"no fits at all"), b"SIMPLE  = T"])
def test_file_of_another_kind(store_copy, grid, content):
    run_file(store_copy, 2).write_bytes(content)
    with pytest.raises((OSError, ValueError), match=r"run 2\b.*run_000002\.fits\.gz"):
        reduce_broken(store_copy, grid)


def test_index_names_an_hdu_that_is_not_there(store_copy, grid):
    def rename(hdus):
        hdus["EVENTS"].name = "PHOTONS"

    edit(run_file(store_copy, 2), rename)
    with pytest.raises(ValueError, match=r"run 2: the index names HDU 'EVENTS'.*run_000002.*'PHOTONS'"):
        reduce_broken(store_copy, grid)


@pytest.mark.parametrize("column", ["RA", "DEC", "ENERGY"])
def test_missing_column(store_copy, grid, column):
    def drop(hdus):
        old = hdus["EVENTS"]
        kept = [fits.Column(c.name, c.format, unit=c.unit, array=c.array) for c in old.columns if c.name != column]
        hdus["EVENTS"] = fits.BinTableHDU.from_columns(kept, header=_plain(old.header), name="EVENTS")

    edit(run_file(store_copy, 2), drop)
    with pytest.raises(ValueError, match=rf"run 2\b.*{column}"):
        reduce_broken(store_copy, grid)


def test_wrong_unit_of_events(store_copy, grid):
    def spoil(hdus):
        hdus["EVENTS"].columns["ENERGY"].unit = "deg"

    edit(run_file(store_copy, 3), spoil)
    with pytest.raises(ValueError, match=r"(?s)run 3\b.*(deg|TeV)"):
        reduce_broken(store_copy, grid)


def test_wrong_unit_of_a_response(store_copy, grid):
    def spoil(hdus):
        hdus["AEFF"].columns["EFFAREA"].unit = "TeV"

    edit(store_copy / "responses.fits.gz", spoil)
    with pytest.raises(ValueError, match=r"(?s)run \d\b.*responses\.fits\.gz.*EFFAREA"):
        reduce_broken(store_copy, grid)


@pytest.mark.parametrize(
    ("name", "value"), [("ENERGY", np.nan), ("ENERGY", -1.0), ("ENERGY", 0.0), ("RA", np.nan), ("DEC", np.inf)]
)
def test_bad_events(store_copy, grid, name, value):
    def spoil(hdus):
        hdus["EVENTS"].data[name][[3, 5]] = value

    edit(run_file(store_copy, 2), spoil)
    with pytest.raises(ValueError, match=r"run 2\b.*run_000002"):
        reduce_broken(store_copy, grid)


def test_events_outside_the_grid_are_left_out(make_store, grid):
    ra = np.array([150.0, 150.0, 20.0, 150.0, 150.0, 148.0])
    dec = np.array([-25.0, -20.0, -25.0, 65.0, -25.0, -25.0])
    energy = np.array([1.0, 1.0, 1.0, 1.0, 500.0, 1.0])
    columns = {
        "ra": (ra, "deg"),
        "dec": (dec, "deg"),
        "energy": (energy, "TeV"),
        "time": (np.full(6, 762_531_700.0), "s"),
    }
    events = xr.Dataset({n: ("event", v, {"units": unit}) for n, (v, unit) in columns.items()})
    counts = xg.reduce(make_store({"events": events}).get(1), grid).counts.compute()
    assert float(counts.sum()) == 1
    assert float(counts.sel(lon=150, lat=-25, method="nearest").sum()) == 1


def test_run_without_events(make_store, grid):
    empty = xr.Dataset(
        {
            n: ("event", np.zeros(0), {"units": unit})
            for n, unit in (("ra", "deg"), ("dec", "deg"), ("energy", "TeV"), ("time", "s"))
        }
    )
    cube = xg.reduce(make_store({"events": empty}).get(1), grid).compute()
    assert float(cube.counts.sum()) == 0
    assert float(cube.exposure.max()) > 0


def test_runs_beside_the_grid_are_named(survey):
    # only the second half of the survey reaches this map
    grid = sky_grid(SkyCoord(153.3, -24.2, unit="deg"), "1 deg", "0.1 deg", energy=ENERGY, energy_true=TRUE)
    with pytest.warns(UserWarning, match=r"^\d+ of 12 runs do not touch the grid and are left out: 1, 2, ") as record:
        cube = xg.reduce(survey.observations, grid, offset_max="2 deg", stack=False)
    assert record[0].filename == __file__
    assert 0 < cube.sizes["obs"] < 12
    assert cube.attrs["obs_ids"] == str(cube.obs.values.tolist())
    far = sky_grid(SkyCoord(10, 10, unit="deg"), "1 deg", "0.1 deg", energy=ENERGY, energy_true=TRUE)
    with pytest.raises(ValueError, match=r"no run touches the grid around icrs \(10\.000, 10\.000\) deg: 1, 2, "):
        xg.reduce(survey.observations, far, offset_max="2 deg")


def test_no_runs(survey, grid):
    with pytest.raises(ValueError, match="there are no runs to reduce: the selection is empty"):
        xg.reduce(survey.observations[:0], grid)


def test_runs_without_a_response_are_named(survey, grid):
    runs = list(survey.observations[:3])
    lacking = type(runs[1])(2, tuple(h for h in runs[1].hdus if h.hdu_type != "bkg"), runs[1].row)
    with pytest.warns(UserWarning, match=r"1 of 3 runs have no \['bkg'\] and are left out: 2") as record:
        cube = xg.reduce([runs[0], lacking, runs[2]], grid, stack=False)
    assert record[0].filename == __file__
    assert cube.obs.values.tolist() == [1, 3]
    # what is not asked for is not missed
    assert xg.reduce([runs[0], lacking], grid, selection=["counts", "exposure"], stack=False).sizes["obs"] == 2
    with pytest.raises(ValueError, match=r"none of the 1 runs has all of .*\['bkg'\] are missing"):
        xg.reduce([lacking], grid)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selection": ["count"]}, r"selection=\['count'\]: choose from"),
        ({"selection": []}, "choose from"),
        ({"offset_max": 2.5}, "offset_max=2.5 .*unit"),
        ({"offset_max": "-1 deg"}, "must be one positive angle"),
        ({"offset_max": "nan deg"}, "must be one positive angle|offset_max"),
        ({"offset_max": "2 TeV"}, "deg"),
        ({"chunks": {"lon": 5}}, r"\['lon'\] are not dims of the tiles"),
        ({"chunks": {"y": 0}}, "the side of a tile along 'y' must be at least 1"),
        ({"background_oversampling": 0}, "background_oversampling=0"),
    ],
)
def test_bad_options(survey, grid, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xg.reduce(survey.observations, grid, **options)


def test_grids_that_lack_something(survey):
    bare = sky_grid(CENTER, "3 deg", "0.2 deg")
    with pytest.raises(ValueError, match="the grid has no energy axis"):
        xg.reduce(survey.observations, bare)
    no_true = sky_grid(CENTER, "3 deg", "0.2 deg", energy=ENERGY)
    with pytest.raises(ValueError, match=r"\['exposure'\] need an axis of true energy"):
        xg.reduce(survey.observations, no_true)
    with pytest.raises(ValueError, match="the grid has no sky pixels"):
        xg.reduce(survey.observations, xr.Dataset(coords=ENERGY.coords))
    coarse = sky_grid(CENTER, "3 deg", "0.2 deg", energy=ENERGY, energy_true=TRUE)
    with pytest.raises(ValueError, match="need the coarse grid"):
        xg.reduce(survey.observations, coarse.drop_dims(["irf_y", "irf_x"]).drop_vars("irf_wcs"), selection="edisp")
    with pytest.raises(ValueError, match="psf needs an axis of separations"):
        xg.reduce(survey.observations, coarse.drop_dims("rad"), selection="psf")


def test_a_grid_of_absurd_size_builds(survey):
    with pytest.warns(UserWarning, match="GiB"):
        grid = sky_grid(CENTER, ("360 deg", "130 deg"), "0.002 deg", energy=ENERGY, energy_true=TRUE)
    cube = xg.reduce(survey.observations, grid, offset_max="2.5 deg", safe_mask="offset-max")
    assert cube.counts.nbytes > 100 * 2**30
    # and a part of it can be had, here one that no run touches
    part = cube.isel(y=slice(0, 20), x=slice(0, 20)).counts
    assert float(part.sum().compute(scheduler="sync")) == 0


def test_error_while_writing_leaves_nothing(store_copy, grid, tmp_path):
    run_file(store_copy, 2).unlink()
    cube = xg.reduce(xg.open_store(store_copy).select(obs_id=[1, 2, 3]), grid)
    for name, write in (("cube.zarr", "to_zarr"), ("cube.fits", "to_fits")):
        target = tmp_path / "out" / name
        target.parent.mkdir(exist_ok=True)
        with pytest.raises(FileNotFoundError, match="run 2"):
            getattr(cube.gamma, write)(target)
        assert list(target.parent.iterdir()) == []


def test_errors_survive_the_way_from_a_worker(store_copy, grid):
    import pickle

    run_file(store_copy, 2).write_bytes(b"broken")
    with pytest.raises((OSError, ValueError), match="run 2") as record:
        reduce_broken(store_copy, grid)
    again = pickle.loads(pickle.dumps(record.value))
    assert str(again) == str(record.value)
