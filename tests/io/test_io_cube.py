"""Zarr and netCDF: identical round trips, nothing half-written, bounded memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xgamma.coords.bins import BinIndex
from xgamma.coords.sky import SkyIndex, decode
from xgamma.io.cube import INCOMPLETE, file_kind, open_cube, to_netcdf, to_zarr, write_cube

FORMS = {"zarr": to_zarr, "nc": to_netcdf}


def raising(dsk, keys, **kwargs):
    msg = "something was computed"
    raise AssertionError(msg)


def leftovers(folder):
    return [f.name for f in folder.iterdir() if ".tmp-" in f.name or ".old-" in f.name]


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_is_identical(form, cube, tmp_path):
    FORMS[form](cube, tmp_path / f"a.{form}")
    result = open_cube(tmp_path / f"a.{form}")
    assert result.counts.chunks is not None
    xr.testing.assert_identical(result.compute(), cube)
    assert isinstance(result.xindexes["lon"], SkyIndex)
    assert isinstance(result.xindexes["irf_lon"], SkyIndex)
    assert isinstance(result.xindexes["energy"], BinIndex)
    assert result.counts.dtype == np.float64
    assert result.mask_safe.dtype == bool
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
def test_round_trip_of_runs(form, runs, tmp_path):
    FORMS[form](runs, tmp_path / f"a.{form}")
    result = open_cube(tmp_path / f"a.{form}")
    xr.testing.assert_identical(result.compute(), runs.compute())
    assert result.obs.dtype.kind == "U"
    assert result.chunks["obs"] == (1, 1, 1)
    assert result.chunks["y"] == (2, 2)


@pytest.mark.parametrize("form", FORMS)
def test_awkward_values_come_back(form, cube, tmp_path):
    awkward = cube[["counts"]].assign(
        special=("energy", [np.nan, np.inf], {"units": "s"}),
        negative=("energy", [-0.0, -1e300], {"units": "days"}),
        number=("energy", np.array([-(2**62), 2**62])),
        byte=("energy", np.array([0, 255], dtype=np.uint8)),
        single=("energy", np.array([1.1, np.nan], dtype=np.float32)),
        flag=((), True),
        text=((), "größe"),
        empty=("nothing", np.zeros(0)),
    )
    awkward = awkward.assign_coords(
        time=("energy", np.array(["2020-01-01", "2021-02-03T04:05:06.123456789"], "M8[ns]")),
        region=("region", ["icrs;circle(83.63,22.01,0.1)", ""]),
    )
    awkward.attrs = {
        "none": None, "flag": True, "list": [1, "a", None], "dict": {"a": {"b": [1.5]}},
        "float": 0.1, "nan": float("nan"),
        "int": 7, "big": 2**70, "text": "a\nb", "empty": "", "numpy": np.float64(2.5), "a,b": [1],
    }  # fmt: skip
    FORMS[form](awkward, tmp_path / f"a.{form}")
    result = open_cube(tmp_path / f"a.{form}").compute()
    xr.testing.assert_identical(result, awkward)
    for name in awkward.variables:
        assert result[name].dtype.kind == awkward[name].dtype.kind, name
    assert result.attrs["flag"] is True
    assert type(result.attrs["int"]) is int
    assert np.signbit(result.negative.values[0])


@given(
    data=st.data(),
    dims=st.lists(st.sampled_from(["obs", "energy", "y", "x", "rad"]), min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from(["f8", "f4", "i8", "i2", "u1", "?"]),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", FORMS)
def test_any_array_comes_back(form, data, dims, dtype, tmp_path):
    shape = tuple(data.draw(st.integers(1, 5)) for _ in dims)
    size = int(np.prod(shape))
    raw = data.draw(st.binary(min_size=8 * size, max_size=8 * size))
    values = np.frombuffer(raw, "f8" if dtype[0] == "f" else "i8").reshape(shape)
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(dtype)
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    dataset = xr.Dataset({"a": (dims, da.from_array(values, chunks=chunks))})
    FORMS[form](dataset, tmp_path / f"h.{form}", overwrite=True)
    result = open_cube(tmp_path / f"h.{form}")
    assert result.a.dtype == values.dtype
    np.testing.assert_array_equal(result.a.values, values)


def test_plain_readers_see_the_cube(cube, tmp_path):
    to_zarr(cube, tmp_path / "a.zarr")
    to_netcdf(cube, tmp_path / "a.nc")
    for plain in (xr.open_zarr(tmp_path / "a.zarr"), xr.open_dataset(tmp_path / "a.nc", engine="netcdf4")):
        assert {"y", "x", "wcs", "energy", "energy_min"} <= set(plain.coords)
        assert not {"lon", "lat", "irf_lon", "irf_lat"} & set(plain.variables)
        assert plain.wcs.attrs["CTYPE1"] == "RA---TAN"
        np.testing.assert_array_equal(plain.counts, cube.counts)
        assert json.loads(plain.attrs["provenance"])["versions"] == {"xgamma": "0.1"}
        assert plain.livetime.dtype == np.float64
        # and restored by hand
        assert isinstance(decode(plain).xindexes["lon"], SkyIndex)
        plain.close()


def test_encoding_on_disk(cube, runs, tmp_path):
    to_zarr(runs, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert group.metadata.zarr_format == 3
    counts = group["counts"]
    assert counts.chunks == (1, 2, 2, 5)
    about = counts.compressors[0].to_dict()["configuration"]
    assert (about["cname"], about["shuffle"]) == ("zstd", "bitshuffle")
    assert group["exposure"].compressors[0].to_dict()["configuration"]["shuffle"] == "shuffle"
    assert group["livetime"].chunks == (3,)
    to_zarr(cube, tmp_path / "b.zarr", dtype="float32", chunks={"x": 2, "y": -1})
    small = zarr.open_group(tmp_path / "b.zarr", mode="r")
    assert small["counts"].dtype == np.float32
    assert small["energy"].dtype == np.float64
    assert small["counts"].chunks == (2, 4, 2)
    np.testing.assert_array_equal(open_cube(tmp_path / "b.zarr").exposure, cube.exposure.astype("f4"))
    to_netcdf(cube, tmp_path / "b.nc", dtype="float32")
    assert open_cube(tmp_path / "b.nc").counts.dtype == np.float32


def test_chunk_size_below_one_is_refused(cube, tmp_path):
    with pytest.raises(ValueError, match="must be at least 1"):
        to_zarr(cube, tmp_path / "a.zarr", chunks={"y": 0})
    assert list(tmp_path.iterdir()) == []


def test_irregular_chunks_are_made_regular(cube, tmp_path):
    lazy = cube.chunk({"y": (1, 2, 1), "x": (3, 1, 1)})
    to_zarr(lazy, tmp_path / "a.zarr")
    result = open_cube(tmp_path / "a.zarr")
    assert result.counts.chunks[1:] == ((2, 2), (3, 2))
    xr.testing.assert_identical(result.compute(), cube)


def test_rewriting_an_opened_cube_elsewhere_and_onto_itself(cube, tmp_path):
    to_netcdf(cube, tmp_path / "a.nc")
    to_zarr(open_cube(tmp_path / "a.nc"), tmp_path / "a.zarr")
    again = open_cube(tmp_path / "a.zarr")
    again["counts"] = again.counts * 2
    again.counts.attrs["units"] = ""
    to_zarr(again, tmp_path / "a.zarr", overwrite=True)
    np.testing.assert_array_equal(open_cube(tmp_path / "a.zarr").counts, 2 * cube.counts)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_overwritten_unasked(form, cube, tmp_path):
    path = tmp_path / f"a.{form}"
    FORMS[form](cube, path)
    with dask.config.set(scheduler=raising), pytest.raises(FileExistsError, match="overwrite=True"):
        FORMS[form](cube.chunk(), path)
    xr.testing.assert_identical(open_cube(path).compute(), cube)
    FORMS[form](cube.isel(energy=[0]), path, overwrite=True)
    assert open_cube(path).sizes["energy"] == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("old", [True, False])
def test_error_in_the_middle_leaves_the_old_or_nothing(form, old, cube, tmp_path):
    path = tmp_path / f"a.{form}"
    if old:
        FORMS[form](cube, path)
    lazy = cube[["counts"]].chunk({"energy": 1})

    def fail(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 1:
            msg = "worker lost its file"
            raise OSError(msg)
        return block

    lazy["counts"] = lazy.counts.copy(data=da.map_blocks(fail, lazy.counts.data, dtype=float, meta=np.empty((0, 0, 0))))
    with pytest.raises(OSError, match="worker lost its file"):
        FORMS[form](lazy, path, overwrite=True)
    assert leftovers(tmp_path) == []
    if old:
        xr.testing.assert_identical(open_cube(path).compute(), cube)
    else:
        assert not path.exists()


WRITER = """
import sys, time, resource, signal
import dask.array as da, numpy as np, xarray as xr
from xgamma.io.cube import write_cube
mode, *paths = sys.argv[1:]
def slow(block, block_info=None):
    if mode == "kill" and block_info[0]["chunk-location"][0] == 1:
        open(paths[0] + ".started", "w").close()
        time.sleep(60)
    return block + np.random.default_rng(1).random(block.shape)
