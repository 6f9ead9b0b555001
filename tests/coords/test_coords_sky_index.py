"""SkyIndex on maps: alignment, selection, and what xarray does to its coordinates."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import xgamma as xg
from xgamma.coords.sky import SkyIndex, SkyTransform, decode, encode, grid_of, has_sky, sky_coords

CENTER = SkyCoord(10.0, 20.0, unit="deg", frame="galactic")


def raising(*args, **kwargs):
    pytest.fail("computed while the graph was built")


def make_grid(shape=(40, 60), proj="TAN", crpix_shift=0.0, frame=("GLON", "GLAT"), first=(0, 0)):
    """Coordinates of a map with 0.05 deg pixels whose first pixel is `first` = (y, x) of the whole map."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{n:-<5}{proj}"[:8] for n in frame]
    wcs.wcs.crval, wcs.wcs.cdelt = [10.0, 20.0], [-0.05, 0.05]
    wcs.wcs.crpix = [30.5 + crpix_shift - first[1], 20.5 - first[0]]
    return sky_coords(wcs, shape)


def make_map(shape=(40, 60), name="counts", chunks=None, **kwargs):
    coords = make_grid(shape, **kwargs).assign(xg.energy_axis("1 TeV", "8 TeV", nbin=3).coords)
    data = np.arange(3 * shape[0] * shape[1], dtype=float).reshape(3, *shape)
    data = data if chunks is None else da.from_array(data, chunks=chunks)
    return xr.DataArray(data, coords, ("energy", "y", "x"), name=name, attrs={"units": ""})


class TestAlignment:
    def test_foreign_cutouts_align_by_pixels(self):
        whole = make_map()
        stamp = make_map((10, 12), first=(5, 7))
        assert stamp.xindexes["lon"].frame == whole.xindexes["lon"].frame
        both = whole + stamp
        assert both.shape == (3, 10, 12)
        np.testing.assert_array_equal(both.values, whole.values[:, 5:15, 7:19] + stamp.values)
        assert grid_of(both) == grid_of(stamp)

    def test_half_pixel_shift_raises_in_words(self):
        with pytest.raises(ValueError, match=r"different sky grids; reproject one first \(they differ in \['CRPIX1'\]"):
            make_map() + make_map(crpix_shift=0.5)

    def test_whole_pixel_shift_is_the_same_frame(self):
        assert grid_of(make_map(crpix_shift=4)).x == range(-34, 26)
        assert grid_of(make_map(crpix_shift=4)).frame == grid_of(make_map()).frame

    def test_other_frame_raises(self):
        with pytest.raises(ValueError, match="CTYPE1"):
            make_map() * make_map(frame=("RA", "DEC"))

    def test_other_projection_raises(self):
        with pytest.raises(ValueError, match="different sky grids"):
            make_map() - make_map(proj="SIN")

    def test_no_overlap_raises(self):
        with pytest.raises(ValueError, match="do not overlap"):
            make_map() + make_map((5, 5), first=(100, 100))

    def test_arithmetic_of_overlapping_cutouts_takes_the_common_pixels(self):
        whole = make_map()
        both = whole.isel(x=slice(0, 40)) + whole.isel(x=slice(20, 60))
        assert both.xindexes["lon"].ranges["x"] == grid_of(whole).tile(slice(None), slice(20, 40)).x
        np.testing.assert_array_equal(both.values, 2 * whole.values[..., 20:40])

    def test_outer_join(self):
        whole = make_map()
        left, right = xr.align(whole.isel(x=slice(0, 40)), whole.isel(x=slice(20, 60)), join="outer")
        assert grid_of(left) == grid_of(right) == grid_of(whole)
        assert np.isnan(left.values[..., 40:]).all()

    def test_reindex_like_puts_a_stamp_into_its_parent(self):
        whole = make_map(chunks=(3, 20, 20))
        with dask.config.set(scheduler=raising):
            back = whole.isel(y=slice(5, 15), x=slice(7, 19)).reindex_like(whole, fill_value=0.0)
        assert grid_of(back) == grid_of(whole)
        assert float(back.sum()) == whole.values[:, 5:15, 7:19].sum()

    def test_steps_do_not_align_with_whole_pixels(self):
        whole = make_map()
        with pytest.raises(ValueError, match="pixel steps"):
            whole + whole.isel(x=slice(None, None, 2), y=slice(None, None, 2))

    def test_cube_takes_a_new_variable(self):
        cube = make_map().to_dataset()
        cube["double"] = 2 * cube["counts"]
        assert grid_of(cube) == grid_of(make_map())
        assert set(cube.xindexes) == set(make_map().xindexes)


