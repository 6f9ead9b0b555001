"""Spectra in gammapy's region layout, Zarr and netCDF, and their region tables."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import energy_axis
from xgamma.coords.regions import from_ds9
from xgamma.io.cube import open_cube, write_cube
from xgamma.io.fits_region import join_regions, read_region, read_regions, region_hdu, split_region
from xgamma.io.fits_write import to_fits

OFF = ["icrs;circle(83.9000000000,21.9000000000,0.1100000000)", "icrs;circle(84.0000000000,21.8000000000,0.1100000000)"]
ON = "icrs;circle(83.6300000000,22.0100000000,0.1100000000)"


@pytest.fixture
def spectrum() -> xr.Dataset:
    rng = np.random.default_rng(2)
    cube = xr.Dataset(coords=energy_axis("0.1 TeV", "40 TeV", nbin=6).coords)
    cube = cube.assign_coords(energy_axis("0.05 TeV", "100 TeV", nbin=8, name="energy_true").coords)
    for name in ("counts", "counts_off"):
        cube[name] = "energy", rng.poisson(5, 6).astype(float), {"units": ""}
    cube["acceptance"] = "energy", np.ones(6), {"units": ""}
    cube["acceptance_off"] = "energy", np.array([0.0, 2, 2, 2, 2, 2]), {"units": ""}
    cube["background"] = "energy", cube.counts_off.values * [0, 0.5, 0.5, 0.5, 0.5, 0.5], {"units": ""}
    cube["mask_safe"] = "energy", rng.random(6) > 0.3, {"units": ""}
    cube["exposure"] = "energy_true", 1e12 * rng.random(8), {"units": "cm2 s"}
    cube["edisp"] = ("energy_true", "energy"), rng.random((8, 6)), {"units": ""}
    cube["n_off_regions"] = (), 2, {"units": "", "long_name": "Number of off regions"}
    cube["livetime"] = (), 1581.25, {"units": "s"}
    cube["gti_start"] = "gti", [1e8], {"units": "s"}
    cube["gti_stop"] = "gti", [1e8 + 1600], {"units": "s"}
    degrees = {"units": "deg"}
    return cube.assign_coords(
        obs=7,
        region=ON,
        region_lon=((), 83.63, {**degrees, "long_name": "Right ascension of the region"}),
        region_lat=((), 22.01, {**degrees, "long_name": "Declination of the region"}),
        off_regions="\n".join(OFF),
    )


def same(result: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(result.variables) == set(expected.variables)
    for name, variable in expected.variables.items():
        assert result[name].dims == variable.dims, name
        if variable.dtype.kind == "f":
            np.testing.assert_allclose(result[name], variable, rtol=4e-16, err_msg=name)
        else:
            np.testing.assert_array_equal(result[name], variable, err_msg=name)


def test_the_layout_of_gammapy(spectrum, tmp_path):
    write_cube(spectrum, tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        names = [h.name for h in hdus]
        for name in ("COUNTS", "EXPOSURE", "EDISP", "EDISP_EXPOSURE", "COUNTS_OFF", "ACCEPTANCE_OFF", "GTI"):
            assert name in names
        assert hdus["COUNTS_REGION"].data["SHAPE"].tolist() == ["circle"]
        assert read_regions(hdus["COUNTS_OFF_REGION"], "a.fits") == OFF
        weight = hdus["EDISP_EXPOSURE"].data["DATA"].ravel() * 1e4
    np.testing.assert_allclose(weight, spectrum.exposure, rtol=1e-15)
    result = open_cube(tmp_path / "a.fits")
    # the exposure is the weight of the energy dispersion, there is no second one
    assert "irf_exposure" not in result
    assert "name" not in result.attrs
    same(result.load(), spectrum)


def test_without_our_own_table(spectrum, tmp_path):
    """What another program keeps is enough for all but single numbers."""
    to_fits(spectrum.assign_attrs(name="crab"), tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        drop = ("XGAMMA", "BACKGROUND", "BACKGROUND_BANDS", "BACKGROUND_REGION")
        fits.HDUList([h for h in hdus if h.name not in drop]).writeto(tmp_path / "b.fits")
    result = open_cube(tmp_path / "b.fits")
    assert result.background.chunks is not None
    assert result.attrs["name"] == "crab"
    same(result.load(), spectrum.drop_vars(["livetime", "obs"]))


def test_a_weight_of_its_own_is_kept(spectrum, tmp_path):
    weight = (spectrum.exposure * 2).assign_attrs(units="cm2 s")
    to_fits(spectrum.assign(irf_exposure=weight), tmp_path / "a.fits")
    np.testing.assert_allclose(open_cube(tmp_path / "a.fits").irf_exposure, weight)


def test_runs_in_files_of_their_own(spectrum, tmp_path):
    other = spectrum.assign_coords(obs=8, off_regions="").assign(n_off_regions=((), 0))
    runs = xr.concat([spectrum, other], "obs", coords="different", compat="equals")
    paths = to_fits(runs, tmp_path / "{obs}.fits")
    for path, run in zip(paths, (spectrum, other), strict=True):
        same(open_cube(path).load(), run)


@pytest.mark.parametrize("name", ["runs.zarr", "runs.nc"])
def test_stores(spectrum, tmp_path, name):
    other = spectrum.assign_coords(obs=8, off_regions="").assign(n_off_regions=((), 0))
    runs = xr.concat([spectrum, other], "obs", coords="different", compat="equals")
    for cube in (runs, runs.chunk({"obs": 1}), spectrum):
        write_cube(cube, tmp_path / name, overwrite=True)
        xr.testing.assert_identical(open_cube(tmp_path / name).load(), cube.load())


SHAPES = [
    "icrs;circle(83.6300000000,22.0100000000,0.1100000000)",
    "icrs;ellipse(83.5000000000,22.0000000000,0.3000000000,0.1000000000,30.0000000000)",
    "icrs;box(83.0000000000,22.0000000000,0.2000000000,0.3000000000,20.0000000000)",
    "icrs;polygon(83.0000000000,22.0000000000,84.0000000000,22.0000000000,83.5000000000,23.0000000000)",
    "icrs;polygon(83.0,22.0,84.0,22.0,84.0,23.0,83.5,23.2,83.0,23.0)",
    "icrs;annulus(83.0000000000,22.0000000000,0.1000000000,0.3000000000)",
    "icrs;point(83.6300000000,22.0100000000)",
    "galactic;circle(184.5000000000,-5.8000000000,0.1500000000)",
]


def numbers(text: str) -> np.ndarray:
    return np.array(text[text.index("(") + 1 : -1].split(","), dtype=float)


@pytest.mark.parametrize("text", SHAPES)
def test_shapes_come_back(text):
    (back,) = read_regions(region_hdu(text, "REGION"), "a.fits")
    assert back.split("(")[0] == text.split("(")[0]
    np.testing.assert_allclose(numbers(back), numbers(text), rtol=0, atol=2e-10)


def test_shapes_beside_one_another():
    """Rows have columns of the same width: polygons are filled up with their last corner, and cut again."""
    back = read_regions(region_hdu(SHAPES[:5], "REGION"), "a.fits")
    for text, again in zip(SHAPES, back, strict=False):
        assert len(numbers(again)) == len(numbers(text))
        np.testing.assert_allclose(numbers(again), numbers(text), rtol=0, atol=2e-6)
    assert numbers(back[0])[2] == pytest.approx(0.11, abs=1e-10)


def test_unions():
    union = join_regions([ON, *OFF])
    assert type(from_ds9(union)).__name__ == "CompoundSkyRegion"
    assert split_region(union) == [ON, *OFF]
    assert split_region(ON) == [ON]
    assert join_regions([]) == ""
    back = read_region(region_hdu(union, "REGION"), "a.fits")
    assert split_region(back) == [ON, *OFF]
    with pytest.raises(ValueError, match="not a shape or a union of shapes"):
        region_hdu(f"({ON}) & ({OFF[0]})", "REGION")
