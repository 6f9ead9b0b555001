"""Every public function states the units of all that it returns, and they are the canonical ones."""

from __future__ import annotations

import astropy.units as u
import pytest
from public_calls import IN_MEMORY, INSIDE, ON_MAPS, THROUGH_FILES, World, arrays_of, labelled_functions

#: Units that differ from those of the name they end with.
UNITS = {
    "energy": "TeV",
    "energy_true": "TeV",
    "lon": "deg",
    "lat": "deg",
    "rad": "deg",
    "offset": "deg",
    "separation": "deg",
    "exposure": "cm2 s",
    "irf_exposure": "cm2 s",
    "psf": "sr-1",
    "edisp": "",
    "counts": "",
    "background": "",
    "acceptance": "",
    "acceptance_off": "",
    "counts_off": "",
    "mask_safe": "",
    "excess": "",
    "sqrt_ts": "",
    "flux": "cm-2 s-1",
    "livetime": "s",
    "ontime": "s",
    "gti_start": "s",
    "gti_stop": "s",
    "time": "s",
    "ra": "deg",
    "dec": "deg",
    "solid_angle": "sr",
    "aeff": "cm2",
    "dnde": "TeV-1 s-1 cm-2",
    "e2dnde": "erg s-1 cm-2",
    "e2dnde_ul": "erg s-1 cm-2",
    "ref_dnde": "TeV-1 s-1 cm-2",
    "ref_flux": "s-1 cm-2",
    "ref_eflux": "erg s-1 cm-2",
    "ref_e2dnde": "erg s-1 cm-2",
    "norm": "",
    "norm_ul": "",
    "npred": "",
    "npred_signal": "",
    "npred_background": "",
    "ts": "",
    "stat": "",
    "stat_scan": "",
}
#: Calls in which a name means something else than in a cube.
OTHERWISE = {
    ("coords.units:to_unit", "exposure"): "m2 s",
    ("irf.read:read_irf", "edisp"): "",
    ("irf.read:read_irf", "background"): "s-1 TeV-1 sr-1",
    ("irf.background:constant_background", "background"): "s-1 TeV-1 sr-1",
    ("irf.background:powerlaw_background", "background"): "s-1 TeV-1 sr-1",
    ("irf.background:pad_offset", "background"): "s-1 TeV-1 sr-1",
    ("irf.background:prepare_background", "background"): "s-1 TeV-1 sr-1",
    ("irf.evaluate:background_rate", "background"): "s-1 sr-1",
}
CALLS = {**ON_MAPS, **IN_MEMORY}


@pytest.fixture(scope="module")
def world():
    return World(lazy=False)


def check_units(call, result):
    arrays = arrays_of(result)
    assert arrays
    for name, array in arrays.items():
        if array.dtype.kind in "bUSO":
            assert array.attrs.get("units", "") == "", f"{name} is {array.dtype} and has a unit"
            continue
        if array.dtype.kind not in "iu":  # whole numbers are counted, unless they say otherwise
            assert "units" in array.attrs, f"{name} of {call} states no unit"
        units = array.attrs.get("units", "")
        u.Unit(units)
        wanted = OTHERWISE.get((call, name), UNITS.get(name))
        assert wanted is None or units == wanted, f"{name} of {call} is in {units!r}, not {wanted!r}"


def test_every_function_is_walked():
    called = {name.split(" ")[0] for name in (*CALLS, *THROUGH_FILES)}
    functions = set(labelled_functions())
    assert functions - called - set(INSIDE) == set(), "add a call to public_calls.py"
    assert set(INSIDE) - functions == set(), "these are no functions any more"
    assert not called & set(INSIDE)


@pytest.mark.parametrize("call", CALLS)
def test_units_are_stated(call, world):
    check_units(call, CALLS[call](world))


@pytest.mark.parametrize("call", THROUGH_FILES)
def test_units_are_stated_by_what_is_read(call, world, tmp_path):
    check_units(call, THROUGH_FILES[call](world, tmp_path))


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        ("background.ring:ring_background", {"counts"}),
        ("background.ring:adaptive_ring_background", {"counts"}),
        ("estimators.excess:excess_map", set()),
        ("estimators.excess:excess_map (background model)", set()),
        ("reduction.info:info", set()),
    ],
)
def test_units_do_not_come_from_the_labels_of_the_input(call, kept, world):
    """After arithmetic attributes are gone or those of something else: what a function makes, it labels itself."""
    mislabelled = World(lazy=False)
    for name in ("runs", "cube", "onoff"):
        cube = getattr(world, name).copy()
        for variable in {"counts", "background", "counts_off", "acceptance", "acceptance_off"} & set(cube.data_vars):
            cube[variable] = cube[variable].assign_attrs(units="furlong")
        vars(mislabelled)[name] = cube
    made = CALLS[call](mislabelled)
    assert {name for name in made.data_vars if made[name].attrs["units"] == "furlong"} == kept
