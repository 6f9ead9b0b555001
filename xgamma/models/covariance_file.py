"""The covariance of models as a table beside their YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xgamma.models.covariance import Covariance
from xgamma.models.models import Models
from xgamma.models.parameter import Parameter
from xgamma.models.yaml_write import slots

__all__ = ["read_covariance", "write_covariance"]

FORMAT = "ascii.fixed_width"


def write_covariance(models: Models, path: Path) -> None:
    """Write the covariance of models as a table in the layout of gammapy.

    A row and a column for each place of a parameter, named as ``crab.spectral.index``: a linked parameter has one in
    each of its places, all equal.

    Parameters
    ----------
    models
        Models with their covariance.
    path
        File.
    """
    from astropy.table import Table

    places = list(slots(models))
    matrix = models.covariance_over([p for _, p in places])
    table = Table()
    table["Parameters"] = [name for name, _ in places]
    for number, column in enumerate(matrix.T):
        table[str(number)] = column
    table.write(path, format=FORMAT, delimiter="|")


def read_covariance(models: Models, path: Path) -> None:
    """Read the covariance of models, and the errors that follow from it.

    Rows are found by their names; where the names are others, as in old files, they are taken in the order of the
    parameters if there are as many.

    Parameters
    ----------
    models
        Models; they get the covariance.
    path
        File that `write_covariance` or gammapy wrote.

    Raises
    ------
    ValueError
        If the file is not such a table, or its rows are not those of the models.
    """
    names, matrix = _table(path)
    places = dict(slots(models))
    if set(names) <= set(places):
        parameters = [places[name] for name in names]
    elif len(names) == len(places):
        parameters = list(places.values())
    else:
        other = next(name for name in names if name not in places)
        msg = f"{path} holds {len(names)} parameters, as {other!r}, where the models have {len(places)}: {list(places)}"
        raise ValueError(msg)
    covariance = _joined(parameters, matrix)
    written = [(p, p.error) for p in models.parameters]
    models.set_covariance(covariance)
    for parameter, error in written:
        _keep_error(parameter, error)


def _joined(parameters: list[Parameter], matrix: NDArray[np.float64]) -> Covariance:
    """Covariance of parameters of which linked ones have several rows: of their elements the largest counts.

    gammapy writes zeros between models, so that only the rows of one model hold what a linked parameter and its
    neighbours there have in common.
    """
    rows: dict[int, list[int]] = {}
    for row, parameter in enumerate(parameters):
        rows.setdefault(id(parameter), []).append(row)
    places = list(rows.values())
    joined = np.empty((len(places), len(places)))
    for i, first in enumerate(places):
        for j, second in enumerate(places):
            block = matrix[np.ix_(first, second)].ravel()
            joined[i, j] = block[np.argmax(np.abs(block))]
    return Covariance(tuple(parameters[first[0]] for first in places), joined)


def _keep_error(parameter: Parameter, error: float) -> None:
    """Keep the error that the YAML gave where the covariance has none, or the same but for rounding."""
    if error > 0 and (parameter.error == 0 or np.isclose(parameter.error, error, rtol=1e-6, atol=0)):
        parameter.error = error


def _table(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    from astropy.table import Table

    try:
        table = Table.read(path, format=FORMAT, delimiter="|", fill_values=None)
        names = [str(name) for name in table["Parameters"]]
        table.remove_column("Parameters")
        matrix = np.array([np.asarray(column, float) for column in table.itercols()]).T.reshape(len(names), -1)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a table of a covariance: it needs a column 'Parameters' and a number for each pair"
        raise ValueError(msg) from error
    if matrix.shape != (len(names), len(names)):
        msg = f"the covariance in {path} has {len(names)} rows and {matrix.shape[1]} columns of numbers"
        raise ValueError(msg)
    return names, matrix
