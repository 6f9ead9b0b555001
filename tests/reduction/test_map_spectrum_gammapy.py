"""Spectra of regions of cubes beside gammapy 2.1's `MapDataset.to_spectrum_dataset`, with and without containment.

Known difference, all others are rounding: gammapy takes the integral of a table of the point spread function as it
is, here it is divided by the integral of the whole table, as in fits of maps, in which no light is lost. Tables of
Fermi-LAT products integrate to 0.997 to 1.001. Between the nodes of a table the integral grows here with the square of
the radius, in gammapy with the radius: 3e-4 where nodes are a tenth of the width apart.
"""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

import xgamma as xg
from xgamma.coords.bins import rename_axis
from xgamma.reduction.map_spectrum import to_spectrum

pytestmark = pytest.mark.gammapy

PROGRAM = """
import json, sys
import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from gammapy.datasets import MapDataset
from regions import CircleSkyRegion, EllipseSkyRegion, PolygonSkyRegion, RectangleSkyRegion
case = json.loads(sys.argv[1])
dataset = MapDataset.read(case["file"])
where = SkyCoord(*case["center"], unit="deg", frame=case["frame"])
result = {}
def keep(name, region, corrected):
    plain = dataset.to_spectrum_dataset(region)
    energy = plain.counts.geom.axes["energy"]
    one = {"counts": plain.counts.data, "background": plain.background.data, "mask_safe": plain.mask_safe.data}
    one["exposure"] = plain.exposure.quantity.to_value("cm2 s")
    one["edisp"] = plain.edisp.get_edisp_kernel(energy_axis=energy).pdf_matrix
    if corrected:
        contained = dataset.to_spectrum_dataset(region, containment_correction=True)
        one["contained"] = contained.exposure.quantity.to_value("cm2 s")
    for key, value in one.items():
        result[name + " " + key] = np.squeeze(value)
for radius in case["radii"]:
    keep(f"circle {radius}", CircleSkyRegion(where, radius * u.deg), True)
keep("box", RectangleSkyRegion(where, 0.8 * u.deg, 0.5 * u.deg, 30 * u.deg), False)
keep("ellipse", EllipseSkyRegion(where, 0.9 * u.deg, 0.5 * u.deg, -20 * u.deg), False)
np.savez(case["out"], **result)
"""


def gaussian_cube():
    """A cube whose point spread function is a Gaussian: exact means over rings."""
    rng = np.random.default_rng(3)
    energy = xg.energy_axis("1 TeV", "10 TeV", nbin=3)
    true = rename_axis(xg.energy_axis("0.5 TeV", "20 TeV", nbin=4), "energy_true")
    center = SkyCoord(20, 5, unit="deg", frame="galactic")
    cube = xg.sky_grid(center, ("4 deg", "3 deg"), "0.05 deg", energy=energy, energy_true=true, irf_binsize="1 deg")
    ny, nx, iy, ix = (cube.sizes[d] for d in ("y", "x", "irf_y", "irf_x"))
    cube["counts"] = ("energy", "y", "x"), rng.poisson(2.0, (3, ny, nx)).astype(float), {"units": ""}
    cube["background"] = ("energy", "y", "x"), rng.uniform(1, 2, (3, ny, nx)), {"units": ""}
    cube["exposure"] = ("energy_true", "y", "x"), rng.uniform(1e13, 2e13, (4, ny, nx)), {"units": "cm2 s"}
    mask = np.ones((3, ny, nx), bool)
    mask[0] = False
    cube["mask_safe"] = ("energy", "y", "x"), mask
    edisp = rng.uniform(0, 0.3, (4, 3, iy, ix))
    cube["edisp"] = ("energy_true", "energy", "irf_y", "irf_x"), edisp, {"units": ""}
    cube["irf_exposure"] = ("energy_true", "irf_y", "irf_x"), rng.uniform(1, 2, (4, iy, ix)), {"units": "cm2 s"}
    low, high = cube["rad_min"].values, cube["rad_max"].values
    inside = np.exp(-0.5 * (low / SIGMA[:, None]) ** 2) - np.exp(-0.5 * (high / SIGMA[:, None]) ** 2)
    inside /= inside.sum(axis=1, keepdims=True)
    density = inside / (2 * np.pi * (np.cos(np.deg2rad(low)) - np.cos(np.deg2rad(high))))
    density = np.broadcast_to(density[:, None, None, :], (4, iy, ix, low.size)).copy()
    cube["psf"] = ("energy_true", "irf_y", "irf_x", "rad"), density, {"units": "sr-1"}
    return cube


SIGMA = np.array([0.03, 0.05, 0.08, 0.12])


