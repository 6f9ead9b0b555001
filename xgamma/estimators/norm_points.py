"""Norms in bands of energy on plain arrays: bins are gathered into bands, and all bands are solved at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xgamma.fitting.cubes import Spectra
from xgamma.kernels.norm_fit import fit_norm
from xgamma.kernels.norm_limits import norm_sensitivity, scan_norm
from xgamma.kernels.norm_problem import NormProblem, cash_problem, join_problems, norm_predictions, wstat_problem

__all__ = ["Bands", "NormSettings", "dataset_names", "estimate", "solve_bands", "variable_dims"]

FloatArray = NDArray[np.float64]

#: Results that every band has.
ALWAYS = ("norm", "norm_err", "ts", "sqrt_ts", "stat", "stat_null", "n_dof", "success")
#: Results that are asked for.
OPTIONAL = {"errn-errp": ("norm_errn", "norm_errp"), "ul": ("norm_ul",), "sensitivity": ("norm_sensitivity",)}
#: Results that each dataset has.
PER_DATASET = ("npred", "npred_excess", "counts")


@dataclass(frozen=True, eq=False)
class NormSettings:
    """What is estimated.

    Parameters
    ----------
    selection
        ``"errn-errp"``, ``"ul"``, ``"scan"``, ``"sensitivity"``.
    n_sigma, n_sigma_ul, n_sigma_sensitivity
        Numbers of standard deviations.
    norms
        Norms of the likelihood profile, shape (k,).
    """

    selection: tuple[str, ...]
    n_sigma: float
    n_sigma_ul: float
    n_sigma_sensitivity: float
    norms: FloatArray


@dataclass(frozen=True, eq=False)
class Bands:
    """Bins of a cube that make up each band.

    Parameters
    ----------
    index
        Positions along energy, shape (n_band, k); bands with fewer bins are filled up with 0.
    inside
        Which of them are meant, shape (n_band, k).
    n_joint
        Number of dims before energy that share a norm.
    n_pixels
        How many of their elements, next to each other, make one dataset: the pixels of a map.
    """

    index: NDArray[np.intp]
    inside: NDArray[np.bool_]
    n_joint: int
    n_pixels: int = 1

    @classmethod
    def of(cls, groups: Sequence[slice], size: int, n_joint: int, n_pixels: int = 1) -> Bands:
        """Return the bands of slices along an axis of `size` bins.

        Examples
        --------
        >>> Bands.of([slice(0, 1), slice(1, 3)], 3, 0).index.tolist()
        [[0, 0], [1, 2]]
        """
        members = [np.arange(size)[g] for g in groups]
        width = max((len(m) for m in members), default=1)
        index = np.zeros((len(members), width), dtype=np.intp)
        inside = np.zeros(index.shape, dtype=bool)
        for row, m in enumerate(members):
            index[row, : len(m)], inside[row, : len(m)] = m, True
        return cls(index, inside, n_joint, n_pixels)

    def gather(self, array: FloatArray) -> FloatArray:
        """Return bins by band: dims (..., joint, energy) become (..., band, joint, bin), joint dims flattened."""
        lead = array.shape[: array.ndim - 1 - self.n_joint]
        flat = array.reshape(*lead, -1, array.shape[-1])
        return np.moveaxis(flat[..., self.index], -2, -3)


def variable_dims(settings: NormSettings) -> dict[str, list[str]]:
    """Return the results in order, with their dims beside those that keep points of their own."""
    names = list(ALWAYS)
    for what, more in OPTIONAL.items():
        names += more if what in settings.selection else ()
    dims = {name: ["band"] for name in names}
    dims |= {name: ["band", "dataset"] for name in PER_DATASET}
    if "scan" in settings.selection:
        dims["stat_scan"] = ["band", "scan"]
    return dims


def dataset_names(spectra: Sequence[Spectra]) -> list[str]:
    """Return a name for each dataset: runs and cubes; regions have none, since each has points of its own."""
    names: list[str] = []
    for s in spectra:
        if "region" not in s.lead:
            names += s.labels
            continue
        step = s.shape[s.lead.index("region")]
        joint = len(s.labels) // step
        names += [s.name] if joint == 1 else [f"{s.name}/{i}" for i in range(joint)]
    return names


def solve_bands(
    *arrays: FloatArray, parts: Sequence[tuple[Bands, Sequence[str]]], settings: NormSettings
) -> tuple[FloatArray, ...]:
    """Solve for the norms of all bands.

    Parameters
    ----------
    *arrays
        Arrays of all cubes one after the other, shape (..., joint, energy) each.
    parts
        For each cube its bands and the names of its arrays.
    settings
        What is estimated.

    Returns
    -------
    tuple of numpy.ndarray
        Results in the order of `variable_dims`.
    """
    given = iter(arrays)
    problems, labels = [], []
    offset = 0
    for bands, names in parts:
        problem, joint = _problem({name: next(given) for name in names}, bands)
        joint //= bands.n_pixels
        problems.append(problem)
        labels.append(np.repeat(np.arange(joint) + offset, problem.counts.shape[-1] // joint))
        offset += joint
    problem = join_problems(problems)
    part = np.concatenate(labels)
    takes_part = (problem.shape > 0) | (problem.counts > 0) | (problem.other > 0) | (problem.alpha > 0)
    results = estimate(problem, settings)
    results["n_dof"] = takes_part.sum(axis=-1) - 1.0
    npred, excess, _ = norm_predictions(problem, results["norm"])
    for name, values in zip(PER_DATASET, (npred, excess, problem.counts), strict=True):
        results[name] = np.stack([values[..., part == k].sum(axis=-1) for k in range(offset)], axis=-1)
    return tuple(results[name] for name in variable_dims(settings))


def _problem(arrays: dict[str, FloatArray], bands: Bands) -> tuple[NormProblem, int]:
    """Fits of one cube, shape (..., band, joint times bin), and the number of its datasets."""
    bins = {name: bands.gather(np.asarray(array)) for name, array in arrays.items()}
    mask = bins.pop("mask").astype(bool) & bands.inside[:, None, :]
    joint = mask.shape[-2]
    if "alpha" in bins:
        mask = mask & (bins["alpha"] > 0)
    flat = {name: b.reshape(*b.shape[:-2], -1) for name, b in bins.items()}
    inside = mask.reshape(*mask.shape[:-2], -1)
    if "alpha" in flat:
        return wstat_problem(
            flat["counts"], flat["counts_off"], flat["alpha"], flat["shape"], flat["other"], inside
        ), joint  # fmt: skip
    return cash_problem(flat["counts"], flat["other"], flat["shape"], inside), joint


def estimate(problem: NormProblem, settings: NormSettings) -> dict[str, FloatArray]:
    """Return norms with errors, limits, significance and profile.

    Parameters
    ----------
    problem
        The fits, shape (..., k).
    settings
        What is estimated.

    Returns
    -------
    dict
        Arrays of shape (...), and (..., scan) for the profile.
    """
    wanted = settings.selection
    fit = fit_norm(
        problem, settings.n_sigma, settings.n_sigma_ul, errors="errn-errp" in wanted, upper_limit="ul" in wanted
    )
    results = {
        name: getattr(fit, name) for name in (*ALWAYS, "norm_errn", "norm_errp", "norm_ul") if hasattr(fit, name)
    }
    if "sensitivity" in wanted:
        results["norm_sensitivity"] = norm_sensitivity(problem, settings.n_sigma_sensitivity)
    if "scan" in wanted:
        results["stat_scan"] = scan_norm(problem, settings.norms)
    return results
