"""Spectra from tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.io.fits_map import read_map
from xgamma.kernels.spectra import table_integral, table_values
from xgamma.models.parameter import Parameter
from xgamma.models.power_law import BRIGHTNESS, FLUX
from xgamma.models.spectral_model import SpectralModel
from xgamma.models.table import as_quantity, canonical_unit, checked_nodes, read_spectrum_table

__all__ = ["TemplateNDSpectralModel", "TemplateSpectralModel"]

FloatArray = NDArray[np.float64]


class TemplateSpectralModel(SpectralModel):
    """Spectrum from a table, interpolated as a power law between neighbouring energies.

    Parameters
    ----------
    energy
        Energies, quantity of shape (n,), ascending, at least two.
    values
        Values, quantity of shape (n,): a differential flux, also per sr, or numbers without a unit for a factor on
        other models; not negative.
    extrapolate
        Whether the power laws of the first and the last interval go on beyond the table; the spectrum is 0 there
        otherwise.

    Raises
    ------
    ValueError
        If energies do not ascend, a value is negative or not finite, or the numbers of both differ.

    Notes
    -----
    Integrals are closed forms, those of power laws. Next to a value of 0 the spectrum is 0. The model has no
    parameters: multiply it with a `PowerLawNormSpectralModel`.

    Examples
    --------
    >>> model = TemplateSpectralModel(["1 TeV", "10 TeV"], ["1e-12 TeV-1 s-1 cm-2", "1e-14 TeV-1 s-1 cm-2"])
    >>> model.integral("1 TeV", "10 TeV")
    <Quantity 9.e-13 1 / (s cm2)>
    """

    tag = ("TemplateSpectralModel", "template")

    def __init__(self, energy: Any, values: Any, *, extrapolate: bool = True) -> None:
        super().__init__()
        self._nodes = checked_nodes(energy, "energy")
        given = u.Quantity([u.Quantity(v) for v in values] if isinstance(values, (list, tuple)) else values)
        self._unit = canonical_unit(given.unit, FLUX, BRIGHTNESS)
        self._table = np.atleast_1d(given.to_value(self._unit)).astype(float)
        if self._table.shape != self._nodes.shape:
            msg = f"values have shape {self._table.shape}, energies {self._nodes.shape}"
            raise ValueError(msg)
        if not np.all(np.isfinite(self._table)) or np.any(self._table < 0):
            msg = "values of a template must be finite and not negative"
            raise ValueError(msg)
        self.extrapolate = bool(extrapolate)

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        energy_unit: str = "MeV",
        unit: str = "MeV-1 s-1 cm-2 sr-1",
        extrapolate: bool = True,
    ) -> Self:
        r"""Read a table: the text files of the Fermi-LAT isotropic background, FITS or ECSV.

        Parameters
        ----------
        path
            Text with energy and value in two columns (a third, the uncertainty, is left out); or a FITS or ECSV table
            with columns such as ``energy`` and ``dnde``. ``$VARIABLES`` are expanded.
        energy_unit, unit
            Units where the file states none; by default those of the isotropic background.
        extrapolate
            As for the model.

        Returns
        -------
        TemplateSpectralModel

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds no such table.

        Examples
        --------
        >>> from pathlib import Path
        >>> _ = Path("iso.txt").write_text("100 1e-7 1e-9\n1000 1e-9 1e-10\n")
        >>> TemplateSpectralModel.read("iso.txt")("1 GeV").to("MeV-1 s-1 cm-2 sr-1")
        <Quantity 1.e-09 1 / (MeV s sr cm2)>
        """
        return cls(*read_spectrum_table(path, energy_unit, unit), extrapolate=extrapolate)

    @property
    def energy(self) -> u.Quantity:
        """Energies of the table."""
        return self._nodes * u.TeV

    @property
    def table(self) -> u.Quantity:
        """Values of the table."""
        return self._table * u.Unit(self._unit)

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return self._unit

    def evaluate(self, energy: FloatArray) -> FloatArray:  # type: ignore[override]
        """Return the spectrum in canonical units."""
        values = table_values(energy, self._nodes, self._table)
        return values if self.extrapolate else np.where(self._inside(energy), values, 0.0)

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray) -> FloatArray:  # type: ignore[override]
        """Return the integral in canonical units, in closed form."""
        return table_integral(*self._range(energy_min, energy_max), self._nodes, self._table, 0.0)

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray) -> FloatArray:  # type: ignore[override]
        """Return the energy flux in canonical units, in closed form."""
        return table_integral(*self._range(energy_min, energy_max), self._nodes, self._table, 1.0)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the energies of the table."""
        return list(self._nodes)

    def _inside(self, energy: FloatArray) -> NDArray[np.bool_]:
        return np.asarray((energy >= self._nodes[0]) & (energy <= self._nodes[-1]))

    def _range(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.extrapolate:
            return low, high
        return np.clip(low, self._nodes[0], self._nodes[-1]), np.clip(high, self._nodes[0], self._nodes[-1])

    def settings(self) -> dict[str, Any]:
        """Return the table by the keys of a file."""
        table = {"energy": self.energy, "values": self.table}
        return table if self.extrapolate else table | {"extrapolate": False}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from what `settings` returned."""
        missing = [key for key in ("energy", "values") if key not in settings]
        if missing or parameters:
            what = f"needs the key {missing[0]!r}" if missing else "has no parameters"
            msg = f"{cls.__name__} {what}: it is a table of 'energy' and 'values'"
            raise ValueError(msg)
        energy, values = as_quantity(settings["energy"]), as_quantity(settings["values"])
        return cls(energy, values, extrapolate=bool(settings.get("extrapolate", True)))

    def __repr__(self) -> str:
        ends = f"{self._nodes[0]:g} to {self._nodes[-1]:g} TeV"
        return f"TemplateSpectralModel({self._nodes.size} energies, {ends}, unit={self._unit!r})"


class TemplateNDSpectralModel(SpectralModel):
    """Spectrum from a table over energy and parameters of any physics.

    Parameters
    ----------
    table
        Values over a dimension ``energy`` (or ``energy_true``) and one dimension for each parameter, each with a
        coordinate of at least two ascending numbers; ``attrs["units"]`` of the values and of the coordinates. Not
        negative.
    filename
        File that the table is from, for YAML.
    **parameters
        Values of the parameters; the middle of the range of the table by default.

    Raises
    ------
    ValueError
        If the table has no energies, a coordinate does not ascend, or a value is negative or not finite.

    Notes
    -----
    The logarithm of the value is interpolated, over the logarithm of energy and over the parameters (over their
    logarithm where the coordinate has ``attrs["interp"] == "log"``). The parameters have the range of the table as
    limits; beyond them, as beyond its energies, the interpolation goes on in straight lines. Next to a 0 it is 0.

    Examples
    --------
    >>> coords = {"mass": [1, 3], "energy": ("energy", [1, 10], {"units": "TeV"})}
    >>> attrs = {"units": "TeV-1 s-1 cm-2"}
    >>> table = xr.DataArray([[1e-12, 1e-14], [4e-12, 4e-14]], coords, ("mass", "energy"), attrs=attrs)
    >>> model = TemplateNDSpectralModel(table)
    >>> model.mass.value, model("1 TeV")
    (2.0, <Quantity 2.e-12 1 / (TeV s cm2)>)
    """

    tag = ("TemplateNDSpectralModel", "templateND")

    def __init__(self, table: xr.DataArray, *, filename: str | None = None, **parameters: Any) -> None:
        super().__init__()
        name = next((n for n in ("energy", "energy_true") if n in table.dims), None)
        if name is None:
            msg = f"the table needs a dimension 'energy'; it has {list(table.dims)}"
            raise ValueError(msg)
        table = table.transpose(..., name)
        self.filename = filename
        self._nodes = checked_nodes(u.Quantity(table[name].values, table[name].attrs.get("units", "TeV")), name)
        self._unit = canonical_unit(table.attrs.get("units", ""), FLUX, BRIGHTNESS)
        values = u.Quantity(table.values, table.attrs.get("units", "")).to_value(self._unit)
        if not np.all(np.isfinite(values)) or np.any(values < 0):
            msg = "values of a template must be finite and not negative"
            raise ValueError(msg)
        with np.errstate(divide="ignore"):
            self._logs = np.log(values.astype(float))
        self._axes = [self._axis(table, str(dim)) for dim in table.dims[:-1]]
        units = [str(table[dim].attrs.get("units", "")) for dim in table.dims[:-1]]
        self._units = {str(dim): unit for dim, unit in zip(table.dims[:-1], units, strict=True)}
        for dim, (nodes, _), unit in zip(table.dims[:-1], self._axes, units, strict=True):
            low, high = float(nodes[0]), float(nodes[-1])
            self._parameters[str(dim)] = Parameter(str(dim), 0.5 * (low + high), unit, low, high)
        for key, value in parameters.items():
            self._set_parameter(key, value)

    @staticmethod
    def _axis(table: xr.DataArray, dim: str) -> tuple[FloatArray, bool]:
        """Nodes of a parameter, and whether they are on a logarithmic scale."""
        log = table[dim].attrs.get("interp") == "log"
        nodes = np.asarray(table[dim].values, float)
        if nodes.size < 2 or np.any(np.diff(nodes) <= 0) or not np.all(np.isfinite(nodes)) or (log and nodes[0] <= 0):
            msg = (
                f"the coordinate {dim!r} of the table needs at least two numbers that ascend (positive if logarithmic)"
            )
            raise ValueError(msg)
        return nodes, log

    @classmethod
    def read(cls, path: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read a table from a FITS file as gammapy writes its region maps.

        Parameters
        ----------
        path
            File; ``$VARIABLES`` are expanded.
        **parameters
            Values of the parameters.

        Returns
        -------
        TemplateNDSpectralModel
        """
        values = read_map(path)
        flat = [d for d in values.dims if values.sizes[d] == 1 and d in ("y", "x")]
        if {"y", "x"} & set(values.dims) - set(flat):
            msg = f"{os.fspath(path)} holds a map of the sky, not a table over energy and parameters"
            raise ValueError(msg)
        return cls(values.squeeze(flat, drop=True), filename=os.fspath(path), **parameters)

    @property
    def unit(self) -> str:
        """Unit of the spectrum as text."""
        return self._unit

    def canonical_units(self) -> dict[str, str]:
        """Return the unit of each parameter in the table."""
        return dict(self._units)

    def evaluate(self, energy: FloatArray, *values: float) -> FloatArray:
        """Return the spectrum in canonical units."""
        return table_values(energy, self._nodes, self._spectrum(values))

    def evaluate_integral(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the integral in canonical units, in closed form."""
        return table_integral(energy_min, energy_max, self._nodes, self._spectrum(values), 0.0)

    def evaluate_energy_flux(self, energy_min: FloatArray, energy_max: FloatArray, *values: float) -> FloatArray:
        """Return the energy flux in canonical units, in closed form."""
        return table_integral(energy_min, energy_max, self._nodes, self._spectrum(values), 1.0)

    def _spectrum(self, values: Sequence[float]) -> FloatArray:
        """Values over the energies of the table: one parameter after the other is interpolated away."""
        logs = self._logs
        for value, (nodes, log) in zip(values, self._axes, strict=True):
            x, scale = (np.log(value), np.log(nodes)) if log else (value, nodes)
            i = int(np.clip(np.searchsorted(scale, x, side="right") - 1, 0, nodes.size - 2))
            weight = float((x - scale[i]) / (scale[i + 1] - scale[i]))
            logs = _mixed(logs[i], logs[i + 1], weight)
        return np.exp(logs)

    def kinks(self, *values: float) -> Sequence[float]:
        """Return the energies of the table."""
        return list(self._nodes)

    def settings(self) -> dict[str, Any]:
        """Return file and unit by the keys of a file."""
        if self.filename is None:
            msg = "a TemplateNDSpectralModel is written with the name of its table's file: set filename"
            raise ValueError(msg)
        return {"filename": self.filename, "unit": self._unit}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the file that `settings` returned."""
        if "filename" not in settings:
            msg = f"{cls.__name__} needs the key 'filename': the file of its table"
            raise ValueError(msg)
        return cls.read(settings["filename"], **parameters)


def _mixed(first: FloatArray, second: FloatArray, weight: float) -> FloatArray:
    """Weighted mean of logarithms; minus infinity next to minus infinity, whatever the weight's sign."""
    if weight in (0.0, 1.0):
        return second if weight else first
    finite = np.isfinite(first) & np.isfinite(second)
    mean = (1.0 - weight) * np.where(finite, first, 0.0) + weight * np.where(finite, second, 0.0)
    return np.where(finite, mean, -np.inf)
