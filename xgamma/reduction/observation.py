"""One open run: its numbers, responses and counts as arrays."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xgamma.coords.frame import PixelGeometry
from xgamma.coords.sky import SkyGrid
from xgamma.dl3.cache import cache, file_key
from xgamma.dl3.observation import ObservationFiles
from xgamma.irf.aeff import PreparedAeff, prepare_aeff
from xgamma.irf.background import prepare_background
from xgamma.irf.background_rate import PreparedBackground, prepare_integral
from xgamma.irf.edisp import evaluate_edisp_kernel
from xgamma.irf.psf import evaluate_psf_bins
from xgamma.kernels.histogram import bin_events
from xgamma.kernels.sphere import field_of_view, separation, to_vectors
from xgamma.reduction.altaz import field_of_view_altaz
from xgamma.reduction.footprint import footprint, footprint_center
from xgamma.reduction.settings import AxisSettings, ReduceSettings

__all__ = ["OpenRun", "Run"]

T = TypeVar("T")

#: HDU types that the numbers of a run come from.
NUMBERS = ("events", "gti", "pointing")


class OpenRun:
    """A run whose files are open: each number and response is read once, when first asked for.

    Parameters
    ----------
    files
        The open files.
    settings
        What to make of them.
    """

    def __init__(self, files: ObservationFiles, settings: AxisSettings) -> None:
        self.files, self.settings = files, settings
        self._tables: dict[str, xr.DataArray] = {}

    @functools.cached_property
    def _key(self) -> tuple[Hashable, ...]:
        observation = self.files.observation
        files = dict.fromkeys(h.file for h in observation.hdus if h.hdu_type in NUMBERS)
        return observation.__dask_tokenize__(), *(file_key(file) for file in files)

    def _shared(self, name: str, make: Callable[[], T], *more: Hashable) -> T:
        """Return what all tiles that the run touches need; it stays in the cache of the process."""
        try:
            key = (f"run {name}", *self._key, *more)
        except OSError:
            return make()  # opening the file says what is wrong
        return cache().get(key, make, lambda value: 1000 + int(getattr(value, "nbytes", 0)))

    @functools.cached_property
    def gti(self) -> np.ndarray:
        """Good time intervals, shape (n, 2), seconds since J2000.0 (TT)."""
        return self._shared("gti", self._read_gti)

    def _read_gti(self) -> np.ndarray:
        gti = self.files.gti()
        intervals = np.stack([gti["gti_start"].values, gti["gti_stop"].values], axis=-1)
        intervals.setflags(write=False)
        return intervals

    @functools.cached_property
    def ontime(self) -> float:
        """Summed length of the good time intervals in s."""
        return float((self.gti[:, 1] - self.gti[:, 0]).sum())

    @functools.cached_property
    def background_time(self) -> float:
        """Ontime that the background belongs to, in s: a filter on the phase keeps a part of it, as of the livetime."""
        cut = self.files.observation.cut
        return self.ontime * (1.0 if cut is None else cut.livetime_fraction)

    @functools.cached_property
    def livetime(self) -> float:
        """Ontime without dead time in s: the exposure's time."""
        return self._shared("livetime", self.files.livetime)

    @functools.cached_property
    def tmid(self) -> float:
        """Middle of the run, seconds since J2000.0 (TT)."""
        return float(0.5 * (self.gti[:, 0].min() + self.gti[:, 1].max())) if len(self.gti) else np.nan

    @functools.cached_property
    def pointing(self) -> tuple[float, float]:
        """Pointing at the middle of the run, ICRS degrees."""
        if not len(self.gti):
            return np.nan, np.nan
        return self._shared("pointing", self._read_pointing)

    def _read_pointing(self) -> tuple[float, float]:
        ra, dec = self.files.pointing().icrs(self.tmid)
        return float(ra), float(dec)

    @functools.cached_property
    def center(self) -> np.ndarray:
        """Pointing as an ICRS unit vector."""
        return to_vectors(*(np.asarray(v) for v in self.pointing))

    def _of_response(self, name: str, hdu_type: str, make: Callable[[], T], *more: Hashable) -> T:
        """Return what all tiles need of a response; it stays in the cache, for all runs of one response file."""
        location = self.files.observation.location(hdu_type)
        try:
            key = (name, location.hdu, location.hdu_type, *file_key(location.file), *more)
        except OSError:
            return make()  # opening the file says what is wrong
        return cache().get(key, make, lambda value: 1000 + int(getattr(value, "nbytes", 0)))

    @functools.cached_property
    def background_model(self) -> PreparedBackground:
        """Background response, gaps filled and padded at its edge, at the edges of the energy bins."""
        settings = self.settings

        def make() -> PreparedBackground:
            model = prepare_background(self.table("bkg"))
            return prepare_integral(model, settings.energy_edges, settings.background_oversampling)

        axis = settings.energy_edges.tobytes(), settings.background_oversampling
        # what only the header of the events tells of the response
        return self._of_response("prepared", "bkg", make, *axis, self.files.reversed_background())

    @functools.cached_property
    def effective_area(self) -> PreparedAeff:
        """Effective area at the centres of the bins of true energy."""
        energy = self.settings.energy_true
        assert energy is not None
        return self._of_response("prepared", "aeff", lambda: prepare_aeff(self.table("aeff"), energy), energy.tobytes())

    @functools.cached_property
    def aeff_attrs(self) -> Mapping[str, Any]:
        """Attributes of the effective area."""
        if self.settings.energy_true is None:
            return self.table("aeff").attrs
        return self.effective_area.attrs

    def table(self, hdu_type: str) -> xr.DataArray:
        """Return a response that is one table: effective area, energy dispersion, background."""
        if hdu_type not in self._tables:
            response = self.files.irf(hdu_type)
            assert isinstance(response, xr.DataArray)
            self._tables[hdu_type] = response
        return self._tables[hdu_type]

    def offset(self, vectors: np.ndarray) -> np.ndarray:
        """Return separations from the pointing in degrees, NaN outside the sky."""
        return separation(vectors, self.center)

    def exposure(self, offset: np.ndarray) -> np.ndarray:
        """Return effective area times livetime in cm2 s at offsets (...), shape (n_true, ...)."""
        assert self.settings.energy_true is not None
        if self.aeff_attrs.get("is_pointlike"):
            msg = (
                f"run {self.files.observation.obs_id}: the effective area is that of a point-like selection; "
                "the exposure of a map holds for the events inside its on region only"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        return self.selected_exposure(offset)

    def selected_exposure(self, offset: np.ndarray) -> np.ndarray:
        """Return the same, also for responses that hold for the events of an on region only."""
        area = self.effective_area.at(offset)
        return np.multiply(area, self.livetime, out=area)

    def background(self, geometry: PixelGeometry, offset: np.ndarray) -> np.ndarray:
        """Return predicted background events in each pixel, shape (n_energy, ...)."""
        rate = self.background_rate(geometry.vectors, offset)
        return np.multiply(rate, geometry.solid_angle * self.background_time, out=rate)

    def background_rate(self, vectors: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return the background rate in s-1 sr-1 in bins of energy at ICRS vectors (..., 3)."""
        model = self.background_model
        if model.radial:
            return model.at(offset, np.zeros(()), offset)
        if model.alignment == "ALTAZ":
            total = np.zeros((self.settings.n_energy, *offset.shape))
            for weight, lon, lat in field_of_view_altaz(vectors, self.files.pointing(), self.gti):
                total += weight * model.at(-lon, lat, offset)
            return total
        lon, lat = field_of_view(vectors, *self.pointing)
        # the longitude of the data format falls with right ascension and azimuth
        return model.at(-lon, lat, offset)

    def psf(self, offset: np.ndarray) -> np.ndarray:
        """Return the PSF in sr-1 at offsets (...), shape (n_true, ..., n_rad)."""
        settings = self.settings
        assert settings.energy_true is not None
        assert settings.rad_edges is not None
        return evaluate_psf_bins(self.files.irf("psf"), settings.energy_true, offset, settings.rad_edges)

    def edisp(self, offset: np.ndarray) -> np.ndarray:
        """Return the energy dispersion at offsets (...), shape (n_true, n_energy, ...)."""
        settings = self.settings
        assert settings.energy_true is not None
        return evaluate_edisp_kernel(self.table("edisp"), offset, settings.energy_true, settings.energy_edges)


class Run(OpenRun):
    """An open run on a window of a sky grid; see `OpenRun`."""

    settings: ReduceSettings

    def __init__(self, files: ObservationFiles, settings: ReduceSettings) -> None:
        super().__init__(files, settings)

    @functools.cached_property
    def footprint(self) -> list[tuple[slice, slice]]:
        """Array slices of the whole grid that this run fills; none if it has no good time."""
        if not len(self.gti):
            return []
        grid, limit = self.settings.grid, self.settings.offset_max
        parts = self._shared("footprint", lambda: footprint(grid, *self.pointing, limit), grid, limit)
        return list(parts)

    @functools.cached_property
    def middle(self) -> np.ndarray:
        """Middle of the footprint as an ICRS unit vector."""
        return to_vectors(*(np.asarray(v) for v in footprint_center(self.settings.grid, self.footprint)))

    def counts(self, window: SkyGrid) -> np.ndarray:
        """Return the events of the run in bins of energy and pixels, shape (n_energy, ny, nx)."""
        edges = self.settings.energy_edges
        events = self.files.events(["ra", "dec", "energy"])
        energy = events["energy"].values
        keep = (energy >= edges[0]) & (energy < edges[-1])
        lon, lat = window.frame.from_icrs(events["ra"].values[keep], events["dec"].values[keep])
        y, x = window.sky_to_pixel(lon, lat)
        return bin_events(energy[keep], y, x, edges, (window.y.start, window.x.start), window.shape)
