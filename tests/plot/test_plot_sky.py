"""Sky maps: where pixels, regions and contours lie, and what is computed for them."""

from __future__ import annotations

import astropy.units as u
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from astropy.visualization.wcsaxes.frame import EllipticalFrame
from astropy.wcs import WCS
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.path import Path
from regions import CircleSkyRegion, PolygonSkyRegion

import xgamma as xg
from xgamma.coords.regions import region_mask
from xgamma.coords.sky import grid_of
from xgamma.plot.sky import plot_map, plot_mask, plot_panels, plot_regions, sky_axes

CENTER = SkyCoord(83.63, 22.01, unit="deg")


def sky_map(nbin=None, center=CENTER, width="2 deg", binsize="0.1 deg", name="counts", units="", **options):
    energy = None if nbin is None else xg.energy_axis("1 TeV", "100 TeV", nbin=nbin)
    grid = xg.sky_grid(center, width, binsize, energy=energy, **options)
    shape = [grid.sizes[d] for d in ("energy", "y", "x") if d in grid.sizes]
    dims = [d for d in ("energy", "y", "x") if d in grid.sizes]
    rng = np.random.default_rng(1)
    full = grid.assign(v=(dims, rng.poisson(4.0, shape).astype(float)))["v"]
    return full.rename(name).assign_attrs(units=units, long_name=name)


def only_image(ax):
    [image] = ax.images
    return image


def shown_value(ax, position):
    """Value of the picture at a position on the sky, by the WCS of the axes alone."""
    x, y = ax.wcs.world_to_pixel(position)
    image = only_image(ax)
    left, right, low, high = image.get_extent()
    array = image.get_array()
    row = int((y - low) / (high - low) * array.shape[0])
    column = int((x - left) / (right - left) * array.shape[1])
    return array[row, column]


def inside_loops(path, y, x):
    """Points inside an outline: inside an odd number of its loops, so that holes are outside."""
    inside = np.zeros(y.size, dtype=bool)
    for loop in path.to_polygons(closed_only=True):
        inside ^= Path(loop).contains_points(np.column_stack([x.ravel(), y.ravel()]))
    return inside.reshape(y.shape)


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
@pytest.mark.parametrize("cut", [(slice(None), slice(None)), (slice(3, 11), slice(5, 19))])
def test_a_source_is_where_the_wcs_says(proj, cut):
    counts = sky_map(proj=proj)
    source = SkyCoord(83.2, 22.25, unit="deg")
    counts = xr.zeros_like(counts)
    pixel = {d: int(counts.sel(lon=source.ra.deg, lat=source.dec.deg, method="nearest")[d]) for d in ("y", "x")}
    counts.loc[pixel] = 9.0
    counts = counts.isel(y=cut[0], x=cut[1])
    ax = plot_map(counts)
    assert isinstance(ax, WCSAxes)
    if pixel["y"] in counts.y.values and pixel["x"] in counts.x.values:
        assert shown_value(ax, source) == 9.0
    assert only_image(ax).get_array().sum() == counts.sum()
    # the axes show the field of the map and nothing else
    assert ax.get_xlim() == (counts.x[0] - 0.5, counts.x[-1] + 0.5)
    assert ax.get_ylim() == (counts.y[0] - 0.5, counts.y[-1] + 0.5)
    world = ax.wcs.pixel_to_world(float(counts.x[2]), float(counts.y[1]))
    assert world.ra.deg == pytest.approx(float(counts.lon[1, 2]), abs=1e-9)


