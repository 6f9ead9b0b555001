"""Spectra from tables, absorption by the background light, and naima."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table
from scipy.integrate import quad

from xgamma.models.ebl import EBLAbsorptionNormSpectralModel
from xgamma.models.naima import NaimaSpectralModel
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.template import TemplateNDSpectralModel, TemplateSpectralModel

FLUX = "TeV-1 s-1 cm-2"


# ---------------------------------------------------------------------- templates
def test_template_beyond_its_table():
    on = TemplateSpectralModel([1, 10] * u.TeV, [1e-12, 1e-14] * u.Unit(FLUX))
    off = TemplateSpectralModel([1, 10] * u.TeV, [1e-12, 1e-14] * u.Unit(FLUX), extrapolate=False)
    np.testing.assert_allclose(on([0.1, 1, 100] * u.TeV).value, [1e-10, 1e-12, 1e-16])
    np.testing.assert_allclose(off([0.1, 1, 10, 100] * u.TeV).value, [0, 1e-12, 1e-14, 0])
    np.testing.assert_allclose(off.integral("0.1 TeV", "100 TeV").value, 9e-13)
    np.testing.assert_allclose(on.integral("0.1 TeV", "100 TeV").value, 1e-12 * (10 - 0.01))
    again = TemplateSpectralModel.from_settings({}, off.settings())
    assert again("100 TeV").value == 0
    assert again.parameters.names == []
    data = {"data": [1, 10], "unit": "TeV"}, {"data": [1e-12, 1e-14], "unit": FLUX}
    plain = TemplateSpectralModel.from_settings({}, dict(zip(("energy", "values"), data, strict=True)))
    np.testing.assert_allclose(plain("2 TeV").value, on("2 TeV").value)
    with pytest.raises(ValueError, match="needs the key 'values'"):
        TemplateSpectralModel.from_settings({}, {"energy": data[0]})


def test_template_files(tmp_path):
    energy, values = [1, 10, 100] * u.GeV, [1e-9, 1e-11, 1e-14] * u.Unit("GeV-1 s-1 m-2")
    expected = TemplateSpectralModel(energy, values)([3, 30] * u.GeV)
    table = Table({"energy": energy, "dnde": values})
    for name in ("t.fits", "t.ecsv"):
        table.write(tmp_path / name)
        np.testing.assert_allclose(TemplateSpectralModel.read(tmp_path / name)([3, 30] * u.GeV), expected)
    np.savetxt(tmp_path / "t.txt", np.transpose([energy.value, values.value]))
    read = TemplateSpectralModel.read(tmp_path / "t.txt", energy_unit="GeV", unit="GeV-1 s-1 m-2")
    np.testing.assert_allclose(read([3, 30] * u.GeV), expected)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        TemplateSpectralModel.read(tmp_path / "none.txt")
    (tmp_path / "words.txt").write_text("not a table\n")
    with pytest.raises(ValueError, match="not a table of numbers"):
        TemplateSpectralModel.read(tmp_path / "words.txt")
    Table({"x": [1.0], "y": [2.0]}).write(tmp_path / "xy.ecsv")
    with pytest.raises(ValueError, match="has no column energy"):
        TemplateSpectralModel.read(tmp_path / "xy.ecsv")


def test_isotropic_background(gammapy_data):
    model = TemplateSpectralModel.read(gammapy_data / "fermi_3fhl" / "iso_P8R2_SOURCE_V6_v06.txt")
    assert u.Unit(model.unit) == u.Unit("TeV-1 s-1 cm-2 sr-1")
    np.testing.assert_allclose(model("34.171 MeV").to_value("MeV-1 s-1 cm-2 sr-1"), 2.52894e-06, rtol=1e-12)


def nd_table():
    values = np.array([[1, 0.1, 0.01, 0.002], [2, 0.3, 0.04, 0.001], [3, 0.5, 0.01, 0.001]])
    coords = {"mass": [1.0, 2.0, 3.0], "energy": ("energy", [0.1, 1.0, 10.0, 100.0], {"units": "TeV"})}
    return xr.DataArray(values, coords, ("mass", "energy"), attrs={"units": FLUX})


def test_nd_template_as_gammapy():
    model = TemplateNDSpectralModel(nd_table())
    mass = model.mass
    assert (mass.value, mass.min, mass.max, mass.frozen) == (2.0, 1.0, 3.0, False)
    energy = [0.1, 0.5, 1, 1.5, 2.5, 3, 10] * u.TeV
    # gammapy 2.1: TemplateNDSpectralModel of the same table at mass 2, 1.5, and beyond the table at 5
    expected = {
        2.0: [2.0, 0.53105866, 0.3, 0.21039267, 0.13455485, 0.11471254, 0.04],
        1.5: [1.41421356, 0.32590141, 0.17320508, 0.11843216, 0.07336344, 0.06183649, 0.02],
        5.0: [6.75000038, 2.23545344, 1.38888891, 3.57542344e-01, 6.46914454e-02, 3.51434221e-02, 6.24999955e-04],
    }
    for value, spectrum in expected.items():
        model.mass.value = value
        np.testing.assert_allclose(model(energy).value, spectrum, rtol=2e-7)
    model.mass.value = 1.3

    def integrand(x):
        return float(model.evaluate(np.array(x), 1.3))

    total = quad(integrand, 0.3, 30, points=[1, 10], epsrel=1e-10, limit=400)[0]
    np.testing.assert_allclose(model.integral("0.3 TeV", "30 TeV").value, total, rtol=1e-8)
    np.testing.assert_allclose(model.copy(mass=2)(energy).value, expected[2.0], rtol=2e-7)


def test_nd_template_units_axes_and_zeros():
    table = nd_table().assign_coords(mass=("mass", [1.0, 10.0, 100.0], {"units": "TeV", "interp": "log"}))
    table[2, 3] = 0.0
    model = TemplateNDSpectralModel(table.rename(energy="energy_true"), mass="10 TeV")
    np.testing.assert_allclose(model("1 TeV").value, 0.3)
    model.mass.quantity = "10000 GeV"
    np.testing.assert_allclose(model("1 TeV").value, 0.3)
    model.mass.quantity = np.sqrt(10) * u.TeV
    np.testing.assert_allclose(model("1 TeV").value, np.sqrt(0.1 * 0.3))
    model.mass.quantity = "50 TeV"
    np.testing.assert_array_equal(model([30, 100] * u.TeV).value, [0, 0])
    with pytest.raises(ValueError, match="set filename"):
        model.settings()
    with pytest.raises(ValueError, match="dimension 'energy'"):
        TemplateNDSpectralModel(nd_table().isel(energy=0))
    with pytest.raises(ValueError, match="at least two numbers"):
        TemplateNDSpectralModel(nd_table().isel(mass=[0]))
    with pytest.raises(TypeError, match="did you mean 'mass'"):
        TemplateNDSpectralModel(nd_table(), mas=2)


def test_nd_template_from_a_file_of_gammapy(tmp_path):
    """The layout that gammapy 2.1 writes (TemplateNDSpectralModel.write), made by hand here."""
    table = nd_table()
    data = table.values.astype("f4").reshape(3, 4, 1, 1)
    columns = [fits.Column("CHANNEL", "I", array=np.arange(3)),
               fits.Column("DATA", "4E", dim="(1,1,4)", unit=FLUX, array=data)]  # fmt: skip
    sky = fits.BinTableHDU.from_columns(columns, name="SKYMAP")
    nodes = {"ENERGY_TRUE": np.tile(table.energy.values, 3), "MASS": np.repeat(table.mass.values, 4)}
    axes = [fits.Column("CHANNEL", "K", array=np.arange(12))]
    axes += [
        fits.Column(name + end, "D", array=values, unit="TeV" if "ENERGY" in name else "")
        for name, values in nodes.items()
        for end in ("", "_MIN", "_MAX")
    ]
    bands = fits.BinTableHDU.from_columns(axes, name="SKYMAP_BANDS")
    for hdu in (sky, bands):
        cards = {"AXCOLS1": "ENERGY_TRUE", "INTERP1": "log", "AXCOLS2": "MASS", "INTERP2": "lin"}
        hdu.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(), sky, bands]).writeto(tmp_path / "nd.fits")
    model = TemplateNDSpectralModel.read(tmp_path / "nd.fits", mass=1.5)
    energy = [0.5, 3] * u.TeV
    np.testing.assert_allclose(model(energy), TemplateNDSpectralModel(table, mass=1.5)(energy), rtol=1e-6)
    again = TemplateNDSpectralModel.from_settings(dict(model._parameters), model.settings())
    np.testing.assert_array_equal(again(energy), model(energy))


# ---------------------------------------------------------------------- background light
#: gammapy 2.1: EBLAbsorptionNormSpectralModel.read_builtin(name, redshift)(ENERGIES TeV)
ENERGIES = [0.1, 1, 3, 10, 30]
EBL = {
    ("dominguez", 0.05): [9.91138285e-01, 6.02722115e-01, 4.41582888e-01, 1.79723143e-01, 6.96412318e-08],
    ("dominguez", 0.1234): [9.74480677e-01, 2.63117949e-01, 1.19578987e-01, 8.57547414e-03, 2.58917130e-22],
    ("dominguez", 1.0): [4.90375104e-01, 7.35644912e-07, 3.85874175e-12, None, None],
    ("franceschini", 0.005): [9.99477064e-01, 9.55183879e-01, 9.27830843e-01, 8.38410304e-01, 2.78563450e-01],
    ("franceschini", 0.5): [8.36003163e-01, 1.72773744e-03, 2.00704077e-05, 3.21081215e-19, None],
    ("finke", 0.0005): [0.99991055, 0.99492007, 0.99123792, 0.98267254, 0.93971215],
    ("finke", 2.5): [1.22138525e-02, 8.15040574e-17, 2.36247215e-34, None, None],
}


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "redshift"), EBL)
def test_background_light_as_gammapy(gammapy_data, monkeypatch, name, redshift):
    monkeypatch.setenv("GAMMAPY_DATA", str(gammapy_data))
    model = EBLAbsorptionNormSpectralModel.read_builtin(name, redshift=redshift)
    expected = EBL[name, redshift]
    depth = -np.log(model([e for e, t in zip(ENERGIES, expected, strict=True) if t] * u.TeV).value)
    # gammapy keeps the energies in single precision: 1e-6 of the optical depth, and 5e-9 of the printed digits
    np.testing.assert_allclose(depth, [-np.log(t) for t in expected if t], rtol=2e-6, atol=2e-7)
    # where the file's single precision ends, gammapy holds 1.2e-38; the optical depth grows on here
    beyond = model([e for e, t in zip(ENERGIES, expected, strict=True) if t is None] * u.TeV).value
    assert np.all(beyond < 1e-50)


@pytest.mark.real_data
def test_background_light_between_here_and_the_table(gammapy_data, monkeypatch):
    monkeypatch.setenv("GAMMAPY_DATA", str(gammapy_data))
    energy = np.geomspace(0.001, 1000, 300) * u.TeV
    for name in ("dominguez", "franceschini", "finke"):
        model = EBLAbsorptionNormSpectralModel.read_builtin(name, redshift=0)
        # gammapy extrapolates to a transmission of 0.55 at 1000 TeV and redshift 0 (dominguez)
        np.testing.assert_array_equal(model(energy).value, 1.0)
        top = model.redshift.max
        for redshift in (0.0003, 0.05, 0.7, top):
            model.redshift.value = redshift
            assert np.all(np.diff(model(energy).value) <= 1e-9)
        with pytest.raises(ValueError, match="lies outside of the table"):
            EBLAbsorptionNormSpectralModel.read_builtin(name, redshift=top + 0.1)
    spectrum = PowerLawSpectralModel(index=2) * EBLAbsorptionNormSpectralModel.read_builtin("dominguez", 0.3)

    def integrand(x):
        return float(np.exp(x) * spectrum.evaluate(np.array(np.exp(x)), *spectrum.values))

    edges = np.geomspace(0.05, 5, 9)
    knots = np.log(spectrum.kinks(*spectrum.values))
    expected = []
    for a, b in zip(np.log(edges[:-1]), np.log(edges[1:]), strict=True):
        parts = np.unique([a, *knots[(knots > a) & (knots < b)], b])
        expected.append(sum(quad(integrand, p, q, epsrel=1e-10)[0] for p, q in zip(parts[:-1], parts[1:], strict=True)))  # noqa: RUF007
    np.testing.assert_allclose(spectrum.integral(edges[:-1] * u.TeV, edges[1:] * u.TeV).value, expected, rtol=1e-8)


def test_background_light_tables():
    energy, redshifts = [0.1, 1, 10] * u.TeV, [0.1, 0.2]
    data = np.exp([[-0.1, -1, -3], [-0.2, -2, -6]])
    model = EBLAbsorptionNormSpectralModel(energy, redshifts, data, redshift=0.15, alpha_norm=0.5)
    np.testing.assert_allclose(model([0.1, 1, np.sqrt(10)] * u.TeV), np.exp([-0.075, -0.75, -1.5]), rtol=1e-12)
    again = EBLAbsorptionNormSpectralModel.from_settings(dict(model._parameters), model.settings())
    np.testing.assert_allclose(again("3 TeV"), model("3 TeV"), rtol=1e-12)
    assert model.redshift.max == 0.2
    # a zero of the file is an optical depth above 87, however small the norm
    data[1, 2] = 0.0
    dark = EBLAbsorptionNormSpectralModel(energy, redshifts, data, redshift=0.2, alpha_norm=0.01)
    np.testing.assert_allclose(-np.log(dark("10 TeV")) / 0.01, 87.3, rtol=1e-3)
    with pytest.raises(ValueError, match="they need"):
        EBLAbsorptionNormSpectralModel(energy, redshifts, data.T)
    with pytest.raises(ValueError, match="transmissions from 0 to 1"):
        EBLAbsorptionNormSpectralModel(energy, redshifts, 2 + data)
    with pytest.raises(ValueError, match="did you mean 'dominguez'"):
        EBLAbsorptionNormSpectralModel.read_builtin("domingues")


def test_background_light_file_that_is_none(tmp_path):
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "none.fits")
    with pytest.raises(ValueError, match="no XSPEC table model"):
        EBLAbsorptionNormSpectralModel.read(tmp_path / "none.fits")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        EBLAbsorptionNormSpectralModel.read(tmp_path / "nowhere.fits")


# ---------------------------------------------------------------------- naima
@pytest.fixture
def naima():
    return pytest.importorskip("naima")


def electrons(naima):
    return naima.models.ExponentialCutoffPowerLaw(1e34 / u.eV, 10 * u.TeV, 3.0, 30 * u.TeV)


def inverse_compton(naima):
    fields = ["CMB", ["FIR", 26.5 * u.K, 0.415 * u.Unit("eV cm-3")]]
    return naima.models.InverseCompton(electrons(naima), seed_photon_fields=fields)


def test_naima_as_gammapy(naima):
    """gammapy 2.1 with naima 0.10.4: NaimaSpectralModel of the same radiative models."""
    energy = [0.03, 0.5, 2.0, 7.0, 40.0] * u.TeV
    names = ["amplitude", "e_0", "alpha", "e_cutoff", "beta"]
    model = NaimaSpectralModel(inverse_compton(naima), distance=2 * u.kpc)
    expected = [7.016154904e-07, 1.711375608e-09, 6.484834409e-11, 2.248225945e-12, 4.615644581e-15]
    np.testing.assert_allclose(model(energy).to_value(FLUX), expected, rtol=1e-8)
    assert model.parameters.names == names
    model = NaimaSpectralModel(inverse_compton(naima), distance=2 * u.kpc, seed="CMB")
    expected = [2.727324355e-07, 6.769847098e-10, 2.588289061e-11, 8.878811467e-13, 1.678385695e-15]
    np.testing.assert_allclose(model(energy).to_value(FLUX), expected, rtol=1e-8)
    model = NaimaSpectralModel(naima.models.Synchrotron(electrons(naima), B=100 * u.uG), distance=2 * u.kpc)
    np.testing.assert_allclose(model([1e-9, 1e-7] * u.TeV).to_value(FLUX), [160022068500.0, 722165.5637], rtol=1e-8)
    assert model.parameters.names == [*names, "B"]
    model = NaimaSpectralModel(naima.models.Bremsstrahlung(electrons(naima), n0=1 / u.cm**3))
    expected = [2.54604618e-06, 6.710131613e-10, 1.036622097e-11, 1.936823221e-13, 2.305510373e-16]
    np.testing.assert_allclose(model(energy).to_value(FLUX), expected, rtol=1e-8)


def test_naima_self_compton_as_gammapy(naima):
    particles = naima.models.ExponentialCutoffBrokenPowerLaw(
        3.699e36 / u.eV, 1 * u.TeV, 0.265 * u.TeV, 1.5, 3.233, 1863 * u.TeV, 2.0
    )
    fields = ["CMB", ["FIR", 70 * u.K, 0.5 * u.eV / u.cm**3], ["NIR", 5000 * u.K, 1 * u.eV / u.cm**3]]
    radiative = naima.models.InverseCompton(particles, seed_photon_fields=fields, Eemax=50 * u.PeV, Eemin=0.1 * u.GeV)
    nested = {"SSC": {"B": 125 * u.uG, "radius": 2.1 * u.pc}}
    model = NaimaSpectralModel(radiative, distance=2 * u.kpc, nested_models=nested)
    expected = [9.355052069e-08, 4.175938871e-12, 1.296206215e-15]
    np.testing.assert_allclose(model([0.03, 2, 40] * u.TeV).to_value(FLUX), expected, rtol=1e-8)
    assert model.parameters.names[-2:] == ["B", "radius"]
    assert model.radius.frozen
    weaker = model.copy(B=60)
    assert weaker("2 TeV") < model("2 TeV")
    np.testing.assert_allclose(model("2 TeV").to_value(FLUX), expected[1], rtol=1e-8)


def test_naima_parameters_and_units(naima):
    model = NaimaSpectralModel(inverse_compton(naima), distance=2 * u.kpc)
    start = model("1 TeV")
    model.amplitude.quantity = "2e46 TeV-1"
    np.testing.assert_allclose(model("1 TeV") / start, 2.0, rtol=1e-12)
    model.e_cutoff.quantity = "30000 GeV"
    np.testing.assert_allclose(model("1 TeV") / start, 2.0, rtol=1e-12)
    assert model(np.ones((2, 3)) * u.TeV).shape == (2, 3)
    luminosity = NaimaSpectralModel(inverse_compton(naima), distance=0 * u.kpc)
    sphere = 4 * np.pi * (2 * u.kpc) ** 2
    np.testing.assert_allclose((luminosity("1 TeV") / (start * sphere)).to_value(""), 1.0, rtol=1e-9)
    # naima's numbers step with energy at 1e-4 or so: the integral need not be better than they are
    flux = model.integral("1 TeV", "3 TeV").value
    fine = np.geomspace(1, 3, 400) * u.TeV
    np.testing.assert_allclose(flux, np.trapezoid(model(fine).value, fine.value), rtol=1e-3)


def test_naima_bad_input(naima):
    with pytest.raises(TypeError, match="not a radiative model"):
        NaimaSpectralModel(electrons(naima))
    with pytest.raises(ValueError, match="no photon field"):
        NaimaSpectralModel(inverse_compton(naima), seed="NIR")
    with pytest.raises(ValueError, match="did you mean 'SSC'"):
        NaimaSpectralModel(inverse_compton(naima), nested_models={"SSD": {}})
    with pytest.raises(ValueError, match="needs 'radius'"):
        NaimaSpectralModel(inverse_compton(naima), nested_models={"SSC": {"B": 1 * u.G}})
    with pytest.raises(u.UnitConversionError, match="must be a length"):
        NaimaSpectralModel(inverse_compton(naima), distance=2 * u.s)
    with pytest.raises(ValueError, match="cannot be written"):
        NaimaSpectralModel(inverse_compton(naima)).settings()
