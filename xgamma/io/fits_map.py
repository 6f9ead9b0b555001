"""Single maps in FITS: the GADF sky map format as gammapy writes it, and the cubes of the Fermi-LAT tools."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS

from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid
from xgamma.io.fits_axes import bands_axes
from xgamma.io.fits_file import expand_path, find_column, open_fits
from xgamma.io.fits_region import read_region

__all__ = ["MapHDU", "find_maps", "load_map", "map_array", "read_map"]

#: Cards of the celestial WCS, old spellings included; dates and other axes only confuse the parser.
WCS_CARD = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)[12]|(PC|CD)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|RADESYS|EQUINOX|[AB]P?_\w+"
)
CELESTIAL = re.compile(r"(RA--|DEC-|.LON|.LAT)", re.ASCII)
#: HDUs that are no maps though their names may follow one.
TABLES = re.compile(r".*_(BANDS|REGION)|GTI|EVENTS|META_TABLE|EBOUNDS|ENERGIES|BANDS")
#: Values of a template cube and of an exposure cube that state no unit (Fermi-LAT tools).
TEMPLATE_UNIT, EXPOSURE_UNIT = "cm-2 s-1 MeV-1 sr-1", "cm2 s"
#: "Units" that only say what is counted.
COUNTS_UNITS = {"count", "counts", "ct", "cts", "ph", "photon", "photons", "events", "dimensionless"}


@dataclass(frozen=True, eq=False)
class MapHDU:
    """What the headers say of one map: enough to label it, and small enough to send to a worker.

    Parameters
    ----------
    path
        File, absolute.
    index
        Number of the HDU in the file.
    name
        EXTNAME in capitals, ``"PRIMARY"`` for the first HDU.
    kind
        ``"image"``, ``"sparse"`` (table of pixels) or ``"region"`` (table without pixels).
    axes
        Axes beside the sky in the order of the array: the last one of the file first.
    grid
        Sky grid, None for a region map.
    region
        DS9 text of the region, None if there is none.
    units
        Unit of the values as the file states it.
    meta
        Content of the META card.
    """

    path: str
    index: int
    name: str
    kind: str
    axes: tuple[xr.DataArray, ...]
    grid: SkyGrid | None
    region: str | None
    units: str
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        sky = self.grid.shape if self.grid is not None else ()
        return tuple(axis.size for axis in self.axes) + sky

    @property
    def is_mask(self) -> bool:
        """True where the name says that the numbers mean yes and no."""
        return any(word in self.name.lower() for word in ("mask", "is_ul", "success"))

    @property
    def where(self) -> str:
        """File and HDU, for messages."""
        return f"{self.path}, HDU {self.name}"


def read_map(path: str | os.PathLike[str], hdu: str | int | None = None) -> xr.DataArray:
    """Read one map from a FITS file into memory.

    Parameters
    ----------
    path
        File, plain or gzipped.
    hdu
        Name or number of the HDU; needed where the file has several maps.

    Returns
    -------
    xarray.DataArray
        Dims (axes..., y, x), float64, or bool for masks; ``attrs["units"]`` as the file has it,
        axes in canonical units.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is truncated or not FITS.
    ValueError
        If there is no such map, or several and none was named, or it is of a kind not supported.

    Notes
    -----
    GADF, section "Sky maps". HEALPix maps are opened by `xgamma.io.healpix_fits.open_healpix`.

    Examples
    --------
    >>> import numpy as np
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.io.fits_write import write_map
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.5 deg")
    >>> image = grid.assign(flux=(("y", "x"), np.eye(2), {"units": "cm-2 s-1"})).flux
    >>> _ = write_map(image, "flux.fits")
    >>> read_map("flux.fits").units
    'cm-2 s-1'
    """
    maps = find_maps(path, hdu)
    if len(maps) > 1:
        names = ", ".join(m.name for m in maps)
        msg = f"{path} has several maps ({names}); name one with hdu=, or open all with open_cube"
        raise ValueError(msg)
    return map_array(maps[0], load_map(maps[0]))


def map_array(layout: MapHDU, values: Any) -> xr.DataArray:
    """Label the values of a map."""
    dims = [str(axis.name) for axis in layout.axes]
    coords = xr.Coordinates()
    for axis in layout.axes:
        coords = coords.merge(axis.coords).coords
    if layout.grid is not None:
        dims += ["y", "x"]
        coords = coords.merge(layout.grid.coords()).coords
    name = "map" if layout.name == "PRIMARY" else layout.name.lower()
    array = xr.DataArray(values, dims=dims, coords=coords, name=name)
    array.attrs = {"units": layout.units}
    if layout.region is not None:
        array = array.assign_coords(region=layout.region)
    if layout.meta:
        array.attrs["meta"] = layout.meta
    return array


def find_maps(path: str | os.PathLike[str], hdu: str | int | None = None) -> list[MapHDU]:
    """Return the layouts of the maps in a file; only headers and axis tables are read.

    Raises
    ------
    ValueError
        If there is none, or not the one asked for.
    """
    file = os.path.abspath(expand_path(path))
    with open_fits(file) as hdus:
        names = [_name(h, i) for i, h in enumerate(hdus)]
        if hdu is not None:
            chosen = [_find(names, hdu, file)]
        else:
            chosen = [i for i, h in enumerate(hdus) if _kind(h, names[i], names) not in (None, "healpix")]
        layouts = [_layout(hdus, i, names, file) for i in chosen]
        if not layouts:
            hpx = any(_is_healpix(h) for h in hdus)
            has = "a HEALPix map: open it with xgamma.open_healpix" if hpx else f"the HDUs {names}"
            hint = "; an OGIP spectrum is read with xgamma.read_ogip" if "SPECTRUM" in names else ""
            msg = f"{file} holds no sky map; it has {has}{hint}"
            raise ValueError(msg)
    return layouts


def _find(names: list[str], hdu: str | int, file: str) -> int:
    if isinstance(hdu, str) and hdu.upper() in names:
        return names.index(hdu.upper())
    if not isinstance(hdu, str) and 0 <= hdu < len(names):
        return int(hdu)
    msg = f"{file} has no HDU {hdu!r}; it has {names}"
    raise ValueError(msg)


def _name(hdu: Any, index: int) -> str:
    return str(hdu.name or ("PRIMARY" if index == 0 else f"HDU{index}")).upper()


def _is_healpix(hdu: Any) -> bool:
    return str(hdu.header.get("PIXTYPE", "")).strip().upper() == "HEALPIX"


def _kind(hdu: Any, name: str, names: list[str]) -> str | None:
    if _is_healpix(hdu):
        return "healpix"
    if hdu.is_image:
        celestial = all(CELESTIAL.match(str(hdu.header.get(f"CTYPE{i}", ""))) for i in (1, 2))
        return "image" if int(hdu.header.get("NAXIS", 0)) >= 2 and celestial else None
    if not isinstance(hdu, fits.BinTableHDU) or TABLES.fullmatch(name):
        return None
    if find_column(hdu, "PIX") and find_column(hdu, "VALUE") and "WCSSHAPE" in hdu.header:
        return "sparse"
    return "region" if find_column(hdu, "DATA") and f"{name}_BANDS" in names else None


def _layout(hdus: fits.HDUList, index: int, names: list[str], file: str) -> MapHDU:
    hdu, name = hdus[index], names[index]
    header = hdu.header
    where = f"{file}, HDU {name}"
    kind = _kind(hdu, name, names)
    if kind is None or kind == "healpix":
        what = "is not a sky map (no celestial CTYPE1, CTYPE2)"
        if kind:
            what = "is a HEALPix map: open it with xgamma.open_healpix"
        msg = f"{where}: {what}"
        raise ValueError(msg)
    shape = _map_shape(hdu, kind, where)
    bands = _bands(header, name, names, where)
    axes: list[xr.DataArray] = []
    if bands is not None and (shape is None or len(shape) > 2):
        axes = bands_axes(hdus[bands], header, None if shape is None else shape[2:], where)
        if names[bands] == "ENERGIES" and axes[0].name == "energy":
            axes[0] = _as_true_energy(axes[0])
    elif shape is not None and max(shape[2:], default=1) > 1:
        tables = f"{name}_BANDS, EBOUNDS, ENERGIES"
        msg = f"{where}: an array of {len(shape)} dimensions, but no table tells its axes ({tables})"
        raise ValueError(msg)
    grid = None if kind == "region" else sky_grid_of(header, (shape[1], shape[0]), where)  # type: ignore[index]
    region = read_region(hdus[names.index(f"{name}_REGION")], where) if f"{name}_REGION" in names else None
    units = _units(hdu, kind, None if bands is None else names[bands], names)
    return MapHDU(file, index, name, kind, tuple(reversed(axes)), grid, region, units, _meta(header, where))


def _map_shape(hdu: Any, kind: str, where: str) -> tuple[int, ...] | None:
    """Lengths in FITS order (nx, ny, axis 1, ...), None for a region map."""
    if kind == "region":
        return None
    stated = hdu.header.get("WCSSHAPE")
    # text of a header is never evaluated
    numbers = None if stated is None else tuple(int(n) for n in re.findall(r"\d+", str(stated)))
    if kind == "sparse":
        return numbers
    shape = tuple(int(hdu.header[f"NAXIS{i + 1}"]) for i in range(int(hdu.header["NAXIS"])))
    if numbers is not None and numbers != shape:
        msg = f"{where}: WCSSHAPE={stated!r} does not fit the array of shape {shape}"
        raise ValueError(msg)
    return shape


def _bands(header: fits.Header, name: str, names: list[str], where: str) -> int | None:
    stated = str(header.get("BANDSHDU", "")).strip().upper()
    if stated and stated not in names:
        msg = f"{where}: BANDSHDU names {stated!r}, which the file does not have ({names})"
        raise ValueError(msg)
    for candidate in (stated, f"{name}_BANDS", "EBOUNDS", "ENERGIES"):
        if candidate and candidate in names:
            return names.index(candidate)
    return None


def _as_true_energy(axis: xr.DataArray) -> xr.DataArray:
    from xgamma.coords.bins import rename_axis

    return rename_axis(axis, "energy_true")


def sky_grid_of(header: Mapping[str, Any], shape: tuple[int, int], where: str) -> SkyGrid:
    """Return the sky grid of an image header."""
    cards = {k: v for k, v in header.items() if WCS_CARD.fullmatch(k)}
    if "RADECSYS" in header and "RADESYS" not in cards:
        cards["RADESYS"] = header["RADECSYS"]
    if str(cards.get("CTYPE1", ""))[:4] not in ("RA--", "ELON", "HLON"):
        # these mean nothing in galactic coordinates, and would tell equal grids apart
        cards = {k: v for k, v in cards.items() if k not in ("RADESYS", "EQUINOX")}
    try:
        frame, (y0, x0) = SkyFrame.from_wcs(WCS(fits.Header(cards)))
    except Exception as error:  # wcslib raises its own family of errors
        msg = f"{where}: the WCS is not usable: {error}"
        raise ValueError(msg) from error
    return SkyGrid(frame, range(y0, y0 + shape[0]), range(x0, x0 + shape[1]))


def _units(hdu: Any, kind: str, bands: str | None, names: list[str]) -> str:
    if kind == "region":
        text = hdu.columns[find_column(hdu, "DATA")].unit or hdu.header.get("BUNIT", "")
    else:
        text = hdu.header.get("BUNIT", hdu.header.get("UNIT", ""))
    units = str(text or "").strip()
    if units.lower() in COUNTS_UNITS:
        return ""
    if not units and bands == "ENERGIES":
        return EXPOSURE_UNIT if "GTI" in names else TEMPLATE_UNIT
    return units


def _meta(header: fits.Header, where: str) -> dict[str, Any]:
    text = str(header.get("META", "")).strip()
    if not text:
        return {}
    try:
        meta = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"{where}: the META card is not JSON ({error}): {text[:60]!r}"
        raise ValueError(msg) from error
    return meta if isinstance(meta, dict) else {"meta": meta}


def load_map(layout: MapHDU) -> np.ndarray:
    """Read the values of a map: native float64, or bool for masks; shape as ``layout.shape``."""
    with open_fits(layout.path) as hdus:
        hdu = hdus[layout.index]
        if layout.kind == "image":
            values = np.asarray(hdu.data)
        elif layout.kind == "sparse":
            values = _dense(hdu, layout)
        else:
            values = np.asarray(hdu.data[find_column(hdu, "DATA")])
        if values.size != int(np.prod(layout.shape)):
            msg = f"{layout.where}: {values.size} values do not fill the shape {layout.shape}; has the file changed?"
            raise ValueError(msg)
        values = values.reshape(layout.shape)
        return values != 0 if layout.is_mask else values.astype(np.float64)


def _dense(hdu: fits.BinTableHDU, layout: MapHDU) -> np.ndarray:
    """Fill an array from a table of pixels that are not zero."""
    pixels = int(np.prod(layout.shape[-2:]))
    values = np.zeros(int(np.prod(layout.shape)))
    channel = find_column(hdu, "CHANNEL")
    plane = np.asarray(hdu.data[channel], dtype=np.int64) if channel else 0
    index = plane * pixels + np.asarray(hdu.data[find_column(hdu, "PIX")], dtype=np.int64)
    if index.size and (index.min() < 0 or index.max() >= values.size):
        msg = f"{layout.where}: pixel numbers beyond the map of shape {layout.shape}"
        raise ValueError(msg)
    values[index] = hdu.data[find_column(hdu, "VALUE")]
    return values
