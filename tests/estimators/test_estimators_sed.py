"""SED types of flux points against gammapy and closed forms, upper limits, laziness."""

import astropy.units as u
import dask
import numpy as np
import pytest
import xarray as xr
from astropy.table import Table

from xgamma.coords.bins import energy_axis
from xgamma.estimators.sed import flag_upper_limits, recompute_ul, reference_fluxes, to_fits, to_sed_type, to_table
from xgamma.io.flux_layout import flux_attrs
from xgamma.io.flux_tables import flux_points_from_table, read_flux_points
from xgamma.models.power_law import PowerLawSpectralModel

TYPES = ("dnde", "e2dnde", "flux", "eflux", "likelihood")
ERG = 1.602176634  # per TeV
SUFFIXES = ("", "_err", "_errn", "_errp", "_ul", "_sensitivity")


def norms(index=2.3):
    """Three norms of a power law in bins of half a decade, with a quadratic profile."""
    axis = energy_axis("1 TeV", "31.6227766 TeV", nbin=3)
    points = xr.Dataset(coords=axis.coords).assign(reference_fluxes(axis, index))
    values = (
        [1.1, 0.9, 0.2],
        [0.1, 0.2, 0.3],
        [0.09, 0.19, 0.28],
        [0.11, 0.21, 0.32],
        [1.3, 1.3, 0.9],
        [0.3, 0.5, 0.9],
    )
    for suffix, numbers in zip(SUFFIXES, values, strict=True):
        points["norm" + suffix] = ("energy", numbers, flux_attrs("norm" + suffix))
    scan = np.linspace(-1, 4, 26)
    error = points.norm_err.values[:, None]
    points["stat"] = ("energy", [4.0, 5.0, 6.0], flux_attrs("stat"))
    points["stat_scan"] = (
        ("energy", "scan"),
        points.stat.values[:, None] + ((scan - points.norm.values[:, None]) / error) ** 2,
        flux_attrs("stat_scan"),
    )
    points["sqrt_ts"] = ("energy", [11.0, 4.5, 0.7], flux_attrs("sqrt_ts"))
    points = points.assign_coords(norm_scan=("scan", scan, flux_attrs("norm_scan")))
    points.attrs = {"sed_type": "likelihood", "n_sigma_ul": 2.0}
    return points


def power_law(index, power):
    """Integral of E**power times the power law of 1e-12 TeV-1 s-1 cm-2 over the bins, by its closed form."""
    edges = np.geomspace(1, 31.6227766, 4)
    g = power - index + 1
    return 1e-12 * (edges[1:] ** g - edges[:-1] ** g) / g


def test_values_are_norms_times_the_reference():
    points = norms()
    center = points.energy.values
    expected = {
        "dnde": 1e-12 * center**-2.3,
        "e2dnde": ERG * 1e-12 * center**-0.3,
        "flux": power_law(2.3, 0),
        "eflux": ERG * power_law(2.3, 1),
    }
    for sed_type, reference in expected.items():
        converted = to_sed_type(points, sed_type)
        assert converted.sed_type == sed_type
        assert "norm" not in converted
        for suffix in SUFFIXES:
            np.testing.assert_allclose(converted[sed_type + suffix], points["norm" + suffix] * reference, rtol=1e-10)
            assert converted[sed_type + suffix].attrs == flux_attrs(sed_type + suffix)
        xr.testing.assert_identical(converted.sqrt_ts, points.sqrt_ts)


