"""Spectral models against gammapy 2.1, numerical integrals, and each other."""

from __future__ import annotations

import itertools

import astropy.units as u
import numpy as np
import pytest
from scipy.integrate import quad

from xgamma.models.broken import BrokenPowerLawSpectralModel, SmoothBrokenPowerLawSpectralModel
from xgamma.models.compound import CompoundSpectralModel
from xgamma.models.cutoff import (
    ExpCutoffPowerLaw3FGLSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    SuperExpCutoffPowerLaw3FGLSpectralModel,
    SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
    SuperExpCutoffPowerLaw4FGLSpectralModel,
)
from xgamma.models.gaussian import GaussianSpectralModel, LogGaussianSpectralModel
from xgamma.models.log_parabola import (
    LogParabola2SpectralModel,
    LogParabolaNormSpectralModel,
    LogParabolaSpectralModel,
)
from xgamma.models.norm import (
    ExpCutoffPowerLawNormSpectralModel,
    PiecewiseNormSpectralModel,
    PowerLawNormSpectralModel,
    ScaleSpectralModel,
)
from xgamma.models.power_law import ConstantSpectralModel, PowerLaw2SpectralModel, PowerLawSpectralModel
from xgamma.models.reference import create_cosmic_ray_spectral_model, create_crab_spectral_model
from xgamma.models.registry import find_class, tags
from xgamma.models.template import TemplateSpectralModel

POWER_LAW = PowerLawSpectralModel(index=2.3, amplitude=3e-12, reference=2)
PARABOLA = LogParabolaSpectralModel(amplitude=2e-12, reference=3, alpha=2.2, beta=0.3)
FERMI = {"amplitude": "1e-11 cm-2 s-1 MeV-1", "reference": "1500 MeV"}

