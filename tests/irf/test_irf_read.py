"""Reading: real files of several instruments, odd layouts and units, and bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import BinIndex
from xgamma.irf.aeff import from_parametrization
from xgamma.irf.axes import table_axis
from xgamma.irf.background import powerlaw_background
from xgamma.irf.read import irf_class_of, read_irf
from xgamma.irf.write import irf_to_hdu


def table_of(**columns):
    """A response table from arrays: name=(values, unit)."""
    made = []
    for name, (values, unit) in columns.items():
        data = np.asarray(values, dtype=float)
        dim = str(data.shape[::-1]) if data.ndim > 1 else None
        made.append(fits.Column(name, f"{data.size}D", unit=unit, dim=dim, array=data[np.newaxis]))
    return fits.BinTableHDU.from_columns(made, name="TEST")


def area_table(**changes):
    columns = {
        "ENERG_LO": ([1.0, 2.0, 4.0], "TeV"),
        "ENERG_HI": ([2.0, 4.0, 8.0], "TeV"),
        "THETA_LO": ([0.0, 1.0], "deg"),
        "THETA_HI": ([1.0, 2.0], "deg"),
        "EFFAREA": (np.arange(6.0).reshape(2, 3), "m2"),
    }
    columns.update(changes)
    return table_of(**{k: v for k, v in columns.items() if v is not None})


def test_axes_units_and_order():
    aeff = read_irf(area_table())
    assert aeff.dims == ("energy_true", "offset")
    assert aeff.attrs["units"] == "cm2"
    np.testing.assert_array_equal(aeff.values, np.arange(6.0).reshape(2, 3).T * 1e4)
    assert isinstance(aeff.xindexes["energy_true"], BinIndex)
    assert float(aeff.sel(energy_true=3.0, offset=0.2)) == 1e4


def test_transposed_column_is_detected():
    transposed = read_irf(area_table(EFFAREA=(np.arange(6.0).reshape(2, 3).T, "m2")))
    xr.testing.assert_identical(transposed, read_irf(area_table()))


def test_units_are_converted():
    gev = read_irf(
        area_table(
            ENERG_LO=([1e3, 2e3, 4e3], "GeV"),
            ENERG_HI=([2e3, 4e3, 8e3], "GeV"),
            THETA_LO=([0.0, 60.0], "arcmin"),
            THETA_HI=([60.0, 120.0], "arcmin"),
            EFFAREA=(np.arange(6.0).reshape(2, 3), "km2"),
        )
    )
    np.testing.assert_allclose(gev.values, read_irf(area_table()).values * 1e6)
    np.testing.assert_allclose(gev.energy_true_max, [2, 4, 8])
    np.testing.assert_allclose(gev.offset_max, [1, 2])


def test_nodes_where_lo_equals_hi():
    aeff = read_irf(area_table(THETA_HI=([0.0, 1.0], "deg")))
    np.testing.assert_array_equal(aeff.offset, [0, 1])
    assert table_axis(aeff, "offset").limits == (-0.5, 1.5)
    np.testing.assert_array_equal(table_axis(aeff, "offset").edges, [-0.5, 0.5, 1.5])


def test_scalar_axis():
    aeff = read_irf(area_table(THETA_LO=([0.39], "deg"), THETA_HI=([0.41], "deg"), EFFAREA=([1.0, 2.0, 3.0], "m2")))
    assert aeff.shape == (3, 1)


def test_header_attributes():
    hdu = area_table()
    hdu.header.update({"LO_THRES": 0.5, "HI_THRES": "50", "RAD_MAX": 0.14, "HDUCLAS3": "point-like", "TELESCOP": "X "})
    attrs = read_irf(hdu).attrs
    assert (attrs["lo_thres"], attrs["hi_thres"], attrs["rad_max"]) == (0.5, 50.0, 0.14)
    assert (attrs["is_pointlike"], attrs["telescop"], attrs["hduclass"]) == (1, "X", "AEFF_2D")
    assert "instrume" not in attrs
    hdu.header["LO_THRES"] = "unknown"
    assert "lo_thres" not in read_irf(hdu).attrs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EFFAREA": (np.full((2, 3), np.nan), "m2")}, "'TEST', column EFFAREA: 6 of 6 values are NaN"),
        ({"EFFAREA": (np.full((2, 3), -1.0), "m2")}, "'TEST', column EFFAREA: 6 of 6 values are negative"),
        ({"EFFAREA": (np.ones((2, 2)), "m2")}, r"column EFFAREA has shape \(2, 2\)"),
        ({"EFFAREA": (np.ones((2, 3)), None)}, "column EFFAREA has no unit"),
        ({"EFFAREA": (np.ones((2, 3)), "TeV")}, "column EFFAREA: .*cannot be converted"),
        ({"EFFAREA": (np.ones((2, 3)), "blob")}, "column EFFAREA: .*not a known unit"),
        ({"THETA_LO": None}, "'TEST' has no column THETA_LO; it has"),
        ({"ENERG_LO": ([1.0, 2.0, 4.0], None)}, "column ENERG_LO has no unit"),
        ({"ENERG_LO": ([np.nan, 2.0, 4.0], "TeV")}, "column ENERG_LO: 1 of 3 values are NaN"),
        ({"ENERG_LO": ([0.0, 2.0, 4.0], "TeV")}, "columns ENERG_LO and ENERG_HI: .*positive"),
        ({"ENERG_LO": ([4.0, 2.0, 1.0], "TeV")}, "columns ENERG_LO and ENERG_HI: .*ascend"),
    ],
)
def test_bad_tables_are_refused_in_words(changes, message):
    with pytest.raises(ValueError, match=message):
        read_irf(area_table(**changes))


def test_number_of_rows():
    hdu = area_table()
    empty = fits.BinTableHDU(hdu.data[:0], header=hdu.header, name="EMPTY")
    with pytest.raises(ValueError, match="'EMPTY' has 0 rows"):
        read_irf(empty)


def test_unknown_class():
    with pytest.raises(ValueError, match="class 'aeff_9d' is not one of"):
        read_irf(area_table(), "aeff_9d")
    with pytest.raises(ValueError, match="are not those of a response"):
        irf_class_of(table_of(STUFF=([1.0], "m")))
    with pytest.raises(ValueError, match="has no column MATRIX"):
        read_irf(area_table(MIGRA_LO=([0.5], None), MIGRA_HI=([2.0], None)), "edisp_2d")


@pytest.mark.parametrize("unit", ["1/s/MeV/sr", "s-1 MeV-1 sr-1", "1 / (MeV s sr)", "MeV^-1 s^-1 sr^-1"])
def test_background_units(unit):
    hdu = irf_to_hdu(powerlaw_background("3 s-1 TeV-1 sr-1", index=0))
    hdu.columns["BKG"].unit = unit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_irf(hdu).values, 3.0)


@pytest.mark.parametrize("unit", [None, "counts", "blob"])
def test_unknown_background_unit_is_the_standard_one_with_a_warning(unit):
    hdu = irf_to_hdu(powerlaw_background("3 s-1 TeV-1 sr-1", index=0))
    hdu.columns["BKG"].unit = unit
    with pytest.warns(UserWarning, match="column BKG: unit .* taken as 's-1 MeV-1 sr-1'"):
        np.testing.assert_allclose(read_irf(hdu).values, 3.0)


def test_background_alignment():
    hdu = irf_to_hdu(powerlaw_background(three_d=True))
    for value in ("RADEC", "altaz", "REVERSE_LON_RADEC"):
        hdu.header["FOVALIGN"] = value
        assert read_irf(hdu).attrs["fov_alignment"] == value.upper()
    del hdu.header["FOVALIGN"]
    assert read_irf(hdu).attrs["fov_alignment"] == "RADEC"
    hdu.header["FOVALIGN"] = "SIDEWAYS"
    with pytest.raises(ValueError, match="FOVALIGN = 'SIDEWAYS'"):
        read_irf(hdu)


@pytest.mark.parametrize("layout", ["lat lon energy", "energy lon lat", "energy lat lon", "lon lat energy"])
def test_background_layouts_with_different_lengths(layout):
    bkg = powerlaw_background(sigma="2 deg", bins=4, three_d=True).isel(fov_lat=slice(0, 3))
    names = {"lat": "fov_lat", "lon": "fov_lon", "energy": "energy"}
    values = bkg.transpose(*(names[n] for n in layout.split())).values / 1e6
    hdu = irf_to_hdu(bkg)
    columns = {c.name: (hdu.data[c.name][0], c.unit) for c in hdu.columns}
    columns["BKG"] = (values, "s-1 MeV-1 sr-1")
    np.testing.assert_allclose(read_irf(table_of(**columns)).values, bkg.values)


def test_real_files(responses):
    hess, cta, prod5, magic = (responses[n] for n in ("hess", "cta", "prod5", "magic"))
    assert hess["aeff"].attrs["lo_thres"] == pytest.approx(0.870963589956081)
    assert table_axis(hess["aeff"], "offset").limits == (-0.25, 2.75)
    assert dict(hess["psf"].sizes) == {"energy_true": 32, "offset": 6, "rad": 144}
    assert dict(hess["edisp"].sizes) == {"energy_true": 96, "migra": 160, "offset": 6}
    # CTA-1DC: HDUCLAS4 is '2D', '3D', '3GAUSS'; the background column is BGD in '1/s/MeV/sr'
    assert cta["background"].attrs["hduclass"] == "BKG_3D"
    assert cta["psf"].attrs["hduclass"] == "PSF_3GAUSS"
    assert dict(cta["edisp"].sizes) == {"energy_true": 500, "migra": 300, "offset": 6}
    # Prod5: the background column is transposed
    assert dict(prod5["background"].sizes) == {"energy": 21, "fov_lon": 60, "fov_lat": 60}
    assert set(magic) == {"aeff", "edisp", "rad_max", "hdus"}
    assert magic["aeff"].attrs["is_pointlike"] == 1
    assert responses["joint"]["aeff"].attrs["rad_max"] == pytest.approx(0.1414213)


def test_transposed_and_square_background(responses):
    # symmetric in the field of view: a wrong order of the axes would break this
    prod5 = responses["prod5"]["background"]
    np.testing.assert_allclose(prod5.values, prod5.transpose("energy", "fov_lat", "fov_lon").values, rtol=1e-6)


def test_class_from_columns_alone():
    hdu = irf_to_hdu(from_parametrization())
    del hdu.header["HDUCLAS4"]
    assert irf_class_of(hdu) == "AEFF_2D"
    assert irf_class_of(irf_to_hdu(powerlaw_background()), "bkg_2d") == "BKG_2D"
