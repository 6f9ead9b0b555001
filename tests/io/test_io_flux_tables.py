"""Tables of flux points in every layout: read, written, read again, by gammapy too; and bad ones in words."""

import json
import subprocess

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.table import Table
from astropy.time import Time, TimeDelta

from xgamma.coords.bins import bin_axis
from xgamma.io.flux_layout import flux_attrs, limit_flags, sed_type_of
from xgamma.io.flux_tables import flux_points_from_table, read_flux_points
from xgamma.io.flux_write import flux_points_table, write_flux_points

EDGES = np.array([1.0, 2.0, 4.0, 8.0])
CENTER = np.sqrt(EDGES[1:] * EDGES[:-1])
UNITS = {"dnde": "TeV-1 cm-2 s-1", "e2dnde": "erg cm-2 s-1", "flux": "cm-2 s-1", "eflux": "erg cm-2 s-1"}
J2000 = Time("2000-01-01T12:00:00", scale="tt")


def table(sed_type="dnde", n=3, **more):
    base = "norm" if sed_type == "likelihood" else sed_type
    unit = u.Unit(UNITS.get(sed_type, ""))
    values = np.arange(1.0, n + 1) * (1.0 if sed_type == "likelihood" else 1e-12)
    result = Table({"e_ref": CENTER[:n] * u.TeV, "e_min": EDGES[:n] * u.TeV, "e_max": EDGES[1 : n + 1] * u.TeV})
    for suffix, factor in (("", 1), ("_err", 0.2), ("_errn", 0.19), ("_errp", 0.21), ("_ul", 1.4)):
        result[base + suffix] = factor * values * unit
    result["ts"] = np.array([50.0, 9.0, 1.0])[:n]
    result.meta["SED_TYPE"] = sed_type
    result.meta["UL_CONF"] = 0.9544997
    for name, value in more.items():
        result[name] = value
    return result


def full_points(outer=None):
    """Flux points with every variable there is; `outer` is None, "region" or "time"."""
    rng = np.random.default_rng(1)
    size = {"energy": 3, "dataset": 2, "scan": 5} | ({outer: 2} if outer else {})
    base = ("energy",) if outer is None else (outer, "energy")
    points = flux_points_from_table(table("likelihood"))
    points = points.drop_vars(list(points.data_vars))

    def variable(name, dims):
        return dims, rng.random([size[d] for d in dims]), flux_attrs(name)

    for name in ("norm", "norm_err", "norm_errn", "norm_errp", "norm_ul", "norm_sensitivity", "ts", "sqrt_ts", "stat"):
        points[name] = variable(name, base)
    for name in ("ref_dnde", "ref_flux", "ref_eflux", "ref_e2dnde"):
        points[name] = variable(name, ("energy",))
    for name in ("npred", "npred_excess", "counts"):
        points[name] = variable(name, (*base, "dataset"))
    points["stat_scan"] = variable("stat_scan", (*base, "scan"))
    for name in ("is_ul", "success"):
        points[name] = (base, rng.random([size[d] for d in base]) > 0.5, flux_attrs(name))
    points = points.assign_coords(
        norm_scan=("scan", np.linspace(0.2, 5, 5), flux_attrs("norm_scan")), dataset=("dataset", ["hess", "magic"])
    )
    if outer == "time":
        axis = bin_axis("time", [0.0, 1800.0], [1700.0, 3600.0], "s", interp="lin", long_name="Time since J2000.0 (TT)")
        points = points.assign_coords(axis.coords)
    if outer == "region":
        for name, label, values in (
            ("distance", "Distance", [0.05, 0.15]),
            ("distance_min", "lower edge of distance", [0.0, 0.1]),
            ("distance_max", "upper edge of distance", [0.1, 0.2]),
        ):
            points = points.assign_coords({name: ("region", values, {"units": "deg", "long_name": label})})
        points = points.assign_coords(region=("region", ["circle(1,2,0.1)", "annulus(1,2,0.1,0.2)"]))
    points.attrs = {
        "sed_type": "likelihood",
        "sqrt_ts_threshold_ul": 3.0,
        "n_sigma": 1.0,
        "n_sigma_ul": 1.645,
        "model": "a: 1\nb: [2]\n",
    }
    return points


