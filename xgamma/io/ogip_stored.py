"""What OGIP has no place for: a table of our own in the PHA file, from which a cube comes back as it was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.io.attrs import to_json
from xgamma.io.fits_extras import ATTRS_HDU, GTI_VARIABLES

__all__ = ["stored_hdu", "stored_parts"]

#: Variables that OGIP has a place for.
OGIP = ("counts", "counts_off", "acceptance", "acceptance_off", "mask_safe", "exposure", "edisp", "livetime")


def stored_hdu(stored: dict[str, Any]) -> fits.BinTableHDU:
    """Table of one row that holds `stored` as JSON."""
    text = to_json(stored, "attrs")
    return fits.BinTableHDU.from_columns([fits.Column("JSON", f"{len(text)}A", array=[text])], name=ATTRS_HDU)


def stored_parts(
    cube: xr.Dataset, piece: xr.Dataset, place: Mapping[str, int], axes: Mapping[str, Any]
) -> dict[str, Any]:
    """Collect what OGIP has no place for: scalars, texts, attributes, and how the cube was divided."""
    scalars = {
        str(n): v
        for n, v in piece.variables.items()
        if v.ndim == 0 and v.dtype.kind in "biufUO" and not str(n).startswith("energy") and n != "livetime"
    }
    items = {n: {"value": v.values.item(), "attrs": v.attrs} for n, v in scalars.items()}
    columns: dict[str, Any] = {}
    lost = []
    # without counts there is no background file with a scale of its own
    placed = set(OGIP) - (set() if "counts_off" in piece else {"acceptance_off"})
    for name, variable in piece.data_vars.items():
        if name in placed or variable.ndim == 0 or name in GTI_VARIABLES or _follows(piece, str(name)):
            continue
        if variable.dims == ("energy",) and variable.dtype.kind in "biuf":
            columns[str(name)] = {"column": _column(str(name), columns), "kind": variable.dtype.kind}
        else:
            lost.append(f"{name} {tuple(map(str, variable.dims))}")
    lost += [f"{n} {v.dims}" for n, v in piece.coords.items() if v.ndim and not str(n).startswith("energy")]
    if lost:
        warnings.warn(f"not written, OGIP files hold numbers per channel only: {', '.join(lost)}", stacklevel=4)
    shared = {
        dim: [str(n) for n, v in cube.variables.items() if dim not in v.dims and not str(n).startswith("energy")]
        for dim in place
    }
    return {
        "attrs": {str(k): v for k, v in piece.attrs.items()},
        "coords": {n: v for n, v in items.items() if n in piece.coords},
        "variables": {n: v for n, v in items.items() if n not in piece.coords},
        "ogip": {
            "names": [str(n) for n in piece.data_vars],
            "attrs": {str(n): v.attrs for n, v in piece.variables.items()},
            "columns": columns,
            "axes": {n: _axis_numbers(a) for n, a in axes.items()},
            "place": dict(place),
            "gti": _times(piece),
            "shared": shared,
        },
    }


def _axis_numbers(axis: xr.DataArray) -> dict[str, Any]:
    """Bins to the last bit, which another unit does not always keep."""
    lo, hi = (axis[f"{axis.name}_{end}"].values.tolist() for end in ("min", "max"))
    labels = {"interp": axis.attrs.get("interp", "log"), "long_name": axis.attrs.get("long_name")}
    return {"lo": lo, "hi": hi, "center": axis.values.tolist(), **labels}


def _times(piece: xr.Dataset) -> dict[str, Any]:
    """Where among the padding the good times stand."""
    if not all(n in piece for n in GTI_VARIABLES):
        return {"size": 0, "used": []}
    used = np.isfinite(piece["gti_start"].values) & np.isfinite(piece["gti_stop"].values)
    return {"size": int(used.size), "used": np.flatnonzero(used).tolist()}


def _follows(piece: xr.Dataset, name: str) -> bool:
    """True for a background that is read again from what is written, to the last bit."""
    if name != "background":
        return False
    if "counts_off" not in piece:
        # where the scale is 0 nothing can be scaled
        return bool("acceptance" not in piece or (piece["acceptance"] > 0).all())
    if piece["background"].dtype != np.float64:
        return False
    values, acceptance, counts = (
        np.broadcast_to(piece[n].values, (piece.sizes["energy"],))
        for n in ("acceptance_off", "acceptance", "counts_off")
    )
    has = values > 0
    level = np.where(has, acceptance / np.where(has, values, 1.0) * counts, 0.0)
    return bool(np.array_equal(level, piece["background"].values, equal_nan=True))


def _column(name: str, taken: Mapping[str, Any]) -> str:
    column = name.upper()
    while column in {"CHANNEL", "COUNTS", "QUALITY", "BACKSCAL", *(c["column"] for c in taken.values())}:
        column += "_"
    return column