def test_labels_units_title_and_blank_pixels():
    exposure = sky_map(1, units="cm2 s", name="exposure") * 1e10
    exposure.attrs.update(units="cm2 s", long_name="Exposure")
    exposure[0, 0, 0] = np.nan
    ax = plot_map(exposure, grid=True)
    image = only_image(ax)
    assert ax.get_title() == r"1 – 100 $\mathrm{TeV}$"
    assert [c.get_axislabel() for c in ax.coords] == ["Right ascension", "Declination"]
    [bar] = ax.child_axes
    assert bar.get_ylabel() == r"Exposure [$\mathrm{m^{2}\,s}$]"
    # shown in m2, and the pixel without value has no colour
    assert image.norm.vmax == pytest.approx(float(exposure.max()) * 1e-4)
    assert image.to_rgba(image.get_array())[0, 0, 3] == 0.0
    assert image.to_rgba(image.get_array())[1, 1, 3] == 1.0
    ax.figure.canvas.draw()
    assert plot_map(exposure, units="cm2 s", title="", label="E").child_axes[0].get_ylabel() == "E"
    with pytest.raises(ValueError, match="cannot be converted"):
        plot_map(exposure, units="TeV")


def test_galactic_axes_say_so():
    ax = plot_map(sky_map(center=SkyCoord(320.3, -1.2, unit="deg", frame="galactic")), colorbar=False)
    assert [c.get_axislabel() for c in ax.coords] == ["Galactic longitude", "Galactic latitude"]
    assert not ax.child_axes


def test_significance_is_centred_on_zero():
    sqrt_ts = sky_map(name="sqrt_ts") - 3.0
    image = only_image(plot_map(sqrt_ts.rename("sqrt_ts")))
    assert image.norm.vmin == -image.norm.vmax == -float(abs(sqrt_ts).max())
    assert np.allclose(image.cmap(image.norm(0.0)), plt.get_cmap("RdBu_r")(0.5), atol=0.01)
    other = only_image(plot_map(sqrt_ts.rename("excess")))
    assert other.norm.vmin == float(sqrt_ts.min())
    assert other.cmap.name == "inferno"


def test_zero_counts_have_the_lowest_colour_of_a_logarithm():
    counts = sky_map()
    counts[0, 0], counts[0, 1] = 0.0, np.nan
    image = only_image(plot_map(counts, stretch="log"))
    colors = image.to_rgba(image.get_array())
    assert np.allclose(colors[0, 0], image.cmap(0.0))
    assert colors[0, 1, 3] == 0.0


def test_dims_of_size_one_are_left_out_and_others_raise():
    counts = sky_map(3)
    with pytest.raises(ValueError, match=r"'energy': 3.*plot_panels\(da, dim='energy'\)"):
        plot_map(counts)
    assert only_image(plot_map(counts[:1].transpose("y", "energy", "x"))).get_array().shape == (20, 20)
    assert not plt.get_fignums()[1:]
    with pytest.raises(TypeError, match="choose one variable"):
        plot_map(counts.to_dataset())
    with pytest.raises(ValueError, match="not a sky map"):
        plot_map(counts.isel(x=0))


def test_axes_without_sky_raise():
    _, ax = plt.subplots()
    with pytest.raises(TypeError, match="sky_axes"):
        plot_map(sky_map(), ax)
    with pytest.raises(TypeError, match="sky_axes"):
        plot_regions("icrs;circle(83.63, 22.01, 0.1)", ax)


def test_map_on_axes_of_a_foreign_header_lies_right():
    """Axes from a FITS header count pixels from their own corner."""
    counts = sky_map()
    header = grid_of(counts).frame.header(int(counts.y[0]), int(counts.x[0]))
    ax = plt.figure().add_subplot(projection=WCS(header))
    plot_map(counts, ax)
    position = SkyCoord(float(counts.lon[4, 15]), float(counts.lat[4, 15]), unit="deg")
    assert ax.get_xlim() == (-0.5, 19.5)
    assert shown_value(ax, position) == counts[4, 15]


def test_map_on_another_projection_lies_where_it_is_on_the_sky():
    counts = sky_map(width="1 deg")
    galactic = sky_map(center=CENTER.galactic, proj="TAN", width="3 deg")
    ax = sky_axes(galactic)
    view = ax.get_xlim(), ax.get_ylim()
    plot_map(counts, ax, colorbar=False)
    [mesh] = [c for c in ax.collections if isinstance(c, QuadMesh)]
    corner = mesh.get_transform().transform(mesh.get_coordinates()[0, 0])
    expected = ax.wcs.world_to_pixel(grid_of(counts).frame.wcs.pixel_to_world(counts.x[0] - 0.5, counts.y[0] - 0.5))
    assert ax.transData.inverted().transform(corner) == pytest.approx([float(v) for v in expected], abs=1e-6)
    assert (ax.get_xlim(), ax.get_ylim()) == view
    ax.figure.canvas.draw()


