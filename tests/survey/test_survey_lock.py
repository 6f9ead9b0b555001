"""Two programs and one store: the second is refused in words, and a lock whose holder is gone is taken over."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path

import pytest
from survey_driver import OPTIONS

import xgamma as xg
from xgamma.io import lock as lock_module
from xgamma.io.location import Location
from xgamma.io.lock import Lock, check_fence, locked
from xgamma.reduction.production import write_survey


@pytest.fixture(params=["folder", "url"])
def place(request, tmp_path):
    if request.param == "folder":
        return Location.of(tmp_path / "a.zarr")
    return Location.of(f"memory://{tmp_path.name}/a.zarr")


def read(place):
    return lock_module._read(place)


def write(place, **change):
    content = {**lock_module._identity(), "token": "other", "since": time.time(), "beat": time.time(), **change}
    lock_module._replace(place, content)


def test_only_one_holds_the_lock_and_it_is_given_back(place):
    with locked(place) as first:
        first.confirm()
        held = read(place)
        assert held["pid"] == os.getpid()
        with pytest.raises(BlockingIOError, match=rf"is being written by process {os.getpid()} on .*last sign of life"):
            Lock(place).acquire()
        first.confirm()
    assert read(place) is None


def test_of_many_at_once_one_wins(place):
    barrier, won, refused = threading.Barrier(6), [], []

    def take():
        lock = Lock(place)
        barrier.wait()
        try:
            lock.acquire()
            won.append(lock)
        except BlockingIOError:
            refused.append(lock)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 5)
    won[0].release()


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 2**22 - 3},
        {"started": 1.0},
        {"space": "another machine", "host": "far", "beat": 0.0},
    ],
)
def test_a_stale_lock_is_taken_over_with_a_word(place, change, caplog):
    write(place, **change)
    with caplog.at_level(logging.WARNING, logger="xgamma"), locked(place) as mine:
        assert read(place)["token"] == mine.token
    assert "which is gone; its lock is taken over" in caplog.text


def test_a_living_program_elsewhere_is_not_disturbed(place):
    write(place, space="another machine", host="far", pid=1, beat=time.time() - 60)
    with pytest.raises(BlockingIOError, match=r"process 1 on far .*last sign of life 6\d s ago.*remove .*a.zarr.lock"):
        Lock(place).acquire()


def test_who_has_lost_the_lock_stops(place):
    with locked(place) as mine:
        check_fence(place, mine.token)
        write(place)
        with pytest.raises(BlockingIOError, match="has been taken over by process"):
            mine.confirm()
        with pytest.raises(BlockingIOError, match="taken over"):
            mine.check()
        with pytest.raises(BlockingIOError, match="belongs to an earlier call and is dropped"):
            check_fence(place, mine.token)
    # the lock of the other stays
    assert read(place)["token"] == "other"
    lock_module._remove(place)


def test_the_holder_gives_signs_of_life(place, monkeypatch):
    monkeypatch.setattr(lock_module, "BEAT", 0.05)
    with locked(place):
        first = read(place)["beat"]
        time.sleep(0.5)
        assert read(place)["beat"] > first


def test_a_second_driver_is_refused_and_writes_nothing(survey_grid, tmp_path):
    store = tmp_path / "a.zarr"
    runs = xg.open_store(xg.sample_path("survey")).observations
    with locked(Location.of(store)), pytest.raises(BlockingIOError, match="is being written by"):
        write_survey(runs, survey_grid, store, **OPTIONS)
    assert list(tmp_path.iterdir()) == []
    write_survey(runs, survey_grid, store, **OPTIONS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    # also one that would begin anew
    with locked(Location.of(store)), pytest.raises(BlockingIOError, match="is being written by"):
        write_survey(runs, survey_grid, store, overwrite=True, **OPTIONS)


def test_nothing_of_the_lock_and_its_holder_is_in_the_store(survey_grid, tmp_path):
    store = tmp_path / "a.zarr"
    write_survey(xg.open_store(xg.sample_path("survey")).observations, survey_grid, store, **OPTIONS)
    assert "lock" not in json.loads((Path(store) / "xgamma" / "zarr.json").read_text())["attributes"]
