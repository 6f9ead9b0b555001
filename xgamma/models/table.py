"""Tables that models hold: their checks, units and files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from xgamma.coords.units import to_value
from xgamma.io.fits_file import expand_path
from xgamma.models.component import ParameterField
from xgamma.models.parameter import Parameter

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["as_quantity", "canonical_unit", "checked_nodes", "read_spectrum_table"]

FloatArray = NDArray[np.float64]

#: Names that columns have in tables of spectra.
ENERGY_COLUMNS = ("energy", "e_ref", "energy_true", "energies", "e")
VALUE_COLUMNS = ("dnde", "values", "value", "flux", "intensity", "norm")


def as_quantity(value: Any) -> u.Quantity:
    """Return a quantity from one, or from what a file holds: ``{"data": [1, 2], "unit": "TeV"}``.

    Examples
    --------
    >>> as_quantity({"data": [1, 2], "unit": "TeV"})
    <Quantity [1., 2.] TeV>
    """
    if isinstance(value, Mapping):
        if "data" not in value:
            msg = f"a table in a file needs 'data' and 'unit', not {list(value)}"
            raise ValueError(msg)
        return u.Quantity(value["data"], value.get("unit") or "")
    return u.Quantity(value)


def checked_nodes(values: Any, name: str, unit: str = "TeV") -> FloatArray:
    """Return nodes of a table as numbers in a unit.

    Parameters
    ----------
    values
        Quantity, or text, shape (n,).
    name
        What they are, for messages.
    unit
        Unit of the result.

    Raises
    ------
    ValueError
        If there are fewer than two, or they are not positive, finite and ascending.

    Examples
    --------
    >>> checked_nodes(["1 GeV", "1 TeV"], "energy")
    array([0.001, 1.   ])
    """
    nodes = np.atleast_1d(np.asarray(to_value(values, unit, name), float))
    if nodes.ndim != 1 or nodes.size < 2:
        msg = f"{name} needs at least two nodes in one dimension, not shape {nodes.shape}"
        raise ValueError(msg)
    if not np.all(np.isfinite(nodes)) or nodes[0] <= 0 or np.any(np.diff(nodes) <= 0):
        msg = f"{name} must be positive, finite and ascending"
        raise ValueError(msg)
    return nodes


def canonical_unit(unit: Any, *candidates: str) -> str:
    """Return the canonical unit of the same kind: one of some, or made of TeV, cm, s and sr.

    Examples
    --------
    >>> canonical_unit("MeV-1 m-2 s-1", "TeV-1 s-1 cm-2")
    'TeV-1 s-1 cm-2'
    """
    field = ParameterField(1.0, candidates[0] if candidates else "", also=(*candidates[1:], "", None))
    return field.canonical(Parameter("values", 1.0, str(u.Unit(unit))))


def read_spectrum_table(path: str | os.PathLike[str], energy_unit: str, unit: str) -> tuple[u.Quantity, u.Quantity]:
    """Read energies and values of a spectrum from a file.

    Parameters
    ----------
    path
        FITS or ECSV table with columns for energy and value in units of their own; or plain text with two columns
        (further ones, such as uncertainties, are left out).
    energy_unit, unit
        Units of columns that state none.

    Returns
    -------
    energy, values : astropy.units.Quantity
        Shape (n,).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has no columns of energies and values.
    """
    file = expand_path(path)
    if not file.is_file():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    name = file.name.lower().removesuffix(".gz")
    if not name.endswith((".fits", ".fit", ".ecsv")):
        try:
            columns = np.loadtxt(file, ndmin=2)
        except ValueError as error:
            msg = f"{file.name} is not a table of numbers: {error}"
            raise ValueError(msg) from error
        if columns.shape[1] < 2:
            msg = f"{file.name} needs two columns, energy and value; it has {columns.shape[1]}"
            raise ValueError(msg)
        return columns[:, 0] * u.Unit(energy_unit), columns[:, 1] * u.Unit(unit)
    from astropy.table import Table

    table = Table.read(file, format="ascii.ecsv" if name.endswith(".ecsv") else "fits")
    found = [_column(table, names, file.name) for names in (ENERGY_COLUMNS, VALUE_COLUMNS)]
    energy, values = (
        np.asarray(table[c], float) * u.Unit(table[c].unit or default)
        for c, default in zip(found, (energy_unit, unit), strict=True)
    )
    return energy, values


def _column(table: Table, names: Sequence[str], file: str) -> str:
    have = {str(c).lower(): str(c) for c in table.colnames}
    found = next((have[n] for n in names if n in have), None)
    if found is None:
        msg = f"{file} has no column {' or '.join(names)}; it has {table.colnames}"
        raise ValueError(msg)
    return found