# ---------------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize("sed_type", ["dnde", "e2dnde", "flux", "eflux", "likelihood"])
def test_every_sed_type_is_read_in_canonical_units(sed_type):
    source = table(sed_type)
    points = flux_points_from_table(source)
    base = "norm" if sed_type == "likelihood" else sed_type
    assert points.attrs == {"sed_type": sed_type, "sqrt_ts_threshold_ul": 2.0, "n_sigma_ul": 2.0}
    np.testing.assert_allclose(points[base], source[base].value)
    assert points[base].attrs == flux_attrs(base)
    np.testing.assert_allclose(points.energy_min, EDGES[:-1])
    np.testing.assert_allclose(points.sqrt_ts, np.sqrt([50, 9, 1]))
    np.testing.assert_array_equal(points.is_ul, [False, False, True])
    assert points.sel(energy=3.0)[base].item() == source[base].value[1]
    del source.meta["SED_TYPE"]
    assert flux_points_from_table(source).sed_type == sed_type


def test_other_units_and_upper_case_and_photons():
    source = Table(
        {
            "E_REF": [1e9, 2e9] * u.keV,
            "DNDE": [1e-7, 2e-7] * u.Unit("ph TeV-1 m-2 s-1"),
            "DNDE_UL": [1e-9, 1e-9] * u.Unit("erg-1 cm-2 s-1"),
        }
    )
    points = flux_points_from_table(source)
    np.testing.assert_allclose(points.energy, [1.0, 2.0])
    np.testing.assert_allclose(points.dnde, [1e-11, 2e-11])
    np.testing.assert_allclose(points.dnde_ul, 1e-9 * 1.602176634)
    assert points.energy_min.values.tolist() == points.energy_max.values.tolist()  # no bins, energies only


def test_rows_come_in_order_and_masked_cells_are_nan():
    source = Table(table()[[2, 0, 1]], masked=True)
    source["dnde_err"].mask = [False, True, False]
    points = flux_points_from_table(source)
    np.testing.assert_allclose(points.dnde, [1e-12, 2e-12, 3e-12])
    np.testing.assert_allclose(points.dnde_err, [np.nan, 4e-13, 6e-13])
    reverse = source[::-1]
    xr.testing.assert_identical(flux_points_from_table(reverse), points)


def test_only_limits_are_limits():
    source = table()["e_ref", "e_min", "e_max", "dnde_ul"]
    del source.meta["SED_TYPE"]
    points = flux_points_from_table(source)
    assert points.sed_type == "dnde"
    assert points.is_ul.all()
    assert "dnde" not in points
    again = flux_points_from_table(flux_points_table(points))
    xr.testing.assert_identical(again, points)


def test_limits_without_significance_are_points_without_value():
    points = flux_points_from_table(table()["e_ref", "dnde", "dnde_ul"])
    assert not limit_flags(points).any()
    points["dnde"][1] = np.nan
    np.testing.assert_array_equal(limit_flags(points), [False, True, False])


def test_the_log_likelihood_counts_twice():
    more = {"loglike": [1.0, 2.0, 3.0], "loglike_null": [4.0, 5.0, 6.0], "dloglike_scan": -np.ones((3, 4))}
    points = flux_points_from_table(table("likelihood", norm_scan=np.tile(np.arange(4.0), (3, 1)), **more))
    np.testing.assert_allclose(points.stat, [2, 4, 6])
    np.testing.assert_allclose(points.stat_null, [8, 10, 12])
    np.testing.assert_allclose(points.stat_scan, np.array([[4.0], [6], [8]]) * np.ones(4))
    np.testing.assert_allclose(points.norm_scan, np.arange(4.0))


def test_norms_of_a_scan_may_differ_between_points():
    norms = np.arange(12.0).reshape(3, 4)
    points = flux_points_from_table(table("likelihood", norm_scan=norms, stat_scan=norms**2))
    assert points.norm_scan.dims == ("energy", "scan")
    xr.testing.assert_identical(flux_points_from_table(flux_points_table(points)), points)


@pytest.mark.parametrize("conf", [0.9544997, 0.9973002, 0.6826895])
def test_the_confidence_becomes_standard_deviations(conf):
    source = table()
    source.meta["UL_CONF"] = conf
    assert flux_points_from_table(source).n_sigma_ul == {0.9544997: 2.0, 0.9973002: 3.0, 0.6826895: 1.0}[conf]


