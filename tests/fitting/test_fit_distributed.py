"""Fits whose parts are held by workers: the same numbers, also where a worker is killed."""

import os
import pickle
import signal
import threading

import numpy as np
import pytest
import xarray as xr
from simulated_maps import background, gauss, map_cube, point
from simulated_spectra import cube as spectrum_cube

from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.distributed import DistributedLikelihood, distribute, split_cubes
from xgamma.fitting.fit import fit
from xgamma.fitting.predict import npred
from xgamma.models.models import Models
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.prior import GaussianPrior
from xgamma.models.sky_model import SkyModel
from xgamma.models.systematics import Systematics

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    """A cluster of two processes."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def source(**kwargs):
    return SkyModel(PowerLawSpectralModel(index=2.0, amplitude="3e-12 cm-2 s-1 TeV-1"), name="crab", **kwargs)


def spectra(number=7):
    return {f"set-{i}": spectrum_cube(n_obs=1 + i % 3, seed=i) for i in range(number)}


def maps():
    cubes = {}
    for name, slope in (("one", 0.0), ("two", 0.3), ("three", -0.3)):
        cube = map_cube(slope=slope)
        model = background()
        model.datasets_names = [name]
        cube["counts"] = np.floor(1.02 * npred(cube, [point(amplitude=1e-10), gauss(), model], name=name))
        cubes[name] = cube
    return cubes


def map_models():
    models = Models([point(amplitude=1e-10), gauss()])
    models[1].freeze("spatial")
    for name in ("one", "two", "three"):
        own = background().copy(name=f"{name}-bkg", datasets_names=[name])
        models.append(own)
    return models


def same(local, remote):
    """The same minimum, in every bit."""
    assert remote.success
    assert remote.total_stat == local.total_stat
    assert [p.value for p in remote.free] == [p.value for p in local.free]
    np.testing.assert_array_equal(remote.covariance.values, local.covariance.values)
    assert remote.n_evaluations == local.n_evaluations
    assert list(remote.stat_per_dataset) == list(local.stat_per_dataset)
    assert remote.stat_per_dataset == local.stat_per_dataset
    assert remote.n_bins == local.n_bins


def test_joint_spectra(client):
    models = Models([source(), Systematics(aeff=0.1, name="syst", datasets_names=["set-1", "set-3"])])
    models.parameters["crab.index"].prior = GaussianPrior(2.3, 0.2)
    same(fit(spectra(4), models), fit(spectra(4), models, client=client))


def test_maps(client):
    same(fit(maps(), map_models()), fit(maps(), map_models(), client=client))


def test_different_kinds(client):
    axis = energy_axis("1 TeV", "100 TeV", nbin=4)
    points = xr.Dataset(coords=axis.coords)
    points["dnde"] = "energy", 4e-12 * axis.values**-2.3
    points["dnde_err"] = "energy", 5e-13 * axis.values**-2.3
    cube = map_cube()
    cube["counts"] = np.floor(npred(cube, point(amplitude=1e-10)))
    joint = {"map": cube, "spectra": spectrum_cube(), "points": points}
    model = point(amplitude=1e-11)
    model.spatial.freeze()
    models = [model, background()]
    local, remote = fit(joint, models), fit(joint, models, client=client)
    same(local, remote)
    assert {d.name for d in remote.likelihood.datasets} >= {"map", "points"}


def test_runs_of_one_cube_come_into_several_parts(client):
    """The sum over runs is another one then: the last digits differ."""
    cube = spectrum_cube(n_obs=12)
    local = fit(cube, source())
    remote = fit(cube.chunk({"obs": 4}), source(), client=client)
    assert len(remote.likelihood.parts) == 2
    assert remote.total_stat == pytest.approx(local.total_stat, rel=1e-12)
    for a, b in zip(local.free, remote.free, strict=True):
        assert b.value == pytest.approx(a.value, abs=1e-4 * a.error)
        assert b.error == pytest.approx(a.error, rel=1e-4)
    assert list(remote.stat_per_dataset) == list(local.stat_per_dataset)


def test_further_questions_go_to_the_workers(client):
    local, remote = fit(spectra(), source()), fit(spectra(), source(), client=client)
    one, two = (r.stat_profile("crab.index", 5) for r in (local, remote))
    np.testing.assert_array_equal(one.stat, two.stat)
    assert remote.confidence("crab.index").errp == local.confidence("crab.index").errp
    points = np.array([remote.parameters.values * (1 + 1e-3 * k) for k in range(4)])
    batch = remote.likelihood.deviances(points)
    np.testing.assert_array_equal(batch, [local.likelihood.deviance(p) for p in points])
    with pytest.raises(ValueError, match="leave lazy=True out"):
        remote.stat_profile("crab.index", 5, lazy=True)
    with pytest.raises(TypeError, match="cannot be copied or sent"):
        pickle.dumps(remote.likelihood)


def test_lazy_cubes_never_come_to_the_driver(client):
    """Counts are made on the workers; the driver, which would fail to make them, does not."""
    driver = os.getpid()

    def counts(block, driver=driver):
        if os.getpid() == driver and block.size:
            msg = "computed by the driver"
            raise AssertionError(msg)
        return block

    plain = spectra(4)
    lazy = {n: c.chunk() for n, c in plain.items()}
    for cube in lazy.values():
        cube["counts"] = cube.counts.copy(data=cube.counts.data.map_blocks(counts, meta=np.zeros((0, 0))))
    same(fit(plain, source()), fit(lazy, source(), client=client))


# ---------------------------------------------------------------------- a worker is lost
@pytest.mark.slow
def test_a_fit_survives_the_loss_of_a_worker(monkeypatch):
    local = fit(spectra(), source())
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        likelihood = distribute(spectra(), source(), client=client)
        where = client.who_has(list(likelihood.parts))
        assert len({worker for workers in where.values() for worker in workers}) == 2
        processes, values = client.run(os.getpid), source().parameters.values
        before = likelihood.deviance(values)
        os.kill(processes[next(iter(where.values()))[0]], signal.SIGKILL)
        assert likelihood.deviance(values) == before

        # and in the middle of a fit: a worker that holds a part dies before an evaluation, one while it evaluates
        client.wait_for_workers(2, timeout=60)
        asked, killed = [], []
        ask = DistributedLikelihood._ask

        def ask_and_kill(self, function, *given):
            asked.append(function)
            if len(asked) in (12, 25):
                workers = client.run(os.getpid)
                where = client.who_has(list(self.parts))
                victim = next(workers[w[0]] for w in where.values() if w)
                killed.append(victim)
                delay = 0.0 if len(asked) == 12 else 0.005
                threading.Timer(delay, os.kill, (victim, signal.SIGKILL)).start()
            return ask(self, function, *given)

        monkeypatch.setattr(DistributedLikelihood, "_ask", ask_and_kill)
        remote = fit(spectra(), source(), client=client)
        assert len(set(killed)) == 2
        same(local, remote)


# ---------------------------------------------------------------------- words, and parts
def test_words(client):
    with pytest.raises(TypeError, match=r"must be a distributed\.Client"):
        fit(spectra(), source(), client=3)
    empty = {n: c.assign(mask_fit=xr.zeros_like(c.counts, dtype=bool)) for n, c in spectra(2).items()}
    with pytest.warns(UserWarning, match="no bin of"), pytest.raises(ValueError, match="there is nothing to fit"):
        fit(empty, source(), client=client)
    part = spectra(3)
    part["set-1"] = part["set-1"].assign(mask_fit=xr.zeros_like(part["set-1"].counts, dtype=bool))
    with pytest.warns(UserWarning, match=r"no bin of \['set-1/11', 'set-1/12'\]"):
        remote = fit(part, source(), client=client)
    with pytest.warns(UserWarning, match=r"no bin of"):
        local = fit(part, source())
    same(local, remote)
    with pytest.warns(UserWarning, match="none of the datasets"), pytest.warns(UserWarning, match="no dataset depends"):
        fit(
            part | {"set-1": spectra(2)["set-1"]},
            [source(), source(datasets_names="no").copy(name="no")],
            client=client,
        )


def test_a_start_without_meaning_is_named(client):
    model = source()
    model.spectral.index.value = 1e6
    with pytest.raises(ValueError, match=r"is (nan|inf) at the start"):
        fit(spectra(2), model, client=client)


@pytest.mark.parametrize("number", [1, 2, 3, 5, 100])
def test_parts(number):
    named = {"a": spectrum_cube(n_obs=5), "b": spectrum_cube(n_obs=1).isel(obs=0), "c": spectrum_cube(n_obs=3)}
    parts = split_cubes(named, number)
    assert len(parts) <= number
    labels = [
        label for part in parts for d in compile_likelihood(part, source(), alone=False).datasets for label in d.labels
    ]
    whole = [label for d in compile_likelihood(named, source()).datasets for label in d.labels]
    assert labels == whole
    sizes = [sum(c.counts.size for c in part.values()) for part in parts]
    assert max(sizes) <= 90 / min(number, 9) + 10
    with pytest.raises(ValueError, match="at least 1"):
        split_cubes(named, 0)


def test_runs_without_names_keep_their_numbers():
    cube = spectrum_cube(n_obs=4).drop_vars("obs")
    parts = split_cubes({"a": cube}, 2)
    labels = [d.labels for part in parts for d in compile_likelihood(part, source()).datasets]
    assert labels == [("0", "1"), ("2", "3")]
