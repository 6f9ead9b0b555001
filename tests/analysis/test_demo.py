"""The demonstration finds what was simulated."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.analysis.config import read_config
from xgamma.analysis.demo import _capture, run_demo
from xgamma.io.sample import sample_path
from xgamma.simulate.truth import read_truth


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "xgamma-demo")


def test_excess_agrees_with_the_simulated_events(demo):
    """Within three errors, and the three together as their errors say."""
    _, found = demo
    truth = read_truth(sample_path("survey"))
    assert [d.name for d in found] == [s.name for s in truth.sources] == ["bright", "extended", "faint"]
    pulls = np.array([(d.excess - truth.simulated[d.name]) / d.error for d in found])
    assert np.abs(pulls).max() < 3
    # chi2 of three: 16.3 in one case of a thousand
    assert (pulls**2).sum() < 16.3
    assert all(d.error > np.sqrt(d.simulated) for d in found)


def test_background_in_the_circles_is_that_of_the_labels(demo):
    """Each event's MC_ID says whether it is background: the ring has to find as many, within its Poisson error."""
    products, found = demo
    cube = xg.open_cube(products.files["cube"]).load()
    truth = read_truth(sample_path("survey"))
    events = [run.events for run in xg.open_store(sample_path("survey")).observations]
    ra, dec, label = (np.concatenate([e[n].values for e in events]) for n in ("ra", "dec", "mc_id"))
    sky = SkyCoord(ra, dec, unit="deg")
    for number, (source, item) in enumerate(zip(truth.sources, found, strict=True), 1):
        center = SkyCoord(*source.position, unit="deg")
        inside = sky.separation(center).deg <= _capture(source)
        own, background = (inside & (label == number)).sum(), (inside & (label == 0)).sum()
        assert own >= 0.95 * truth.simulated[source.name]
        estimate = float(cube.background.where(xg.separation(cube, center) <= _capture(source)).sum())
        # error of the estimate alone: that of the excess without the Poisson error of the counts
        counts = item.excess + estimate
        error = np.hypot(np.sqrt(background), np.sqrt(max(item.error**2 - counts, 0.0)))
        assert abs(estimate - background) < 3 * error


def test_sources_are_where_they_were_put(demo):
    _, found = demo
    bright, extended, faint = found
    assert bright.offset < 0.05
    assert extended.offset < 0.2
    assert faint.offset < 0.15
    assert bright.peak > extended.peak > faint.peak > 4


def test_the_sky_outside_of_the_sources_is_empty(demo):
    products, _ = demo
    config = read_config(products.files["config"])
    maps = xg.open_cube(products.files["maps"]).load()
    outside = ~xg.region_mask(maps, config.datasets.background.exclusion)
    fit = xg.significance_distribution(maps.sqrt_ts.squeeze(), outside)
    # a disc of 0.1 deg holds 78 pixels of 0.02 deg: errors of independent pixels are about nine times too small
    assert abs(float(fit["mean"])) < 3 * 9 * float(fit.mean_err)
    assert abs(float(fit["std"]) - 1) < 3 * 9 * float(fit.std_err)


def test_demo_does_not_replace_without_asking(demo):
    products, _ = demo
    with pytest.raises(FileExistsError, match="exists"):
        run_demo(products.files["cube"].parent)
