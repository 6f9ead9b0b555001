"""Spatial models from maps with further axes, which become parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.models.parameter import Parameter
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_table import SkyTable, as_map

__all__ = ["TemplateNDSpatialModel"]

FloatArray = NDArray[np.float64]


class TemplateNDSpatialModel(SpatialModel):
    """Maps of the sky for values of parameters of any physics, interpolated between.

    Parameters
    ----------
    map
        Map with dims (..., [energy_true,] y, x) and sky coordinates, or the name of a FITS file. Each further dim
        has a coordinate of at least two ascending numbers, and becomes a parameter.
    filename
        File that the map is from, for YAML.
    **parameters
        Values of the parameters; the middle of their range by default.

    Raises
    ------
    ValueError
        If a coordinate does not ascend, the map has no sky coordinates or no value above 0.

    Notes
    -----
    Logarithms of the values are interpolated linearly, over the parameters (over their logarithm where the coordinate
    has ``attrs["interp"] == "log"``) as over pixels and the logarithm of energy; see `TemplateSpatialModel`. The range
    of the map is that of the parameters: beyond it the model stays as it is at its end.

    Examples
    --------
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.5 deg")
    >>> values = np.ones((2, 2, 2)) * [[[1.0]], [[4.0]]]
    >>> table = grid.assign_coords(age=[1.0, 3.0]).assign(table=(("age", "y", "x"), values)).table
    >>> TemplateNDSpatialModel(table)("0 deg", "0 deg").round(9)
    <Quantity 2. 1 / sr>
    """

    tag = ("TemplateNDSpatialModel", "templateND")

    def __init__(
        self,
        map: xr.DataArray | str | os.PathLike[str],  # noqa: A002
        *,
        filename: str | None = None,
        **parameters: Any,
    ) -> None:
        values, read = as_map(map, type(self).__name__)
        #: File that the map is from.
        self.filename = read if filename is None else filename
        name = next((n for n in ("energy_true", "energy") if n in values.dims), None)
        values = values.transpose(..., *([name] if name else []), "y", "x")
        self._table = SkyTable.create(values, normalize=False)
        super().__init__(frame=self._table.grid.frame.name)
        names = [str(d) for d in values.dims if d not in ("y", "x", name)]
        self._axes = [_axis(values, dim) for dim in names]
        self._units = {dim: str(values[dim].attrs.get("units", "")) for dim in names}
        for dim, (nodes, log) in zip(names, self._axes, strict=True):
            low, high = float(nodes[0]), float(nodes[-1])
            interp = "log" if log else "lin"
            unit = self._units[dim]
            self._parameters[dim] = Parameter(dim, 0.5 * (low + high), unit, low, high, interp=interp)
        for key, value in parameters.items():
            self._set_parameter(key, value)

    @classmethod
    def read(cls, path: str | os.PathLike[str], **parameters: Any) -> Self:
        """Read the map from a FITS file; parameters as for the model."""
        return cls(path, **parameters)

    @property
    def unit(self) -> str:
        """Unit of the model as text."""
        return self._table.unit

    @property
    def is_energy_dependent(self) -> bool:
        """Whether the map has energies."""
        return self._table.energy is not None

    @property
    def position(self) -> SkyCoord:
        """Middle of the map, which stays."""
        return SkyCoord(*self._table.grid.center, unit="deg", frame=self.frame)

    def canonical_units(self) -> dict[str, str]:
        """Return the unit of each parameter in the map."""
        return dict(self._units)

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the model at positions in degrees of its `frame`, with energies in TeV in front, in `unit`."""
        if self.is_energy_dependent and energy is None:
            msg = "the template changes with energy: give energy="
            raise ValueError(msg)
        logs = self._table.logs
        for value, (nodes, log) in zip(values, self._axes, strict=True):
            scale, x = (np.log(nodes), np.log(max(value, nodes[0]))) if log else (nodes, value)
            x = float(np.clip(x, scale[0], scale[-1]))
            i = int(np.clip(np.searchsorted(scale, x, side="right") - 1, 0, nodes.size - 2))
            weight = (x - scale[i]) / (scale[i + 1] - scale[i])
            logs = (1.0 - weight) * logs[i] + weight * logs[i + 1]
        return self._table.evaluate(lon, lat, energy, logs)

    def evaluation_radius(self, *values: float) -> float:
        """Return half of the diagonal of the map."""
        return self._table.radius

    def bin_size_min(self, *values: float) -> float:
        """Return the size of the map's pixels."""
        return self._table.bin_size

    def settings(self) -> dict[str, Any]:
        """Return file and unit by the keys of a file."""
        if self.filename is None:
            msg = "a TemplateNDSpatialModel is written with the name of its map's file: set filename"
            raise ValueError(msg)
        return super().settings() | {"filename": self.filename, "unit": self.unit}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the file that `settings` returned."""
        if "filename" not in settings:
            msg = f"{cls.__name__} needs the key 'filename': the file of its map"
            raise ValueError(msg)
        given: dict[str, Any] = dict(parameters)
        return cls(settings["filename"], **given)


def _axis(values: xr.DataArray, dim: str) -> tuple[FloatArray, bool]:
    """Nodes of a parameter, and whether they are on a logarithmic scale."""
    log = dim in values.coords and values[dim].attrs.get("interp") == "log"
    nodes = np.asarray(values[dim].values, float)
    if nodes.size < 2 or np.any(np.diff(nodes) <= 0) or not np.all(np.isfinite(nodes)) or (log and nodes[0] <= 0):
        msg = f"the coordinate {dim!r} of the map needs at least two numbers that ascend (positive if logarithmic)"
        raise ValueError(msg)
    return nodes, log