class TestSelection:
    def test_scalar_position(self):
        m = make_map()
        found = m.sel(lon=float(m.lon[7, 11]), lat=float(m.lat[7, 11]), method="nearest")
        np.testing.assert_array_equal(found.values, m.values[:, 7, 11])
        assert found.dims == ("energy",)

    def test_vector_of_positions(self):
        m = make_map()
        lon, lat = (xr.DataArray(m[n].values[[3, 9], [4, 50]], dims="source") for n in ("lon", "lat"))
        found = m.sel(lon=lon, lat=lat, method="nearest")
        assert found.dims == ("energy", "source")
        np.testing.assert_array_equal(found.values, m.values[:, [3, 9], [4, 50]])

    @pytest.mark.parametrize(("lon", "lat"), [(15.0, 20.0), (10.0, 25.0), (5.0, 20.0)])
    def test_outside_raises_key_error(self, lon, lat):
        with pytest.raises(KeyError, match="outside the map"):
            make_map().sel(lon=lon, lat=lat, method="nearest")

    def test_just_outside_is_not_the_opposite_edge(self):
        m = make_map()
        beyond = grid_of(m).frame.pixel_to_sky(0, m.x.values[0] - 3.0)
        with pytest.raises(KeyError, match="outside the map"):
            m.sel(lon=float(beyond[0]), lat=float(beyond[1]), method="nearest")

    def test_edge_of_the_last_pixel(self):
        m = make_map()
        for shift, fine in ((0.499, True), (0.501, False)):
            lon, lat = grid_of(m).frame.pixel_to_sky(0, m.x.values[-1] + shift)
            if fine:
                assert m.sel(lon=float(lon), lat=float(lat), method="nearest").x == m.x[-1]
            else:
                with pytest.raises(KeyError):
                    m.sel(lon=float(lon), lat=float(lat), method="nearest")

    @pytest.mark.parametrize("proj", ["TAN", "SIN", "AIT"])
    def test_far_side_of_the_projection_and_nan(self, proj):
        m = make_map(proj=proj)
        for lon, lat in ((190.0, -20.0), (np.nan, 20.0)):
            with pytest.raises(KeyError, match="outside the map"):
                m.sel(lon=lon, lat=lat, method="nearest")

    @pytest.mark.parametrize(
        ("labels", "options", "error", "text"),
        [
            ({"lon": 10.0}, {"method": "nearest"}, ValueError, "both 'lon' and 'lat'"),
            ({"lon": slice(0, 1), "lat": slice(0, 1)}, {}, ValueError, "cutout"),
            ({"lon": 10.0, "lat": 20.0}, {}, ValueError, "method='nearest'"),
            ({"lon": 10.0, "lat": 20.0}, {"method": "nearest", "tolerance": 1.0}, ValueError, "tolerance"),
            ({"lon": [10.0, 11.0], "lat": [20.0, 20.0]}, {"method": "nearest"}, ValueError, "DataArrays of one shape"),
        ],
    )
    def test_bad_labels_say_what_to_do(self, labels, options, error, text):
        with pytest.raises(error, match=text):
            make_map().sel(labels, **options)

    def test_quantities_are_refused_not_stripped(self):
        with pytest.raises(TypeError, match="degrees"):
            make_map().sel(lon=CENTER.l, lat=CENTER.b, method="nearest")