def test_light_curves_of_one_energy_without_vectors():
    times = Table(
        {
            "time_min": [53000.5, 53000.25],
            "time_max": [53000.6, 53000.45],
            "e_ref": [2.0, 2.0] * u.TeV,
            "e_min": [1.0, 1.0] * u.TeV,
            "e_max": [4.0, 4.0] * u.TeV,
            "flux": [1e-11, 2e-11] * u.Unit("cm-2 s-1"),
            "npred": [[3.0, 1.0], [4.0, 2.0]],
        }
    )
    points = flux_points_from_table(times)
    assert dict(points.flux.sizes) == {"time": 2, "energy": 1}
    assert points.npred.dims == ("time", "energy", "dataset")
    np.testing.assert_allclose(points.flux[:, 0], [2e-11, 1e-11])
    expected = (Time([53000.25, 53000.5], format="mjd", scale="tt") - J2000).to_value("s")
    np.testing.assert_allclose(points.time_min, expected, rtol=1e-12)
    times.meta.update(MJDREFI=53000, MJDREFF=0.0, TIMESYS="utc", TIMEUNIT="s")
    times["time_min"], times["time_max"] = [10.0, 0.0], [20.0, 10.0]
    begin = Time("2003-12-27T00:00:00", scale="utc")
    assert flux_points_from_table(times).time_min[0] == pytest.approx((begin - J2000).to_value("s"))


def test_a_binned_time_series_of_gammapy_needs_energies():
    series = Table({"time_bin_start": Time([53000.0, 53000.5], format="mjd", scale="tt")})
    series["time_bin_size"] = TimeDelta([0.1, 0.2], format="jd", scale="tt")
    series["flux"] = [1e-11, 2e-11] * u.Unit("cm-2 s-1")
    series["counts"] = [[3.0, 1.0], [4.0, 2.0]]
    with pytest.raises(ValueError, match=r"no energies.*energy_edges"):
        flux_points_from_table(series)
    points = flux_points_from_table(series, energy_edges=["1 TeV", "10 TeV"])
    np.testing.assert_allclose(points.flux, [[1e-11], [2e-11]])
    np.testing.assert_allclose(points.time_max - points.time_min, [8640.0, 17280.0])
    assert points.counts.dims == ("time", "energy", "dataset")


# ---------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".ecsv"])
@pytest.mark.parametrize("outer", [None, "region", "time"])
def test_everything_comes_back_identical(tmp_path, suffix, outer):
    points = full_points(outer)
    file = write_flux_points(points, tmp_path / f"points{suffix}")
    again = read_flux_points(file)
    xr.testing.assert_identical(again, points)
    assert again.sel(energy=3.0).energy.item() == CENTER[1]
    with pytest.raises(FileExistsError):
        write_flux_points(points, file)
    write_flux_points(points, file, overwrite=True)


def test_lazy_points_are_written(tmp_path):
    points = full_points()
    xr.testing.assert_identical(
        read_flux_points(write_flux_points(points.chunk(energy=1), tmp_path / "a.fits")), points
    )


def test_good_times_are_kept(tmp_path):
    points = full_points().assign(
        gti_start=("gti", [0.0, 2000.0], {"units": "s"}), gti_stop=("gti", [1700.0, 3600.0], {"units": "s"})
    )
    again = read_flux_points(write_flux_points(points, tmp_path / "a.fits"))
    np.testing.assert_allclose(again.gti_stop, [1700.0, 3600.0])


def test_one_energy_as_a_time_series(tmp_path):
    points = full_points("time").isel(energy=[1])
    file = write_flux_points(points, tmp_path / "series.ecsv", format="binned-time-series")
    again = read_flux_points(file)
    np.testing.assert_allclose(again.norm, points.norm)
    np.testing.assert_allclose(again.time_max, points.time_max, atol=1e-5)
    np.testing.assert_allclose(again.energy_max, points.energy_max)
    from astropy.timeseries import BinnedTimeSeries

    series = BinnedTimeSeries.read(file, format="ascii.ecsv")
    np.testing.assert_allclose(series["norm"], points.norm[:, 0])
    with pytest.raises(ValueError, match="written as ECSV"):
        write_flux_points(points, tmp_path / "series.fits", format="binned-time-series")
    with pytest.raises(ValueError, match="not 3"):
        flux_points_table(full_points("time"), "binned-time-series")


def test_dims_that_no_layout_has():
    points = full_points().expand_dims(obs=[1, 2])
    with pytest.raises(ValueError, match=r"points.isel\(obs=0\)"):
        flux_points_table(points)
    with pytest.raises(ValueError, match="lightcurve"):
        flux_points_table(full_points(), "lightcurve")
    with pytest.raises(ValueError, match="format='fits'"):
        flux_points_table(full_points(), "fits")
    one = points.isel(obs=0)
    assert flux_points_from_table(flux_points_table(one)).obs.item() == 1
    with pytest.raises(ValueError, match="distance"):
        flux_points_table(full_points("region").drop_vars("distance"))
    with pytest.raises(ValueError, match="ends neither"):
        write_flux_points(full_points(), "points.txt")