@pytest.mark.parametrize("first", TYPES)
@pytest.mark.parametrize("second", TYPES)
def test_every_type_becomes_every_other_and_comes_back(first, second):
    there = to_sed_type(norms(), first)
    again = to_sed_type(to_sed_type(there, second), first)
    assert set(again.variables) == set(there.variables)
    xr.testing.assert_allclose(again, there, rtol=1e-12, atol=0)
    assert again.attrs == there.attrs
    direct = to_sed_type(norms(), second)
    xr.testing.assert_allclose(to_sed_type(there, second), direct, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reference", [2.3, PowerLawSpectralModel(index=2.3, amplitude="5e-11 TeV-1 s-1 cm-2")])
def test_a_reference_spectrum_where_there_is_none(reference):
    full = norms()
    bare = to_sed_type(full, "dnde").drop_vars(["ref_dnde", "ref_flux", "ref_eflux", "ref_e2dnde"])
    np.testing.assert_allclose(to_sed_type(bare, "flux", reference=reference).flux, to_sed_type(full, "flux").flux)
    np.testing.assert_allclose(to_sed_type(bare, "e2dnde").e2dnde, to_sed_type(full, "e2dnde").e2dnde)
    back = to_sed_type(bare, "likelihood", reference=reference)
    np.testing.assert_allclose(back.norm * back.ref_dnde, bare.dnde)
    with pytest.raises(ValueError, match="pass reference="):
        to_sed_type(bare, "flux")
    with pytest.raises(ValueError, match="pass reference="):
        to_sed_type(bare, "likelihood")


def test_norms_with_one_reference_flux_take_the_shape_of_another():
    points = norms()
    bare = points.drop_vars(["ref_flux", "ref_eflux", "ref_e2dnde"])
    scaled = PowerLawSpectralModel(index=2.3, amplitude="7e-9 TeV-1 s-1 cm-2")
    converted = to_sed_type(bare, "eflux", reference=scaled)
    np.testing.assert_allclose(converted.eflux, to_sed_type(points, "eflux").eflux)
    np.testing.assert_allclose(to_sed_type(bare, "e2dnde").e2dnde, to_sed_type(points, "e2dnde").e2dnde)
    with pytest.raises(ValueError, match="drop these"):
        to_sed_type(points, "flux", reference=2.0)


def test_points_without_bins_have_no_fluxes():
    table = Table({"e_ref": [1.0, 2.0] * u.TeV, "dnde": [1e-12, 3e-12] * u.Unit("TeV-1 cm-2 s-1")})
    points = flux_points_from_table(table)
    np.testing.assert_allclose(to_sed_type(points, "e2dnde").e2dnde, [1e-12 * ERG, 12e-12 * ERG])
    with pytest.raises(ValueError, match="no bins"):
        to_sed_type(points, "flux", reference=2.0)
    assert to_table(points, sed_type="e2dnde").colnames[:2] == ["e_ref", "e2dnde"]


def test_words_for_wrong_arguments():
    points = norms()
    with pytest.raises(ValueError, match=r"sed_type='nufnu' is not known.*eflux"):
        to_sed_type(points, "nufnu")
    with pytest.raises(ValueError, match="must be a spectral model or the index"):
        to_sed_type(points.drop_vars(["ref_flux"]), "flux", reference="pl")
    with pytest.raises(ValueError, match="not flux points"):
        to_sed_type(xr.Dataset({"counts": ("energy", [1.0])}), "dnde")
    with pytest.raises(ValueError, match="sqrt_ts_threshold_ul=nan"):
        flag_upper_limits(points, np.nan)
    with pytest.raises(ValueError, match="n_sigma_ul=-1"):
        recompute_ul(points, -1)
    with pytest.raises(ValueError, match="no profile"):
        recompute_ul(points.drop_vars("stat_scan"))


def test_the_threshold_decides_what_is_a_limit():
    points = norms()
    flagged = flag_upper_limits(points, 5)
    np.testing.assert_array_equal(flagged.is_ul, [False, True, True])
    assert flagged.attrs["sqrt_ts_threshold_ul"] == 5.0
    assert "sqrt_ts_threshold_ul" not in points.attrs
    points["sqrt_ts"][0] = np.nan  # a fit that failed but for its limit
    points["norm"][0] = np.nan
    np.testing.assert_array_equal(flag_upper_limits(points).is_ul, [True, False, True])
    np.testing.assert_array_equal(to_sed_type(flagged, "dnde").is_ul, flagged.is_ul)


@pytest.mark.parametrize("sed_type", TYPES)
@pytest.mark.parametrize("n_sigma_ul", [1.0, 3.0])
def test_limits_from_a_quadratic_profile(sed_type, n_sigma_ul):
    points = norms()
    expected = points.norm + n_sigma_ul * points.norm_err
    limits = recompute_ul(to_sed_type(points, sed_type), n_sigma_ul)
    assert limits.attrs["n_sigma_ul"] == n_sigma_ul
    np.testing.assert_allclose(to_sed_type(limits, "likelihood").norm_ul, expected, rtol=1e-9)
    # also where the minimum has to be found in the profile
    np.testing.assert_allclose(recompute_ul(points.drop_vars("stat"), n_sigma_ul).norm_ul, expected, rtol=1e-9)


def test_a_profile_that_ends_too_early_has_no_limit():
    points = norms().isel(scan=slice(0, 12))
    assert np.isnan(recompute_ul(points, 5).norm_ul).all()


def test_lazy_points_stay_lazy():
    points = norms()
    points["is_ul"] = flag_upper_limits(points).is_ul
    lazy = points.chunk(energy=1)

    def raising(*args, **kwargs):
        pytest.fail("computed")

    with dask.config.set(scheduler=raising):
        results = [to_sed_type(lazy, t) for t in TYPES] + [recompute_ul(lazy, 3), flag_upper_limits(lazy, 3)]
    for result in results:
        assert result.chunks
    expected = [to_sed_type(points, t) for t in TYPES] + [recompute_ul(points, 3), flag_upper_limits(points, 3)]
    for result, eager in zip(results, expected, strict=True):
        xr.testing.assert_allclose(result.compute(), eager, rtol=1e-14, atol=0)


@pytest.mark.parametrize("sed_type", TYPES)
@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
def test_files_hold_the_type_asked_for(tmp_path, sed_type, suffix):
    points = norms()
    again = read_flux_points(to_fits(points, tmp_path / f"a{suffix}", sed_type=sed_type))
    assert again.sed_type == sed_type
    expected = flag_upper_limits(to_sed_type(points, sed_type)).drop_attrs()
    xr.testing.assert_allclose(again.drop_attrs(), expected, rtol=1e-15, atol=0)
    # the reference goes with the points: all types can be made of them again
    back = to_sed_type(again, "likelihood")
    np.testing.assert_allclose(back.norm_ul, points.norm_ul)
    assert str(to_table(points, sed_type=sed_type).meta["SED_TYPE"]) == sed_type


def test_a_table_with_a_reference_for_fluxes():
    table = Table({"e_min": [1.0] * u.TeV, "e_max": [4.0] * u.TeV, "dnde": [1e-12] * u.Unit("TeV-1 cm-2 s-1")})
    flux = to_table(flux_points_from_table(table), sed_type="flux", reference=2.0)["flux"]
    np.testing.assert_allclose(u.Quantity(flux).to_value("m-2 s-1"), [3e-8])


@pytest.mark.real_data
def test_limits_of_the_crab_nebula_follow_from_their_profile(gammapy_data):
    points = read_flux_points(gammapy_data / "estimators/crab_hess_fp/crab_hess_fp.fits")
    # a scan of 11 norms: the fit's own limits to a thousandth; gammapy 2.1's recompute_ul(3) differs by as much
    np.testing.assert_allclose(recompute_ul(points, 3).norm_ul, points.norm_ul, rtol=1e-3)
    np.testing.assert_allclose(
        recompute_ul(points, 4).norm_ul[1:], [1.28299174, 1.62626813, 1.81426480, 2.03439694], rtol=2e-3
    )
    dnde = to_sed_type(points, "dnde")
    # gammapy 2.1: FluxPoints.read(...).to_table(sed_type="dnde")["dnde"]
    np.testing.assert_allclose(dnde.dnde[1], 0.98882233 * 2.36893203e-11, rtol=1e-7)
    np.testing.assert_allclose(to_sed_type(dnde, "eflux").eflux_ul[1], 1.20586657 * 3.80057143e-11 * ERG, rtol=1e-7)


@pytest.mark.real_data
def test_the_hawc_spectrum_in_other_types(gammapy_data):
    points = read_flux_points(gammapy_data / "hawc/crab_flux/HAWC19_flux_points.fits")
    # gammapy 2.1 takes a power law of index 2 where there is no reference: to_table(sed_type="flux")["flux"]
    np.testing.assert_allclose(
        to_sed_type(points, "flux", reference=2.0).flux[:2], [1.42252703e-11, 5.77985349e-12], rtol=1e-7
    )
