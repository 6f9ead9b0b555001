"""OGIP files exchanged with gammapy and sherpa, which run in environments of their own.

XGAMMA_GAMMAPY_PYTHON and XGAMMA_SHERPA_PYTHON name the python of an environment that has the program.
"""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
import xarray as xr

from xgamma.coords.bins import energy_axis
from xgamma.coords.regions import from_ds9
from xgamma.io.cube import open_cube
from xgamma.io.fits_write import to_fits
from xgamma.io.ogip import read_ogip
from xgamma.io.ogip_write import to_ogip
from xgamma.kernels.stats import wstat

pytestmark = pytest.mark.gammapy

REFERENCE = ("counts", "counts_off", "acceptance", "acceptance_off", "background", "mask_safe")


@pytest.fixture
def run(tmp_path):
    """Run a script with the python that a variable of the environment names."""

    def call(variable: str, script: str) -> str:
        python = os.environ.get(variable)
        if not python:
            pytest.skip(f"needs another program: set {variable} to the python of an environment that has it")
        command = [python, "-W", "ignore", "-c", script]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return call


@pytest.fixture
def cube() -> xr.Dataset:
    rng = np.random.default_rng(4)
    cube = xr.Dataset(coords=energy_axis("0.5 TeV", "50 TeV", nbin=10).coords)
    cube = cube.assign_coords(energy_axis("0.3 TeV", "80 TeV", nbin=14, name="energy_true").coords)
    cube["counts"] = "energy", rng.poisson(np.geomspace(90, 1, 10)).astype(float), {"units": ""}
    cube["counts_off"] = "energy", rng.poisson(np.geomspace(60, 1, 10)).astype(float), {"units": ""}
    cube["acceptance"] = "energy", np.ones(10), {"units": ""}
    cube["acceptance_off"] = "energy", np.linspace(5, 9, 10), {"units": ""}
    cube["background"] = cube.acceptance / cube.acceptance_off * cube.counts_off
    cube["mask_safe"] = "energy", np.arange(10) > 1, {"units": ""}
    cube["exposure"] = "energy_true", np.geomspace(1e11, 1e13, 14), {"units": "cm2 s"}
    edisp = np.exp(-0.5 * (np.log(cube.energy / cube.energy_true) / 0.2) ** 2).transpose("energy_true", "energy").values
    edisp[edisp < 1e-3] = 0
    edisp /= np.maximum(edisp.sum(axis=1, keepdims=True), 1)
    cube["edisp"] = ("energy_true", "energy"), edisp, {"units": ""}
    cube["livetime"] = (), 1500.0, {"units": "s"}
    cube["gti_start"] = "gti", [1.6e8, 1.6e8 + 900], {"units": "s"}
    cube["gti_stop"] = "gti", [1.6e8 + 800, 1.6e8 + 1700], {"units": "s"}
    return cube.assign_coords(
        obs=23523,
        region="icrs;circle(83.63,22.01,0.11)",
        region_lon=((), 83.63, {"units": "deg"}),
        region_lat=((), 22.01, {"units": "deg"}),
        off_regions="icrs;circle(83.9,21.9,0.11)\nicrs;circle(84.0,21.8,0.11)",
        n_off_regions=2,
    )


GAMMAPY_READS = """
import numpy as np
from gammapy.datasets import SpectrumDatasetOnOff
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel
result = {}
for name in ("keV.fits", "TeV.fits.gz", "fraction.fits", "gadf.fits"):
    d = SpectrumDatasetOnOff.read(name)
    d.models = SkyModel(PowerLawSpectralModel(amplitude="4e-11 cm-2 s-1 TeV-1", index=2.4))
    for key in ("counts", "counts_off", "acceptance", "acceptance_off", "background", "mask_safe"):
        result[f"{name}_{key}"] = getattr(d, key).data.ravel()
    result[f"{name}_exposure"] = d.exposure.quantity.to_value("cm2 s").ravel()
    result[f"{name}_edisp"] = d.edisp.get_edisp_kernel().pdf_matrix
    result[f"{name}_edges"] = d.counts.geom.axes[0].edges.to_value("TeV")
    result[f"{name}_npred"] = d.npred_signal().data.ravel()
    result[f"{name}_gti"] = d.gti.time_sum.to_value("s")
    result[f"{name}_name"] = d.name
    on, off = d.counts.geom.region, d.counts_off.geom.region
    result[f"{name}_region"] = [on.center.ra.deg, on.center.dec.deg, on.radius.to_value("deg"),
                                off.region2.center.ra.deg, off.region2.radius.to_value("deg")]
np.savez("read.npz", **result)
"""


