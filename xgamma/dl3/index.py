"""Index tables of a DL3 store: which run has which HDU in which file, and what is known of each run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.dl3.times import has_reference, to_tt_seconds
from xgamma.io.fits_file import find_column, open_fits, read_column, read_values

__all__ = ["HduIndex", "HduLocation", "read_hdu_index", "read_obs_index"]

HDU_INDEX_NAMES = ("hdu-index.fits.gz", "hdu-index.fits")
OBS_INDEX_NAMES = ("obs-index.fits.gz", "obs-index.fits")
#: Columns that hold times since the reference of the header.
TIMES = ("tstart", "tstop", "tmid")
ANGLES = ("ra_pnt", "dec_pnt", "alt_pnt", "az_pnt", "glon_pnt", "glat_pnt", "zen_pnt", "ra_obj", "dec_obj")
NUMBERS = ("geolon", "geolat", "altitude", "geoalt")

ObsId = int | str


@dataclass(frozen=True)
class HduLocation:
    """Where one HDU of a run is.

    Parameters
    ----------
    hdu_type
        ``"events"``, ``"gti"``, ``"aeff"``, ``"edisp"``, ``"psf"``, ``"bkg"``, ``"rad_max"``, ``"pointing"``.
    hdu_class
        For example ``"aeff_2d"``, ``"psf_3gauss"``, ``"bkg_3d"``.
    path
        File.
    hdu
        Name or number of the HDU; an empty name means: the one of this class.
    alternative
        File to look for if there is none at `path`.

    Examples
    --------
    >>> HduLocation("events", "events", "run.fits", "EVENTS").file
    'run.fits'
    """

    hdu_type: str
    hdu_class: str
    path: str
    hdu: ObsId
    alternative: str = ""

    @property
    def file(self) -> str:
        """The file that exists."""
        if self.alternative and not os.path.exists(self.path) and os.path.exists(self.alternative):
            return self.alternative
        return self.path


@dataclass(frozen=True, eq=False)
class HduIndex:
    """All HDUs of a store, kept as columns; rows become `HduLocation` when a run is asked for.

    Parameters
    ----------
    obs_id, hdu_type, hdu_class, path, hdu, alternative
        Columns, each of shape (rows,).
    """

    obs_id: tuple[ObsId, ...]
    hdu_type: tuple[str, ...]
    hdu_class: tuple[str, ...]
    path: tuple[str, ...]
    hdu: tuple[ObsId, ...]
    alternative: tuple[str, ...]
    _rows: dict[ObsId, list[int]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for row, label in enumerate(self.obs_id):
            self._rows.setdefault(label, []).append(row)

    @property
    def obs_ids(self) -> tuple[ObsId, ...]:
        """Runs in the order of the table."""
        return tuple(self._rows)

    def locations(self, obs_id: ObsId) -> tuple[HduLocation, ...]:
        """Return the HDUs of a run; of several of one type the first, with a warning."""
        found: dict[str, HduLocation] = {}
        double = []
        for i in self._rows.get(obs_id, []):
            if self.hdu_type[i] in found:
                double.append(self.hdu_type[i])
                continue
            found[self.hdu_type[i]] = HduLocation(
                self.hdu_type[i], self.hdu_class[i], self.path[i], self.hdu[i], self.alternative[i]
            )
        if double:
            msg = f"run {obs_id} has several HDUs of type {sorted(set(double))} in the index; the first of each is used"
            warnings.warn(msg, UserWarning, stacklevel=2)
        return tuple(found.values())

    def types(self, obs_id: ObsId) -> tuple[str, ...]:
        """Return the HDU types that a run has."""
        return tuple(dict.fromkeys(self.hdu_type[i] for i in self._rows.get(obs_id, [])))

    @classmethod
    def from_locations(cls, rows: Iterable[tuple[ObsId, HduLocation]]) -> HduIndex:
        """Build the index from pairs of run and location."""
        pairs = list(rows)
        where = [location for _, location in pairs]
        return cls(
            tuple(label for label, _ in pairs),
            *(tuple(getattr(w, n) for w in where) for n in ("hdu_type", "hdu_class", "path", "hdu", "alternative")),
        )


def find_index(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first file of `names` that the folder has."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _index_table(
    hdus: fits.HDUList, columns: Sequence[str], event_type: int | str | None, path: Path
) -> fits.BinTableHDU:
    """Choose the table of an index file by its columns: names and HDUCLAS of real files are not reliable."""
    tables = [
        (number, hdu)
        for number, hdu in enumerate(hdus)
        if isinstance(hdu, fits.BinTableHDU) and all(find_column(hdu, c) for c in columns)
    ]
    if not tables:
        msg = f"{path} has no index table: no HDU has the columns {list(columns)}"
        raise ValueError(msg)
    labels = {number: str(hdu.header.get("EV_TYPE", number)).strip() for number, hdu in tables}
    if event_type is None:
        if len(tables) > 1:
            msg = f"{path} has {len(tables)} index tables; choose one with event_type, one of {sorted(labels.values())}"
            raise ValueError(msg)
        return tables[0][1]
    wanted = str(event_type)
    for number, hdu in tables:
        if wanted in (labels[number], str(number)):
            return hdu
    msg = f"{path} has no index table for event_type={event_type!r}; it has {sorted(labels.values())}"
    raise ValueError(msg)


def _labels(hdu: fits.BinTableHDU) -> list[ObsId]:
    """Return OBS_ID as plain integers, or text where it is no number."""
    values = read_values(hdu, find_column(hdu, "OBS_ID") or "OBS_ID")
    if values.dtype.kind == "f":
        values = values.astype(np.int64)
    if values.dtype.kind == "U" and values.size and np.char.isdigit(values).all():
        values = values.astype(np.int64)
    labels: list[ObsId] = values.tolist()
    return labels


def read_hdu_index(path: Path, event_type: int | str | None = None) -> HduIndex:
    """Read an HDU index table.

    Parameters
    ----------
    path
        File, for example ``hdu-index.fits.gz``.
    event_type
        Which table, where the file holds one for each event type: the EV_TYPE of its header or
        the number of its HDU.

    Returns
    -------
    HduIndex

    Raises
    ------
    ValueError
        If there is no such table, or several and none is chosen.

    Notes
    -----
    A path is BASE_DIR (or the folder of the index) / FILE_DIR / FILE_NAME, and if there is no such
    file FILE_DIR / FILE_NAME as it stands. Variables of the environment in FILE_DIR are expanded.
    GADF, section "HDU index table".

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> index = read_hdu_index(sample_path("survey", "hdu-index.fits.gz"))
    >>> index.types(1)[:2]
    ('events', 'gti')
    """
    with open_fits(path) as hdus:
        table = _index_table(hdus, ("OBS_ID", "HDU_TYPE", "HDU_CLASS", "FILE_NAME"), event_type, path)
        obs_id = _labels(table)
        text = {n: _text(table, n) for n in ("HDU_TYPE", "HDU_CLASS", "FILE_DIR", "FILE_NAME", "HDU_NAME")}
        base = str(table.header.get("BASE_DIR") or "").strip()
    folder = os.path.join(str(path.parent), os.path.expanduser(os.path.expandvars(base)))
    made: dict[tuple[str, str], tuple[str, str]] = {}
    for pair in zip(text["FILE_DIR"], text["FILE_NAME"], strict=True):
        # one string object for each file keeps a pickled run small
        made.setdefault(pair, _file_paths(folder, *pair))
    paths = [made[pair] for pair in zip(text["FILE_DIR"], text["FILE_NAME"], strict=True)]
    return HduIndex(
        tuple(obs_id),
        tuple(t.lower() for t in text["HDU_TYPE"]),
        tuple(t.lower() for t in text["HDU_CLASS"]),
        tuple(p for p, _ in paths),
        tuple(text["HDU_NAME"]),
        tuple(a for _, a in paths),
    )


def _text(hdu: fits.BinTableHDU, name: str) -> list[str]:
    column = find_column(hdu, name)
    if column is None:
        return [""] * len(hdu.data)
    texts = [str(v).strip() for v in read_values(hdu, column)]
    # a masked table that was written by force says "--" or "N/A"
    return ["" if t in ("--", "N/A") else t for t in texts]


def _file_paths(folder: str, file_dir: str, file_name: str) -> tuple[str, str]:
    expanded = os.path.expanduser(os.path.expandvars(os.path.join(file_dir, file_name)))
    if os.path.isabs(expanded):
        return expanded, ""
    return os.path.join(folder, expanded), os.path.abspath(expanded)


def read_obs_index(path: Path, event_type: int | str | None = None) -> xr.Dataset:
    """Read an observation index table.

    Parameters
    ----------
    path
        File, for example ``obs-index.fits.gz``.
    event_type
        See `read_hdu_index`; a file with one table only is read for any event type.

    Returns
    -------
    xarray.Dataset
        Dims (obs,), coordinate ``obs`` (OBS_ID), all columns under their lower-case names with
        ``attrs["units"]``; ``tstart`` and ``tstop`` in seconds since J2000.0 (TT), NaN where the
        header gives no time reference; pointings in degrees. Of rows with the same OBS_ID the
        first is kept, with a warning.

    Raises
    ------
    ValueError
        If there is no table with OBS_ID.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> table = read_obs_index(sample_path("survey", "obs-index.fits.gz"))
    >>> table.ra_pnt.attrs["units"]
    'deg'
    """
    with open_fits(path) as hdus:
        try:
            table = _index_table(hdus, ("OBS_ID",), event_type, path)
        except ValueError:
            if event_type is None:
                raise
            table = _index_table(hdus, ("OBS_ID",), None, path)
        labels = _labels(table)
        columns = {
            name.lower(): _obs_column(table, name, path) for name in table.columns.names if name.upper() != "OBS_ID"
        }
        header = dict(table.header)
    return obs_table(labels, columns, header)


def _obs_column(hdu: fits.BinTableHDU, name: str, path: Path) -> tuple[np.ndarray, str]:
    """Return values and unit of a column, times in seconds and pointings in degrees."""
    lower = name.lower()
    if lower in TIMES or lower in ANGLES:
        unit = "s" if lower in TIMES else "deg"
        return read_column(hdu, name, unit=unit, assume=unit, where=str(path)), unit
    return read_values(hdu, name), str(hdu.columns[name].unit or "").strip()


def obs_table(
    labels: Sequence[ObsId], columns: Mapping[str, tuple[np.ndarray, str]], header: Mapping[str, Any]
) -> xr.Dataset:
    """Build the observation table from columns as a file has them; see `read_obs_index`."""
    variables: dict[str, Any] = {}
    for name, (values, unit) in columns.items():
        data, attrs = values, {"units": unit} if unit or values.dtype.kind in "fiu" else {}
        if name in TIMES:
            attrs["reference"] = "J2000.0 (TT)"
            known = has_reference(header)
            data = to_tt_seconds(values, header) if known else np.full(np.shape(values), np.nan)
            if not known:
                attrs["note"] = "the index gives no time reference (MJDREFI); the headers of the files do"
        variables[name] = (("obs", *(f"{name}_{i}" for i in range(data.ndim - 1))), data, attrs)
    about: dict[str, Any] = {n: number for n in NUMBERS if (number := header_number(header, n)) is not None}
    for name in ("telescop", "instrume", "dataset", "observer"):
        if isinstance(header.get(name.upper()), str):
            about[name] = header[name.upper()].strip()
    table = xr.Dataset(variables, coords={"obs": ("obs", np.asarray(labels), {"long_name": "OBS_ID"})}, attrs=about)
    _, first = np.unique(table["obs"].values, return_index=True)
    if first.size < table.sizes["obs"]:
        number = table.sizes["obs"] - first.size
        msg = f"the observation index names {number} runs more than once; the first row of each is used"
        warnings.warn(msg, UserWarning, stacklevel=2)
        table = table.isel(obs=np.sort(first))
    return table


def header_number(header: Mapping[str, Any], name: str) -> float | None:
    """Return a card as a float, also where it is text ('16.5002'); None where it is missing or no number."""
    try:
        return float(header[name.upper()])
    except (KeyError, TypeError, ValueError):
        return None
