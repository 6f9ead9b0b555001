"""Models of backgrounds: factors on what a cube has, and counts of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Self

import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.sky import grid_of
from xgamma.io.fits_map import read_map
from xgamma.models.component import Component
from xgamma.models.norm import PowerLawNormSpectralModel
from xgamma.models.sky_model import Model, SkyModel
from xgamma.models.spatial_model import SpatialModel
from xgamma.models.spatial_shapes import ConstantSpatialModel
from xgamma.models.spectral_model import SpectralModel
from xgamma.models.template import TemplateSpectralModel

__all__ = ["FoVBackgroundModel", "TemplateNPredModel", "create_fermi_isotropic_diffuse_model"]


class NormModel(Model):
    """A spectrum without unit, over reconstructed energy, and perhaps a factor on the sky."""

    def __init__(
        self,
        spectral: SpectralModel | None,
        spatial: SpatialModel | None,
        name: str,
        datasets_names: str | Iterable[str] | None,
    ) -> None:
        super().__init__(name, datasets_names)
        spectral = PowerLawNormSpectralModel() if spectral is None else spectral
        if not isinstance(spectral, SpectralModel) or not spectral.is_norm:
            msg = (
                f"spectral={spectral!r} of {name!r} must be a factor without unit, such as "
                "xgamma.PowerLawNormSpectralModel()"
            )
            raise TypeError(msg)
        if spatial is not None and not isinstance(spatial, SpatialModel):
            msg = f"spatial={spatial!r} of {name!r} is not a spatial model"
            raise TypeError(msg)
        self.spectral, self.spatial = spectral, spatial

    @property
    def components(self) -> Mapping[str, Component]:
        """The parts of the model by their kind: ``spectral``, ``spatial``."""
        parts: dict[str, Component | None] = {"spectral": self.spectral, "spatial": self.spatial}
        return {kind: part for kind, part in parts.items() if part is not None}


class FoVBackgroundModel(NormModel):
    """Factor on the background of a cube over its field of view.

    Parameters
    ----------
    spectral
        Spectral model without unit, over reconstructed energy; by default a `PowerLawNormSpectralModel` with its norm
        free and its tilt frozen.
    spatial
        Spatial model whose values are a factor without unit; none by default.
    name
        Name; by default that of the dataset with ``-bkg``, or ``fov-bkg``.
    datasets_names
        Names of the datasets that the model belongs to; None for all.

    Raises
    ------
    TypeError
        If the spectral model has a unit, or the spatial one is none.

    Examples
    --------
    >>> background = FoVBackgroundModel(name="stacked-bkg")
    >>> background.parameters.names, background.parameters.free.names
    (['tilt', 'norm', 'reference'], ['norm'])
    """

    tag = ("FoVBackgroundModel", "fov-bkg")

    def __init__(
        self,
        spectral: SpectralModel | None = None,
        spatial: SpatialModel | None = None,
        *,
        name: str | None = None,
        datasets_names: str | Iterable[str] | None = None,
    ) -> None:
        names = [datasets_names] if isinstance(datasets_names, str) else datasets_names
        names = None if names is None else list(names)
        given = name if name is not None else (f"{names[0]}-bkg" if names else "fov-bkg")
        super().__init__(spectral, spatial, given, names)

    @classmethod
    def from_settings(cls, components: Mapping[str, Component], settings: Mapping[str, Any]) -> Self:
        """Make a model from its parts by kind and what `settings` returned; files may leave the name out."""
        names = settings.get("datasets_names")
        first = names if isinstance(names, str) else (names[0] if names else None)
        default = "fov-bkg" if first is None else f"{first}-bkg"
        return super().from_settings(components, {"name": default} | dict(settings))


class _Shared:
    """A map that copies of a model share."""

    def __init__(self, values: xr.DataArray) -> None:
        self.values = values

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class TemplateNPredModel(NormModel):
    """Predicted counts from a map, with a factor.

    Parameters
    ----------
    map
        Counts in the bins of a cube, dims (energy, y, x), also lazy; by default what the file holds.
    spectral
        Spectral model without unit, over reconstructed energy; by default a `PowerLawNormSpectralModel` with its norm
        free and its tilt frozen.
    spatial
        Spatial model whose values are a factor without unit; none by default.
    name
        Name, ``"npred"`` by default.
    filename
        FITS file of the map, for YAML; ``$VARIABLES`` are expanded.
    datasets_names
        Names of the datasets that the model belongs to; None for all.

    Raises
    ------
    TypeError
        If the map is no DataArray, the spectral model has a unit, or the spatial one is none.
    ValueError
        If the map has no reconstructed energy or no sky coordinates, or a value is negative.

    Examples
    --------
    >>> import numpy as np
    >>> import xgamma as xg
    >>> grid = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.5 deg", energy=xg.energy_axis("1 TeV", "10 TeV", 1))
    >>> counts = grid.assign(counts=(("energy", "y", "x"), np.ones((1, 2, 2)), {"units": ""})).counts
    >>> TemplateNPredModel(counts, name="gas").parameters.free.names
    ['norm']
    """

    tag = ("TemplateNPredModel",)
    keys = ("name", "datasets_names", "filename")

    def __init__(
        self,
        map: xr.DataArray | None = None,  # noqa: A002
        spectral: SpectralModel | None = None,
        spatial: SpatialModel | None = None,
        *,
        name: str = "npred",
        filename: str | None = None,
        datasets_names: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(spectral, spatial, name, datasets_names)
        #: FITS file of the map.
        self.filename = None if filename is None else os.fspath(filename)
        if map is None:
            if self.filename is None:
                msg = f"{name!r} needs a map of counts, or the name of a file of one"
                raise ValueError(msg)
            map = read_map(self.filename)  # noqa: A001
        if not isinstance(map, xr.DataArray):
            msg = f"map={map!r} of {name!r} is not a map: give a DataArray with dims (energy, y, x)"
            raise TypeError(msg)
        if set(map.dims) != {"energy", "y", "x"}:
            msg = f"the map of {name!r} has dims {list(map.dims)}; it needs ('energy', 'y', 'x')"
            raise ValueError(msg)
        grid_of(map)
        if map.chunks is None and bool((map < 0).any()):
            msg = f"the map of {name!r} has negative values: predicted counts cannot be negative"
            raise ValueError(msg)
        self._shared = _Shared(map.transpose("energy", "y", "x"))

    @property
    def map(self) -> xr.DataArray:
        """Predicted counts, dims (energy, y, x)."""
        return self._shared.values

    @property
    def position(self) -> SkyCoord:
        """Middle of the map."""
        grid = grid_of(self.map)
        return SkyCoord(*grid.center, unit="deg", frame=grid.frame.celestial)

    def settings(self) -> dict[str, Any]:
        """Return what describes the model besides its parts, by the keys of a file."""
        if self.filename is None:
            msg = f"{self.name!r} is written with the name of its map's file: set filename"
            raise ValueError(msg)
        return super().settings() | {"filename": self.filename}


def create_fermi_isotropic_diffuse_model(
    path: str | os.PathLike[str], *, name: str | None = None, datasets_names: str | Iterable[str] | None = None
) -> SkyModel:
    r"""Return the isotropic diffuse emission of Fermi-LAT from its text file.

    Parameters
    ----------
    path
        Text file with energies in MeV and intensities in MeV-1 s-1 cm-2 sr-1; ``$VARIABLES`` are expanded.
    name
        Name; by default ``isotropic_`` and the dataset where there is one, or ``fermi-diffuse-iso``.
    datasets_names
        Names of the datasets that the model belongs to; None for all.

    Returns
    -------
    SkyModel
        The table times a `PowerLawNormSpectralModel`, the same everywhere on the sky; neither PSF nor energy dispersion
        are applied, which the intensities of the file include.

    References
    ----------
    .. [1] https://fermi.gsfc.nasa.gov/ssc/data/access/lat/BackgroundModels.html

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("iso.txt").write_text("100 1e-7 1e-9\n1000 1e-9 1e-10\n")
    >>> create_fermi_isotropic_diffuse_model("iso.txt").parameters.free.names
    ['norm']
    """
    names = [datasets_names] if isinstance(datasets_names, str) else datasets_names
    names = None if names is None else list(names)
    if name is None:
        name = f"isotropic_{names[0]}" if names and len(names) == 1 else "fermi-diffuse-iso"
    # the sr-1 is that of the spatial model
    table = TemplateSpectralModel.read(path, unit="MeV-1 s-1 cm-2")
    return SkyModel(
        table * PowerLawNormSpectralModel(),
        ConstantSpatialModel(),
        name=name,
        apply_irf={"psf": False, "edisp": False},
        datasets_names=names,
    )