# ---------------------------------------------------------------------------------------------- bad input
def broken(**changes):
    result = table()
    for name, value in changes.items():
        if value is None:
            result.remove_column(name)
        else:
            result[name] = value
    return result


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (broken(e_ref=None, e_min=None), "no energies"),
        (broken(e_ref=[1.0, np.nan, 5.0] * u.TeV), "'e_ref' holds energies that are not positive"),
        (broken(e_ref=[-1.0, 3.0, 5.0] * u.TeV), "not positive"),
        (broken(e_ref=[1.0, 1.0, 5.0] * u.TeV, e_min=[1.0, 1.0, 5.0] * u.TeV), "not those of one spectrum"),
        (broken(e_ref=[1.0, 3.0, 5.0]), "'e_ref' has no unit"),
        (broken(dnde=[1.0, 3.0, 5.0]), "'dnde' has no unit"),
        (broken(dnde=[1.0, 3.0, 5.0] * u.m), "'dnde' has the unit 'm'"),
        (broken(dnde=None, dnde_ul=None), "'dnde' needs a column 'dnde' or 'dnde_ul'"),
        (broken(ts=np.ones((3, 4))), "cells of shape"),
    ],
)
def test_bad_tables_say_what_is_wrong(source, words):
    with pytest.raises(ValueError, match=words):
        flux_points_from_table(source)


def test_wrong_types_and_formats_say_what_exists():
    source = table()
    source.meta["SED_TYPE"] = "flux"
    with pytest.raises(ValueError, match="pass sed_type='dnde'"):
        flux_points_from_table(source)
    assert flux_points_from_table(source, sed_type="dnde").sed_type == "dnde"
    source.meta["SED_TYPE"] = "nufnu"
    with pytest.raises(ValueError, match=r"SED_TYPE='nufnu' is not known.*dnde"):
        flux_points_from_table(source)
    with pytest.raises(ValueError, match="format='sed' is not known"):
        flux_points_from_table(source, format="sed")
    profile = Table({"e_ref": [[1.0]] * u.TeV, "x_min": [0.0] * u.deg})
    profile["dnde"] = [[1.0]] * u.Unit("TeV-1 cm-2 s-1")
    with pytest.raises(ValueError, match="needs the columns"):
        flux_points_from_table(profile)
    source = table()
    source.meta["UL_CONF"] = 2.0
    with pytest.raises(ValueError, match="UL_CONF"):
        flux_points_from_table(source)
    with pytest.raises(ValueError, match="no values of a SED type"):
        flux_points_from_table(Table({"e_ref": [1.0] * u.TeV, "ts": [1.0]}))
    rows = Table({"time_min": [1.0, 2.0], "time_max": [2.0, 3.0], "e_ref": [[1.0], [2.0]] * u.TeV})
    rows["dnde"] = [[1.0], [1.0]] * u.Unit("TeV-1 cm-2 s-1")
    with pytest.raises(ValueError, match="'e_ref' differs between rows"):
        flux_points_from_table(rows)


def test_bad_files_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_flux_points(tmp_path / "none.fits")
    with pytest.raises(IsADirectoryError, match="folder"):
        read_flux_points(tmp_path)
    (tmp_path / "a.txt").write_text("1 2 3\n")
    with pytest.raises(ValueError, match="neither a FITS nor an ECSV"):
        read_flux_points(tmp_path / "a.txt")
    from astropy.io import fits

    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "map.fits")
    with pytest.raises(ValueError, match="no table of flux points"):
        read_flux_points(tmp_path / "map.fits")
    broken(e_ref=None, e_min=None).write(tmp_path / "b.ecsv")
    with pytest.raises(ValueError, match=r"b\.ecsv: the table has no energies"):
        read_flux_points(tmp_path / "b.ecsv")
    with pytest.raises(ValueError, match="these are not flux points"):
        sed_type_of(xr.Dataset({"counts": ("energy", [1.0])}))
    with pytest.raises(ValueError, match="need 'flux' or 'flux_ul'"):
        sed_type_of(xr.Dataset({"counts": ("energy", [1.0])}, attrs={"sed_type": "flux"}))


