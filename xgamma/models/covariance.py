"""Covariance of the parameters of models: a matrix that knows whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.models.parameter import Parameter, Parameters

__all__ = ["Covariance", "labelled_covariance"]


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
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, float)
        number = len(self.parameters)
        if matrix.shape != (number, number):
            msg = f"a covariance of {number} parameters needs shape ({number}, {number}), not {matrix.shape}"
            raise ValueError(msg)
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0, equal_nan=True):
            msg = "a covariance matrix must be symmetric"
            raise ValueError(msg)
        object.__setattr__(self, "matrix", matrix)

    def of(self, parameters: Iterable[Parameter]) -> NDArray[np.float64]:
        """Return the block of some parameters, shape (n, n).

        A parameter that the matrix does not know stands with its own error, without correlation.
        """
        wanted = list(parameters)
        place = {id(p): i for i, p in enumerate(self.parameters)}
        known = [i for i, p in enumerate(wanted) if id(p) in place]
        same = np.array([[p is q for q in wanted] for p in wanted], bool).reshape(len(wanted), len(wanted))
        block = same * np.array([0.0 if p.frozen else p.error**2 for p in wanted])
        rows = [place[id(wanted[i])] for i in known]
        block[np.ix_(known, known)] = self.matrix[np.ix_(rows, rows)]
        return block


def covariance_of(stored: Covariance | None, parameters: Sequence[Parameter]) -> NDArray[np.float64]:
    """Return the covariance of parameters: the stored one, or their errors on the diagonal."""
    return (stored or Covariance((), np.zeros((0, 0)))).of(parameters)


def labelled_covariance(parameters: Parameters, matrix: NDArray[np.float64]) -> xr.DataArray:
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
        Dims (parameter, parameter_), with the names as coordinates of both.
    """
    coords = {"parameter": parameters.names, "parameter_": parameters.names}
    attrs = {"long_name": "Covariance", "units": ""}
    return xr.DataArray(matrix, dims=("parameter", "parameter_"), coords=coords, name="covariance", attrs=attrs)
