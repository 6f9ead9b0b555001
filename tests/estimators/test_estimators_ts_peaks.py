"""Peaks and catalogues: against a filter over the whole map, across tiles, on stored cubes, in files."""

import dask
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.ndimage import gaussian_filter, maximum_filter

import xgamma as xg
from xgamma.estimators.catalogue import _designation, source_catalogue
from xgamma.estimators.peaks import find_peaks
from xgamma.estimators.ts_map import ts_map
from xgamma.kernels.convolve import disc_kernel
from xgamma.kernels.ts_psf import radial_kernel

CENTER = SkyCoord(30, 1, unit="deg", frame="galactic")


def noise(planes=2, shape=(47, 61), seed=2):
    rng = np.random.default_rng(seed)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=planes)
    grid = xg.sky_grid(
        CENTER, (f"{shape[1] * 0.1} deg", f"{shape[0] * 0.1} deg"), "0.1 deg", frame="galactic", energy=energy
    )
    values = gaussian_filter(rng.normal(size=(planes, *shape)), (0, 1.2, 1.2)) * 20
    values[:, :2, 5:9] = np.nan
    grid["sqrt_ts"] = ("energy", "y", "x"), values, {"units": ""}
    grid["flux"] = ("energy", "y", "x"), rng.uniform(size=values.shape), {"units": "cm-2 s-1"}
    return grid


@pytest.mark.parametrize("chunks", [None, {"y": 10, "x": 13}, {"y": 4, "x": 61, "energy": 1}])
def test_peaks_are_those_of_a_filter_of_the_whole_map(chunks):
    maps = noise()
    values = np.where(np.isnan(maps.sqrt_ts.values), -np.inf, maps.sqrt_ts.values)
    footprint = disc_kernel(0.5, (0.1, 0.1)) > 0
    expected = set()
    for e, plane in enumerate(values):
        top = maximum_filter(plane, footprint=footprint, mode="constant", cval=-np.inf)
        expected |= {(e, y, x) for y, x in np.argwhere((plane == top) & (plane >= 5.0))}
    table = find_peaks(maps if chunks is None else maps.chunk(chunks), 5.0, "0.5 deg")
    energies = maps.energy.values.tolist()
    assert {(energies.index(r["energy"]), r["row"], r["column"]) for r in table} == expected
    assert len(expected) > 20
    assert (np.diff(table["sqrt_ts"]) <= 0).all()
    assert table["flux"].unit == "cm-2 s-1"
    assert table["energy"].unit == "TeV"
    for row in table[:5]:
        e = energies.index(row["energy"])
        assert row["flux"] == maps.flux.values[e, row["row"], row["column"]]
        # positions move by less than a pixel, and are the same in both frames
        assert abs(row["y"] - maps.y.values[row["row"]]) <= 1
        galactic = SkyCoord(row["lon"], row["lat"], unit="deg", frame="galactic")
        assert galactic.separation(SkyCoord(row["ra"], row["dec"], unit="deg")).deg < 1e-9


def test_positions_between_pixels():
    maps = noise(1)
    y, x = np.meshgrid(maps.y, maps.x, indexing="ij")
    for dy, dx in ((0.0, 0.0), (0.3, -0.4), (-0.49, 0.2)):
        ts = 400 - 50 * ((y - 3 - dy) ** 2 + (x + 7 - dx) ** 2)
        hill = maps.assign(ts=(("energy", "y", "x"), np.maximum(ts, 0)[None]))
        hill["sqrt_ts"] = hill.ts**0.5
        peak = find_peaks(hill, 5.0)[0]
        assert (peak["y"], peak["x"]) == (pytest.approx(3 + dy), pytest.approx(-7 + dx))
        # TS falls by 50 in a pixel: its root is the inverse of one standard deviation
        assert peak["pos_err"] == pytest.approx(0.1 / np.sqrt(50) * 1.5095922, rel=1e-6)
        whole = find_peaks(hill, 5.0, subpixel=False)[0]
        assert (whole["y"], whole["x"]) == (3, -7)
    edge = maps.sqrt_ts.copy(data=np.zeros(maps.sqrt_ts.shape))
    edge[0, 20, 0] = 9.0
    assert find_peaks(edge)["x"][0] == maps.x.values[0]


def test_no_peaks_and_bad_input():
    maps = noise(1)
    empty = find_peaks(maps.chunk(y=20, x=20), 1e9)
    assert len(empty) == 0
    assert {"lon", "lat", "ra", "dec", "flux"} <= set(empty.colnames)
    with pytest.raises(ValueError, match="no map 'significance'"):
        find_peaks(maps, name="significance")
    with pytest.raises(ValueError, match="min_distance"):
        find_peaks(maps, min_distance="-1 deg")
    with pytest.raises(ValueError, match="threshold"):
        find_peaks(maps, threshold=np.nan)
    with pytest.raises(TypeError, match="DataArray"):
        find_peaks(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="needs y and x"):
        find_peaks(xr.DataArray([1.0], dims="x", name="a"))


SOURCES = [(14, 20, 12.0), (30, 41, 8.0), (40, 70, 20.0)]