def compare(gammapy_python, cube, case, tmp_path):
    """Compare what must be equal; return containments of circles, ours and theirs, shape (radius, energy_true)."""
    case["out"] = str(tmp_path / "out.npz")
    command = [gammapy_python, "-W", "ignore", "-c", PROGRAM, json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lon, lat = case["center"]
    regions = {f"circle {r}": f"{case['frame']};circle({lon}, {lat}, {r})" for r in case["radii"]}
    # DS9 gives half axes of ellipses
    regions["box"] = f"{case['frame']};box({lon}, {lat}, 0.8, 0.5, 30)"
    regions["ellipse"] = f"{case['frame']};ellipse({lon}, {lat}, 0.45, 0.25, -20)"
    spectra = to_spectrum(cube, list(regions.values()))
    ours, theirs = [], []
    with np.load(case["out"]) as peer:
        for i, (name, text) in enumerate(regions.items()):
            one = spectra.isel(region=i)
            safe = peer[f"{name} mask_safe"]
            np.testing.assert_array_equal(one.mask_safe, safe)
            np.testing.assert_array_equal(one.counts, peer[f"{name} counts"])
            np.testing.assert_allclose(one.background, peer[f"{name} background"], rtol=3e-7)
            np.testing.assert_allclose(one.exposure, peer[f"{name} exposure"], rtol=3e-7)
            np.testing.assert_allclose(one.edisp[:, safe], peer[f"{name} edisp"][:, safe], rtol=1e-12, atol=1e-15)
            if name.startswith("circle"):
                theirs.append(peer[f"{name} contained"] / peer[f"{name} exposure"])
                contained = to_spectrum(cube, text, containment_correction=True)
                ours.append((contained.exposure / one.exposure).values)
    return np.array(ours), np.array(theirs)


@pytest.mark.real_data
def test_fermi_cube(gammapy_data, gammapy_python, tmp_path):
    file = gammapy_data / "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"
    cube = xg.open_cube(file).compute()
    case = {"file": str(file), "center": [0.0, 0.0], "frame": "galactic", "radii": [0.15, 0.3, 0.6, 1.2]}
    ours, theirs = compare(gammapy_python, cube, case, tmp_path)
    # nodes of the table from 0 to 1.85 deg: straight lines between density times circumference
    psf, rad = cube["psf"].transpose("psf_energy_true", "rad").values, np.deg2rad(cube["rad"].values)
    line = psf * 2 * np.pi * np.sin(rad)
    total = (0.5 * (line[:, 1:] + line[:, :-1]) * np.diff(rad)).sum(axis=1)
    total = np.interp(np.log(cube.energy_true), np.log(cube.psf_energy_true), total)
    assert 1e-3 < np.abs(total - 1).max() < 4e-3
    # between two nodes the integral grows here with the square of the radius, in gammapy with the radius
    np.testing.assert_allclose(ours * total, theirs, atol=4e-4)
    assert np.abs(ours * total - theirs)[1:].max() < 5e-5


def test_gaussian_point_spread_function(gammapy_python, tmp_path):
    cube = gaussian_cube()
    cube.gamma.to_fits(tmp_path / "cube.fits")
    radii = [0.1, 0.2, 0.3]
    case = {"file": str(tmp_path / "cube.fits"), "center": [20.3, 5.2], "frame": "galactic", "radii": radii}
    ours, theirs = compare(gammapy_python, cube, case, tmp_path)
    end = cube["rad_max"].values[-1]
    closed = 1 - np.exp(-0.5 * (np.array(radii)[:, None] / SIGMA) ** 2)
    closed /= 1 - np.exp(-0.5 * (end / SIGMA) ** 2)
    np.testing.assert_allclose(ours, closed, rtol=1e-5)
    np.testing.assert_allclose(ours, theirs, rtol=5e-6)


def test_point_spread_function_that_depends_on_the_position(gammapy_python, tmp_path):
    cube = gaussian_cube()
    wider = cube["psf"].shift(rad=3, fill_value=0.0)
    ramp = (cube["irf_x"] - cube["irf_x"].min()) / (cube["irf_x"].max() - cube["irf_x"].min())
    ring = 2 * np.pi * (np.cos(np.deg2rad(cube["rad_min"])) - np.cos(np.deg2rad(cube["rad_max"])))
    wider = wider / (wider * ring).sum("rad")
    psf = (cube["psf"] * (1 - ramp) + wider * ramp).transpose(*cube["psf"].dims).assign_attrs(cube["psf"].attrs)
    cube["psf"] = psf.drop_vars(set(psf.coords) - set(cube["psf"].coords))
    cube.gamma.to_fits(tmp_path / "cube.fits")
    case = {"file": str(tmp_path / "cube.fits"), "center": [20.3, 5.2], "frame": "galactic", "radii": [0.1, 0.2]}
    ours, theirs = compare(gammapy_python, cube, case, tmp_path)
    assert ours.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=5e-6)