def test_gammapy_reads_ours(run, cube, tmp_path):
    to_ogip(cube, tmp_path / "keV.fits")
    to_ogip(cube, tmp_path / "TeV.fits.gz", energy_unit="TeV")
    fraction = cube.assign(counts=cube.counts + 0.7)
    to_ogip(fraction, tmp_path / "fraction.fits")
    to_fits(cube, tmp_path / "gadf.fits")
    run("XGAMMA_GAMMAPY_PYTHON", GAMMAPY_READS)
    result = np.load(tmp_path / "read.npz")
    edges = np.append(cube.energy_true_min, cube.energy_true_max[-1])
    # integral of 4e-11 E^-2.4 over each bin of true energy
    flux = 4e-11 / 1.4 * (edges[:-1] ** -1.4 - edges[1:] ** -1.4)
    npred = (flux * cube.exposure.values) @ cube.edisp.values
    for name in ("keV.fits", "TeV.fits.gz", "fraction.fits", "gadf.fits"):
        expected = fraction if name == "fraction.fits" else cube
        for key in REFERENCE:
            np.testing.assert_allclose(result[f"{name}_{key}"], expected[key], rtol=1e-15, err_msg=f"{name} {key}")
        np.testing.assert_allclose(result[f"{name}_exposure"], cube.exposure, rtol=1e-14)
        # gammapy holds the energy dispersion in single precision
        np.testing.assert_allclose(result[f"{name}_edisp"], cube.edisp, rtol=6e-8)
        np.testing.assert_allclose(result[f"{name}_edges"][:-1], cube.energy_min, rtol=1e-14)
        np.testing.assert_allclose(result[f"{name}_npred"], npred, rtol=6e-8)
        np.testing.assert_allclose(result[f"{name}_gti"], 1600)
        assert str(result[f"{name}_name"]) == "23523"
        np.testing.assert_allclose(result[f"{name}_region"], [83.63, 22.01, 0.11, 84.0, 0.11], rtol=1e-6)


GAMMAPY_WRITES = """
import numpy as np, astropy.units as u
from astropy.coordinates import SkyCoord
from regions import CircleSkyRegion
from gammapy.data import GTI
from gammapy.datasets import SpectrumDatasetOnOff
from gammapy.irf import EDispKernel, EDispKernelMap
from gammapy.maps import MapAxis, RegionGeom, RegionNDMap
energy = MapAxis.from_energy_bounds("0.1 TeV", "40 TeV", nbin=6)
true = MapAxis.from_energy_bounds("0.05 TeV", "100 TeV", nbin=9, name="energy_true")
on = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), 0.11 * u.deg)
off = [CircleSkyRegion(SkyCoord(ra, dec, unit="deg"), 0.11 * u.deg) for ra, dec in ((83.9, 21.9), (84.0, 21.8))]
off = off[0].union(off[1])
geom, geom_off = RegionGeom(on, axes=[energy]), RegionGeom(off, axes=[energy])
exposure = RegionNDMap(RegionGeom(on, axes=[true]), data=np.geomspace(1e7, 1e9, 9)[:, None, None], unit="m2 s")
exposure.meta["livetime"] = 25 * u.min
edisp = EDispKernelMap.from_edisp_kernel(EDispKernel.from_gauss(true, energy, 0.2, 0.1), geom=exposure.geom)
edisp.exposure_map.quantity = exposure.quantity[:, None]
d = SpectrumDatasetOnOff(
    name="run 5", exposure=exposure, edisp=edisp, gti=GTI.create(0 * u.s, 1600 * u.s, "2004-12-04T22:00:00"),
    counts=RegionNDMap(geom, data=np.arange(6.0)[:, None, None]),
    counts_off=RegionNDMap(geom_off, data=np.arange(6.0)[::-1][:, None, None] * 3),
    acceptance=RegionNDMap(geom, data=np.ones((6, 1, 1))),
    acceptance_off=RegionNDMap(geom_off, data=np.full((6, 1, 1), 8.0)),
    mask_safe=RegionNDMap(geom, data=(np.arange(6) > 1)[:, None, None], dtype=bool),
)
d.write("ogip.fits.gz", format="ogip", overwrite=True)
d.write("gadf.fits", overwrite=True)
kernel = d.edisp.get_edisp_kernel().pdf_matrix
np.savez("wrote.npz", exposure=exposure.quantity.to_value("cm2 s").ravel(), edisp=kernel, edges=energy.edges.value)
"""