class TestIsel:
    @pytest.mark.parametrize(
        "key", [slice(3, 20), slice(None, None, 3), [4, 5, 6], [2, 5, 8], np.arange(40) < 9, np.array([-3, -2, -1])]
    )
    def test_ranges_keep_the_index_and_its_sky(self, key):
        m = make_map()
        part = m.isel(y=key)
        assert isinstance(part.xindexes["lon"], SkyIndex)
        np.testing.assert_allclose(part.lon.values, m.lon.values[key], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(part.y.values, m.y.values[key])

    @pytest.mark.parametrize("key", [[1, 2, 4], [5, 4, 3], slice(None, None, -1), [3, 3], 7])
    def test_other_selections_drop_the_index_and_keep_values(self, key):
        m = make_map()
        part = m.isel(y=key)
        assert "lon" not in part.xindexes
        np.testing.assert_array_equal(part.lon.values, m.lon.values[key])
        with pytest.raises(ValueError, match=r"no sky index|not a sky map"):
            grid_of(part)

    def test_points_along_another_dim_are_no_piece_of_the_map(self):
        m = make_map()
        points = m.isel(y=xr.Variable("source", [0, 1, 2]), x=xr.Variable("source", [0, 1, 2]))
        assert "lon" not in points.xindexes
        np.testing.assert_allclose(points.lon.values, np.diag(m.lon.values[:3, :3]))

    def test_steps_are_refused_as_a_grid(self):
        with pytest.raises(ValueError, match=r"every 2th pixel.*downsample"):
            grid_of(make_map().isel(x=slice(None, None, 2)))

    def test_isel_computes_no_positions(self):
        m = make_map()
        part = m.isel(y=slice(3, 9))
        assert not isinstance(part.variable._data, da.Array)
        assert type(part.coords["lon"].variable._data).__name__ == "CoordinateTransformIndexingAdapter"


class TestJoining:
    def test_concat_along_energy_stays_lazy_with_minimal_coords(self):
        m = make_map()
        both = xr.concat([m[:1], m[1:]], "energy", coords="minimal", compat="override")
        assert type(both.coords["lon"].variable._data).__name__ == "CoordinateTransformIndexingAdapter"
        assert both.identical(m)

    def test_concat_of_tiles(self):
        m = make_map(chunks=(3, 20, 20))
        for dim, cut in (("x", 25), ("y", 13)):
            tiles = [m.isel({dim: slice(0, cut)}), m.isel({dim: slice(cut, None)})]
            with dask.config.set(scheduler=raising):
                joined = xr.concat(tiles, dim)
            assert joined.identical(m)
            assert grid_of(joined) == grid_of(m)

    def test_concat_of_gaps_or_wrong_order_raises(self):
        m = make_map()
        for tiles in ((m[..., :20], m[..., 25:]), (m[..., 20:], m[..., :20])):
            with pytest.raises(ValueError, match="not adjacent"):
                xr.concat(tiles, "x")

    def test_concat_of_tiles_of_other_rows_raises(self):
        m = make_map()
        with pytest.raises(ValueError, match="same pixels along the other dim"):
            SkyIndex.concat([m[:, :20, :20].xindexes["lon"], m[:, 20:, 20:].xindexes["lon"]], "x")

    def test_combine_by_coords(self):
        m = make_map().to_dataset()
        tiles = [m.isel(y=y, x=x) for y in (slice(0, 15), slice(15, 40)) for x in (slice(0, 30), slice(30, 60))]
        joined = xr.combine_by_coords(tiles[::-1])
        assert grid_of(joined) == grid_of(m)
        np.testing.assert_array_equal(joined.counts.values, m.counts.values)

    def test_concat_along_a_new_dim(self):
        m = make_map()
        runs = xr.concat([m, m], "obs", coords="minimal", compat="override")
        assert runs.dims == ("obs", "energy", "y", "x")
        assert grid_of(runs) == grid_of(m)

    def test_map_blocks(self):
        m = make_map(chunks=(3, 20, 20))

        with dask.config.set(scheduler=raising):
            result = xr.map_blocks(lambda part: 2 * part, m, template=m)
        assert grid_of(result) == grid_of(m)
        np.testing.assert_array_equal(result.values, 2 * m.values)

    def test_map_blocks_tells_each_block_its_pixels_once_decoded(self):
        """Blocks come with numbers and cards but without any index of ours."""
        m = make_map(chunks=(3, 20, 20))

        def corner(part):
            return xr.zeros_like(part) + grid_of(decode(part)).y.start

        result = xr.map_blocks(corner, m, template=m)
        np.testing.assert_array_equal(result.values[0, :, 0], [-20] * 20 + [0] * 20)


class TestOtherOperations:
    def test_transpose_chunk_copy(self):
        m = make_map()
        for other in (m.transpose("x", "y", "energy"), m.chunk(x=7, y=9), m.copy(deep=True)):
            assert grid_of(other) == grid_of(m)

    def test_chunk_keeps_the_index(self):
        chunked = make_map().to_dataset().chunk(x=20)
        assert isinstance(chunked.xindexes["lon"], SkyIndex)
        assert decode(encode(chunked)).lon.identical(make_map().lon)

    def test_pickle_is_small_and_identical(self):
        grid = xr.Dataset(coords=make_grid((3000, 3000)))
        blob = pickle.dumps(grid.xindexes["lon"])
        assert len(blob) < 2000
        assert pickle.loads(blob).equals(grid.xindexes["lon"])
        m = make_map()
        assert pickle.loads(pickle.dumps(m)).identical(m)

    def test_rename(self):
        m = make_map().rename(lon="l", lat="b", x="column")
        index = m.xindexes["l"]
        assert index.transform.coord_names == ("l", "b")
        assert list(index.ranges) == ["y", "column"]
        assert m.isel(column=slice(0, 5)).xindexes["l"].ranges["column"] == range(-30, -25)

    def test_reductions_over_energy_keep_the_sky(self):
        m = make_map(chunks=(3, 20, 20))
        for reduced in (m.sum("energy"), m.mean("energy"), m.max("energy"), m.groupby("energy").sum()):
            assert grid_of(reduced) == grid_of(m)

    def test_reductions_over_pixels_drop_the_sky(self):
        assert not has_sky(make_map().sum(("y", "x")))
        with pytest.raises(ValueError, match=r"dims \['y', 'x'\] are missing"):
            grid_of(make_map().mean(("y", "x")))

    def test_broadcast_against_another_dim(self):
        both = make_map() * xr.DataArray([1.0, 2.0], dims="obs")
        assert grid_of(both) == grid_of(make_map())

    def test_placeholder_for_pandas(self):
        m = make_map()
        assert len(m.xindexes["lon"].to_pandas_index()) == 0
        assert set(m.indexes) == {"y", "x", "lon", "lat", "energy", "energy_min", "energy_max"}

    def test_repr_shows_the_frame(self):
        assert "SkyIndex(galactic TAN 0.05 deg)" in repr(make_map())
        assert make_map()._repr_html_()


class TestRefusals:
    """What leaves a sky index that lies, or none, is refused by `grid_of` in words."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.interp(x=m.x.values + 0.5),
            lambda m: m.interp_like(xr.DataArray(np.zeros(5), {"x": np.arange(5) + 0.25}, ("x",))),
            lambda m: m.assign_coords(x=m.x + 1),
            lambda m: m.assign_coords(y=np.arange(m.sizes["y"])),
            lambda m: m.coarsen(x=2, y=2).mean(),
            lambda m: m.pad(x=2),
            lambda m: m.roll(x=1, roll_coords=True),
            lambda m: m.isel(x=slice(None, None, -1)),
            lambda m: m.sortby("x", ascending=False),
            lambda m: m.drop_vars(["lon", "lat"]),
            lambda m: m.drop_vars("x"),
            lambda m: encode(m),
        ],
    )
    def test_changed_pixels_are_refused(self, change):
        with pytest.raises(ValueError, match=r"do not fit the sky index|no sky index"):
            grid_of(change(make_map()))

    def test_rolling_sums_keep_true_coordinates(self):
        m = make_map()
        assert grid_of(m.rolling(x=3, center=True).sum()) == grid_of(m)

    def test_other_wcs_cards_are_refused(self):
        m = make_map()
        other = make_map(proj="SIN")
        with pytest.raises(ValueError, match="cards of 'wcs' do not fit"):
            grid_of(m.assign_coords(wcs=other.wcs))

    def test_stores_opened_without_decoding_add_silently_but_are_no_grid(self):
        one, two = encode(make_map()), encode(make_map(crpix_shift=0.5))
        both = one + two  # xarray sees equal integers
        assert both.shape == one.shape
        with pytest.raises(ValueError, match="no sky index"):
            grid_of(both)


class TestBlindSpot:
    def test_assignment_takes_off_lon_and_lat_before_anyone_can_compare_frames(self):
        """A limit of xarray: ``cube[name] = map`` drops the map's lon, lat and wcs, then joins by pixel numbers.

        Arithmetic and merge compare, so they raise. If this test fails, xarray has become stricter: good.
        """
        cube, other = make_map().to_dataset(), make_map(crpix_shift=0.5, name="other")
        cube["other"] = other
        assert grid_of(cube) == grid_of(make_map())
        with pytest.raises(ValueError, match="different sky grids"):
            xr.merge([make_map(), other], join="outer", compat="no_conflicts")
        with pytest.raises(ValueError, match="different sky grids"):
            make_map().to_dataset().merge(other.to_dataset(), join="outer", compat="no_conflicts")


class TestFiles:
    @pytest.fixture(params=["zarr", "netcdf"])
    def round_trip(self, request, tmp_path):
        def go(obj):
            path = tmp_path / f"cube.{request.param}"
            if request.param == "zarr":
                encode(obj).to_zarr(path, consolidated=False, zarr_format=3)
                return xr.open_zarr(path, consolidated=False)
            encode(obj).to_netcdf(path)
            with xr.open_dataset(path) as opened:
                return opened.load()

        return go

    def test_round_trip_is_identical(self, round_trip):
        cube = make_map().to_dataset()
        back = decode(round_trip(cube))
        xr.testing.assert_identical(back.load(), cube)
        assert grid_of(back) == grid_of(cube)

    def test_plain_reader_sees_pixels_energies_and_cards(self, round_trip):
        plain = round_trip(make_map().to_dataset())
        assert {"x", "y", "energy", "wcs"} <= set(plain.coords)
        assert plain.wcs.attrs["CTYPE1"] == "GLON-TAN"
        assert "lon" not in plain.variables

    def test_region_auto_of_a_cutout(self, tmp_path):
        cube = make_map(chunks=(3, 20, 20)).to_dataset()
        encode(xr.zeros_like(cube)).to_zarr(tmp_path / "cube.zarr", consolidated=False, zarr_format=3)
        part = encode(cube.isel(y=slice(20, 40), x=slice(20, 40)).load())
        part.drop_vars(["wcs", "energy_min", "energy_max"]).to_zarr(
            tmp_path / "cube.zarr", region="auto", consolidated=False, zarr_format=3
        )
        back = decode(xr.open_zarr(tmp_path / "cube.zarr", consolidated=False)).load()
        np.testing.assert_array_equal(back.counts.values[:, 20:, 20:40], cube.counts.values[:, 20:, 20:40])
        assert float(back.counts[:, :20].sum()) == 0.0

    def test_decode_takes_wcs_as_data(self):
        cube = encode(make_map().to_dataset()).reset_coords("wcs")
        assert grid_of(decode(cube)) == grid_of(make_map())

    def test_decode_refuses_gaps(self):
        with pytest.raises(ValueError, match="not consecutive"):
            decode(encode(make_map()).isel(x=[0, 1, 5]))

    def test_decode_refuses_incomplete_cards(self):
        cube = encode(make_map())
        cube.wcs.attrs.pop("CRVAL1")
        with pytest.raises(ValueError, match=r"lacks the FITS cards \['CRVAL1'\]"):
            decode(cube)

    def test_decode_is_idempotent(self):
        m = make_map()
        assert decode(decode(encode(m))).identical(m)

    def test_fits_header_round_trip(self):
        grid = grid_of(make_map(first=(3, 4)))
        header = fits.Header.fromstring(grid.frame.header(grid.y.start, grid.x.start).tostring())
        back = grid_of(xr.Dataset(coords=sky_coords(WCS(header), grid.shape)))
        assert back == grid


def test_loading_leaves_lon_and_lat_lazy(monkeypatch):
    """Two numbers a pixel are not made with every compute; asked for, they are what they are."""
    grid = xg.sky_grid(SkyCoord(10, 0, unit="deg"), "2 deg", "0.5 deg")
    cube = grid.assign(counts=(("y", "x"), da.ones((4, 4), chunks=2)))
    expected = cube.lon.values
    calls = []
    forward = SkyTransform.forward
    monkeypatch.setattr(SkyTransform, "forward", lambda *args: calls.append(1) or forward(*args))
    loaded = cube.compute()
    plane = cube.counts.load()
    transposed = loaded.counts.transpose("x", "y").load()
    assert not calls
    for lon in (loaded.lon, plane.lon, transposed.lon.transpose("y", "x"), loaded.chunk({"y": 2}).load().lon):
        np.testing.assert_array_equal(lon, expected)
    assert calls
    assert transposed.lon.dims == ("x", "y")
    np.testing.assert_array_equal((loaded.lon + da.ones((4, 4), chunks=2)).load(), expected + 1)
    assert isinstance((loaded.lon.chunk({"y": 2}) + 1).load().data, np.ndarray)
