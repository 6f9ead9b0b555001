"""Covariance of the parameters of models: a matrix that knows whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.models.parameter import Parameter, Parameters

__all__ = ["Covariance", "covariance_of", "labelled_covariance"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Covariance:
    """Covariance matrix together with the parameters of its rows.

    Parameters
    ----------
    parameters
        Parameters of the rows and columns.
    matrix
        Shape (n, n), in the units of the parameters.

    Raises
    ------
    ValueError
        If the matrix is not square in the number of the parameters, or not symmetric.

    Examples
    --------
    >>> index, norm = Parameter("index", 2.0), Parameter("norm", 1.0)
    >>> Covariance((index, norm), np.diag([0.01, 0.04])).of([norm])
    array([[0.04]])
    """

    parameters: tuple[Parameter, ...]
    matrix: FloatArray

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, float)
        number = len(self.parameters)
        if matrix.shape != (number, number):
            msg = f"a covariance of {number} parameters needs shape ({number}, {number}), not {matrix.shape}"
            raise ValueError(msg)
        if not _symmetric(matrix):
            msg = "a covariance matrix must be symmetric"
            raise ValueError(msg)
        object.__setattr__(self, "matrix", matrix)

    def of(self, parameters: Iterable[Parameter]) -> FloatArray:
        """Return the block of some parameters, shape (n, n); one that is given twice has two equal rows.

        A parameter that the matrix does not know stands with its own error, without correlation.
        """
        wanted = list(parameters)
        place = {id(p): i for i, p in enumerate(self.parameters)}
        known = [i for i, p in enumerate(wanted) if id(p) in place]
        same = np.array([[p is q for q in wanted] for p in wanted], bool).reshape(len(wanted), len(wanted))
        block = same * np.array([_own_error(p) ** 2 for p in wanted])
        rows = [place[id(wanted[i])] for i in known]
        block[np.ix_(known, known)] = self.matrix[np.ix_(rows, rows)]
        return block


class HasCovariance(Protocol):
    """What a covariance is put together from: a model, a part of one, or a collection."""

    @property
    def parameters(self) -> Parameters: ...
    @property
    def has_covariance(self) -> bool: ...
    def covariance_over(self, parameters: Sequence[Parameter]) -> FloatArray: ...


def covariance_of(
    stored: Covariance | None, parameters: Sequence[Parameter], parts: Iterable[HasCovariance] = ()
) -> FloatArray:
    """Return the covariance of parameters with their present errors, shape (n, n).

    The stored matrix gives the correlations and the parameters the errors: one whose error or unit was changed
    since brings its row along.

    Parameters
    ----------
    stored
        Covariance of the same or of other parameters; None for errors without correlations.
    parameters
        Parameters of the rows.
    parts
        Parts of a model or collection: where one has a covariance of its own, its block is that.
    """
    block = _with_present_errors(stored, parameters)
    for part in parts:
        if part.has_covariance:
            known = {id(p) for p in part.parameters}
            rows = [i for i, p in enumerate(parameters) if id(p) in known]
            block[np.ix_(rows, rows)] = part.covariance_over([parameters[i] for i in rows])
    return block


def block_of(covariance: Covariance | FloatArray | xr.DataArray, parameters: Parameters) -> Covariance:
    """Return the covariance of just these parameters from a matrix over them, a labelled one, or one over others."""
    if isinstance(covariance, xr.DataArray):
        covariance = _from_labels(covariance, parameters)
    if not isinstance(covariance, Covariance):
        return Covariance(tuple(parameters), covariance)
    return Covariance(tuple(parameters), covariance.of(parameters))


def _from_labels(covariance: xr.DataArray, parameters: Parameters) -> Covariance:
    if set(covariance.dims) != {"parameter", "parameter_"} or "parameter" not in covariance.coords:
        msg = f"a labelled covariance has the dims ('parameter', 'parameter_') with names, not {covariance.dims}"
        raise ValueError(msg)
    ordered = covariance.transpose("parameter", "parameter_")
    return Covariance(tuple(parameters[str(name)] for name in ordered["parameter"].values), ordered.values)


def set_errors(covariance: Covariance) -> None:
    """Give parameters the errors of a covariance; NaN where a variance is negative."""
    for parameter, variance in zip(covariance.parameters, np.diag(covariance.matrix), strict=True):
        parameter.error = float(np.sqrt(variance)) if variance >= 0 else np.nan


def _with_present_errors(stored: Covariance | None, parameters: Sequence[Parameter]) -> FloatArray:
    block = (stored or Covariance((), np.zeros((0, 0)))).of(parameters)
    variance = np.diag(block)
    then = np.sqrt(np.where(variance > 0, variance, 0.0))
    now = np.array([p.error for p in parameters], float)
    follow = (then > 0) & np.isfinite(now)
    scale = np.where(follow, now / np.where(then > 0, then, 1.0), 1.0)
    # the square root of a variance that was not touched gives back the matrix bit by bit
    scale = np.where(np.isclose(scale, 1.0, rtol=1e-12, atol=0), 1.0, scale)
    return block * np.outer(scale, scale) + _of_new_errors(parameters, variance)


def _of_new_errors(parameters: Sequence[Parameter], variance: FloatArray) -> FloatArray:
    """Variances of parameters that got an error after a matrix which had none for them."""
    missing = np.array([v == 0 and _own_error(p) > 0 for p, v in zip(parameters, variance, strict=True)], bool)
    same = np.array([[p is q for q in parameters] for p in parameters], bool).reshape(missing.size, missing.size)
    return same * np.array([p.error**2 if new else 0.0 for p, new in zip(parameters, missing, strict=True)])


def _own_error(parameter: Parameter) -> float:
    return 0.0 if parameter.frozen else parameter.error


def _symmetric(matrix: FloatArray) -> bool:
    """Whether a matrix is symmetric, each element on the scale of the errors of its row and column."""
    size = np.sqrt(np.abs(np.diag(matrix)))
    scale = np.outer(size, size)
    both = np.isfinite(matrix) & np.isfinite(matrix.T)
    difference = np.abs(np.where(both, matrix, 0.0) - np.where(both, matrix.T, 0.0))
    allowed = 1e-6 * np.maximum(np.where(np.isfinite(scale), scale, 0.0), np.where(both, np.abs(matrix), 0.0))
    return bool(np.all(difference <= allowed) and np.all(both | (np.isnan(matrix) & np.isnan(matrix.T))))


def labelled_covariance(parameters: Parameters, matrix: FloatArray) -> xr.DataArray:
    """Return a covariance matrix with the names of its rows and columns.

    Parameters
    ----------
    parameters
        Parameters of the rows.
    matrix
        Shape (n, n), in the units of the parameters.

    Returns
    -------
    xarray.DataArray
        Dims ``(parameter, parameter_)``, with the names as coordinates of both, and the coordinate ``unit`` of the
        parameters: the covariance of two is in the product of their units.
    """
    coords = {
        "parameter": parameters.names,
        "parameter_": parameters.names,
        "unit": ("parameter", [p.unit for p in parameters]),
    }
    attrs = {"long_name": "Covariance", "units": ""}
    return xr.DataArray(matrix, dims=("parameter", "parameter_"), coords=coords, name="covariance", attrs=attrs)
