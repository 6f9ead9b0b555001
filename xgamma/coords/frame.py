"""`SkyFrame`: the sky projection of a map as a small, hashable value that knows no xarray."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import ICRS, BaseCoordinateFrame, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from xgamma.kernels.sphere import from_vectors, rotate, solid_angles, to_vectors

__all__ = ["PixelGeometry", "SkyFrame", "pixel_geometry"]

#: The cards that define a celestial projection; all others of a header say something else.
CARD = re.compile(r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT)[12]|PC[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX")
#: Projections in which the first pixel axis is periodic in longitude.
CYLINDRICAL = {"CAR", "CEA", "MER", "CYP"}
#: Projections that a new map can have: those of the FITS standard that need no parameters.
PROJECTIONS = (
    "AZP SZP TAN STG SIN ARC ZEA AIR CYP CEA CAR MER SFL PAR MOL AIT PCO TSC CSC QSC HPX XPH".split()  # noqa: SIM905
)
#: Codes of projections with a distortion of their own, which astropy does not report as one.
DISTORTED = ("TPV", "TPD", "TPU", "DSS")
#: FITS names of the axes, by celestial frame.
AXIS_NAMES = {"icrs": ("RA", "DEC"), "galactic": ("GLON", "GLAT"), "fk5": ("RA", "DEC")}
#: Points along each side at which a pixel on the edge of the sky is sampled.
EDGE_SAMPLES = 16
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
            If the WCS has no celestial part, its latitude comes before its longitude, it has a
            distortion, or astropy knows no frame for it.
        """
        celestial = wcs.celestial
        if celestial.naxis != 2:
            msg = "the WCS has no pair of celestial axes (CTYPE RA/DEC, GLON/GLAT, ...)"
            raise ValueError(msg)
        if wcs.wcs.lng > wcs.wcs.lat:
            msg = "the WCS has its latitude axis before its longitude axis; transpose the map first"
            raise ValueError(msg)
        cards = _canonical_cards(celestial)
        if wcs.has_distortion or str(cards["CTYPE1"]).endswith(DISTORTED):
            msg = "the WCS has a distortion (SIP, TPV, lookup table); reproject the map onto a plain projection first"
            raise ValueError(msg)
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
        """Return longitude in [0, 360) and latitude in degrees; NaN where the projection has no sky.

        On a cylindrical projection pixels more than half a turn from the reference point show the
        sky of the next turn; wcslib would refuse them.
        """
        y, x = np.asarray(y, dtype=float), np.asarray(x, dtype=float)
        period = self.period
        if period is not None:
            native = x - (float(dict(self.cards)["CRPIX1"]) - 1.0)
            # exactly half a turn is valid on both sides: only what lies beyond is moved
            x = x - period * np.where(np.abs(native) > 0.5 * period, np.round(native / period), 0.0)
        lon, lat = self.wcs.wcs_pix2world(x, y, 0)
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
        return _period(self)

    def from_icrs(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Turn ICRS positions in degrees into this frame's."""
        if self.name == "icrs":
            return np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
        return from_vectors(rotate(to_vectors(lon, lat), self.rotation))

    def to_icrs(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Turn positions in degrees of this frame into ICRS."""
        if self.name == "icrs":
            return np.asarray(lon, dtype=float), np.asarray(lat, dtype=float)
        return from_vectors(rotate(to_vectors(lon, lat), self.rotation.T))

    def icrs_vectors(self, lon: Any, lat: Any) -> np.ndarray:
        """Return ICRS unit vectors, shape (..., 3), of positions in degrees of this frame."""
        return rotate(to_vectors(lon, lat), self.rotation.T)

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


def _canonical_cards(wcs: WCS) -> dict[str, Any]:
    """Cards of a celestial WCS in one spelling: headers that mean the same give the same cards."""
    cards = {k: v for k, v in wcs.to_header(relax=True).items() if CARD.fullmatch(k)}
    for key in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "RADESYS", "EQUINOX"):
        cards.pop(key, None)
    # a CD matrix, a PC matrix and plain CDELT are three ways to write one matrix
    matrix = wcs.pixel_scale_matrix
    diagonal = matrix[0, 1] == 0.0 and matrix[1, 0] == 0.0
    for i in (0, 1):
        scale = math.copysign(float(np.hypot(*matrix[i])), matrix[i, i])
        cards[f"CDELT{i + 1}"] = scale
        if not diagonal:
            cards.update({f"PC{i + 1}_{j + 1}": matrix[i, j] / scale for j in (0, 1)})
    cards["CRVAL1"] = float(cards["CRVAL1"]) % 360.0
    if str(cards["CTYPE1"]).startswith("RA"):
        # RADESYS and EQUINOX say nothing on galactic maps, and EQUINOX nothing on ICRS maps
        frame = _celestial_frame(wcs)
        cards["RADESYS"] = str(frame.name).upper()
        if hasattr(frame, "equinox"):
            cards["EQUINOX"] = float(frame.equinox.jyear if frame.name == "fk5" else frame.equinox.byear)
    return cards


def _celestial_frame(wcs: WCS) -> BaseCoordinateFrame:
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError as error:
        msg = f"astropy knows no celestial frame for CTYPE {list(wcs.wcs.ctype)} with RADESYS {wcs.wcs.radesys!r}"
        raise ValueError(msg) from error


def _clean(value: Any) -> str | float:
    """Plain str or float, numbers to 12 digits: what FITS headers carry."""
    value = value.item() if hasattr(value, "item") else value
    return value.strip() if isinstance(value, str) else float(f"{float(value):.12g}")


def check_frame(frame: str) -> None:
    """Raise ValueError if `frame` is not the name of a celestial frame that maps can be made in."""
    if frame not in AXIS_NAMES:
        msg = f"frame={frame!r} must be one of {sorted(AXIS_NAMES)}"
        raise ValueError(msg)


def _simple_wcs(
    lon: float, lat: float, binsize: float | tuple[float, float], proj: str, frame: str, crpix: tuple[float, float]
) -> WCS:
    """Astropy WCS with its reference point at (lon, lat)."""
    check_frame(frame)
    if proj not in PROJECTIONS:
        msg = f"proj={proj!r} is not a FITS projection that needs no parameters; choose one of {' '.join(PROJECTIONS)}"
        raise ValueError(msg)
    size_x, size_y = binsize if isinstance(binsize, tuple) else (binsize, binsize)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{name:-<{8 - len(proj)}}{proj}" for name in AXIS_NAMES[frame]]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [lon, lat], list(crpix), [-size_x, size_y]
    wcs.wcs.cunit = ["deg", "deg"]
    if frame in ("icrs", "fk5"):
        wcs.wcs.radesys = frame.upper()
    if frame == "fk5":
        wcs.wcs.equinox = 2000.0
    try:
        wcs.wcs.set()
    except Exception as error:  # wcslib raises its own family of errors
        msg = f"proj={proj!r} cannot have its reference point at ({lon:g}, {lat:g}): {error}"
        raise ValueError(msg) from error
    return wcs


@functools.lru_cache(maxsize=64)
def _wcs(frame: SkyFrame) -> WCS:
    wcs = WCS(fits.Header(frame.cards))
    wcs.wcs.set()
    return wcs


@functools.lru_cache(maxsize=64)
def _celestial(frame: SkyFrame) -> BaseCoordinateFrame:
    return _celestial_frame(frame.wcs)


@functools.lru_cache(maxsize=64)
def _period(frame: SkyFrame) -> float | None:
    """A longitude offset (PV1) or a rotation (PC) has no period along x."""
    if frame.proj not in CYLINDRICAL or any(k.startswith(("PC", "PV1")) for k, _ in frame.cards):
        return None
    return 360.0 / abs(float(dict(frame.cards)["CDELT1"]))


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

    def window(self, y: slice, x: slice) -> PixelGeometry:
        """Return the part at array positions `y`, `x`; a view."""
        return PixelGeometry(self.vectors[y, x], self.solid_angle[y, x])


@functools.lru_cache(maxsize=4)  # 32 bytes a pixel each: 8 MB for a tile of 500 x 500
def pixel_geometry(frame: SkyFrame, y: range, x: range) -> PixelGeometry:
    """Return positions and solid angles of the pixels `y` times `x` of `frame`."""
    lon, lat = frame.pixel_to_sky(*np.meshgrid(np.asarray(y), np.asarray(x), indexing="ij"))
    vectors = rotate(to_vectors(lon, lat), frame.rotation.T)
    omega = pixel_solid_angle(frame, y, x)
    for array in (vectors, omega):
        array.setflags(write=False)
    return PixelGeometry(vectors, omega)


def pixel_solid_angle(frame: SkyFrame, y: range, x: range) -> np.ndarray:
    """Return the solid angles in sr of the pixels `y` times `x`, shape (ny, nx); 0 outside the sky.

    The sides of a pixel are taken as great circles. Pixels that the edge of the sky crosses (the
    limb of an Aitoff map, the poles of a plate carree whose rows do not end there) count with the
    part that is sky, from `EDGE_SAMPLES` squared points. Where a projection shears its pixels (the
    poles of SFL, the far point of ZEA) great circles are poor sides: 1e-3 of the whole sky at 1 deg.
    """
    edges_y, edges_x = (np.append(np.asarray(r), r[-1] + 1) - 0.5 for r in (y, x))
    corners = to_vectors(*frame.pixel_to_sky(*np.meshgrid(edges_y, edges_x, indexing="ij")))
    omega = solid_angles(corners)
    outside = np.isnan(corners[..., 0])
    if outside.any():
        # next to a valid corner or centre, the pixel may hold sky although a corner is missing
        partial = np.isnan(omega) & ~_all_around(outside, frame, y, x)
        rows, columns = np.nonzero(partial)
        omega[partial] = _edge_solid_angle(frame, np.asarray(y)[rows], np.asarray(x)[columns])
    return np.nan_to_num(omega)


def _all_around(outside: np.ndarray, frame: SkyFrame, y: range, x: range) -> np.ndarray:
    """True for pixels of which neither a corner nor the centre is sky."""
    corners = outside[:-1, :-1] & outside[:-1, 1:] & outside[1:, :-1] & outside[1:, 1:]
    lon, _ = frame.pixel_to_sky(*np.meshgrid(np.asarray(y), np.asarray(x), indexing="ij"))
    return corners & np.isnan(lon)


def _edge_solid_angle(frame: SkyFrame, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Solid angles of pixels cut by the edge of the sky, shape (n,): midpoint rule on the area element."""
    points = (np.arange(EDGE_SAMPLES) + 0.5) / EDGE_SAMPLES - 0.5
    step = 0.05 / EDGE_SAMPLES
    sides = np.array([-step, step])
    offsets = (points[:, None] + sides).ravel()
    total = np.zeros(len(y))
    for dy in points:
        rows = (y[:, None] + dy + sides)[:, :, None]
        columns = (x[:, None] + offsets)[:, None, :]
        vectors = to_vectors(*frame.pixel_to_sky(*np.broadcast_arrays(rows, columns)))
        for i in range(EDGE_SAMPLES):
            corners = np.moveaxis(vectors[:, :, 2 * i : 2 * i + 2], 0, 2)
            total += np.nan_to_num(_small_quadrangles(corners)) / (2.0 * step * EDGE_SAMPLES) ** 2
    return total


def _small_quadrangles(corners: np.ndarray) -> np.ndarray:
    """Areas of small quadrangles from the cross product of their diagonals; corners (2, 2, n, 3)."""
    return 0.5 * np.linalg.norm(np.cross(corners[1, 1] - corners[0, 0], corners[1, 0] - corners[0, 1]), axis=-1)
