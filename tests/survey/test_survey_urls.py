"""Stores on servers: an S3-compatible one that is written and read, and an HTTP server that only hands out files."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from same_store import assert_same_store
from survey_driver import OPTIONS

import xgamma as xg
from xgamma.io.location import Location
from xgamma.io.lock import locked
from xgamma.io.marker import read_log
from xgamma.reduction.production import write_survey

SECRET = "not-to-be-written-anywhere"
# libraries of the server warn of their own business
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def s3():
    """Options that open an S3-compatible server of our own, with the bucket ``surveys``."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'xgamma[cloud-test]'")
    server_module = pytest.importorskip("moto.server", reason="needs moto's server: pip install 'xgamma[cloud-test]'")
    import fsspec

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}", "key": "someone", "secret": SECRET}
        fsspec.filesystem("s3", **options).mkdir("surveys")
        yield options
    finally:
        server.stop()


@pytest.fixture
def runs():
    return xg.open_store(xg.sample_path("survey")).observations


def copy_to(url: str, options: dict, folder: Path) -> Path:
    import fsspec

    fs, path = fsspec.core.url_to_fs(url, **options)
    fs.invalidate_cache()
    fs.get(path, str(folder), recursive=True)
    return folder


@pytest.mark.slow
def test_a_survey_in_a_bucket(s3, runs, survey_grid, undisturbed, tmp_path):
    url = "s3://surveys/whole.zarr"
    first = write_survey(runs, survey_grid, url, storage_options=s3, **OPTIONS)
    assert (first.path, first.n_written) == (url, first.n_pieces)
    assert write_survey(runs, survey_grid, url, storage_options=s3, **OPTIONS).n_written == 0
    folder = copy_to(url, s3, tmp_path / "copy.zarr")
    assert_same_store(folder, undisturbed)
    # no key is anywhere in the store
    texts = [f.read_bytes() for f in folder.rglob("*") if f.is_file()]
    assert texts
    assert not any(SECRET.encode() in t or s3["endpoint_url"].encode() in t for t in texts)
    assert "consolidated_metadata" in json.loads((folder / "zarr.json").read_text())
    # nor in what is shown
    assert SECRET not in repr(first) + repr(Location.of(url, s3))
    cube = xg.open_cube(url, storage_options=s3)
    assert cube.counts.chunks is not None
    assert float(cube.counts.sum()) == float(xg.open_cube(undisturbed).counts.sum())
    plain = xr.open_zarr(url, storage_options=s3)
    np.testing.assert_array_equal(plain.counts.values, cube.counts.values)
    assert read_log(url, storage_options=s3).done.all()


@pytest.mark.slow
def test_faults_updates_and_locks_in_a_bucket(s3, runs, survey_grid, tmp_path, monkeypatch):
    from xgamma.io import marker

    url = "s3://surveys/growing.zarr"
    options = {**OPTIONS, "offset_max": "0.8 deg"}
    write, made = marker.write_piece, []

    def fails(*args, piece, **kwargs):
        if len(made) == 3:
            msg = "the server is full"
            raise OSError(msg)
        made.append(piece.name)
        return write(*args, piece=piece, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(marker, "write_piece", fails)
        with pytest.raises(OSError, match="the server is full"):
            write_survey(runs[:-1], survey_grid, url, storage_options=s3, **options)
    with pytest.raises(OSError, match="not finished"):
        xg.open_cube(url, storage_options=s3)
    with locked(Location.of(url, s3)), pytest.raises(BlockingIOError, match="is being written by process"):
        write_survey(runs[:-1], survey_grid, url, storage_options=s3, **options)
    again = write_survey(runs[:-1], survey_grid, url, storage_options=s3, **options)
    assert again.n_written == again.n_pieces - 3
    with pytest.raises(ValueError, match="1 runs are new"):
        write_survey(runs, survey_grid, url, storage_options=s3, **options)
    more = write_survey(runs, survey_grid, url, update=True, storage_options=s3, **options)
    assert 1 < more.n_written < more.n_pieces
    write_survey(runs, survey_grid, tmp_path / "here.zarr", **options)
    assert_same_store(copy_to(url, s3, tmp_path / "copy.zarr"), tmp_path / "here.zarr")
    anew = write_survey(runs, survey_grid, url, overwrite=True, storage_options=s3, **options)
    assert anew.n_written == anew.n_pieces
    import fsspec

    fs = fsspec.filesystem("s3", **s3)
    fs.invalidate_cache()
    assert not fs.exists("surveys/growing.zarr.lock")


@pytest.mark.slow
def test_a_cube_is_written_at_once_to_a_bucket(s3, runs, survey_grid):
    url = "s3://surveys/cube.zarr"
    cube = xg.reduce(runs[:2], survey_grid, **OPTIONS)
    assert cube.gamma.to_zarr(url, storage_options=s3) == url
    with pytest.raises(FileExistsError, match="exists; pass overwrite=True"):
        cube.gamma.to_zarr(url, storage_options=s3)
    cube.gamma.to_zarr(url, storage_options=s3, overwrite=True)
    assert float(xg.open_cube(url, storage_options=s3).counts.sum()) == float(cube.counts.sum())


@pytest.fixture
def http(undisturbed):
    """URL of a server that hands out the store, and the paths that were asked for."""
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'xgamma[cloud-test]'")
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(undisturbed.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/survey.zarr", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_behind_a_read_only_server_is_read_lazily(http, undisturbed):
    url, asked = http
    cube = xg.open_cube(url)
    chunks = [path for path in asked if "/counts/c/" in path]
    assert not chunks
    tile = cube.counts.isel(y=slice(0, 20), x=slice(0, 20))
    here = xg.open_cube(undisturbed).counts
    np.testing.assert_array_equal(tile.values, here.isel(y=slice(0, 20), x=slice(0, 20)).values)
    assert len({path for path in asked if "/counts/c/" in path}) == 1
    xr.testing.assert_identical(
        cube.sel(energy=1.0).counts.load(), xg.open_cube(undisturbed).sel(energy=1.0).counts.load()
    )
    # metadata come in one file: arrays have none of their own that is asked for
    assert not [path for path in asked if path.endswith("counts/zarr.json")]


def test_options_are_for_urls(tmp_path, runs, survey_grid):
    with pytest.raises(ValueError, match="storage_options are for URLs"):
        write_survey(runs, survey_grid, tmp_path / "a.zarr", storage_options={"key": "x"}, **OPTIONS)
    with pytest.raises(ValueError, match="storage_options are for URLs"):
        xg.open_cube(xg.sample_path("survey"), storage_options={"key": "x"})


def test_a_url_in_memory(runs, survey_grid, undisturbed, tmp_path):
    url = f"memory://{tmp_path.name}/survey.zarr"
    write_survey(runs, survey_grid, url, **OPTIONS)
    assert_same_store(copy_to(url, {}, tmp_path / "copy.zarr"), undisturbed)
