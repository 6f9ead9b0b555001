"""Spatial models from maps of the sky."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from xgamma.models.component import ParameterField
from xgamma.models.parameter import Parameter
from xgamma.models.spatial_model import CenteredModel
from xgamma.models.spatial_table import SkyTable, as_map

if TYPE_CHECKING:
    from regions import RectangleSkyRegion

__all__ = ["TemplateSpatialModel"]

FloatArray = NDArray[np.float64]


class TemplateSpatialModel(CenteredModel):
    """A map of the sky: an image, or a cube that changes with energy.

    Parameters
    ----------
    map
        Map with dims (y, x) or (energy_true, y, x) and sky coordinates, or the name of a FITS file, also one of the
        diffuse emission of Fermi-LAT; ``$VARIABLES`` are expanded. ``attrs["units"]``: sr-1, or those of a brightness
        as TeV-1 s-1 cm-2 sr-1; without, sr-1.
    normalize
        Whether to divide the map, each energy by itself, by its integral.
    filename
        File that the map is from, for YAML.
    lon_0, lat_0
        Where the middle of the map is put, deg, frozen: by default where it is.

    Raises
    ------
    ValueError
        If the map has no sky coordinates, further axes, or no value above 0.

    Notes
    -----
    Logarithms of the values are interpolated linearly, between pixels and over the logarithm of energy; values below
    1e-37 count as 0. The outermost half of a pixel has the value of its centre (gammapy continues the line there), the
    outermost half of an energy bin continues the line; beside the map and beyond its energies the model is 0. Another
    `lon_0` or `lat_0` shifts longitudes and latitudes, which keeps the form near the equator of the frame or for small
    shifts.

    Integrals over pixels of other maps are taken on parts of pixels. With `normalize` they keep the flux of each pixel
    of this one, which interpolated logarithms would not (they lose two percent of a Gaussian of three pixels, and a
    ring of half a pixel around a disc): to rounding on the map's own grid, to some thousandths of the total on others.
    Without, the map is taken as the intensity of diffuse emission, which is what is interpolated.

    Examples
    --------
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.5 deg")
    >>> image = grid.assign(flux=(("y", "x"), [[1.0, 1.0], [1.0, 5.0]])).flux
    >>> TemplateSpatialModel(image).integrate(grid).values.round(3)
    array([[0.125, 0.125],
           [0.125, 0.625]])
    """

    tag = ("TemplateSpatialModel", "template")
    lon_0 = ParameterField(0.0, "deg", frozen=True)
    lat_0 = ParameterField(0.0, "deg", min=-90.0, max=90.0, frozen=True)

    def __init__(
        self,
        map: xr.DataArray | str | os.PathLike[str],  # noqa: A002
        *,
        normalize: bool = True,
        filename: str | None = None,
        position: SkyCoord | None = None,
        **parameters: Any,
    ) -> None:
        values, read = as_map(map, type(self).__name__)
        #: File that the map is from.
        self.filename = read if filename is None else filename
        self.normalize = bool(normalize)
        extra = [str(d) for d in values.dims if d not in ("y", "x", "energy", "energy_true") and values.sizes[d] > 1]
        if extra:
            msg = f"the map has the axes {extra}; TemplateNDSpatialModel takes them as parameters"
            raise ValueError(msg)
        single = [d for d in values.dims if d not in ("y", "x", "energy", "energy_true")]
        values = values.squeeze(single, drop=True)
        self._table = SkyTable.create(values, normalize=self.normalize)
        self._middle = self._table.grid.center
        frame = self._table.grid.frame.name
        if position is None:
            parameters = dict(zip(("lon_0", "lat_0"), (v * u.deg for v in self._middle), strict=True)) | parameters
        super().__init__(position=position, frame=frame, **parameters)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, normalize: bool = True) -> Self:
        """Read the map from a FITS file; parameters as for the model."""
        return cls(path, normalize=normalize)

    @property
    def unit(self) -> str:
        """Unit of the model as text."""
        return self._table.unit

    @property
    def is_energy_dependent(self) -> bool:
        """Whether the map has energies."""
        return self._table.energy is not None

    @property
    def energy(self) -> u.Quantity | None:
        """Energies of the map, None without."""
        return None if self._table.energy is None else self._table.energy[0] * u.TeV

    def evaluate(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the model at positions in degrees of its `frame`, with energies in TeV in front, in `unit`."""
        return self._table.evaluate(*self._places(lon, lat, values, energy), energy, self._table.logs)

    def evaluate_integrand(
        self, lon: FloatArray, lat: FloatArray, *values: float, energy: FloatArray | None = None
    ) -> FloatArray:
        """Return the same; where it is normalised, corrected so that each pixel holds what it does in the map."""
        function = self._table.conserving if self.normalize else self._table.evaluate
        return function(*self._places(lon, lat, values, energy), energy, self._table.logs)

    def _places(
        self, lon: FloatArray, lat: FloatArray, values: tuple[float, ...], energy: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Positions on the map."""
        if self.is_energy_dependent and energy is None:
            msg = "the template changes with energy: give energy="
            raise ValueError(msg)
        return np.asarray(lon) - (values[0] - self._middle[0]), np.asarray(lat) - (values[1] - self._middle[1])

    def evaluation_radius(self, *values: float) -> float:
        """Return half of the diagonal of the map."""
        return self._table.radius

    def bin_size_min(self, *values: float) -> float:
        """Return the size of the map's pixels."""
        return self._table.bin_size

    def to_region(self) -> RectangleSkyRegion:
        """Return the outline of the map."""
        from regions import RectangleSkyRegion

        (ny, nx), (size_y, size_x) = self._table.grid.shape, self._table.grid.frame.binsize
        return RectangleSkyRegion(self.position, width=nx * size_x * u.deg, height=ny * size_y * u.deg)

    def settings(self) -> dict[str, Any]:
        """Return file, unit and whether the map is normalised, by the keys of a file."""
        if self.filename is None:
            msg = "a TemplateSpatialModel is written with the name of its map's file: set filename"
            raise ValueError(msg)
        return super().settings() | {"filename": self.filename, "normalize": self.normalize, "unit": self.unit}

    @classmethod
    def from_settings(cls, parameters: Mapping[str, Parameter], settings: Mapping[str, Any]) -> Self:
        """Make the model from its parameters and the file that `settings` returned."""
        for key in settings:
            if key not in ("filename", "normalize", "unit", "frame"):
                msg = f"{cls.__name__} has no key {key!r}; it has 'filename', 'normalize', 'unit' and 'frame'"
                raise TypeError(msg)
        if "filename" not in settings:
            msg = f"{cls.__name__} needs the key 'filename': the file of its map"
            raise ValueError(msg)
        given: dict[str, Any] = {"normalize": bool(settings.get("normalize", True)), **parameters}
        model = cls(settings["filename"], **given)
        frame = settings.get("frame", model.frame)
        if frame != model.frame:
            msg = f"frame: {frame} of the template is not that of its map, {model.frame}"
            raise ValueError(msg)
        return model

    def __repr__(self) -> str:
        ny, nx = self._table.grid.shape
        what = f"{'' if self.energy is None else f'{self.energy.size} energies, '}{ny} x {nx} pixels"
        return f"TemplateSpatialModel({what}, unit={self.unit!r}, frame={self.frame!r})"
