"""The four files of one spectrum as FITS extensions."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.units import to_unit
from xgamma.io.exact import invert
from xgamma.io.fits_extras import GTI_VARIABLES, gti_hdu
from xgamma.io.fits_region import region_hdu
from xgamma.io.ogip_matrix import matrix_hdu
from xgamma.io.ogip_stored import stored_hdu, stored_parts
from xgamma.io.ogip_tables import channel_hdu, same_energies

__all__ = ["SUFFIX", "check_cube", "companion_name", "file_hdus", "spectrum_label"]

#: Endings of file names; other paths are folders.
SUFFIX = re.compile(r"\.(fits|fit|pha|pi)(\.gz)?$", re.IGNORECASE)

#: Units in which the variables are written.
UNITS = {"exposure": "cm2 s", "livetime": "s", "counts": "", "counts_off": ""}
#: Longest text that a card of a header keeps in one line.
CARD = 60


def check_cube(cube: xr.Dataset) -> None:
    """Check that a cube is one of spectra, before it is computed.

    Raises
    ------
    ValueError
        If variables are missing, have units that do not convert, or a sky.
    """
    if not isinstance(cube, xr.Dataset):
        msg = f"a cube of spectra is needed, not {type(cube).__name__}"
        raise TypeError(msg)
    if "y" in cube.dims or "x" in cube.dims:
        msg = "the cube has pixels (dims y, x): OGIP files hold spectra; reduce onto region_grid, or use to_fits"
        raise ValueError(msg)
    for name, why in (
        ("counts", "there is nothing to write"),
        ("exposure", "the effective area is not known"),
        ("livetime", "EXPOSURE and the effective area are not known; assign it, in s"),
    ):
        if name not in cube:
            msg = f"the cube has no {name!r}: {why}"
            raise ValueError(msg)
    off = [n for n in ("counts_off", "acceptance", "acceptance_off") if n in cube]
    if "counts_off" in off and len(off) < 3:
        missing = {"acceptance", "acceptance_off"} - set(off)
        msg = f"the cube has counts_off, but no {' and no '.join(sorted(missing))}: the background does not follow"
        raise ValueError(msg)
    if "edisp" in cube and "energy" not in cube["edisp"].dims:
        msg = f"edisp has the dims {list(cube['edisp'].dims)}; an RMF needs energy_true and energy (no migra)"
        raise ValueError(msg)
    for name, unit in UNITS.items():
        if name in cube and "units" in cube[name].attrs:
            _in_unit(cube[name], unit)


def _in_unit(array: xr.DataArray, unit: str) -> xr.DataArray:
    if "units" not in array.attrs and unit == "":
        return array
    try:
        return to_unit(array, unit) if array.attrs.get("units") != unit else array
    except ValueError as error:
        msg = f"variable {array.name!r} cannot be written: {error}"
        raise ValueError(msg) from error


def companion_name(pha: str, kind: str) -> str:
    """Return the name of the ARF, RMF or BKG file of a PHA file, as gammapy calls it.

    Examples
    --------
    >>> companion_name("pha_obs1.5.fits.gz", "arf")
    'pha_obs1.5_arf.fits.gz'
    """
    ending = SUFFIX.search(pha)
    position = ending.start() if ending else len(pha)
    return f"{pha[:position]}_{kind}{pha[position:]}"


def spectrum_label(cube: xr.Dataset) -> str:
    """Return the name of a spectrum: its run, else the name of the cube."""
    if "obs" in cube.coords and cube["obs"].ndim == 0:
        return str(cube["obs"].item())
    return str(cube.attrs.get("name", "spectrum"))


@functools.cache
def _creator() -> str:
    try:
        return f"xgamma {metadata.version('xgamma')}"
    except metadata.PackageNotFoundError:
        return "xgamma"


def file_hdus(
    cube: xr.Dataset,
    place: Mapping[str, int],
    name: str,
    axes: Mapping[str, xr.DataArray],
    unit: str,
    fractional: str,
) -> dict[str, fits.HDUList]:
    """Return the files of one spectrum by name, the PHA file last.

    Parameters
    ----------
    cube
        All spectra, in memory.
    place
        Position of this one along obs and region.
    name
        Name of the PHA file.
    axes
        Axes ``energy`` and ``energy_true``.
    unit
        Unit of energies.
    fractional
        ``"keep"`` or ``"raise"``.
    """
    piece = cube.isel(place)
    label = spectrum_label(piece)
    files = {kind: companion_name(name, kind) for kind in ("arf", "rmf", "bkg")}
    numbers = _Numbers(piece, label, axes, fractional)
    cards = _mission_cards(piece)
    common = {
        "EXPOSURE": numbers.livetime,
        "OBS_ID": label.encode("ascii", "replace").decode(),
        "ANCRFILE": files["arf"],
        "RESPFILE": files["rmf"],
        **cards,
    }
    lo, hi, true_lo, true_hi = numbers.edges
    ebounds = channel_hdu(lo, hi, unit, cards)
    result = {
        files["arf"]: [_arf_hdu(numbers, unit, cards)],
        files["rmf"]: [matrix_hdu(numbers.edisp(), true_lo, true_hi, unit, cards), ebounds],
    }
    background = numbers.background_columns()
    if background:
        # gammapy takes a card as a file that is there, so the spectrum has one only with a background
        own = {**common, "HDUCLAS2": "BKG", "BACKFILE": "none"}
        table = _spectrum_hdu(background, own, known="STAT_ERR" in background)
        result[files["bkg"]] = [table, ebounds.copy(), *_region_hdus(_off_texts(piece))]
        common["BACKFILE"] = files["bkg"]
    columns, stored = numbers.columns(), stored_parts(cube, piece, place, axes)
    for variable, said in stored["ogip"]["columns"].items():
        columns[said["column"]] = piece[variable].values
    table = _spectrum_hdu(columns, {**common, **_position_cards(piece)})
    pha = [table, ebounds.copy(), *_region_hdus([str(piece["region"].item())] if "region" in piece.coords else [])]
    if all(n in piece for n in GTI_VARIABLES):
        pha.append(gti_hdu(piece))
    pha.append(stored_hdu(stored))
    result[name] = pha
    return {file: _file(hdus) for file, hdus in result.items()}


def _file(hdus: list[Any]) -> fits.HDUList:
    primary = fits.PrimaryHDU()
    primary.header["CREATOR"] = _creator()
    return fits.HDUList([primary, *hdus])


class _Numbers:
    """The arrays of one spectrum, checked."""

    def __init__(self, piece: xr.Dataset, label: str, axes: Mapping[str, xr.DataArray], fractional: str) -> None:
        self.piece, self.label, self.fractional = piece, label, fractional
        self.edges = tuple(axes[n][f"{n}_{end}"].values for n in ("energy", "energy_true") for end in ("min", "max"))
        self.livetime = float(_in_unit(piece["livetime"], "s"))
        if not (np.isfinite(self.livetime) and self.livetime >= 0):
            msg = f"spectrum {label}: livetime is {self.livetime} s; EXPOSURE must be a number of at least 0"
            raise ValueError(msg)

    def array(self, name: str, dims: tuple[str, ...] = ("energy",)) -> np.ndarray:
        """Values of a variable over all bins, float64; refuse what is not finite or negative."""
        array = _in_unit(self.piece[name], UNITS[name]) if name in UNITS else self.piece[name]
        sizes = {"energy": len(self.edges[0]), "energy_true": len(self.edges[2])}
        unknown = set(array.dims) - set(dims)
        if unknown:
            more = sorted(map(str, unknown))
            msg = f"variable {name!r} has the dims {more} beside {list(dims)}; select or sum them first"
            raise ValueError(msg)
        array = array.expand_dims({d: sizes[d] for d in dims if d not in array.dims}).transpose(*dims)
        values = array.values.astype(np.float64)
        bad = ~np.isfinite(values) | (values < 0)
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad)), values.shape)
            msg = (
                f"spectrum {self.label}: {name} is {values[at]:g} in bin {tuple(int(i) for i in at)} of {list(dims)}; "
                "it must be a number of at least 0"
            )
            raise ValueError(msg)
        return values

    def counts(self, name: str) -> np.ndarray:
        """Counts as whole numbers where they are."""
        values = self.array(name)
        if (values == np.floor(values)).all():
            return values.astype(np.int32) if values.max(initial=0) < 2**31 else values
        if self.fractional == "raise":
            at = int(np.argmax(values != np.floor(values)))
            msg = (
                f"spectrum {self.label}: {name} is {float(values[at])!r} in bin {at}, not a whole number; pass "
                "fractional='keep' to write float64"
            )
            raise ValueError(msg)
        return values

    def quality(self) -> np.ndarray:
        """1 where the channel shall not be used."""
        if "mask_safe" not in self.piece:
            return np.zeros(len(self.edges[0]), dtype=np.int16)
        return (self.array("mask_safe") == 0).astype(np.int16)

    def columns(self) -> dict[str, np.ndarray]:
        """Columns of the PHA file."""
        scale = self.array("acceptance") if "acceptance" in self.piece else np.ones(len(self.edges[0]))
        return {"COUNTS": self.counts("counts"), "QUALITY": self.quality(), "BACKSCAL": scale}

    def background_columns(self) -> dict[str, np.ndarray]:
        """Columns of the background file; none where there is no background."""
        if "counts_off" in self.piece:
            off, scale = self.counts("counts_off"), self.array("acceptance_off")
            return {"COUNTS": off, "QUALITY": self.quality(), "BACKSCAL": scale}
        if "background" not in self.piece:
            return {}
        # an expectation: numbers without error, on the scale of the spectrum
        values = self.array("background")
        return {
            "COUNTS": values,
            "STAT_ERR": np.zeros(len(values)),
            "QUALITY": self.quality(),
            "BACKSCAL": self.columns()["BACKSCAL"],
        }

    def area(self) -> np.ndarray:
        """Effective area in cm2."""
        exposure = self.array("exposure", ("energy_true",))
        if self.livetime > 0:
            return exposure / self.livetime
        if exposure.any():
            msg = f"spectrum {self.label}: livetime is 0, but exposure is not; its effective area is not known"
            raise ValueError(msg)
        return exposure

    def edisp(self) -> np.ndarray:
        """Redistribution matrix; the energies as they are where the cube has none."""
        if "edisp" in self.piece:
            return self.array("edisp", ("energy_true", "energy"))
        lo, hi, true_lo, true_hi = self.edges
        if not (same_energies(lo, true_lo) and same_energies(hi, true_hi)):
            msg = (
                f"spectrum {self.label}: the cube has no edisp, and its bins of energy and energy_true differ: its RMF "
                "is not known; reduce with edisp in the selection"
            )
            raise ValueError(msg)
        return np.eye(len(lo))


def _spectrum_hdu(columns: dict[str, np.ndarray], cards: dict[str, Any], known: bool = False) -> fits.BinTableHDU:
    size = len(columns["COUNTS"])
    table = [fits.Column("CHANNEL", "J", array=np.arange(size, dtype=np.int32))]
    codes = {"b": "L", "i": "J", "f": "D"}
    for name, values in columns.items():
        code = "I" if values.dtype == np.int16 else codes.get(values.dtype.kind, "D")
        table.append(fits.Column(name, code, unit="count" if name == "COUNTS" else None, array=values))
    hdu = fits.BinTableHDU.from_columns(table, name="SPECTRUM")
    hdu.header.update(
        {
            "HDUCLASS": "OGIP",
            "HDUCLAS1": "SPECTRUM",
            "HDUCLAS2": "TOTAL",
            "HDUCLAS3": "COUNT",
            "HDUCLAS4": "TYPE:I",
            "HDUVERS": "1.2.1",
            "CHANTYPE": "PHA",
            "DETCHANS": size,
            "TLMIN1": 0,
            "TLMAX1": max(size - 1, 0),
            "POISSERR": not known,
            "AREASCAL": 1.0,
            "SYS_ERR": 0.0,
            "GROUPING": 0,
            "CORRFILE": "none",
            "CORRSCAL": 0.0,
            **cards,
        }
    )
    return hdu


def _arf_hdu(numbers: _Numbers, unit: str, cards: dict[str, Any]) -> fits.BinTableHDU:
    _, _, lo, hi = numbers.edges
    columns = [
        fits.Column("ENERG_LO", "D", unit=unit, array=invert(lo, unit, "TeV")),
        fits.Column("ENERG_HI", "D", unit=unit, array=invert(hi, unit, "TeV")),
        fits.Column("SPECRESP", "D", unit="cm2", array=numbers.area()),
        # the quotient of two numbers does not always give the first one back to the last bit
        fits.Column("EXPOSURE", "D", unit="cm2 s", array=numbers.array("exposure", ("energy_true",))),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
    hdu.header.update({"HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP", "HDUVERS": "1.1.0", **cards})
    return hdu


def _mission_cards(piece: xr.Dataset) -> dict[str, Any]:
    """Cards that OGIP wants in every extension."""
    attrs = {str(k).lower(): v for k, v in piece.attrs.items()}
    cards = {}
    for card, names in (("TELESCOP", ("telescop", "telescope")), ("INSTRUME", ("instrume", "instrument"))):
        text = next((str(attrs[n]) for n in names if n in attrs), "unknown")
        cards[card] = text.encode("ascii", "replace").decode()[:CARD]
    return {**cards, "FILTER": "none"}


def _position_cards(piece: xr.Dataset) -> dict[str, Any]:
    """Times and positions of the spectrum."""
    names = {
        "ONTIME": "ontime",
        "RA_PNT": "pointing_lon",
        "DEC_PNT": "pointing_lat",
        "RA_OBJ": "region_lon",
        "DEC_OBJ": "region_lat",
    }
    numbers = {c: float(piece[n].item()) for c, n in names.items() if n in piece.variables and piece[n].ndim == 0}
    return {card: value for card, value in numbers.items() if np.isfinite(value)}


def _off_texts(piece: xr.Dataset) -> list[str]:
    text = str(piece["off_regions"].item()) if "off_regions" in piece.variables else ""
    return [line for line in text.split("\n") if line]


def _region_hdus(texts: list[str]) -> list[fits.BinTableHDU]:
    """REGION table; none for shapes that it has no row for, which stand as text in our own table."""
    try:
        return [region_hdu(texts, "REGION")] if texts else []
    except ValueError:
        return []
