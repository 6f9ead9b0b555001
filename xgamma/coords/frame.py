"""`SkyFrame`: the sky projection of a map as a small, hashable value that knows no xarray."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import ICRS, BaseCoordinateFrame, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from xgamma.kernels.sphere import from_vectors, solid_angles, to_vectors

__all__ = ["PixelGeometry", "SkyFrame", "pixel_geometry"]

#: The cards that define a celestial projection; all others of a header say something else.
CARD = re.compile(r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT)[12]|PC[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX")
#: Projections in which the first pixel axis is periodic in longitude.
CYLINDRICAL = {"CAR", "CEA", "MER", "CYP"}
#: Reference pixels are compared to this part of a pixel.
PIXEL_DIGITS = 6


@dataclass(frozen=True)
class SkyFrame:
    """Sky projection whose reference point lies in pixel (0, 0).

    The whole part of the reference pixel is moved into the pixel numbers, so two grids that differ
    by whole pixels share one frame and align by integers.

    Parameters
    ----------
    cards
        FITS cards, sorted by key, with canonical CRPIX.

    Examples
    --------
    >>> frame = SkyFrame.create(83.63, 22.01, 0.02, proj="TAN", frame="icrs")
    >>> lon, lat = frame.pixel_to_sky(0.0, 0.0)
    >>> float(lon), float(lat)
    (83.63, 22.01)
    """

    cards: tuple[tuple[str, str | float], ...]

    @classmethod
    def from_wcs(cls, wcs: WCS) -> tuple[SkyFrame, tuple[int, int]]:
        """Return the frame of an astropy WCS and the numbers (y, x) of the array's first pixel.

        Raises
        ------
        ValueError
            If the WCS has no celestial part, a distortion, or a frame that rotates with time.
        """
        celestial = wcs.celestial
        if celestial.naxis != 2:
            msg = "the WCS has no pair of celestial axes (CTYPE RA/DEC, GLON/GLAT, ...)"
            raise ValueError(msg)
        if celestial.has_distortion:
            msg = "the WCS has a distortion (SIP or lookup table); reproject the map onto a plain projection first"
            raise ValueError(msg)
        cards = {k: v for k, v in celestial.to_header(relax=True).items() if CARD.fullmatch(k)}
        first = {}
        for axis in ("1", "2"):
            zero_based = round(float(celestial.wcs.crpix[int(axis) - 1]) - 1.0, PIXEL_DIGITS)
            whole = int(np.floor(zero_based + 0.5))
            cards[f"CRPIX{axis}"] = round(zero_based - whole, PIXEL_DIGITS) + 1.0
            first[axis] = -whole
        return cls.from_cards(cards), (first["2"], first["1"])

    @classmethod
    def from_cards(cls, cards: Mapping[str, Any]) -> SkyFrame:
        """Build the frame from FITS cards, for example the attributes of a ``wcs`` coordinate."""
        clean = {str(k): _clean(v) for k, v in cards.items() if CARD.fullmatch(str(k))}
        missing = [k for k in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2") if k not in clean]
        if missing:
            msg = f"the wcs coordinate lacks the FITS cards {missing}"
            raise ValueError(msg)
        return cls(tuple(sorted(clean.items())))

    @classmethod
    def create(cls, lon: float, lat: float, binsize: float | tuple[float, float], proj: str, frame: str) -> SkyFrame:
        """Build a frame with its reference point in the middle of pixel (0, 0), angles in degrees."""
        return cls.from_wcs(_simple_wcs(lon, lat, binsize, proj, frame, (1.0, 1.0)))[0]

    @classmethod
    def centred(
        cls,
        lon: float,
        lat: float,
        binsize: tuple[float, float],
        proj: str,
        frame: str,
        crpix: tuple[float, float],
    ) -> tuple[SkyFrame, tuple[int, int]]:
        """Return a frame with its reference point at FITS pixel `crpix` = (x, y), and the first pixel (y, x).

        `binsize` is the pixel size along (x, y) in degrees.
        """
        return cls.from_wcs(_simple_wcs(lon, lat, binsize, proj, frame, crpix))

    @property
    def wcs(self) -> WCS:
        """The astropy WCS, made once a process."""
        return _wcs(self)

    @property
    def name(self) -> str:
        """Name of the celestial frame: ``"icrs"``, ``"galactic"``, ..."""
        return str(self.celestial.name)

    @property
    def celestial(self) -> BaseCoordinateFrame:
        """The astropy frame of the coordinates."""
        return _celestial(self)

    @property
    def proj(self) -> str:
        """Code of the projection, for example ``"TAN"``."""
        return str(dict(self.cards)["CTYPE1"])[-3:]

    @property
    def binsize(self) -> tuple[float, float]:
        """Pixel size along (y, x) at the reference point, degrees."""
        scale_x, scale_y = _pixel_scales(self)
        return scale_y, scale_x

    def header(self, y0: int, x0: int) -> fits.Header:
        """Return the FITS header of an array whose first pixel has the numbers (`y0`, `x0`)."""
        header = fits.Header(self.cards)
        header["CRPIX1"] -= x0
        header["CRPIX2"] -= y0
        return header

    def pixel_to_sky(self, y: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude and latitude in degrees; NaN where the projection has no sky."""
        lon, lat = self.wcs.wcs_pix2world(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 0)
        return np.asarray(lon), np.asarray(lat)

    def sky_to_pixel(self, lon: Any, lat: Any, near_x: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return pixel coordinates (y, x) of positions in degrees of this frame.

        Parameters
        ----------
        lon, lat
            Positions, any equal shape.
        near_x
            On a cylindrical projection longitude has a period; choose the turn nearest to this x.
        """
        lon, lat = np.broadcast_arrays(np.asarray(lon, dtype=float), np.asarray(lat, dtype=float))
        x, y = (np.asarray(v) for v in self.wcs.wcs_world2pix(lon, lat, 0))
        period = self.period
        if near_x is not None and period is not None:
            x = x - period * np.round((x - near_x) / period)
        return y, x

    @property
    def period(self) -> float | None:
        """Number of pixels of a full turn along x, None where x is not periodic."""
        if self.proj not in CYLINDRICAL or any(k.startswith("PC") and k[2] != k[4] for k, _ in self.cards):
            return None
        return 360.0 / abs(float(dict(self.cards)["CDELT1"]))

    def from_icrs(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Turn ICRS positions in degrees into this frame's."""
        if self.name == "icrs":
            return np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
        return from_vectors(to_vectors(lon, lat) @ self.rotation)

    def to_icrs(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Turn positions in degrees of this frame into ICRS."""
        if self.name == "icrs":
            return np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
        return from_vectors(to_vectors(lon, lat) @ self.rotation.T)

    @property
    def rotation(self) -> np.ndarray:
        """Matrix (3, 3) that turns an ICRS row vector into this frame's: ``v_frame = v_icrs @ rotation``."""
        return _rotation(self)

    def position(self, position: SkyCoord) -> tuple[float, float]:
        """Return longitude and latitude in degrees of a SkyCoord in this frame."""
        if not isinstance(position, SkyCoord):
            msg = f"position={position!r} must be an astropy SkyCoord"
            raise TypeError(msg)
        spherical = position.transform_to(self.celestial).spherical
        return spherical.lon.deg, spherical.lat.deg

    def __str__(self) -> str:
        return f"{self.name} {self.proj} {self.binsize[1]:g} deg"


def _clean(value: Any) -> str | float:
    """Plain str or float, numbers to 12 digits: what FITS headers carry."""
    value = value.item() if hasattr(value, "item") else value
    return value.strip() if isinstance(value, str) else float(f"{float(value):.12g}")


def _simple_wcs(
    lon: float, lat: float, binsize: float | tuple[float, float], proj: str, frame: str, crpix: tuple[float, float]
) -> WCS:
    """Astropy WCS with its reference point at (lon, lat)."""
    names = {"icrs": ("RA", "DEC"), "galactic": ("GLON", "GLAT"), "fk5": ("RA", "DEC")}
    if frame not in names:
        msg = f"frame={frame!r} must be one of {sorted(names)}"
        raise ValueError(msg)
    size_x, size_y = binsize if isinstance(binsize, tuple) else (binsize, binsize)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{name:-<{8 - len(proj)}}{proj}" for name in names[frame]]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [lon, lat], list(crpix), [-size_x, size_y]
    wcs.wcs.cunit = ["deg", "deg"]
    if frame in ("icrs", "fk5"):
        wcs.wcs.radesys = frame.upper()
    if frame == "fk5":
        wcs.wcs.equinox = 2000.0
    try:
        wcs.wcs.set()
    except Exception as error:  # wcslib raises its own family of errors
        msg = f"proj={proj!r} with reference point ({lon:g}, {lat:g}) is not a FITS projection: {error}"
        raise ValueError(msg) from error
    return wcs


@functools.lru_cache(maxsize=64)
def _wcs(frame: SkyFrame) -> WCS:
    wcs = WCS(fits.Header(frame.cards))
    wcs.wcs.set()
    return wcs


@functools.lru_cache(maxsize=64)
def _celestial(frame: SkyFrame) -> BaseCoordinateFrame:
    return wcs_to_celestial_frame(frame.wcs)


@functools.lru_cache(maxsize=64)
def _pixel_scales(frame: SkyFrame) -> tuple[float, float]:
    scales = np.sqrt((frame.wcs.pixel_scale_matrix**2).sum(axis=0))
    return float(scales[0]), float(scales[1])


@functools.lru_cache(maxsize=64)
def _rotation(frame: SkyFrame) -> np.ndarray:
    """Rotation from ICRS, taken from what astropy does to the three axes."""
    axes = SkyCoord(x=[1, 0, 0], y=[0, 1, 0], z=[0, 0, 1], representation_type="cartesian", frame=ICRS())
    matrix = axes.transform_to(frame.celestial).cartesian.xyz.value.T
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12):
        msg = f"the frame {frame.name!r} is not a rotation of ICRS; reproject the map to icrs or galactic first"
        raise ValueError(msg)
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True, eq=False)
class PixelGeometry:
    """Positions and solid angles of a block of pixels, made once and shared by all runs.

    Parameters
    ----------
    vectors
        ICRS unit vectors of the pixel centres, shape (ny, nx, 3); NaN outside the sky.
    solid_angle
        Solid angles in sr, shape (ny, nx); 0 outside the sky.
    """

    vectors: np.ndarray
    solid_angle: np.ndarray


@functools.lru_cache(maxsize=8)
def pixel_geometry(frame: SkyFrame, y: range, x: range) -> PixelGeometry:
    """Return positions and solid angles of the pixels `y` times `x` of `frame`."""
    lon, lat = frame.pixel_to_sky(*np.meshgrid(np.asarray(y), np.asarray(x), indexing="ij"))
    vectors = to_vectors(lon, lat) @ frame.rotation.T
    omega = pixel_solid_angle(frame, y, x)
    for array in (vectors, omega):
        array.setflags(write=False)
    return PixelGeometry(vectors, omega)


def pixel_solid_angle(frame: SkyFrame, y: range, x: range) -> np.ndarray:
    """Return the solid angles in sr of the pixels `y` times `x`, shape (ny, nx); 0 outside the sky."""
    edges_y, edges_x = (np.append(np.asarray(r), r[-1] + 1) - 0.5 for r in (y, x))
    corners = to_vectors(*frame.pixel_to_sky(*np.meshgrid(edges_y, edges_x, indexing="ij")))
    return np.nan_to_num(solid_angles(corners))
