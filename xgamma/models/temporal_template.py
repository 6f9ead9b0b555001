"""Temporal models from light curves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import conversion_factor
from xgamma.dl3.times import to_time
from xgamma.io.fits_file import expand_path, open_fits
from xgamma.io.fits_time import has_reference, reference_seconds
from xgamma.models.component import ParameterField
from xgamma.models.parameter import Parameter
from xgamma.models.temporal_model import DAY, T_REF, TemporalModel, between_kinks

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["LightCurveTemplateTemporalModel"]

FloatArray = NDArray[np.float64]

#: Smallest value of which a logarithm is taken.
TINY = float(np.finfo(np.float32).tiny)


class LightCurveTemplateTemporalModel(TemporalModel):
    """Light curve from a table, which may change with energy.

    Parameters
    ----------
    table
        Astropy table with columns ``TIME`` (with a unit, or ``TIMEUNIT`` in its header) and ``NORM`` and a reference
        ``MJDREFI`` (or ``MJDREF``) in its header; a DataArray with a dim ``time`` (coordinate in seconds since J2000.0
        in TT) and perhaps ``energy``, or a Dataset with such a variable ``norm``; or the name of a FITS or ECSV file
        of a table, or of a FITS file as gammapy writes its energy-dependent ones.
    filename
        File that the table is from, for YAML.
    t_ref
        Reference time, MJD, frozen; that of the table by default. Another one moves the light curve.
    scale
        Time scale of `t_ref`, ``"utc"`` by default.

    Raises
    ------
    ValueError
        If times do not ascend, there are fewer than two, there is no reference, or values are not finite or negative.

    Notes
    -----
    Straight lines between the times; those of the first and the last interval go on beyond them, not below 0, as in
    gammapy. With energies the logarithm of the value is interpolated, in time and over the logarithm of energy.

    Examples
    --------
    >>> from astropy.table import Table
    >>> header = {"MJDREFI": 58849, "MJDREFF": 0, "TIMESYS": "UTC"}
    >>> table = Table({"TIME": [0, 2] * u.d, "NORM": [1.0, 3.0]}, meta=header)
    >>> LightCurveTemplateTemporalModel(table)(["2020-01-01", "2020-01-02"]).round(9)
    array([1., 2.])
    """

    tag = ("LightCurveTemplateTemporalModel", "template")
    t_ref = ParameterField(T_REF, "d", frozen=True)

    def __init__(self, table: Any, *, filename: str | None = None, t_ref: Any = None, scale: str = "utc") -> None:
        if isinstance(table, (str, os.PathLike)):
            filename = os.fspath(table) if filename is None else filename
            table = _read(table)
        #: File that the table is from.
        self.filename = filename
        seconds, values, energy, reference = _columns(table)
        date = getattr(to_time(reference), scale).mjd if scale in ("utc", "tt", "tai", "tdb") else None
        super().__init__(scale=scale, t_ref=date * u.d if t_ref is None and date is not None else t_ref)
        self._days, self._norm, self._energy = _checked((seconds - reference) / DAY, values, energy)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read the light curve from a file; see the model."""
        return cls(path)

    @property
    def is_energy_dependent(self) -> bool:
        """Whether the light curve changes with energy."""
        return self._energy is not None

    def evaluate(self, time: FloatArray, *values: float, energy: FloatArray | None = None) -> FloatArray:
        """Return the factor, behind energies in TeV where the model depends on them."""
        days = self.days_since(time, values[0])
        if self._energy is None:
            return np.maximum(_line(days, self._days, self._norm), 0.0)
        if energy is None:
            msg = "the light curve changes with energy: give energy="
            raise ValueError(msg)
        logs = np.log(np.maximum(self._norm, TINY))
        wanted = np.log(np.atleast_1d(np.asarray(energy, float)))
        rows = np.stack([_line(days, self._days, row) for row in logs])
        result = _line(wanted, np.log(self._energy), np.moveaxis(rows, 0, -1)) if self._energy.size > 1 else rows
        return np.exp(np.moveaxis(result, -1, 0) if self._energy.size > 1 else np.repeat(rows, wanted.size, axis=0))

    def evaluate_integral(
        self, start: FloatArray, stop: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the integral in seconds, behind energies in TeV where the model depends on them."""
        if self._energy is None:
            return super().evaluate_integral(start, stop, *values)
        if energy is None:
            msg = "the light curve changes with energy: give energy="
            raise ValueError(msg)
        low, high = np.broadcast_arrays(np.asarray(start, float), np.asarray(stop, float))
        rows = [
            between_kinks(lambda t, e=e: self.evaluate(t, *values, energy=e)[0], low, high, self.kinks(*values))
            for e in np.atleast_1d(np.asarray(energy, float))
        ]
        return np.stack(rows)

    def kinks(self, *values: float) -> FloatArray:
        """Return the times of the table, and those where the line beyond it reaches 0."""
        zero = self.seconds(values[0])
        if self._energy is not None:
            return zero + self._days * DAY
        days, norm = self._days, self._norm
        ends = [
            days[i] - norm[i] * (days[j] - days[i]) / (norm[j] - norm[i])
            for i, j in ((0, 1), (-1, -2))
            if norm[j] != norm[i]
        ]
        return zero + np.union1d(days, [e for e in ends if e < days[0] or e > days[-1]]) * DAY

    def to_table(self) -> Table:
        """Return the light curve as an astropy table with its reference in the header: what a file holds."""
        from astropy.table import Table

        if self._energy is not None:
            msg = "a light curve that changes with energy is no table of times"
            raise ValueError(msg)
        date = self.t_ref.quantity.to_value("d")
        whole = int(np.floor(date))
        meta = {"MJDREFI": whole, "MJDREFF": date - whole, "TIMESYS": self.scale, "TIMEUNIT": "d"}
        return Table({"TIME": self._days * u.d, "NORM": self._norm}, meta=meta)

    def settings(self) -> dict[str, Any]:
        """Return file, its format and the time scale by the keys of a file."""
        if self.filename is None:
            msg = "a light curve is written with the name of its file: write to_table() and set filename"
            raise ValueError(msg)
        kind = "table" if self._energy is None else "map"
        return super().settings() | {"filename": self.filename, "format": kind, "unit": ""}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the file that `settings` returned."""
        for key in settings:
            if key not in ("filename", "format", "unit", "scale"):
                msg = f"{cls.__name__} has no key {key!r}; it has 'filename', 'format', 'unit' and 'scale'"
                raise TypeError(msg)
        if "filename" not in settings:
            msg = f"{cls.__name__} needs the key 'filename': the file of its light curve"
            raise ValueError(msg)
        given: dict[str, Any] = {"scale": settings.get("scale", "utc"), **parameters}
        return cls(settings["filename"], **given)

    def __repr__(self) -> str:
        ends = f"{self._days[0]:g} to {self._days[-1]:g} d after MJD {self.t_ref.value:.5f}"
        return f"LightCurveTemplateTemporalModel({self._days.size} times, {ends})"


def _line(place: FloatArray, nodes: FloatArray, values: FloatArray) -> FloatArray:
    """Straight lines through values along the last axis, continued beyond the nodes."""
    i = np.clip(np.searchsorted(nodes, place, side="right") - 1, 0, nodes.size - 2)
    weight = (place - nodes[i]) / (nodes[i + 1] - nodes[i])
    return np.asarray((1.0 - weight) * values[..., i] + weight * values[..., i + 1])


def _checked(
    days: FloatArray, norm: FloatArray, energy: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    if days.ndim != 1 or days.size < 2 or np.any(np.diff(days) <= 0) or not np.all(np.isfinite(days)):
        msg = "a light curve needs at least two times that ascend"
        raise ValueError(msg)
    if not np.all(np.isfinite(norm)) or np.any(norm < 0):
        msg = "values of a light curve must be finite and not negative"
        raise ValueError(msg)
    return days, norm, energy


def _columns(table: Any) -> tuple[FloatArray, FloatArray, FloatArray | None, float]:
    """Times and reference in seconds since J2000.0 (TT), values, and energies in TeV."""
    if isinstance(table, xr.Dataset):
        if "norm" not in table:
            msg = f"the Dataset of a light curve needs a variable 'norm'; it has {list(table.data_vars)}"
            raise ValueError(msg)
        table = table["norm"]
    if isinstance(table, xr.DataArray):
        return _labelled(table)
    names = {str(n).lower(): n for n in getattr(table, "colnames", ())}
    missing = [n for n in ("time", "norm") if n not in names]
    if missing:
        msg = f"the table of a light curve needs the column {missing[0].upper()!r}; it has {list(names.values())}"
        raise ValueError(msg)
    meta = {str(k).upper(): v for k, v in table.meta.items()}
    if not has_reference(meta):
        msg = "the header of the light curve has no MJDREFI (nor MJDREF): its times have no reference"
        raise ValueError(msg)
    # as in gammapy, dates of a table that does not tell their scale are in UTC
    reference = reference_seconds({"TIMESYS": "UTC"} | meta)
    column = table[names["time"]]
    unit = str(column.unit or meta.get("TIMEUNIT") or "")
    if not unit:
        msg = "the column TIME of the light curve has no unit, and its header no TIMEUNIT"
        raise ValueError(msg)
    seconds = reference + np.asarray(column, float) * conversion_factor(unit, "s")
    return seconds, np.asarray(table[names["norm"]], float), None, reference


def _labelled(norm: xr.DataArray) -> tuple[FloatArray, FloatArray, FloatArray | None, float]:
    energy = next((n for n in ("energy_true", "energy") if n in norm.dims), None)
    other = [d for d in norm.dims if d not in ("time", energy) and norm.sizes[d] > 1]
    if "time" not in norm.dims or other:
        msg = f"a light curve has the dim 'time', and perhaps 'energy', not {list(norm.dims)}"
        raise ValueError(msg)
    norm = norm.squeeze([d for d in norm.dims if d not in ("time", energy)], drop=True)
    norm = norm.transpose(*([energy] if energy else []), "time")
    seconds = norm["time"].values.astype(float) * conversion_factor(str(norm["time"].attrs.get("units", "s")), "s")
    nodes = None
    if energy is not None:
        unit = str(norm[energy].attrs.get("units", "TeV"))
        nodes = norm[energy].values.astype(float) * conversion_factor(unit, "TeV")
    reference = float(norm.attrs.get("reference", seconds[0]))
    return seconds, norm.values.astype(float), nodes, reference


def _read(path: str | os.PathLike[str]) -> Any:
    """A table, or a map over energy and time, from a file."""
    from astropy.table import Table

    file = expand_path(path)
    if not file.is_file():
        msg = f"there is no file {str(path)!r}"
        raise FileNotFoundError(msg)
    if file.name.lower().endswith(".ecsv"):
        return Table.read(file, format="ascii.ecsv")
    with open_fits(file) as hdus:
        names = [str(h.name).upper() for h in hdus]
        bands = next((n for n in names if n.endswith("_BANDS")), None)
        if bands is None:
            index = next((i for i, h in enumerate(hdus) if getattr(h, "columns", None) is not None), None)
            if index is None:
                msg = f"{file} holds no table of a light curve"
                raise ValueError(msg)
            return Table.read(hdus[index])
        return _map_of(hdus[bands.removesuffix("_BANDS")], hdus[bands], str(file))


def _map_of(data: Any, bands: Any, where: str) -> xr.DataArray:
    """The light curve of gammapy's region maps: values in one column, centres of its axes in another table."""
    table = {str(c.name).upper(): np.asarray(bands.data[c.name], float) for c in bands.columns}
    units = {str(c.name).upper(): str(c.unit or "") for c in bands.columns}
    if not {"TIME", "ENERGY"} <= set(table):
        msg = f"{where}: the axes of the light curve must be TIME and ENERGY, not {list(table)}"
        raise ValueError(msg)
    reference = reference_seconds({"TIMESYS": "UTC"} | dict(bands.header))
    time, energy = (np.unique(table[n]) for n in ("TIME", "ENERGY"))
    column = next(c for c in ("DATA", "VALUE") if c in [str(n).upper() for n in data.columns.names])
    values = np.zeros((energy.size, time.size))
    place = np.searchsorted(energy, table["ENERGY"]), np.searchsorted(time, table["TIME"])
    values[place] = np.asarray(data.data[column], float).reshape(-1)
    seconds = reference + time * conversion_factor(units["TIME"] or "d", "s")
    coords = {"time": ("time", seconds, {"units": "s"}), "energy": ("energy", energy, {"units": units["ENERGY"]})}
    return xr.DataArray(values, coords, ("energy", "time"), attrs={"units": "", "reference": reference})