#: Models, and gammapy 2.1's values of the same at ENERGIES (in GeV for those in MeV-1): model(energy), ten digits.
ENERGIES = np.array([0.03, 0.5, 2.0, 7.0, 40.0])
FLUX = "TeV-1 s-1 cm-2"
MODELS = {
    "const": (ConstantSpectralModel(const=3e-12), FLUX, [3e-12] * 5),
    "pl": (POWER_LAW, FLUX, [4.700146112e-08, 7.275439519e-11, 3e-12, 1.681762842e-13, 3.053178987e-15]),
    "pl-2": (
        PowerLaw2SpectralModel(amplitude=4e-12, index=2.3, emin=0.2, emax=50),
        FLUX,
        [2.043125586e-09, 3.162590328e-12, 1.304082174e-13, 7.310523143e-15, 1.327198763e-16],
    ),
    "bpl": (
        BrokenPowerLawSpectralModel(index1=1.6, index2=3.1, amplitude=2e-12, ebreak=1.5),
        FLUX,
        [1.045639553e-09, 1.159909227e-11, 8.198226488e-13, 1.686976274e-14, 7.59498509e-17],
    ),
    "sbpl": (
        SmoothBrokenPowerLawSpectralModel(index1=1.6, index2=3.1, amplitude=2e-12, ebreak=1.5, reference=0.8, beta=0.5),
        FLUX,
        [3.824531393e-10, 4.166053419e-12, 2.514705709e-13, 6.140174731e-15, 2.777879735e-17],
    ),
    "sbpl-rising": (
        SmoothBrokenPowerLawSpectralModel(index1=3.1, index2=1.6, amplitude=2e-12, ebreak=1.5, reference=0.8, beta=0.5),
        FLUX,
        [5.266654184e-08, 8.743777052e-12, 2.144148116e-13, 2.434677331e-14, 1.490004333e-15],
    ),
    "sbpl-negative": (
        SmoothBrokenPowerLawSpectralModel(
            index1=1.6, index2=3.1, amplitude=2e-12, ebreak=1.5, reference=0.8, beta=-0.5
        ),
        FLUX,
        [1.352186859e-07, 2.244920592e-11, 5.504991985e-13, 6.250911068e-14, 3.825510863e-15],
    ),
    "sbpl-straight": (
        SmoothBrokenPowerLawSpectralModel(),
        FLUX,
        [1.111111111e-09, 4e-12, 2.5e-13, 2.040816327e-14, 6.25e-16],
    ),
    "ecpl": (
        ExpCutoffPowerLawSpectralModel(index=1.7, amplitude=2e-12, reference=0.8, lambda_=0.15, alpha=1.3),
        FLUX,
        [5.306284223e-10, 4.29594849e-12, 3.417756832e-13, 1.72537453e-14, 8.959994909e-20],
    ),
    "ecpl-3fgl": (
        ExpCutoffPowerLaw3FGLSpectralModel(index=1.7, amplitude=2e-12, reference=0.8, ecut=6),
        FLUX,
        [6.038252906e-10, 4.67464559e-12, 3.448840299e-13, 1.781744147e-14, 3.761753842e-18],
    ),
    "secpl-3fgl": (
        SuperExpCutoffPowerLaw3FGLSpectralModel(amplitude=2e-12, reference=0.8, ecut=6, index_1=1.7, index_2=0.7),
        FLUX,
        [6.614821546e-10, 4.761541689e-12, 3.382492219e-13, 2.098077477e-14, 7.585533161e-17],
    ),
    "secpl-4fgl": (
        SuperExpCutoffPowerLaw4FGLSpectralModel(expfactor=0.0045, index_1=1.4, index_2=0.667, **FERMI),
        "MeV-1 s-1 cm-2",
        [4.13410862e-09, 6.328689199e-11, 5.899063403e-12, 4.00722372e-13, 9.257145618e-16],
    ),
    "secpl-4fgl-default": (
        SuperExpCutoffPowerLaw4FGLSpectralModel(),
        FLUX,
        [1.943824958e-10, 2.849720077e-12, 3.431043088e-13, 3.341116266e-14, 4.493049957e-22],
    ),
    "secpl-4fgl-dr3": (
        SuperExpCutoffPowerLaw4FGLDR3SpectralModel(expfactor=0.55, index_1=2.1, index_2=0.6, **FERMI),
        "MeV-1 s-1 cm-2",
        [4.078484222e-09, 7.671487944e-11, 5.335195188e-12, 1.584163844e-13, 1.652322681e-17],
    ),
    "lp": (PARABOLA, FLUX, [8.66817926e-11, 3.932645369e-11, 4.645271554e-12, 2.500030374e-13, 8.953590205e-16]),
    "lp2": (
        LogParabola2SpectralModel(amplitude=2e-12, reference=3, alpha=2.2, beta=0.3, escale=0.5),
        FLUX,
        [1.03034713e-09, 1.030297738e-10, 5.776503774e-12, 1.58543163e-13, 2.224904238e-16],
    ),
    "gauss": (
        GaussianSpectralModel(amplitude=2e-12, mean=3, sigma=2),
        FLUX,
        [1.324498715e-13, 1.826490854e-13, 3.520653268e-13, 5.399096651e-14, 1.915432492e-87],
    ),
    "pl-norm": (
        PowerLawNormSpectralModel(tilt=0.3, norm=1.4, reference=2),
        "",
        [4.935153417, 2.122003193, 1.4, 0.9614077581, 0.5699267442],
    ),
    "lp-norm": (
        LogParabolaNormSpectralModel(norm=1.4, reference=2, alpha=0.3, beta=0.2),
        "",
        [0.1449856092, 1.444839343, 1.4, 0.7024088304, 0.09469161586],
    ),
    "ecpl-norm": (
        ExpCutoffPowerLawNormSpectralModel(index=0.3, norm=1.4, reference=2, lambda_=0.15, alpha=1.3),
        "",
        [4.930765244, 2.050081527, 1.135892455, 0.3312643493, 1.973993924e-05],
    ),
    "piecewise-norm": (
        PiecewiseNormSpectralModel([0.1, 1, 10] * u.TeV, norms=[0.5, 2, 1.2]),
        "",
        [0.5, 1.31762516, 1.714931855, 1.298811281, 1.2],
    ),
    "piecewise-norm-lin": (
        PiecewiseNormSpectralModel([0.1, 1, 10] * u.TeV, norms=[0.5, 2, 1.2], interp="lin"),
        "",
        [0.5, 1.166666667, 1.911111111, 1.466666667, 1.2],
    ),
    "template": (
        TemplateSpectralModel([0.1, 1, 5, 10] * u.TeV, [4e-10, 3e-12, 6e-14, 2e-15] * u.Unit(FLUX)),
        FLUX,
        [5.165891635e-09, 1.308553711e-11, 5.56435335e-13, 1.15111037e-14, 2.222222222e-18],
    ),
    "meyer": (
        create_crab_spectral_model("meyer"),
        "erg TeV-2 s-1 cm-2",
        [1.108938181e-07, 2.986184986e-10, 8.928028776e-12, 3.050279113e-13, 2.252368211e-15],
    ),
    "electron": (
        create_cosmic_ray_spectral_model("electron"),
        "TeV-1 s-1 m-2",
        [66.75900042, 0.01369192652, 0.0001013670915, 1.669233242e-06, 6.198518066e-09],
    ),
    "compound": (
        POWER_LAW * ExpCutoffPowerLawNormSpectralModel(index=0.3, norm=1.4, reference=2, lambda_=0.15) + PARABOLA,
        FLUX,
        [2.310046309e-07, 1.825561865e-10, 7.756708081e-12, 3.065830668e-13, 8.996722683e-16],
    ),
    "scale": (
        ScaleSpectralModel(POWER_LAW, norm=2.5),
        FLUX,
        [1.175036528e-07, 1.81885988e-10, 7.5e-12, 4.204407106e-13, 7.632947466e-15],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_values_as_gammapy(name):
    model, unit, values = MODELS[name]
    energy = ENERGIES * (u.GeV if "MeV" in unit else u.TeV)
    np.testing.assert_allclose(model(energy).to_value(unit), values, rtol=2e-9)


@pytest.mark.parametrize("name", MODELS)
def test_integrals_against_quad(name):
    model, unit, _ = MODELS[name]
    factor = 1e-3 if "MeV" in unit else 1.0
    low, high = np.array([0.02, 0.3, 1.7, 3.0, 0.02]) * factor, np.array([0.03, 1.6, 1.8, 40.0, 40.0]) * factor
    values = model.values

    def expected(power):
        breaks = [np.log(k) for k in model.kinks(*values)]

        def integrand(x):
            return float(np.exp(x * (1 + power)) * model.evaluate(np.array(np.exp(x)), *values))

        total = []
        for a, b in zip(np.log(low), np.log(high), strict=True):
            parts = [a, *sorted(k for k in breaks if a < k < b), b]
            pairs = itertools.pairwise(parts)
            total.append(sum(quad(integrand, p, q, epsrel=1e-11, epsabs=0, limit=200)[0] for p, q in pairs))
        return total

    np.testing.assert_allclose(model.evaluate_integral(low, high, *values), expected(0), rtol=1e-8)
    np.testing.assert_allclose(model.evaluate_energy_flux(low, high, *values), expected(1), rtol=1e-8)
    np.testing.assert_allclose(model.integral(low * u.TeV, high * u.TeV).value, expected(0), rtol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_integrals_add_up(name):
    model, unit, _ = MODELS[name]
    edges = np.geomspace(0.02, 60, 40) * (1e-3 if "MeV" in unit else 1.0)
    for function in (model.evaluate_integral, model.evaluate_energy_flux):
        parts = function(edges[:-1], edges[1:], *model.values)
        np.testing.assert_allclose(parts.sum(), function(edges[0], edges[-1], *model.values), rtol=1e-9)
        assert parts.shape == (39,)
        assert function(edges[:1, None], edges[None, 1:3], *model.values).shape == (1, 2)
        assert function(np.array(1.0), np.array(1.0), *model.values) == 0


@pytest.mark.parametrize("name", MODELS)
def test_copies_and_settings_keep_the_model(name):
    model = MODELS[name][0]
    energy = np.geomspace(1e-4, 50, 30)
    copied = model.copy()
    assert all(a is not b for a, b in zip(copied.parameters, model.parameters, strict=True))
    np.testing.assert_array_equal(copied.evaluate(energy, *copied.values), model.evaluate(energy, *model.values))
    own = model.copy()._parameters if not isinstance(model, CompoundSpectralModel) else {}
    again = type(model).from_settings(own, model.settings())
    np.testing.assert_array_equal(again.evaluate(energy, *again.values), model.evaluate(energy, *model.values))
    assert find_class("spectral", model.tag[1]) is type(model)


#: Parameters of gammapy 2.1's classes in order: name, value, unit, frozen; generated from SPECTRAL_MODEL_REGISTRY.
F, S = "TeV-1 s-1 cm-2", "s-1 cm-2"
AMPLITUDE, REFERENCE = ("amplitude", 1e-12, F, False), ("reference", 1, "TeV", True)
TEN = ("reference", 10, "TeV", True)
DEFAULTS = {
    "const": [("const", 1e-12, F, False)],
    "pl": [("index", 2, "", False), AMPLITUDE, REFERENCE],
    "pl-2": [("amplitude", 1e-12, S, False), ("index", 2, "", False), ("emin", 0.1, "TeV", True),
             ("emax", 100, "TeV", True)],
    "bpl": [("index1", 2, "", False), ("index2", 2, "", False), AMPLITUDE, ("ebreak", 1, "TeV", False)],
    "sbpl": [("index1", 2, "", False), ("index2", 2, "", False), AMPLITUDE, ("ebreak", 1, "TeV", False), REFERENCE,
             ("beta", 1, "", True)],
    "ecpl": [("index", 1.5, "", False), AMPLITUDE, REFERENCE, ("lambda_", 0.1, "TeV-1", False),
             ("alpha", 1, "", True)],
    "ecpl-3fgl": [("index", 1.5, "", False), AMPLITUDE, REFERENCE, ("ecut", 10, "TeV", False)],
    "secpl-3fgl": [AMPLITUDE, REFERENCE, ("ecut", 10, "TeV", False), ("index_1", 1.5, "", False),
                   ("index_2", 2, "", False)],
    "secpl-4fgl": [AMPLITUDE, REFERENCE, ("expfactor", 1e-14, "", False), ("index_1", 1.5, "", False),
                   ("index_2", 2, "", False)],
    "secpl-4fgl-dr3": [AMPLITUDE, REFERENCE, ("expfactor", 0.01, "", False), ("index_1", 1.5, "", False),
                       ("index_2", 2, "", False)],
    "lp": [AMPLITUDE, TEN, ("alpha", 2, "", False), ("beta", 1, "", False)],
    "lp2": [AMPLITUDE, TEN, ("alpha", 2, "", False), ("beta", 1, "", False), ("escale", 1, "TeV", True)],
    "gauss": [("amplitude", 1e-12, S, False), ("mean", 1, "TeV", False), ("sigma", 2, "TeV", False)],
    "pl-norm": [("tilt", 0, "", True), ("norm", 1, "", False), REFERENCE],
    "lp-norm": [("norm", 1, "", False), TEN, ("alpha", 0, "", False), ("beta", 0, "", False)],
    "ecpl-norm": [("index", 0, "", False), ("norm", 1, "", False), REFERENCE, ("lambda_", 0.1, "TeV-1", False),
                  ("alpha", 1, "", True)],
    "ebl-norm": [("redshift", 0.1, "", True), ("alpha_norm", 1, "", True)],
    "scale": [("norm", 1, "", False)],
}  # fmt: skip


@pytest.mark.parametrize("tag", DEFAULTS)
def test_parameters_as_gammapy(tag):
    fields = find_class("spectral", tag).parameter_fields()
    made = [(name, f.value, u.Unit(f.unit), f.frozen) for name, f in fields.items()]
    assert made == [(name, value, u.Unit(unit), frozen) for name, value, unit, frozen in DEFAULTS[tag]]


def test_names_and_tags_as_gammapy():
    known = tags("spectral")
    names = {
        "ConstantSpectralModel": "const",
        "CompoundSpectralModel": "compound",
        "PiecewiseNormSpectralModel": "piecewise-norm",
        "TemplateSpectralModel": "template",
        "TemplateNDSpectralModel": "templateND",
        "EBLAbsorptionNormSpectralModel": "ebl-norm",
        "NaimaSpectralModel": "naima",
        "SuperExpCutoffPowerLaw4FGLDR3SpectralModel": "secpl-4fgl-dr3",
    }
    for name, tag in names.items():
        assert known[name] is known[tag]
        assert known[name].__name__ == name
    with pytest.raises(ValueError, match="PowerLawSpectralModel"):
        find_class("spectral", "PowerLawSpectral")


#: gammapy 2.1: the amplitudes and indices of create_cosmic_ray_spectral_model, and the Crab spectra at 0.1, 1, 10 TeV.
COSMIC_RAYS = {
    "proton": (2.7, 1.2063715789784806),
    "N": (2.64, 0.9035220471724246),
    "Si": (2.66, 0.35688492544780054),
    "Fe": (2.63, 0.1683893662324129),
}
CRAB = {
    "hegra": [1.17974036e-08, 2.83000000e-11, 6.78869716e-14],
    "hess_pl": [1.47169934e-08, 3.45000000e-11, 8.08758941e-14],
    "hess_ecpl": [9.16538728e-09, 3.50604593e-11, 7.61176567e-14],
    "magic_lp": [5.48532700e-09, 3.23000000e-11, 6.29799806e-14],
    "magic_ecpl": [6.06101495e-09, 3.21663055e-11, 4.42547060e-14],
}


def test_reference_spectra():
    for particle, (index, amplitude) in COSMIC_RAYS.items():
        model = create_cosmic_ray_spectral_model(particle)
        assert model.index.value == index
        np.testing.assert_allclose(model.amplitude.quantity.to_value("m-2 s-1 TeV-1"), amplitude, rtol=1e-12)
    for name, values in CRAB.items():
        model = create_crab_spectral_model(name)
        np.testing.assert_allclose(model([0.1, 1, 10] * u.TeV).value, values, rtol=1e-8)
    with pytest.raises(ValueError, match="did you mean 'proton'"):
        create_cosmic_ray_spectral_model("protons")
    with pytest.raises(ValueError, match="did you mean 'hess_pl'"):
        create_crab_spectral_model("hesspl")


def test_log_gaussian_is_its_formula():
    model = LogGaussianSpectralModel(L=2e-12, Ep=0.3, w=0.5)
    energy = np.array([0.1, 1.0])
    expected = 2e-12 / (energy * 0.5 * np.sqrt(2 * np.pi)) * np.exp(-(np.log(energy / 0.3) ** 2) / (2 * 0.25))
    np.testing.assert_allclose(model(energy * u.TeV).value, expected, rtol=1e-14)
    np.testing.assert_allclose(model.integral("1 GeV", "1 PeV").value, 2e-12, rtol=1e-7)
