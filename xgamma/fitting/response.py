"""Responses of spectra as matrices from energies at which a model is integrated to measured bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axes", "Response", "intersections", "response"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Axes:
    """Edges of the measured and of the true energy bins in TeV."""

    low: FloatArray
    high: FloatArray
    true_low: FloatArray
    true_high: FloatArray


@dataclass(frozen=True, eq=False)
class Response:
    """Counts in measured bins per flux in bins of energy.

    Parameters
    ----------
    low, high
        Energies in TeV between which the model is integrated, shape (k,).
    matrix
        Shape (n, k), cm2 s.
    """

    low: FloatArray
    high: FloatArray
    matrix: FloatArray


def intersections(axes: Axes) -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray, FloatArray]:
    """Return where bins of true and of measured energy overlap.

    Parameters
    ----------
    axes
        Both axes.

    Returns
    -------
    true, measured
        Numbers of the bins of each overlap, shape (k,).
    low, high
        Edges of the overlaps in TeV.

    Examples
    --------
    >>> axes = Axes(np.array([1.0]), np.array([4.0]), np.array([0.5, 2.0]), np.array([2.0, 8.0]))
    >>> [v.tolist() for v in intersections(axes)]
    [[0, 1], [0, 0], [1.0, 2.0], [2.0, 4.0]]
    """
    low = np.maximum(axes.true_low[:, None], axes.low)
    high = np.minimum(axes.true_high[:, None], axes.high)
    # edges that were computed in two ways differ in the last digits: no bin of that width is meant
    true, measured = np.nonzero(high > low * (1.0 + 1e-9))
    return true, measured, low[true, measured], high[true, measured]


def response(
    axes: Axes, kept: BoolArray, exposure: FloatArray, edisp: FloatArray | None, rows: BoolArray | None = None
) -> Response:
    """Return the response of the bins that take part in a fit.

    Parameters
    ----------
    axes
        Bins of true and of measured energy.
    kept
        Measured bins that take part, dims (..., energy).
    exposure
        Dims (..., energy_true), cm2 s.
    edisp
        Dims (..., energy_true, energy), probability per measured bin. None for energies that are measured exactly: a
        model is then integrated over the overlap of each measured bin with the bins of true energy, and multiplied
        by the exposure there.
    rows
        Spectra (...) that the model belongs to; None for all.

    Returns
    -------
    Response
        The bins in C order of `kept`; energies that no bin sees are left out.

    Examples
    --------
    >>> edges = np.array([1.0, 2.0, 4.0])
    >>> axes = Axes(edges[:-1], edges[1:], edges[:-1], edges[1:])
    >>> response(axes, np.array([True, False]), np.array([3.0, 5.0]), None).matrix
    array([[3.]])
    """
    if rows is not None:
        exposure = np.where(rows[..., None], exposure, 0.0)
    number = axes.true_low.size
    lead = kept.shape[:-1]
    exposure = np.broadcast_to(exposure, (*lead, number))
    if edisp is None:
        true, measured, low, high = intersections(axes)
        where = np.nonzero(kept)
        at = tuple(index[:, None] for index in where[:-1])
        matrix = np.where(where[-1][:, None] == measured, exposure[(*at, true)], 0.0)
    else:
        low, high = axes.true_low, axes.true_high
        edisp = np.broadcast_to(edisp, (*lead, number, kept.shape[-1]))
        # only the bins that are kept are multiplied out
        matrix = np.moveaxis(edisp, -2, -1)[kept] * np.repeat(
            exposure.reshape(-1, number), kept.reshape(-1, kept.shape[-1]).sum(axis=1), axis=0
        )
    seen = np.any(matrix != 0, axis=0)
    return Response(low[seen], high[seen], np.ascontiguousarray(matrix[:, seen]))
