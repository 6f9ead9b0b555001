"""Histograms of events."""

from __future__ import annotations

import numpy as np

__all__ = ["bin_events"]


def bin_events(
    energy: np.ndarray, y: np.ndarray, x: np.ndarray, edges: np.ndarray, first: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    """Count events in bins of energy and pixels.

    Parameters
    ----------
    energy
        Shape (n,), same unit as `edges`.
    y, x
        Pixel coordinates, shape (n,); pixel i covers [i - 0.5, i + 0.5). NaN is outside.
    edges
        Energy edges, shape (n_energy + 1,); a bin holds its lower edge.
    first
        Numbers (y, x) of the first pixel.
    shape
        Number of pixels (ny, nx).

    Returns
    -------
    numpy.ndarray
        Counts, shape (n_energy, ny, nx), float64; events outside are left out.

    Examples
    --------
    >>> bin_events(np.array([1.5]), np.array([0.2]), np.array([1.4]), np.array([1.0, 2.0]), (0, 0), (1, 2))
    array([[[0., 1.]]])
    """
    number = len(edges) - 1
    with np.errstate(invalid="ignore"):
        row, column = np.floor(y + 0.5) - first[0], np.floor(x + 0.5) - first[1]
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    plane = np.searchsorted(edges, energy, side="right") - 1
    inside &= (plane >= 0) & (plane < number)
    flat = (plane[inside] * shape[0] + row[inside].astype(np.intp)) * shape[1] + column[inside].astype(np.intp)
    return np.bincount(flat, minlength=number * shape[0] * shape[1]).reshape(number, *shape).astype(float)