def survey():
    """Sources at pixels (y, x) with a norm each, on a cube of 60 x 90 pixels."""
    rng = np.random.default_rng(8)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    cube = xg.sky_grid(CENTER, ("9 deg", "6 deg"), "0.1 deg", frame="galactic", energy=energy, energy_true=energy)
    cube = cube.drop_vars([n for n in cube.coords if str(n).startswith("irf_")])
    cube["exposure"] = ("energy_true", "y", "x"), np.full((2, 60, 90), 1e13), {"units": "cm2 s"}
    cube["psf"] = (
        ("energy_true", "rad"),
        np.exp(-0.5 * (cube.rad.values / np.array([[0.12], [0.08]])) ** 2),
        {"units": "sr-1"},
    )
    lam = np.full((2, 60, 90), 0.4) * np.array([1.0, 0.2])[:, None, None]
    cube["background"] = ("energy", "y", "x"), lam.copy(), {"units": ""}
    edges = np.append(cube.rad_min.values, cube.rad_max.values[-1])
    kernel = radial_kernel(cube.psf.values, cube.rad.values, edges, (7, 7), (0.1, 0.1))
    lo, hi = energy.energy_min.values, energy.energy_max.values
    for y, x, norm in SOURCES:
        lam[:, y - 7 : y + 8, x - 7 : x + 8] += norm * kernel * (1e-12 * (1 / lo - 1 / hi) * 1e13)[:, None, None]
    cube["counts"] = ("energy", "y", "x"), rng.poisson(lam).astype(float), {"units": ""}
    return cube


def test_catalogue_of_a_stored_cube(tmp_path):
    cube = survey()
    cube.chunk(y=20, x=30).gamma.to_zarr(tmp_path / "cube.zarr", dtype="float64")
    stored = xg.open_cube(tmp_path / "cube.zarr")
    edges = [f"{e} TeV" for e in (cube.energy_min.values[0], cube.energy_max.values[0], cube.energy_max.values[1])]
    options = {"kernel_width": "1.1 deg", "threshold": 5.0, "energy_edges": edges}
    table = source_catalogue(stored, **options)
    assert len(table) == len(SOURCES)
    truth = sorted(SOURCES, key=lambda s: -s[2])
    order = [
        int(np.argmin([np.hypot(y - p[0], x - p[1]) for p in SOURCES]))
        for y, x in zip(*pixels(cube, table), strict=True)
    ]
    assert sorted(order) == [0, 1, 2]
    assert order[0] == SOURCES.index(truth[0])
    for row, number, y, x in zip(table, order, *pixels(cube, table), strict=True):
        sy, sx, norm = SOURCES[number]
        assert np.hypot(y - sy, x - sx) * 0.1 < 4 * row["pos_err"]
        expected = norm * 1e-12 * (1 / cube.energy_min.values[0] - 1 / cube.energy_max.values[-1])
        assert abs(row["flux"] - expected) < 3.5 * row["flux_err"]
        assert row["flux_ul"] > row["flux"] + row["flux_errp"]
        assert row["band_flux"].shape == (2,)
        assert row["band_flux"].sum() == pytest.approx(row["flux"], rel=0.3)
    maps = ts_map(cube, kernel_width="1.1 deg", selection=("errn-errp", "ul"))
    again = source_catalogue(maps)
    for name in ("ra", "dec", "pos_err", "sqrt_ts", "flux", "flux_err", "flux_ul"):
        np.testing.assert_allclose(again[name], table[name], rtol=1e-8, err_msg=name)
    for name in ("sources.fits", "sources.ecsv"):
        table.write(tmp_path / name)
        read = Table.read(tmp_path / name)
        np.testing.assert_allclose(read["band_flux"], table["band_flux"])
        assert str(read["flux"].unit) == str(table["flux"].unit)
        assert read["name"][0] == table["name"][0]


def pixels(cube, table):
    grid = cube.gamma.grid()
    y, x = grid.sky_to_pixel(table["glon"], table["glat"])
    return y - grid.y.start, x - grid.x.start


def test_a_catalogue_reads_and_keeps_tiles_only(tmp_path):
    cube = survey().chunk(y=20, x=30)
    seen = []

    def scheduler(dsk, keys, **kwargs):
        seen.append(sum(1 for _ in keys))
        return dask.get(dsk, keys, **kwargs)

    with dask.config.set(scheduler=scheduler):
        table = source_catalogue(cube, kernel_width="1.1 deg")
    # one computation for the peaks, one for the fluxes
    assert len(seen) == 2
    assert len(table) == 3


def test_names_and_bad_input():
    assert _designation(SkyCoord("17h45m40.04s -29d00m28.1s")) == "J1745-2900"
    assert _designation(SkyCoord("00h00m00s +00d59m59.9s")) == "J0000+0059"
    assert _designation(SkyCoord("05h34m59.999s -00d30m00s")) == "J0534-0030"
    maps = ts_map(survey(), kernel_width="1.1 deg")
    with pytest.raises(ValueError, match="need the cube"):
        source_catalogue(maps, energy_edges=["1 TeV", "10 TeV"])
    with pytest.raises(ValueError, match="one energy group"):
        source_catalogue(maps.drop_vars("ts"))
    empty = source_catalogue(maps, threshold=1e6)
    assert len(empty) == 0
    assert "flux" in empty.colnames
