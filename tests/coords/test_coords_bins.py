"""Binned axes: construction, BinIndex under what xarray does to it."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from hypothesis import given, settings
from hypothesis import strategies as st

import xgamma as xg
from xgamma.coords.bins import BinIndex, axis_of, bin_axis, bin_edges, energy_axis, rename_axis, restore_bins

NAMES = ["energy", "energy_min", "energy_max"]


def spectrum(axis=None, chunks=None):
    """Counts 0, 1, 2, ... on 1, 2, 4, 8, 16 TeV."""
    axis = energy_axis("1 TeV", "16 TeV", nbin=4) if axis is None else axis
    array = xr.DataArray(np.arange(float(axis.size)), axis.coords, ("energy",), name="counts")
    return array if chunks is None else array.chunk(energy=chunks)


def is_binned(obj, name="energy"):
    return all(isinstance(obj.xindexes.get(n), BinIndex) for n in (name, f"{name}_min", f"{name}_max"))


class TestConstruction:
    def test_log_and_lin(self):
        log = energy_axis("1 TeV", "100 TeV", nbin=2)
        np.testing.assert_allclose(bin_edges(log), [1, 10, 100])
        np.testing.assert_allclose(log.values, [10**0.5, 10**1.5])
        lin = energy_axis("1 TeV", "3 TeV", nbin=2, interp="lin")
        np.testing.assert_allclose(lin.values, [1.5, 2.5])
        assert log.energy.attrs == {"units": "TeV", "long_name": "Energy", "interp": "log"}

    def test_per_decade_rounds_up_to_whole_bins(self):
        assert energy_axis("0.1 TeV", "100 TeV", nbin=5, per_decade=True).size == 15
        assert energy_axis("0.1 TeV", "50 TeV", nbin=5, per_decade=True).size == 14
        assert energy_axis(0.1 * u.TeV, 0.3 * 10 / 3 * 100 * u.TeV, nbin=3, per_decade=True).size == 9

    def test_from_edges_in_any_unit(self):
        np.testing.assert_allclose(bin_edges(energy_axis(edges=[500, 1000, 3000] * u.GeV)), [0.5, 1, 3])
        np.testing.assert_allclose(bin_edges(energy_axis(edges=["500 GeV", "1 TeV"])), [0.5, 1])

    @pytest.mark.parametrize(
        ("args", "options", "text"),
        [
            ((1.0, "2 TeV", 3), {}, "energy_min=1.0 must be given in a unit"),
            (("1 m", "2 TeV", 3), {}, "unit that converts to 'TeV'"),
            (("3 TeV", "2 TeV", 3), {}, "must lie above"),
            (("-1 TeV", "2 TeV", 3), {}, "must be positive"),
            (("1 TeV", "2 TeV", 0), {}, "whole number of at least 1"),
            (("1 TeV", "2 TeV", 1.5), {}, "whole number"),
            (("1 TeV", "2 TeV"), {}, "give energy_min, energy_max and nbin, or edges"),
            (("1 TeV",), {"edges": [1, 2] * u.TeV}, "not both"),
            ((), {"edges": [1] * u.TeV}, "at least two edges"),
            ((), {"edges": [1, 3, 2] * u.TeV}, "must ascend"),
            ((), {"edges": [1, np.inf] * u.TeV}, "not finite"),
            ((), {"edges": [1, np.nan] * u.TeV}, "NaN"),
            ((), {"edges": [0, 1] * u.TeV}, "positive edges"),
            (("1 TeV", "2 TeV", 2), {"interp": "sqrt"}, "must be 'log' or 'lin'"),
            (("1 TeV", "2 TeV", 2), {"interp": "lin", "per_decade": True}, "per_decade needs"),
        ],
    )
    def test_bad_input_is_refused_in_words(self, args, options, text):
        with pytest.raises(ValueError, match=text):
            energy_axis(*args, **options)

    def test_rename_axis(self):
        true = rename_axis(energy_axis("1 TeV", "10 TeV", nbin=2), "energy_true")
        assert true.dims == ("energy_true",)
        assert is_binned(true, "energy_true")
        assert true.attrs["long_name"] == "True energy"

    def test_axis_of_one_selected_bin(self):
        axis = axis_of(spectrum().sel(energy=3.0), "energy")
        np.testing.assert_allclose(bin_edges(axis), [2, 4])

    def test_edges_of_gaps_are_refused(self):
        with pytest.raises(ValueError, match="gaps"):
            bin_edges(spectrum().isel(energy=[0, 2]))
        with pytest.raises(ValueError, match="no binned axis 'rad'"):
            bin_edges(spectrum(), "rad")


class TestSelection:
    @pytest.mark.parametrize(("value", "expected"), [(1.0, 0), (1.9999, 0), (2.0, 1), (5.0, 2), (15.99, 3)])
    def test_value_finds_the_bin_that_contains_it(self, value, expected):
        """3.9 lies nearer to the next centre, 5.66: a nearest label would be the wrong bin."""
        assert float(spectrum().sel(energy=value)) == expected
        assert float(spectrum().sel(energy=3.9)) == 1

    @pytest.mark.parametrize("value", [0.99, 16.0, 100.0, np.nan])
    def test_out_of_range_raises_key_error(self, value):
        with pytest.raises(KeyError, match="outside the bins of 'energy'"):
            spectrum().sel(energy=value)

    def test_vector(self):
        np.testing.assert_array_equal(spectrum().sel(energy=[1.5, 9.0]).values, [0, 3])
        found = spectrum().sel(energy=xr.DataArray([9.0, 1.5], dims="source"))
        assert found.dims == ("source",)
        np.testing.assert_array_equal(found.values, [3, 0])

    @pytest.mark.parametrize(
        ("key", "expected"),
        [(slice(2, 8), [1, 2]), (slice(1.5, 8), [1, 2]), (slice(None, 4), [0, 1]), (slice(4, None), [2, 3]),
         (slice(2 * (1 + 1e-9), 8 * (1 - 1e-9)), [1, 2]), (slice(20, 30), [])],
    )  # fmt: skip
    def test_slice_takes_the_bins_inside(self, key, expected):
        part = spectrum().sel(energy=key)
        np.testing.assert_array_equal(part.values, expected)
        assert is_binned(part)

    @pytest.mark.parametrize(("value", "expected"), [(0.1, 0), (3.9, 1), (100.0, 3)])
    def test_nearest(self, value, expected):
        assert float(spectrum().sel(energy=value, method="nearest")) == expected

    @pytest.mark.parametrize(
        ("labels", "options", "error"),
        [
            ({"energy": 1 * u.GeV}, {}, TypeError),
            ({"energy": "1 TeV"}, {}, TypeError),
            ({"energy": slice(1 * u.TeV, 2 * u.TeV)}, {}, TypeError),
            ({"energy": 3.0}, {"method": "pad"}, ValueError),
            ({"energy": 3.0}, {"method": "nearest", "tolerance": 1}, ValueError),
            ({"energy": slice(1, 8, 2)}, {}, ValueError),
            ({"energy_min": 2.0}, {}, KeyError),
            ({"energy": np.nan}, {"method": "nearest"}, KeyError),
        ],
    )
    def test_bad_labels_raise_in_words(self, labels, options, error):
        with pytest.raises(error, match="bin"):
            spectrum().sel(labels, **options)

    def test_empty_axis_raises(self):
        with pytest.raises(KeyError, match="no bins"):
            spectrum().isel(energy=slice(0, 0)).sel(energy=1.0)

    def test_nodes(self):
        """Nodes have equal edges: sel finds the node itself only."""
        axis = bin_axis("energy", [1.0, 2.0], [1.0, 2.0], "TeV")
        assert float(spectrum(axis).sel(energy=2.0)) == 1
        assert float(spectrum(axis).sel(energy=1.7, method="nearest")) == 1
        with pytest.raises(KeyError):
            spectrum(axis).sel(energy=1.5)

    def test_gap_is_outside(self):
        with pytest.raises(KeyError):
            spectrum().isel(energy=[0, 2]).sel(energy=3.0)

    def test_isel_int_keeps_the_edges_as_scalars(self):
        one = spectrum().isel(energy=1)
        assert [float(one[n]) for n in ("energy_min", "energy_max")] == pytest.approx([2.0, 4.0])
        assert not one.xindexes

    @pytest.mark.parametrize("key", [slice(1, 3), [0, 2], np.array([True, False, True, False])])
    def test_isel_keeps_the_index(self, key):
        part = spectrum().isel(energy=key)
        assert is_binned(part)
        np.testing.assert_array_equal(part.energy_min, spectrum().energy_min.values[key])

    @pytest.mark.parametrize("key", [slice(None, None, -1), [1, 0], [2, 2], xr.Variable("source", [0, 1])])
    def test_bins_out_of_order_are_no_axis(self, key):
        assert not spectrum().isel(energy=key).xindexes


class TestAlignment:
    def test_sub_ranges_align(self):
        both = spectrum() + spectrum().sel(energy=slice(2, 8))
        np.testing.assert_array_equal(both.values, [2, 4])
        assert is_binned(both)

    def test_rounding_of_edges_aligns(self):
        other = bin_axis("energy", bin_edges(spectrum())[:-1] * (1 + 1e-9), bin_edges(spectrum())[1:], "TeV")
        both = spectrum() + spectrum(other)
        assert both.size == 4
        assert is_binned(both)

    @pytest.mark.parametrize("edges", [[1, 4, 16], [1, 2, 16], [1.5, 3, 6, 12], [1, 2, 4, 8, 15]])
    def test_other_bins_raise_instead_of_an_empty_result(self, edges):
        other = spectrum(energy_axis(edges=np.array(edges) * u.TeV))
        for operate in (lambda: spectrum() + other, lambda: spectrum().reindex_like(other)):
            with pytest.raises(ValueError, match=r"different bin edges .*rebin one onto the other first"):
                operate()
        with pytest.raises(ValueError, match="different bin edges"):
            xr.merge([spectrum(), other.rename("other")], join="outer", compat="no_conflicts")

    def test_disjoint_axes_raise_in_arithmetic(self):
        with pytest.raises(ValueError, match="different bin edges"):
            spectrum() + spectrum(energy_axis("16 TeV", "64 TeV", nbin=2))

    def test_reindex_like_fills(self):
        back = spectrum().isel(energy=slice(1, 3)).reindex_like(spectrum())
        np.testing.assert_array_equal(back.values, [np.nan, 1, 2, np.nan])
        np.testing.assert_allclose(bin_edges(back), [1, 2, 4, 8, 16])

    def test_outer_join(self):
        left, right = xr.align(spectrum()[:2], spectrum()[1:], join="outer")
        np.testing.assert_allclose(bin_edges(left), [1, 2, 4, 8, 16])
        np.testing.assert_array_equal(right.values, [np.nan, 1, 2, 3])

    def test_concat_restores_the_axis(self):
        assert xr.concat([spectrum()[:2], spectrum()[2:]], "energy").identical(spectrum())

    def test_cube_takes_a_new_variable(self):
        """An index that owned all three coordinates would make xarray raise here."""
        cube = spectrum().to_dataset()
        cube["double"] = 2 * cube["counts"]
        cube = cube.assign(half=cube["counts"] / 2)
        assert is_binned(cube)
        with pytest.raises(ValueError, match="different bin edges"):
            cube["other"] = spectrum(energy_axis("1 TeV", "16 TeV", nbin=3))

    def test_groupby_map_keeps_the_axis(self):
        assert spectrum().groupby("energy").map(lambda g: g).identical(spectrum())

    def test_where_drop_shift_diff(self):
        assert is_binned(spectrum().where(spectrum() > 1, drop=True))
        assert is_binned(spectrum().shift(energy=1))

    def test_chunks_and_blocks(self):
        lazy = spectrum(chunks=2)
        assert is_binned(lazy.map_blocks(lambda b: b))
        assert lazy.sel(energy=slice(2, 8)).chunks is not None

    def test_repr_and_pickle(self):
        assert "BinIndex (4 bins, 1 to 16)" in repr(spectrum())
        index = spectrum().xindexes["energy"]
        assert pickle.loads(pickle.dumps(index)).equals(index)
        assert len(pickle.dumps(index)) < 1500

    def test_to_pandas_index(self):
        index = spectrum().xindexes["energy_min"].to_pandas_index()
        np.testing.assert_allclose(index, [1, 2, 4, 8])
        assert index.name == "energy_min"

    def test_rename_all(self):
        true = spectrum().rename({n: n.replace("energy", "energy_true") for n in NAMES})
        assert is_binned(true, "energy_true")
        assert float(true.sel(energy_true=3.0)) == 1

    def test_rename_of_the_dim_alone_is_no_axis(self):
        with pytest.raises(ValueError, match="energy_true_min"):
            axis_of(spectrum().rename(energy="energy_true"), "energy_true")


class TestStale:
    """What leaves bins that lie is refused by `axis_of` and `bin_edges`."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda a: a.interp(energy=[3.0, 5.0]),
            lambda a: a.assign_coords(energy=[1.0, 2.0, 3.0, 4.0]),
            lambda a: a.assign_coords(energy_min=("energy", [1.0, 2.0, 3.0, 4.0])),
        ],
    )
    def test_changed_bins_are_refused(self, change):
        with pytest.raises(ValueError, match="do not fit its bins any more"):
            bin_edges(change(spectrum()))

    @pytest.mark.parametrize(
        "spread",
        [
            lambda mask, like: mask.broadcast_like(like),
            lambda mask, like: mask.expand_dims(energy=like.energy),
            lambda mask, like: xr.broadcast(mask, like)[0],
        ],
    )
    def test_arrays_that_were_spread_over_energy_leave_the_bins_true(self, spread):
        counts = spectrum()
        cube = counts.to_dataset(name="counts").assign(mask=spread(xr.DataArray(True), counts))
        np.testing.assert_array_equal(bin_edges(cube), bin_edges(counts))

    def test_empty_selection_is_named(self):
        with pytest.raises(ValueError, match="no bins of 'energy' left"):
            bin_edges(spectrum().sel(energy=slice(20, 30)))

    def test_coarsen_averages_the_edges_and_loses_the_index(self):
        coarse = spectrum().coarsen(energy=2).sum()
        assert not is_binned(coarse)
        with pytest.raises(ValueError, match=r"coordinates .* are missing|gaps|ascend"):
            bin_edges(coarse)

    def test_pad_is_no_axis(self):
        with pytest.raises(ValueError, match=r"not finite|missing"):
            bin_edges(spectrum().pad(energy=1))


