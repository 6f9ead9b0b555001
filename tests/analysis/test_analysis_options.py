"""What an analysis can do is checked before anything is read, and each section arrives where it belongs."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from astropy.table import Table

import xgamma as xg
from xgamma.analysis.analysis import Analysis
from xgamma.analysis.config import read_config
from xgamma.analysis.log import logging_to
from xgamma.io.sample import sample_path


def background(**section):
    return {"datasets": {"background": section}}


def fov(**parameters):
    return background(method="fov_background", parameters=parameters)


#: The region of a spectrum.
REGION = {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg", "radius": "0.2 deg"}


def spectrum(**section):
    """A configuration of spectra with reflected regions."""
    section = {"method": "reflected", "parameters": {}} | section
    return {"datasets": {"type": "1d", "on_region": REGION, "background": section}}


TILTED = [{"name": "norm", "value": 1}, {"name": "tilt", "value": 0, "frozen": False}]

WRONG = [
    ({"datasets": {"type": "1d"}}, r"datasets\.on_region, the region of the spectrum, is missing"),
    (
        {"datasets": {"type": "1d", "on_region": REGION}},
        r"background\.method='ring' is for datasets\.type '3d', not '1d'; choose one of \['reflected'\]",
    ),
    (background(method="reflected"), r"background\.method='reflected' is for datasets\.type '1d', not '3d'"),
    (background(method="fov_background"), r"parameters\.r_in is not known to the method 'fov_background'"),
    (fov(method="scales"), r"datasets\.background\.parameters: method='scales' must be 'scale' or 'fit'"),
    (fov(min_counts=-1), r"min_counts=-1 must be a number that is not negative"),
    (fov(min_npred=1, min_npred_background=2), "are the same option; give one of them"),
    (fov(spatial_model="gauss"), "the shape over the field of view is that of the responses"),
    (fov(spectral_model="pl"), r"PowerLawSpectralModel is no factor on another spectrum"),
    (fov(spectral_model="pl-nrm"), r"spectral='pl-nrm' is no model such as 'pl-norm'"),
    (
        fov(spectral={"type": "pl-norm", "parameters": TILTED}),
        "take method='fit'",
    ),
    (spectrum(parameters={"min_distanc": "1 deg"}), r"min_distanc is not known.*did you mean 'min_distance'"),
    (spectrum(parameters={"max_region_number": 0}), r"datasets\.background: max_region_number=0 must be"),
    (spectrum(parameters={"angle_increment": "0 deg"}), r"datasets\.background: angle_increment='0 deg' must be"),
    ({"fit": {"fit_range": {"min": "60 TeV"}}}, r"fit\.fit_range: from 60 TeV to None there is no whole bin"),
    ({"flux_points": {"parameters": {"selection": "all"}}}, r"flux_points\.parameters\.selection is not known"),
    ({"flux_points": {"parameters": {"source": "crab"}}}, r"it is the key flux_points\.source"),
    ({"flux_points": {"parameters": {"selection_optional": ["errn"]}}}, r"'errn' is not known; did you mean"),
    ({"flux_points": {"parameters": {"n_sigma": 0}}}, r"n_sigma=0 must be a positive number"),
    ({"flux_points": {"parameters": {"reoptimize": 1}}}, r"reoptimize=1 must be true or false"),
    ({"flux_points": {"parameters": {"selection_optional": 3}}}, r"must be 'all' or a list of names"),
    (background(method="ring", parameters={}), r"datasets\.background\.parameters\.r_in is missing"),
    (background(parameters={"r_in": "0.5 deg"}), r"datasets\.background\.parameters\.width is missing"),
    (
        background(parameters={"r_in": "0.5 deg", "widht": "1 deg"}),
        r"datasets\.background\.parameters\.widht is not known to the method 'ring'; did you mean 'width'",
    ),
    (
        background(parameters={"r_in": "0.5 deg", "width": "1 deg", "exclusion_mask": "x"}),
        "put it into datasets.background.exclusion",
    ),
    (background(parameters={"r_in": 0.5, "width": "1 deg"}), r"parameters\.r_in=0\.5 must be given in a unit"),
    (background(method=None, exclusion=None), "are given without a method"),
    (background(method="adaptive_ring"), r"parameters\.r_out_max is missing"),
    (background(exclusion=["circle"]), r"datasets\.background\.exclusion: 'circle' is not one sky region"),
    ({"datasets": {"map_selection": ["counts", "exposure"]}}, r"datasets\.map_selection lacks \['background'\]"),
    ({"datasets": {"safe_mask": {"parameters": {"offset": 1}}}}, r"safe_mask\.parameters\.offset is not known"),
    (
        {"datasets": {"safe_mask": {"methods": ["aeff-max"], "parameters": {"aeff_percent": 200}}}},
        r"datasets\.safe_mask\.parameters: .*not between 0 and 100",
    ),
    (
        {"datasets": {"safe_mask": {"methods": ["aeff-max"], "parameters": {"position": "here"}}}},
        r"safe_mask\.parameters\.position='here' must be",
    ),
    ({"excess_map": {"parameters": {"n_sigmas": 1}}}, r"n_sigmas is not known; did you mean 'n_sigma'"),
    ({"excess_map": {"parameters": {"n_sigma": -1}}}, r"n_sigma=-1 must be a positive number"),
    ({"excess_map": {"parameters": {"n_sigma_ul": "two"}}}, r"n_sigma_ul='two' must be a positive number"),
    ({"excess_map": {"parameters": {"correlate_off": 1}}}, r"correlate_off=1 must be true or false"),
    ({"excess_map": {"parameters": {"selection_optional": ["ull"]}}}, "'ull' is not known; did you mean 'ul'"),
    ({"excess_map": {"parameters": {"selection_optional": 3}}}, "must be 'all' or a list of names"),
    ({"excess_map": {"parameters": {"correlation_radius": "1 deg"}}}, "is the key excess_map.correlation_radius"),
    ({"excess_map": {"parameters": {"spectral_model": "x"}}}, "give its 'index'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_cannot_be_done_is_said_at_once(small, change, message):
    if change.get("datasets", {}).get("background", {}).get("exclusion", 0) is None:
        change = {"datasets": {"background": {**change["datasets"]["background"], "parameters": {"r_in": "1 deg"}}}}
        change["datasets"]["background"]["exclusion"] = None
    with pytest.raises(ValueError, match=message):
        Analysis(read_config(small(**change)))


def test_missing_center():
    with pytest.raises(ValueError, match=r"datasets\.geom\.wcs\.skydir, the centre of the map, is missing"):
        Analysis(read_config("{}"))


def test_off_counts_need_a_ring(small):
    change = background(method=None, parameters={}) | {"excess_map": {"parameters": {"selection_optional": ["alpha"]}}}
    with pytest.raises(ValueError, match=r"need off counts; set datasets\.background\.method to 'ring'"):
        Analysis(read_config(small(**change)))


def test_sections_that_nobody_reads_are_told(small, caplog):
    with caplog.at_level(logging.INFO, "xgamma"):
        Analysis(read_config(small(datasets={"on_region": REGION}, general={"datasets_file": "datasets.yaml"})))
    assert "not used by a map analysis: general.datasets_file, datasets.on_region" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "xgamma"):
        Analysis(read_config(small(**spectrum())))
    assert "not used by a spectral analysis: datasets.geom.wcs, excess_map" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "xgamma"):
        Analysis(read_config(small()))
    assert "not used" not in caplog.text


def test_selection_of_runs(small, tmp_path):
    def runs(**section):
        return Analysis(read_config(small(observations=section))).observations.obs_ids

    assert runs() == (1, 2, 3)
    file = tmp_path / "runs.txt"
    file.write_text("# mine\n4  150.2\n\n2, comment\n")
    assert runs(obs_ids=[], obs_file=str(file)) == (4, 2)
    cone = {"frame": "icrs", "lon": "150 deg", "lat": "-24.4 deg", "radius": "0.1 deg"}
    assert runs(obs_ids=[], obs_cone=cone) == (1, 5)
    assert len(runs(obs_ids=[])) == 12
    for content, message in (("run 3", "must begin each line with the number"), ("# none", "lists no run")):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            runs(obs_ids=[], obs_file=str(file))
    with pytest.raises(FileNotFoundError, match=r"observations\.obs_file: .* does not exist"):
        runs(obs_ids=[], obs_file="nowhere.txt")


def test_times_select_runs_and_cut_them(small):
    """The runs begin at 01:30, every half hour, and last 28 minutes."""
    time = {"start": "2024-03-01T01:30:00", "stop": "2024-03-01T02:14:00"}
    analysis = Analysis(read_config(small(observations={"obs_ids": [], "obs_time": time})))
    assert analysis.observations.obs_ids == (1, 2)
    ontime = analysis.reduce().ontime
    assert float(ontime) == pytest.approx((28 + 14) * 60, abs=1)
    outside = {"start": "2020-01-01", "stop": "2020-01-02"}
    with pytest.raises(ValueError, match=r"2020-01-01.*the runs were taken between 2024"):
        _ = Analysis(read_config(small(observations={"obs_time": outside}))).observations


def test_runs_without_a_required_response_are_left_out(small):
    section = {"required_irf": ["aeff", "rad_max"]}
    with pytest.raises(ValueError, match="rad_max"):
        _ = Analysis(read_config(small(observations=section))).observations


def test_a_run_that_lacks_a_required_response_is_named(small, tmp_path):
    """The HDU index of a copy of three runs says nothing of the background of the second."""
    folder = tmp_path / "store"
    xg.open_store(sample_path("survey")).copy([1, 2, 3], folder)
    index = next(folder.glob("hdu-index.fits*"))
    table = Table.read(index)
    types = np.char.strip(np.asarray(table["HDU_TYPE"], dtype=str))
    table[~((table["OBS_ID"] == 2) & (types == "bkg"))].write(index, overwrite=True)
    change = {"datastore": str(folder)}
    with pytest.warns(UserWarning, match=r"1 of 3 runs have not all of observations\.required_irf=.* left out: 2$"):
        assert Analysis(read_config(small(observations=change))).observations.obs_ids == (1, 3)
    change["required_irf"] = ["aeff"]
    assert Analysis(read_config(small(observations=change))).observations.obs_ids == (1, 2, 3)


def test_options_of_the_excess_map_arrive(small):
    parameters = {"n_sigma": 2, "n_sigma_ul": 3, "selection_optional": ["errn-errp", "acceptance_on"]}
    maps = Analysis(read_config(small(excess_map={"parameters": parameters}))).excess_map()
    assert {"excess_errn", "excess_errp", "acceptance"} <= set(maps.data_vars)
    assert "excess_ul" not in maps
    assert (maps.attrs["n_sigma"], maps.attrs["n_sigma_ul"]) == (2, 3)
    everything = Analysis(read_config(small(excess_map={"parameters": {"selection_optional": "all"}}))).excess_map()
    assert {"excess_ul", "excess_sensitivity", "flux", "alpha"} <= set(everything.data_vars)


def test_position_of_the_safe_mask(small):
    position = {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg"}
    masks = {"methods": ["aeff-max"], "parameters": {"position": position, "aeff_percent": 5}}
    cube = Analysis(read_config(small(datasets={"safe_mask": masks}))).reduce()
    assert "position=(150.0, -25.0)" in cube.attrs["settings"]


def test_exclusion_as_mask_regions_and_list(small, tmp_path):
    """All ways to say the same give the same."""

    def exclusion(value):
        analysis = Analysis(read_config(small(**background(exclusion=value))))
        return analysis.exclusion(analysis.grid())

    listed = exclusion(["icrs;circle(150, -25, 0.4)"])
    assert listed.dtype == bool
    assert 0 < int((~listed).sum()) < 100
    region = tmp_path / "sources.REG"
    region.write_text("# Region file format: DS9\nicrs\ncircle(150.0, -25.0, 0.4)\n")
    assert exclusion(str(region)).equals(listed)
    mask = tmp_path / "mask.fits"
    xg.write_map(listed.rename("mask"), mask)
    assert exclusion(str(mask)).equals(listed)
    numbers = tmp_path / "numbers.fits.gz"
    xg.write_map(listed.astype(float).assign_attrs(units="").rename("excl"), numbers)
    assert exclusion(str(numbers)).equals(listed)
    assert exclusion(None) is None


def test_exclusion_on_another_grid(small, tmp_path):
    """A finer, smaller mask in Galactic coordinates: what it does not cover may be used."""
    from astropy.coordinates import SkyCoord

    center = SkyCoord(150, -25, unit="deg")
    grid = xg.sky_grid(center, "1 deg", "0.01 deg", frame="galactic", proj="TAN")
    mask = (~xg.region_mask(grid, "icrs;circle(150, -25, 0.4)")).rename("mask")
    file = tmp_path / "mask.fits"
    xg.write_map(mask, file)
    analysis = Analysis(read_config(small(**background(exclusion=str(file)))))
    found = analysis.exclusion(analysis.grid())
    listed = ~xg.region_mask(analysis.grid(), "icrs;circle(150, -25, 0.4)")
    # pixels whose centre is within a fine pixel of the edge may fall to either side
    assert int((found != listed).sum()) <= 2
    assert bool(found.isel(x=[0, -1]).all())


def test_bad_exclusions(small, tmp_path):
    def analysis(value):
        return Analysis(read_config(small(**background(exclusion=str(value)))))

    with pytest.raises(FileNotFoundError, match=r"datasets\.background\.exclusion: the file .* does not exist"):
        analysis(tmp_path / "none.fits")
    with pytest.raises(FileNotFoundError, match="write regions as a list"):
        analysis("icrs;circle(150, -25, 0.4)")
    region = tmp_path / "pixels.reg"
    region.write_text("image\ncircle(3, 3, 2)\n")
    with pytest.raises(ValueError, match="must hold regions on the sky"):
        analysis(region)
    region.write_text("nothing of the kind\n")
    with pytest.raises(ValueError, match=r"datasets\.background\.exclusion"):
        analysis(region)
    cube = tmp_path / "cube.fits"
    bad = analysis_grid(small)
    xg.write_map(bad, cube)
    made = analysis(cube)
    with pytest.raises(ValueError, match="must hold one plane"):
        made.exclusion(made.grid())


def analysis_grid(small):
    grid = Analysis(read_config(small())).grid()
    return xg.solid_angle(grid) * grid.energy


def test_exclusion_that_covers_everything(small):
    with pytest.raises(ValueError, match=r"datasets\.background: .*exclusion"):
        Analysis(read_config(small(**background(exclusion=["icrs;circle(150, -25, 9)"])))).reduce()


def test_logging_is_put_back(tmp_path):
    logger = logging.getLogger("xgamma")
    handler = logging.NullHandler()
    logger.addHandler(handler)
    before = logger.level, list(logger.handlers)
    section = {"level": "WARNING", "filename": str(tmp_path / "a.log"), "format": "%(levelname)s %(message)s"}
    log = read_config({"general": {"log": section}}).general.log
    try:
        for _ in range(2):
            with logging_to(log):
                logger.info("not this")
                logger.warning("this")
        assert (logger.level, logger.handlers) == before
    finally:
        logger.removeHandler(handler)
    assert (tmp_path / "a.log").read_text() == "WARNING this\nWARNING this\n"
    with logging_to(read_config({"general": {"log": {"format": "%(name)s"}}}).general.log):
        pass


def test_energy_groups_of_the_ring(small):
    """The ring is made in the bins of the excess map; their sum is that of the counts."""
    edges = {"min": "0.5 TeV", "max": "50 TeV", "nbins": 2}
    analysis = Analysis(read_config(small(excess_map={"energy_edges": edges})))
    cube = analysis.reduce()
    assert cube.sizes["energy"] == 2
    maps = analysis.excess_map(cube)
    np.testing.assert_allclose(maps.energy_min, [0.5, 5])
    one = Analysis(read_config(small())).reduce()
    assert float(one.counts.sum()) == float(cube.counts.sum())
    model = Analysis(read_config(small(excess_map={"energy_edges": edges}, **background(method=None, parameters={}))))
    assert model.reduce().sizes["energy"] == 4
    assert model.excess_map().sizes["energy"] == 2