values = da.zeros((4, 500, 500), chunks=(1, 500, 500)).map_blocks(slow, dtype=float, meta=np.empty((0, 0, 0)))
if mode == "full":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
cube = xr.Dataset({"a": (("energy", "y", "x"), values)}).assign_coords(energy=[1., 2., 3., 4.])
for path in paths:
    try:
        write_cube(cube, path, overwrite=True)
    except Exception as error:
        print(path, type(error).__name__, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_a_killed_writer_leaves_what_was_there(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    old = xr.Dataset({"a": ("x", [1.0])})
    write_cube(old, path)
    code = textwrap.dedent(WRITER)
    with subprocess.Popen([sys.executable, "-c", code, "kill", str(path)]) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / f"a.{suffix}.started").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    xr.testing.assert_identical(open_cube(path).compute(), old)
    assert leftovers(tmp_path)  # what the killed process could not remove, under another name
    write_cube(old, path, overwrite=True)


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_there(tmp_path):
    paths = [str(tmp_path / f"a.{suffix}") for suffix in ("zarr", "nc")]
    old = xr.Dataset({"a": ("x", [1.0])})
    for path in paths:
        write_cube(old, path)
    run = subprocess.run([sys.executable, "-c", WRITER, "full", *paths], capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) >= 2, run.stdout  # each write raised
    assert all(path in run.stdout for path in paths)
    for path in paths:
        xr.testing.assert_identical(open_cube(path).compute(), old)
    assert leftovers(tmp_path) == []


MEMORY = """
import resource, sys
import dask, dask.array as da, xarray as xr
from xgamma.io.cube import write_cube
import zarr, netCDF4, zarr.codecs
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
values = da.random.default_rng(1).poisson(1, (20, 1000, 2000), chunks=(20, 100, 200)).astype(float)
dask.config.set(scheduler="threads", num_workers=2)
write_cube(xr.Dataset({"a": (("energy", "y", "x"), values[:, :100, :200])}), sys.argv[1] + "/small" + sys.argv[2])
before = peak()
write_cube(xr.Dataset({"a": (("energy", "y", "x"), values)}), sys.argv[1] + "/large" + sys.argv[2])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_memory_stays_bounded_while_streaming(suffix, tmp_path):
    command = [sys.executable, "-c", MEMORY, str(tmp_path), suffix]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    # the cube has 320 MB, a chunk 3.2 MB; HDF5 keeps a cache of chunks of its own
    assert float(run.stdout) < 150


def test_opening_and_building_reads_nothing(runs, tmp_path):
    to_zarr(runs, tmp_path / "a.zarr")
    with dask.config.set(scheduler=raising):
        cube = open_cube(tmp_path / "a.zarr")
        assert cube.sel(energy=2).isel(obs=0).counts.chunks is not None
        assert open_cube(tmp_path / "a.zarr", chunks={"obs": 3}).counts.chunks[0] == (3,)
    in_memory = open_cube(tmp_path / "a.zarr", chunks=None)
    assert in_memory.counts.chunks is None
    xr.testing.assert_identical(in_memory.load(), runs.compute())
    assert "psf" not in open_cube(tmp_path / "a.zarr", drop_variables=["psf"])


@pytest.mark.parametrize("prefix", ["", "irf_"])
def test_broken_sky_coordinates_are_refused_when_written(prefix, cube, tmp_path):
    with pytest.raises(ValueError, match=r"every 2th pixel|pixel numbers"):
        to_zarr(cube.isel({f"{prefix}x": slice(None, None, 2)}), tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_things_that_files_cannot_hold_are_named(form, cube, tmp_path):
    with pytest.raises(TypeError, match=r"'provenance' cannot be written.*Path"):
        FORMS[form](cube.assign_attrs(provenance={"path": tmp_path}), tmp_path / "a")
    with pytest.raises(TypeError, match=r"'t'.*float seconds"):
        FORMS[form](cube.assign(t=((), np.timedelta64(3, "s"))), tmp_path / "a")
    with pytest.raises(TypeError, match=r"'c'.*complex"):
        FORMS[form](cube.assign(c=((), 1j)), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_write_cube_goes_by_suffix(cube, tmp_path):
    for suffix, kind in ((".zarr", "zarr"), (".nc", "netcdf"), (".fits", "fits"), (".fits.gz", "fits")):
        write_cube(cube, tmp_path / f"a{suffix}")
        assert file_kind(tmp_path / f"a{suffix}") == kind
        with pytest.raises(FileExistsError):
            write_cube(cube, tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match=r"\.zarr, \.nc"):
        write_cube(cube, tmp_path / "a.hdf")
    with pytest.raises(FileNotFoundError, match="make it first"):
        write_cube(cube, tmp_path / "nowhere" / "a.zarr")


def test_dataarrays_and_variables_of_the_environment(cube, tmp_path, monkeypatch):
    monkeypatch.setenv("XG_TEST_FOLDER", str(tmp_path))
    to_zarr(cube.counts, "$XG_TEST_FOLDER/counts.zarr")
    assert open_cube("$XG_TEST_FOLDER/counts.zarr").counts.equals(cube.counts)
    to_netcdf(cube.counts.rename(None), "$XG_TEST_FOLDER/counts.nc")
    assert "map" in open_cube("$XG_TEST_FOLDER/counts.nc")


def test_bad_paths_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or store"):
        open_cube(tmp_path / "a.zarr")
    with pytest.raises(IsADirectoryError, match=r"xgamma\.open_store"):
        open_cube(tmp_path)
    (tmp_path / "a.txt").write_text("hello, world")
    with pytest.raises(OSError, match="neither FITS nor netCDF"):
        open_cube(tmp_path / "a.txt")
    (tmp_path / "b").touch()
    with pytest.raises(OSError, match="is empty"):
        open_cube(tmp_path / "b")
    whole = to_netcdf(xr.DataArray(np.arange(9999.0), dims="n", name="a"), tmp_path / "c.nc").read_bytes()
    (tmp_path / "d.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"d\.nc is a damaged or truncated netCDF file"):
        open_cube(tmp_path / "d.nc")
    with pytest.raises(OSError, match="copied to a local disk"):
        open_cube("https://example.org/a.fits")


def test_url_store(cube, tmp_path):
    import fsspec

    url = f"memory://xgamma-test-{os.getpid()}/a.zarr"
    assert to_zarr(cube, url) == url
    xr.testing.assert_identical(open_cube(url).compute(), cube)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        to_zarr(cube, url)
    to_zarr(cube.isel(energy=[1]), url, overwrite=True)
    assert open_cube(url).sizes["energy"] == 1

    lazy = cube[["counts"]].chunk()
    lazy["counts"] = lazy.counts.copy(
        data=lazy.counts.data.map_blocks(lambda b: 1 / 0, dtype=float, meta=np.empty((0, 0, 0)))
    )
    with pytest.raises(ZeroDivisionError):
        to_zarr(lazy, url, overwrite=True)
    assert not fsspec.filesystem("memory").exists(url)


def test_unfinished_store_is_refused(cube, tmp_path):
    to_zarr(cube.assign_attrs({INCOMPLETE: 1}), tmp_path / "a.zarr")
    with pytest.raises(OSError, match="not finished"):
        open_cube(tmp_path / "a.zarr")


@pytest.mark.slow
def test_processes_write_the_same(runs, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True) as cluster,
        Client(cluster),
    ):
        for form, write in FORMS.items():
            write(runs, tmp_path / f"a.{form}")
            write_cube(open_cube(tmp_path / f"a.{form}").isel(obs=0), tmp_path / f"{form}.fits")
            again = open_cube(tmp_path / f"{form}.fits").counts.compute()
            np.testing.assert_array_equal(again, runs.counts.isel(obs=0))
    for form in FORMS:
        xr.testing.assert_identical(open_cube(tmp_path / f"a.{form}").compute(), runs.compute())
