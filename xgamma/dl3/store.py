"""`Store` and `Observations`: the runs of a folder, chosen by what the index tables say."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import xarray as xr

from xgamma.dl3.filters import ObservationFilter
from xgamma.dl3.index import (
    HDU_INDEX_NAMES,
    OBS_INDEX_NAMES,
    HduIndex,
    ObsId,
    find_index,
    read_hdu_index,
    read_obs_index,
)
from xgamma.dl3.observation import Observation
from xgamma.dl3.query import select_rows
from xgamma.dl3.scan import scan_files, scan_folder
from xgamma.io.fits_file import expand_path

__all__ = ["Observations", "Store", "open_store"]


@dataclass(frozen=True, eq=False, repr=False)
class Observations:
    """An immutable sequence of runs.

    Parameters
    ----------
    table
        Observation table, dims (obs,).
    index
        Where the HDUs of the runs are.
    cut
        Filter that each run gets.
    on_bad
        ``"raise"`` or ``"drop"`` for bad events.

    Examples
    --------
    >>> import xarray as xr
    >>> runs = Observations(xr.Dataset(coords={"obs": [11, 12]}), HduIndex.from_locations([]))
    >>> len(runs), runs.obs_ids, runs[0].obs_id, runs[12].obs_id
    (2, (11, 12), 11, 12)
    """

    table: xr.Dataset
    index: HduIndex
    cut: ObservationFilter | None = None
    on_bad: str = "raise"

    def __len__(self) -> int:
        return int(self.table.sizes["obs"])

    def __iter__(self) -> Iterator[Observation]:
        # whole columns at once: ten thousand runs of thirty columns are many small conversions
        columns = {name: values.tolist() for name, values in self._columns().items()}
        labels = self.obs_ids
        rows = zip(*columns.values(), strict=True) if columns else ((),) * len(labels)
        return (self._with_row(label, zip(columns, row, strict=True)) for label, row in zip(labels, rows, strict=True))

    @overload
    def __getitem__(self, key: int | str) -> Observation: ...
    @overload
    def __getitem__(self, key: slice) -> Observations: ...
    def __getitem__(self, key: int | str | slice) -> Observation | Observations:
        """Return a run by position, or by its label where that is no position; or a slice of runs."""
        if isinstance(key, slice):
            return replace(self, table=self.table.isel(obs=key))
        if isinstance(key, (int, np.integer)) and -len(self) <= key < len(self):
            return self._observation(int(key) % len(self))
        return self.get(key)

    def get(self, obs_id: ObsId) -> Observation:
        """Return the run with the label `obs_id`."""
        found = [i for i, label in enumerate(self.obs_ids) if label == obs_id]
        if not found:
            msg = f"there is no run {obs_id!r} among {_shorten(self.obs_ids)}"
            raise IndexError(msg)
        return self._observation(found[0])

    def _columns(self) -> dict[str, np.ndarray]:
        return {str(name): column.values for name, column in self.table.data_vars.items() if column.ndim == 1}

    def _observation(self, position: int) -> Observation:
        label = self.table["obs"].values[position].item()
        return self._with_row(label, ((n, values[position].tolist()) for n, values in self._columns().items()))

    def _with_row(self, label: ObsId, row: Iterable[tuple[str, Any]]) -> Observation:
        return Observation(label, self.index.locations(label), tuple(row), self.cut, self.on_bad)

    @property
    def obs_ids(self) -> tuple[ObsId, ...]:
        """Labels of the runs."""
        return tuple(self.table["obs"].values.tolist())

    @property
    def available(self) -> dict[ObsId, tuple[str, ...]]:
        """HDU types of each run, from the index alone."""
        return {label: self.index.types(label) for label in self.obs_ids}

    def having(self, *hdu_types: str) -> Observations:
        """Return the runs for which the index names all of `hdu_types`, perhaps none.

        Examples
        --------
        >>> import xarray as xr
        >>> runs = Observations(xr.Dataset(coords={"obs": [11]}), HduIndex.from_locations([]))
        >>> len(runs.having("bkg"))
        0
        """
        keep = [set(hdu_types) <= set(self.index.types(label)) for label in self.obs_ids]
        return replace(self, table=self.table.isel(obs=np.flatnonzero(keep)))

    def select(self, obs_id: Any = None, **conditions: Any) -> Observations:
        """Return some of the runs; the same arguments as `Store.select`."""
        on_bad = conditions.pop("on_bad", self.on_bad)
        rows = select_rows(self.table, self.index, obs_id=obs_id, read=self._run, **conditions)
        return replace(self, table=self.table.isel(obs=rows), on_bad=on_bad)

    def _run(self, position: int) -> Observation:
        return self._observation(position)

    def filter(self, cut: ObservationFilter | None = None, **cuts: Any) -> Observations:
        """Return runs whose events and good time intervals are cut when they are read.

        Parameters
        ----------
        cut
            A filter; or its parts:
        **cuts
            See `ObservationFilter.create`.
        """
        new = ObservationFilter.create(**cuts) if cut is None else cut
        return replace(self, cut=new if self.cut is None else self.cut & new)

    def __repr__(self) -> str:
        return _table_text("Observations", self.table, self.index)

    def _repr_html_(self) -> str:
        return _table_html("Observations", self.table, self.index)


@dataclass(frozen=True, eq=False, repr=False)
class Store:
    """A DL3 store: index tables in memory, nothing else read.

    Parameters
    ----------
    path
        Folder or file that was opened.
    obs_table
        Observation table, dims (obs,); see `xgamma.dl3.index.read_obs_index`.
    index
        Where the HDUs of the runs are.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> store = open_store(sample_path("survey"))
    >>> store.get(1).available[:2]
    ('events', 'gti')
    """

    path: str
    obs_table: xr.Dataset
    index: HduIndex

    @classmethod
    def from_files(cls, files: Iterable[str | os.PathLike[str]], irfs: str | os.PathLike[str] | None = None) -> Store:
        """Make a store of DL3 files without index: the tables are built from their headers.

        Parameters
        ----------
        files
            Files with an EVENTS HDU each; the responses are the HDUs of the same file.
        irfs
            A file of responses for those runs that bring none of their own. Without it ``$CALDB`` is
            asked for what the headers name (cards TELESCOP, CALDB and IRF).

        Raises
        ------
        ValueError
            If there are no files, a file has no EVENTS HDU, or two have the same OBS_ID.
        """
        paths = [expand_path(f) for f in files]
        index, table = scan_files(paths, None if irfs is None else expand_path(irfs))
        return cls(os.path.commonpath([p.absolute().parent for p in paths]), table, index)

    @property
    def observations(self) -> Observations:
        """All runs."""
        return Observations(self.obs_table, self.index)

    @property
    def obs_ids(self) -> tuple[ObsId, ...]:
        """Labels of all runs."""
        return self.observations.obs_ids

    def __len__(self) -> int:
        return len(self.observations)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def get(self, obs_id: ObsId) -> Observation:
        """Return one run by its label."""
        return self.observations.get(obs_id)

    def select(
        self,
        obs_id: Any = None,
        *,
        cone: Any = None,
        box: Any = None,
        time: Any = None,
        inside: xr.Dataset | xr.DataArray | None = None,
        where: Any = None,
        required: str | Iterable[str] = ("events",),
        on_bad: str = "raise",
        **columns: Any,
    ) -> Observations:
        """Choose runs; all conditions have to hold. Nothing but the index tables is read.

        Parameters
        ----------
        obs_id
            One label or several, in the wanted order.
        cone
            ``(center, radius)``: pointings within an angle of a SkyCoord.
        box
            ``(center, width, height)``: pointings inside a box of longitude and latitude in the
            frame of the centre, sizes in coordinate degrees.
        time
            ``(start, stop)`` or a list of such pairs (astropy Time, dates in UTC, or seconds since
            J2000.0 (TT)): runs that overlap them. Where the index table gives no time reference
            the headers of the files are read.
        inside
            A sky grid or map: pointings that lie on it.
        where
            bool mask of shape (obs,), or a function that makes one of the observation table.
        required
            HDU types that a run must have, or ``"full-enclosure"``, ``"point-like"``, ``"all-optional"``.
        on_bad
            What reading does with events that hold NaN or energies that are not positive: ``"raise"`` or ``"drop"``.
        **columns
            Any column of the observation table: a value, a list of values, or a range as a tuple
            ``(min, max)`` or slice, both ends included; None leaves an end open. Strings with a
            unit are converted.

        Returns
        -------
        Observations

        Raises
        ------
        ValueError
            If nothing is selected, or a condition does not fit the table; the message says what exists.
        """
        return self.observations.select(
            obs_id,
            cone=cone,
            box=box,
            time=time,
            inside=inside,
            where=where,
            required=required,
            on_bad=on_bad,
            **columns,
        )

    def copy(self, obs_id: Any, folder: str | os.PathLike[str], overwrite: bool = False) -> Store:
        """Copy the files of runs to a folder and write index tables there; see `xgamma.dl3.write.copy_runs`."""
        from xgamma.dl3.write import copy_runs

        return open_store(copy_runs(self.select(obs_id, required=()), folder, overwrite))

    def __repr__(self) -> str:
        return _table_text(f"Store {self.path}", self.obs_table, self.index)

    def _repr_html_(self) -> str:
        return _table_html(f"Store {self.path}", self.obs_table, self.index)


def open_store(
    path: str | os.PathLike[str],
    event_type: int | str | None = None,
    hdu_index: str | None = None,
    obs_index: str | None = None,
) -> Store:
    """Open a DL3 store; only its index tables are read.

    Parameters
    ----------
    path
        Folder with ``hdu-index.fits.gz`` and ``obs-index.fits.gz`` (or without .gz), or such an HDU index
        itself, or a folder of DL3 files without index, or one DL3 file. Variables of the environment
        and ``~`` are expanded.
    event_type
        Which index, where the file holds a table for each event type (HAWC): EV_TYPE or number of the HDU.
    hdu_index, obs_index
        Names of the index files in the folder, where they differ from the usual ones.

    Returns
    -------
    Store

    Raises
    ------
    FileNotFoundError
        If the path does not exist or holds no DL3 files.
    ValueError
        If the tables are no index tables.

    Warns
    -----
    UserWarning
        If an index is missing and the tables are built from the headers of the files.

    Examples
    --------
    >>> from xgamma.io.sample import sample_path
    >>> len(open_store(sample_path("survey")))
    12
    """
    place = expand_path(path)
    if not place.exists():
        msg = f"there is no DL3 store at {place}: the path does not exist"
        raise FileNotFoundError(msg)
    if place.is_dir():
        hdu_file = find_index(place, HDU_INDEX_NAMES if hdu_index is None else (hdu_index,))
        if hdu_file is None and hdu_index is not None:
            msg = f"there is no HDU index {hdu_index} in {place}"
            raise FileNotFoundError(msg)
        folder = place
    else:
        hdu_file, folder = place, place.parent
        if hdu_index is None and not place.name.startswith("hdu-index") and _has_events(place):
            return Store.from_files([place])
    if hdu_file is None:
        index, table = scan_folder(folder)
        return Store(str(place), table, index)
    index = read_hdu_index(hdu_file, event_type)
    obs_file = find_index(folder, OBS_INDEX_NAMES if obs_index is None else (obs_index,))
    if obs_file is None and obs_index is not None:
        msg = f"there is no observation index {obs_index} in {folder}"
        raise FileNotFoundError(msg)
    table = _table_from_headers(index, folder) if obs_file is None else read_obs_index(obs_file, event_type)
    return Store(str(place), table, index)


def _has_events(file: Path) -> bool:
    from xgamma.io.fits_file import open_fits

    with open_fits(file) as hdus:
        return any(h.name.upper() == "EVENTS" or str(h.header.get("HDUCLAS1", "")).upper() == "EVENTS" for h in hdus)


def _table_from_headers(index: HduIndex, folder: Path) -> xr.Dataset:
    """Build the observation table of a store that has an HDU index only."""
    from xgamma.dl3.scan import table_of_headers

    msg = f"{folder} has no observation index; its table is built from the headers of {len(index.obs_ids)} runs"
    warnings.warn(msg, UserWarning, stacklevel=3)
    headers = {}
    for label in index.obs_ids:
        run = Observation(label, index.locations(label))
        headers[label] = run.header if "events" in run.available else {}
    return table_of_headers(headers)


#: Columns that the short tables show, where they exist.
SHOWN = ("ra_pnt", "dec_pnt", "tstart", "livetime", "object")


def _shorten(labels: Iterable[ObsId], number: int = 6) -> str:
    """Return labels as text, only some of many."""
    texts = [str(v) for v in labels]
    return ", ".join(texts) if len(texts) <= number else f"{', '.join(texts[:number])}, ... ({len(texts)} runs)"


def _rows(table: xr.Dataset, index: HduIndex, number: int) -> tuple[list[str], list[list[str]]]:
    shown = [n for n in SHOWN if n in table and table[n].ndim == 1]
    units = [str(table[n].attrs.get("units", "")) for n in shown]
    head = ["obs", *(f"{n} [{u}]" if u else n for n, u in zip(shown, units, strict=True)), "HDUs"]
    part = table[shown].isel(obs=slice(number))
    rows = []
    for i, label in enumerate(part["obs"].values.tolist()):
        values = [part[n].values[i] for n in shown]
        cells = [f"{v:.2f}" if isinstance(v, (float, np.floating)) else str(v) for v in values]
        rows.append([str(label), *cells, " ".join(index.types(label))])
    return head, rows


def _table_text(title: str, table: xr.Dataset, index: HduIndex, number: int = 8) -> str:
    head, rows = _rows(table, index, number)
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [head, *rows]]
    more = table.sizes["obs"] - len(rows)
    lines += [f"... {more} more"] if more > 0 else []
    return "\n".join([f"<xgamma.{title}: {table.sizes['obs']} runs>", *lines])


def _table_html(title: str, table: xr.Dataset, index: HduIndex, number: int = 12) -> str:
    from html import escape

    head, rows = _rows(table, index, number)
    lines = [
        f"<tr>{''.join(f'<{tag}>{escape(c)}</{tag}>' for c in r)}</tr>"
        for tag, r in [("th", head), *(("td", r) for r in rows)]
    ]
    more = table.sizes["obs"] - len(rows)
    note = f"<p>{more} more</p>" if more > 0 else ""
    return f"<b>xgamma.{escape(title)}</b>: {table.sizes['obs']} runs<table>{''.join(lines)}</table>{note}"