class TestFiles:
    @pytest.mark.parametrize("kind", ["zarr", "netcdf"])
    def test_round_trip_is_identical(self, kind, tmp_path):
        cube = spectrum().to_dataset()
        if kind == "zarr":
            cube.to_zarr(tmp_path / "s.zarr", consolidated=False, zarr_format=3)
            plain = xr.open_zarr(tmp_path / "s.zarr", consolidated=False).load()
        else:
            cube.to_netcdf(tmp_path / "s.nc")
            with xr.open_dataset(tmp_path / "s.nc") as opened:
                plain = opened.load()
        assert set(NAMES) == set(plain.coords)
        assert not is_binned(plain)
        xr.testing.assert_identical(restore_bins(plain), cube)
        assert is_binned(restore_bins(plain))

    def test_restore_is_idempotent_and_leaves_other_dims_alone(self):
        cube = spectrum().expand_dims(obs=[1, 2])
        assert restore_bins(cube).identical(cube)
        assert type(restore_bins(cube).xindexes["obs"]) is type(cube.xindexes["obs"])


@settings(max_examples=50, deadline=None)
@given(
    logs=st.lists(st.floats(-3, 3), min_size=3, max_size=12, unique_by=lambda v: round(v, 2)),
    fraction=st.floats(0.001, 0.999),
)
def test_every_value_lies_in_its_bin(logs, fraction):
    edges = 10 ** np.sort(logs)
    axis = spectrum(energy_axis(edges=edges * u.TeV))
    for i, (lo, hi) in enumerate(itertools.pairwise(edges)):
        assert float(axis.sel(energy=lo)) == i
        assert float(axis.sel(energy=lo + fraction * (hi - lo))) == i


def test_public_name():
    assert xg.energy_axis is energy_axis
