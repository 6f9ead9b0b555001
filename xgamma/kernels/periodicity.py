"""Tests of phases for periodicity: Rayleigh powers of harmonics, Z^2_n and H, for arrays of any shape."""

from __future__ import annotations

import numpy as np

__all__ = ["h_statistic", "harmonic_powers"]

#: Phases at a time, so that the sums need little memory.
BLOCK = 65_536


def harmonic_powers(phases: np.ndarray, weights: np.ndarray | None = None, n_harmonics: int = 20) -> np.ndarray:
    """Return the power of each harmonic: 2 for uniform phases on average, distributed as chi2 with two degrees.

    Parameters
    ----------
    phases
        Phases in turns, shape (..., n); NaN are left out.
    weights
        Weights, shape (..., n), by default 1.
    n_harmonics
        Number of harmonics.

    Returns
    -------
    numpy.ndarray
        ``2 / sum(w**2) * (sum(w cos(2 pi k phase))**2 + sum(w sin(2 pi k phase))**2)``, shape (..., n_harmonics); NaN
        without phases.

    Examples
    --------
    >>> harmonic_powers(np.array([0.25, 0.25, 0.75, 0.75]), n_harmonics=2).round(9) + 0.0
    array([0., 8.])
    """
    phases = np.asarray(phases, dtype=float)
    known = np.isfinite(phases)
    weight = known.astype(float) if weights is None else np.where(known, np.broadcast_to(weights, phases.shape), 0.0)
    total = np.zeros((*phases.shape[:-1], n_harmonics), dtype=complex)
    for start in range(0, phases.shape[-1], BLOCK):
        part = slice(start, start + BLOCK)
        turn = np.exp(2j * np.pi * np.where(known[..., part], phases[..., part], 0.0))
        power = np.ones_like(turn)
        for k in range(n_harmonics):
            power *= turn
            total[..., k] += (weight[..., part] * power).sum(axis=-1)
    norm = (weight**2).sum(axis=-1)[..., None]
    return np.asarray(np.divide(2.0 * np.abs(total) ** 2, norm, out=np.full(total.shape, np.nan), where=norm > 0))


def h_statistic(z2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return H and its number of harmonics from the sums of powers.

    Parameters
    ----------
    z2
        Sums over the first 1, 2, ... harmonics, shape (..., n).

    Returns
    -------
    h, harmonic
        ``max(z2_m - 4 m + 4)`` and the m at which it is reached, shape (...,).

    Examples
    --------
    >>> h_statistic(np.array([3.0, 30.0, 31.0]))
    (array(26.), array(2))
    """
    number = np.arange(1, z2.shape[-1] + 1)
    values = z2 - 4.0 * number + 4.0
    known = np.asarray(np.isfinite(values).all(axis=-1))
    best = np.where(known[..., None], values, -np.inf).argmax(axis=-1)
    h = np.where(known, np.take_along_axis(values, best[..., None], axis=-1)[..., 0], np.nan)
    return np.asarray(h), np.asarray(best + 1)