# ---------------------------------------------------------------------------------------------- files of others
@pytest.mark.real_data
def test_files_of_the_public_data_sets(gammapy_data, tmp_path):
    hawc = read_flux_points(gammapy_data / "hawc/crab_flux/HAWC19_flux_points.fits")
    assert hawc.sed_type == "dnde"
    np.testing.assert_allclose(hawc.dnde[:2], [1.82375260e-11, 4.18829963e-12])
    np.testing.assert_array_equal(hawc.is_ul, [False] * 9 + [True])
    assert hawc.sqrt_ts[0] == pytest.approx(np.sqrt(2734))
    crab = read_flux_points(gammapy_data / "estimators/crab_hess_fp/crab_hess_fp.fits")
    assert crab.n_sigma_ul == 3.0
    assert not crab.success[0]
    np.testing.assert_allclose(crab.norm[1], 0.98882233)
    np.testing.assert_allclose(crab.ref_eflux[1] / 1.602176634, 3.80057143e-11)  # TeV in the file
    assert dict(crab.stat_scan.sizes) == {"energy": 5, "scan": 11}
    flare = read_flux_points(gammapy_data / "estimators/pks2155_hess_lc/pks2155_hess_lc_3bins.fits")
    assert dict(flare.norm.sizes) == {"time": 34, "energy": 3}
    assert flare.ref_dnde.dims == ("energy",)
    assert flare.npred.dims == ("time", "energy", "dataset")
    expected = (Time([53945.85492111, 53945.86186556], format="mjd", scale="tt") - J2000).to_value("s")
    np.testing.assert_allclose([flare.time_min[0], flare.time_max[0]], expected, atol=1e-3)
    single = read_flux_points(gammapy_data / "estimators/pks2155_hess_lc/pks2155_hess_lc.fits")
    assert dict(single.norm.sizes) == {"time": 34, "energy": 1}
    for points in (hawc, crab, flare, single):
        for suffix in (".fits", ".ecsv"):
            again = read_flux_points(write_flux_points(points, tmp_path / f"a{suffix}", overwrite=True))
            drop = [n for n in ("gti_start", "gti_stop") if n in points]
            xr.testing.assert_identical(again.drop_vars(drop, errors="ignore"), points.drop_vars(drop))


READ = """
import sys, json
from gammapy.estimators import FluxPoints
for name in sys.argv[1:]:
    points = FluxPoints.read("ours" + name)
    names = ["dnde", "norm_ul", "ts", "npred", "stat_scan", "is_ul"]
    result = {n: getattr(points, n).quantity.value.squeeze().tolist() for n in names}
    result["energy"] = points.energy_ref.to_value("TeV").tolist()
    result["n_sigma_ul"] = points.meta.get("n_sigma_ul")
    result["axes"] = points.geom.axes.names
    points.write("theirs" + name, sed_type="dnde", overwrite=True)
    json.dump(result, open(name + ".json", "w"), default=float)
"""


@pytest.mark.gammapy
@pytest.mark.slow
def test_gammapy_reads_what_is_written_and_is_read(gammapy_python, tmp_path):
    cases = {
        f"_{outer}{suffix}": full_points(outer) for outer in (None, "region", "time") for suffix in (".fits", ".ecsv")
    }
    for name, points in cases.items():
        points.attrs["n_sigma_ul"] = 2.0
        points["success"][:] = True  # gammapy hides values of fits without success
        write_flux_points(points, tmp_path / f"ours{name}")
    subprocess.run([gammapy_python, "-W", "ignore", "-c", READ, *cases], cwd=tmp_path, capture_output=True, check=True)
    for name, points in cases.items():
        theirs = json.loads((tmp_path / f"{name}.json").read_text())
        np.testing.assert_allclose(theirs["energy"], points.energy)
        np.testing.assert_allclose(theirs["norm_ul"], points.norm_ul)
        np.testing.assert_allclose(theirs["dnde"], points.norm * points.ref_dnde)
        np.testing.assert_allclose(theirs["ts"], points.ts)
        np.testing.assert_array_equal(np.array(theirs["is_ul"], dtype=bool), points.is_ul)
        again = read_flux_points(tmp_path / f"theirs{name}")
        assert again.sed_type == "dnde"
        np.testing.assert_allclose(again.dnde, points.norm * points.ref_dnde)
        np.testing.assert_allclose(again.dnde_err, points.norm_err * points.ref_dnde)
        np.testing.assert_allclose(again.counts, points.counts)
        if "time" in points.dims:
            assert "time" in theirs["axes"]
            np.testing.assert_allclose(again.time_min, points.time_min, atol=1e-5)
        elif "region" in points.dims:
            assert "projected-distance" in theirs["axes"]
            np.testing.assert_allclose(again.distance_max, points.distance_max)
        else:
            assert theirs["n_sigma_ul"] == 2.0
            np.testing.assert_allclose(theirs["stat_scan"], points.stat_scan)
            np.testing.assert_allclose(theirs["npred"], points.npred)
