"""The configuration of a small analysis of the sample survey."""

from __future__ import annotations

import copy

from xgamma.io.sample import sample_path

#: Coarse and quick: the whole sample in a third of a second.
SMALL = {
    "observations": {"datastore": str(sample_path("survey")), "obs_ids": [1, 2, 3]},
    "datasets": {
        "geom": {
            "wcs": {
                "skydir": {"frame": "icrs", "lon": "150 deg", "lat": "-25 deg"},
                "width": {"width": "3 deg", "height": "2.4 deg"},
                "binsize": "0.1 deg",
                "binsize_irf": "0.6 deg",
            },
            "axes": {
                "energy": {"min": "0.5 TeV", "max": "50 TeV", "nbins": 4},
                "energy_true": {"min": "0.3 TeV", "max": "100 TeV", "nbins": 5},
            },
        },
        "background": {
            "method": "ring",
            "parameters": {"r_in": "0.5 deg", "width": "0.4 deg"},
            "exclusion": ["icrs;circle(150, -25, 0.4)"],
        },
    },
    "excess_map": {"correlation_radius": "0.2 deg"},
}


def merged(base, change):
    """Return nested dicts with those of `change` on top."""
    result = copy.deepcopy(base)
    for name, value in change.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict) and name != "parameters"
        result[name] = merged(result[name], value) if nested else value
    return result