def test_we_read_gammapys(run, tmp_path):
    run("XGAMMA_GAMMAPY_PYTHON", GAMMAPY_WRITES)
    wrote = np.load(tmp_path / "wrote.npz")
    ogip, gadf = read_ogip(tmp_path / "ogip.fits.gz"), open_cube(tmp_path / "gadf.fits").load()
    for cube, rounding in ((ogip, 1e-6), (gadf, 1e-12)):  # gammapy's RMF is in single precision
        np.testing.assert_array_equal(cube.counts, np.arange(6))
        np.testing.assert_array_equal(cube.counts_off, 3 * np.arange(6)[::-1])
        np.testing.assert_allclose(cube.background, 3 / 8 * np.arange(6)[::-1])
        np.testing.assert_array_equal(cube.mask_safe, np.arange(6) > 1)
        np.testing.assert_allclose(cube.exposure, wrote["exposure"], rtol=1e-14)
        np.testing.assert_allclose(cube.edisp, wrote["edisp"], rtol=rounding, atol=1e-9)
        np.testing.assert_allclose(cube.energy_min, wrote["edges"][:-1], rtol=1e-14)
        np.testing.assert_allclose(cube.gti_stop - cube.gti_start, 1600)
        region = from_ds9(cube.region.item())
        assert region.radius.value == pytest.approx(0.11, abs=1e-9)
        assert cube.n_off_regions.item() == 2
        off = [from_ds9(text) for text in cube.off_regions.item().split("\n")]
        np.testing.assert_allclose([r.center.ra.deg for r in off], [83.9, 84.0], rtol=1e-9)
        assert "irf_exposure" not in cube
    assert ogip.livetime.item() == 1500
    assert ogip.obs.item() == "run 5"
    assert gadf.attrs["name"] == "run 5"


SHERPA_READS = """
import numpy as np
from sherpa.astro import ui
ui.load_pha(1, "a.fits")
ui.load_pha(2, "f.fits.gz")
d, arf, rmf, bkg = ui.get_data(1), ui.get_arf(1), ui.get_rmf(1), ui.get_bkg(1)
result = dict(counts=d.counts, exposure=d.exposure, quality=d.quality, backscal=d.backscal, off=bkg.counts,
              backscal_off=bkg.backscal, lo=arf.energ_lo, hi=arf.energ_hi, area=arf.specresp, e_min=rmf.e_min,
              fraction=ui.get_data(2).counts)
ui.set_analysis(1, "energy")
ui.set_source(1, ui.powlaw1d.pl)
pl = ui.get_model_component("pl")
pl.ref, pl.gamma, pl.ampl = 1e9, 2.4, 4e-20
result["npred"] = ui.get_data(1).eval_model(ui.get_model(1))
ui.ignore_bad(1)
ui.set_stat("wstat")
result["wstat"] = ui.calc_stat(1)
np.savez("sherpa.npz", **result)
"""


def test_sherpa_reads_ours(run, cube, tmp_path):
    """Energies in keV, area in cm2, channels, quality and scales mean the same, down to WStat."""
    to_ogip(cube, tmp_path / "a.fits")
    to_ogip(cube.assign(counts=cube.counts + 0.7), tmp_path / "f.fits.gz")
    run("XGAMMA_SHERPA_PYTHON", SHERPA_READS)
    result = np.load(tmp_path / "sherpa.npz")
    np.testing.assert_array_equal(result["counts"], cube.counts)
    np.testing.assert_array_equal(result["fraction"], cube.counts + 0.7)
    np.testing.assert_array_equal(result["off"], cube.counts_off)
    np.testing.assert_array_equal(result["quality"] == 0, cube.mask_safe)
    np.testing.assert_array_equal(result["backscal_off"], cube.acceptance_off)
    assert result["exposure"] == 1500
    np.testing.assert_allclose(result["lo"], cube.energy_true_min * 1e9, rtol=1e-14)
    np.testing.assert_allclose(result["e_min"], cube.energy_min * 1e9, rtol=1e-14)
    np.testing.assert_allclose(result["area"], cube.exposure / 1500, rtol=1e-14)
    edges = np.append(cube.energy_true_min, cube.energy_true_max[-1])
    flux = 4e-11 / 1.4 * (edges[:-1] ** -1.4 - edges[1:] ** -1.4)
    npred = (flux * cube.exposure.values) @ cube.edisp.values
    np.testing.assert_allclose(result["npred"], npred, rtol=1e-10)
    good = cube.mask_safe.values
    alpha = (cube.acceptance / cube.acceptance_off).values
    expected = wstat(cube.counts.values[good], cube.counts_off.values[good], alpha[good], npred[good]).sum()
    np.testing.assert_allclose(result["wstat"], expected, rtol=1e-10)
