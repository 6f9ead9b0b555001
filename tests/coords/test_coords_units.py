"""Units: converted once at the boundary, set on every output."""

from __future__ import annotations

import dask.base
import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from xgamma.coords.units import angle_pair, canonical_attrs, conversion_factor, quantity, to_unit, to_value, units_of


def area(units="m2"):
    return xr.DataArray([1.0, 2.0], dims="x", attrs={"units": units})


class TestBoundary:
    @pytest.mark.parametrize(
        ("value", "unit", "expected"),
        [
            ("0.5 TeV", "GeV", 500.0),
            (30 * u.arcmin, "deg", 0.5),
            (["1 TeV", 2000 * u.GeV], "TeV", [1.0, 2.0]),
            (area(), "cm2", [1e4, 2e4]),
            (3, "", 3.0),
            ([1, 2] * u.m, "cm", [100.0, 200.0]),
        ],
    )
    def test_values(self, value, unit, expected):
        np.testing.assert_allclose(to_value(value, unit), expected, rtol=1e-14)

    @pytest.mark.parametrize("value", [3.0, "3", "3 kg", "three deg", [1, 2], None, np.nan * u.deg, xr.DataArray(1.0)])
    def test_wrong_or_missing_units_raise_with_the_name(self, value):
        with pytest.raises(ValueError, match="width="):
            to_value(value, "deg", "width")

    def test_pairs(self):
        assert angle_pair("1 deg", "width") == (1.0, 1.0)
        assert angle_pair((1 * u.deg, "30 arcmin"), "width") == (1.0, 0.5)
        for bad in (("1 deg",), "0 deg", "inf deg", [1, 2] * u.deg):
            with pytest.raises(ValueError, match="width="):
                angle_pair(bad, "width")

    def test_factors(self):
        assert conversion_factor("m2 s", "cm2 s") == 1e4
        with pytest.raises(ValueError, match="cannot be converted"):
            conversion_factor("m2", "s")
        with pytest.raises(ValueError, match="not a known unit"):
            conversion_factor("parrots", "s")

    @given(value=st.floats(1e-30, 1e30))
    def test_there_and_back(self, value):
        assert to_value(to_value(value * u.TeV, "erg") * u.erg, "TeV") == pytest.approx(value, rel=1e-13)


class TestArrays:
    def test_conversion_keeps_laziness_and_attributes(self):
        lazy = area().chunk(x=1)
        lazy.attrs["long_name"] = "Area"
        converted = to_unit(lazy, "cm2")
        assert converted.chunks is not None
        assert converted.attrs == {"units": "cm2", "long_name": "Area"}
        np.testing.assert_array_equal(converted.values, [1e4, 2e4])

    def test_missing_unit_is_said(self):
        with pytest.raises(ValueError, match=r"no attrs\['units'\]"):
            units_of(xr.DataArray(1.0))

    def test_quantity(self):
        assert quantity(area())[1] == 2 * u.m**2
        assert canonical_attrs("sr") == {"units": "sr"}


class TestTraps:
    """Why arrays hold no quantities, and why units are set and never trusted after raw arithmetic."""

    def test_arithmetic_of_xarray_keeps_units_that_are_wrong(self):
        with xr.set_options(keep_attrs=True):
            ratio = area() / area()
        assert ratio.attrs["units"] == "m2"
        assert to_unit(ratio.assign_attrs(units=""), "").attrs["units"] == ""

    def test_dask_takes_equal_numbers_in_other_units_for_one_task(self):
        """If this fails, Dask has learnt about units, and the rule against quantities may be thought over."""
        tev, gev = np.arange(4.0) * u.TeV, np.arange(4.0) * u.GeV
        assert dask.base.tokenize(tev) == dask.base.tokenize(gev)

    def test_conversions_never_hold_a_quantity(self):
        assert type(to_unit(area(), "cm2").data) is np.ndarray
        assert type(to_value([1, 2] * u.m, "cm")) is np.ndarray