def test_second_map_leaves_the_view_alone():
    ax = plot_map(sky_map())
    plot_map(sky_map().isel(x=slice(0, 4)), ax, colorbar=False)
    assert ax.get_xlim() == (-10.5, 9.5)


def test_only_the_picture_is_computed():
    computed = []

    def block(array, block_info=None):
        computed.append(block_info[0]["chunk-location"][0])
        return array

    counts = sky_map(4)
    blocks = da.from_array(counts.values, chunks=(1, 20, 20)).map_blocks(block, dtype=float, meta=np.empty((0, 0, 0)))
    lazy = counts.copy(data=blocks)
    ax = plot_map(lazy.isel(energy=2))
    assert set(computed) == {2}
    assert np.array_equal(only_image(ax).get_array(), counts[2])
    computed.clear()
    plot_panels(lazy.isel(energy=slice(1, 3)))
    assert sorted(computed) == [1, 2]


def test_large_maps_are_shown_as_means_of_blocks():
    counts = sky_map(width=("2.3 deg", "1.7 deg"))
    counts[0, :5] = np.nan
    counts[5, 5] = np.inf
    chunked = counts.chunk({"y": 5, "x": 7})
    ax = plot_map(chunked, max_pixels=8)
    shown = only_image(ax).get_array()
    assert shown.shape == (6, 8)
    for row, column in ((0, 0), (1, 1), (5, 7), (3, 2)):
        block = counts.values[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
        assert shown[row, column] == pytest.approx(block[np.isfinite(block)].mean())
    assert ax.child_axes[0].get_ylabel() == "Counts, mean of 3 × 3 pixels"
    # blocks reach over the last pixel, the axes do not
    assert ax.get_xlim() == (counts.x[0] - 0.5, counts.x[-1] + 0.5)
    left, right, *_ = only_image(ax).get_extent()
    assert (left, right) == (counts.x[0] - 0.5, counts.x[0] - 0.5 + 24)
    with pytest.raises(ValueError, match="max_pixels"):
        plot_map(counts, max_pixels=0)


def test_regions_enclose_the_pixels_of_their_mask():
    counts = sky_map(width="4 deg")
    regions = [
        CircleSkyRegion(SkyCoord(83.2, 22.4, unit="deg"), 0.53 * u.deg),
        "galactic;ellipse(184.8, -5.9, 0.3, 0.6, 20)",
        PolygonSkyRegion(SkyCoord([82.9, 83.5, 83.4], [21.0, 21.1, 21.6], unit="deg")),
        "icrs;box(84.6, 21.5, 0.4, 0.8, 30)",
        "icrs;annulus(84.5, 23.0, 0.2, 0.45)",
    ]
    ax = plot_map(counts, regions=regions, colorbar=False)
    y, x = np.meshgrid(counts.y.values, counts.x.values, indexing="ij")
    assert len(ax.patches) == len(regions)
    for patch, region in zip(ax.patches, regions, strict=True):
        path = patch.get_path().transformed(patch.get_patch_transform())
        inside = inside_loops(path, y, x)
        assert np.array_equal(inside, region_mask(counts, region).values)
        assert inside.any()
        assert not patch.get_fill()
    ax.figure.canvas.draw()


def test_compound_regions_are_outlined():
    counts = sky_map(width="4 deg")
    first = CircleSkyRegion(SkyCoord(83.5, 22.0, unit="deg"), 0.57 * u.deg)
    second = CircleSkyRegion(SkyCoord(84.2, 22.0, unit="deg"), 0.57 * u.deg)
    ax = sky_axes(counts)
    view = ax.get_xlim()
    for compound in (first & second, first | second, first ^ second):
        [outline] = plot_regions(compound, ax)
        [path] = outline.get_paths()
        y, x = np.meshgrid(counts.y.values, counts.x.values, indexing="ij")
        assert np.array_equal(inside_loops(path, y, x), region_mask(counts, compound).values)
    assert ax.get_xlim() == view


def test_colours_and_texts_of_ds9_are_kept():
    ax = plot_map(sky_map(), colorbar=False)
    circle, text = plot_regions("icrs;circle(83.63, 22.01, 0.1) # color=red text={Crab}", ax)
    assert circle.get_edgecolor() == to_rgba("red")
    assert text.get_text() == "Crab"
    x, y = text.get_position()
    # above the circle
    assert x == pytest.approx(-0.5, abs=1.0)
    # (its bounding box is a pixel larger in newer versions of regions)
    assert 0.45 < y < 2.5
    [other] = plot_regions("icrs;circle(83.63, 22.01, 0.1) # color=red text={Crab}", ax, color="blue", labels=False)
    assert other.get_edgecolor() == to_rgba("blue")
    [point] = plot_regions("icrs;point(83.63, 22.01)", ax)
    assert point.get_marker() == "+"
    assert (float(point.get_xdata()[0]), float(point.get_ydata()[0])) == pytest.approx((-0.5, -0.5))


def test_regions_on_another_turn_of_longitude():
    """A map of the whole plane: pixel numbers reach over one turn."""
    plane = sky_map(center=SkyCoord(0, 0, unit="deg", frame="galactic"), width=("360 deg", "4 deg"), binsize="1 deg")
    plane = plane.isel(x=slice(0, 170))
    ax = sky_axes(plane)
    for lon in (90.0, 20.0, 175.0):
        shapes = plot_regions(f"galactic;circle({lon}, 0, 1.6)", ax)
        centers = [s.get_data_transform().transform(s.get_center()) for s in shapes]
        x = ax.transData.inverted().transform(centers)[:, 0]
        y_mask, x_mask = np.nonzero(region_mask(plane, f"galactic;circle({lon}, 0, 1.6)").values)
        assert len(y_mask)
        assert np.isclose(x, plane.x.values[x_mask].mean(), atol=0.3).any()


def test_contours_of_the_map_and_of_others():
    counts = sky_map()
    y, x = np.meshgrid(counts.y.values, counts.x.values, indexing="ij")
    bump = counts.copy(data=np.exp(-0.5 * ((x - 2.0) ** 2 + (y + 3.0) ** 2) / 9.0))
    ax = plot_map(counts, contours=(bump, [np.exp(-0.5)]), colorbar=False)
    [contour] = ax.collections
    vertices = np.concatenate([p.vertices for p in contour.get_paths()])
    # where the Gaussian has fallen by exp(-1/2), at one width
    assert np.hypot(vertices[:, 0] - 2.0, vertices[:, 1] + 3.0) == pytest.approx(3.0, abs=0.05)
    assert list(plot_map(bump, contours=[0.9, 0.5]).collections[0].levels) == [0.5, 0.9]
    assert len(plot_map(bump, contours=bump).collections[0].levels) == 5
    assert list(plot_map(bump, contours=bump > 0.5).collections[0].levels) == [0.5]
    other = sky_map(center=CENTER.galactic)
    plot_map(counts, contours=other).figure.canvas.draw()


def test_contours_outside_the_values_warn():
    with pytest.warns(UserWarning, match=r"levels \[1000.0\] lie outside"):
        plot_map(sky_map(), contours=1000.0)


def test_panels_share_axes_and_colours():
    counts = sky_map(5)
    axes = plot_panels(counts, ncols=3, regions="icrs;circle(83.63, 22.01, 0.5)")
    assert len(axes) == 5
    assert axes[0].get_title() == r"1 – 2.51 $\mathrm{TeV}$"
    assert axes[4].get_title() == r"39.8 – 100 $\mathrm{TeV}$"
    for i, ax in enumerate(axes):
        image = only_image(ax)
        assert np.array_equal(image.get_array(), counts[i])
        assert (image.norm.vmin, image.norm.vmax) == (float(counts.min()), float(counts.max()))
        assert len(ax.patches) == 1
    # one colour bar, and a zoom of one panel moves all
    assert len(axes[0].figure.axes) == 6
    axes[0].set_xlim(-3, 3)
    assert axes[4].get_xlim() == (-3, 3)
    # labels at the outer sides only
    assert [bool(ax.coords[1].get_axislabel()) for ax in axes] == [True, False, False, True, False]
    assert [bool(ax.coords[0].get_axislabel()) for ax in axes] == [False, False, True, True, True]
    axes[0].figure.canvas.draw()


def test_panels_with_their_own_limits_and_contours():
    counts = sky_map(2)
    counts[1] *= 10
    axes = plot_panels(counts, share_limits=False, contours=(counts, [5.5]))
    assert [only_image(ax).norm.vmax for ax in axes] == [float(counts[i].max()) for i in range(2)]
    assert all(len(ax.child_axes) == 1 and len(ax.collections) == 1 for ax in axes)
    assert axes[0].figure.get_suptitle() == "Counts"


def test_panels_of_runs_and_wrong_dims():
    counts = sky_map(1)
    runs = xr.concat([counts, counts + 1], "obs", coords="minimal", compat="override").assign_coords(obs=["a", "b"])
    assert [ax.get_title() for ax in plot_panels(runs, "obs")] == ["Obs a", "Obs b"]
    with pytest.raises(ValueError, match="no dimension 'time'"):
        plot_panels(runs, "time")
    with pytest.raises(ValueError, match="one position of the others"):
        plot_panels(xr.concat([runs, runs], "time", coords="minimal", compat="override"), "obs")
    with pytest.raises(ValueError, match="101 panels"):
        plot_panels(counts.isel(energy=0).expand_dims(k=101), "k")


def test_masks_are_drawn_on_top():
    counts = sky_map()
    mask = region_mask(counts, "icrs;circle(83.63, 22.01, 0.5)")
    ax = plot_map(counts, colorbar=False)
    assert plot_mask(mask, ax) is ax
    colors = ax.images[1].to_rgba(ax.images[1].get_array())
    assert np.array_equal(colors[..., 3] > 0, mask.values)
    assert len(ax.collections) == 1
    alone = plot_mask(mask | True)
    assert not alone.collections
    with pytest.raises(TypeError, match="boolean maps, not float64"):
        plot_mask(counts)


def test_map_of_responses_uses_its_own_grid():
    grid = xg.sky_grid(CENTER, "2 deg", "0.1 deg", irf_binsize="0.5 deg")
    radius = grid.assign(radius=(("irf_y", "irf_x"), np.arange(16.0).reshape(4, 4), {"units": "deg"}))["radius"]
    ax = plot_map(radius)
    assert ax.get_xlim() == (radius.irf_x[0] - 0.5, radius.irf_x[-1] + 0.5)
    assert ax.wcs.wcs.cdelt[0] == -0.5


def test_whole_sky_has_an_elliptical_frame():
    center = SkyCoord(0, 0, unit="deg", frame="galactic")
    ax = plot_map(sky_map(center=center, width=("330 deg", "165 deg"), binsize="3 deg", proj="AIT"))
    assert isinstance(ax.coords.frame, EllipticalFrame)
    ax.figure.canvas.draw()


@pytest.mark.parametrize("width", [("40 deg", "4 deg"), ("4 deg", "4 deg"), ("2 deg", "10 deg")])
def test_maps_of_any_shape_fit_the_figure(width):
    ax = plot_map(sky_map(center=SkyCoord(0, 0, unit="deg", frame="galactic"), width=width))
    ax.figure.canvas.draw()
    everything = ax.get_tightbbox(ax.figure.canvas.get_renderer())
    assert everything.x0 >= 0
    assert everything.y0 >= 0
    assert everything.x1 <= ax.figure.bbox.x1
    assert everything.y1 <= ax.figure.bbox.y1


def test_pixels_keep_their_shape():
    ax = sky_axes(sky_map(binsize=("0.1 deg", "0.2 deg")))
    assert ax.get_aspect() == pytest.approx(2.0)
