"""What flux points are called, in files and in memory, and in which units."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import xarray as xr

from xgamma.coords.units import canonical_attrs

__all__ = ["SED_TYPES", "check_sed_type", "flux_attrs", "limit_flags", "sed_type_of", "value_names"]

#: SED type -> unit of its values, and what they are.
SED_TYPES = {
    "dnde": ("TeV-1 s-1 cm-2", "Differential flux"),
    "e2dnde": ("erg s-1 cm-2", "Energy squared times differential flux"),
    "flux": ("s-1 cm-2", "Flux"),
    "eflux": ("erg s-1 cm-2", "Energy flux"),
    "likelihood": ("", "Norm"),
}
#: What a value has beside it.
SUFFIXES = {
    "": "",
    "_err": ", error",
    "_errn": ", lower error",
    "_errp": ", upper error",
    "_ul": ", upper limit",
    "_sensitivity": ", sensitivity",
}
#: Fluxes of the reference spectrum to which norms refer.
REFERENCES = {f"ref_{name}": name for name in ("dnde", "flux", "eflux", "e2dnde")}
#: Variables that all SED types share, in the order of files; True for flags.
COMMON = {
    "ts": "TS",
    "sqrt_ts": "Significance",
    "npred": "Predicted counts",
    "npred_excess": "Predicted signal counts",
    "npred_background": "Predicted background counts",
    "stat": "Fit statistic",
    "stat_null": "Fit statistic without signal",
    "stat_scan": "Profile of the fit statistic",
    "is_ul": "Upper limit only",
    "counts": "Counts",
    "success": "Fit succeeded",
    "n_dof": "Degrees of freedom",
    "niter": "Number of iterations",
    "alpha": "On to off exposure",
    "acceptance_on": "Acceptance",
    "acceptance_off": "Acceptance of the off region",
    "norm_scan": "Norms of the profile",
}
FLAGS = ("is_ul", "success")
#: Dimension behind the bins for variables that may be vectors in a cell of a table.
VECTORS = dict.fromkeys(("npred", "npred_excess", "npred_background", "counts"), "dataset")
VECTORS |= {"stat_scan": "scan", "norm_scan": "scan"}
#: Variables that gammapy reads as vectors over datasets, and no other.
PER_DATASET = ("npred", "npred_excess", "counts")
#: Significance below which a point is shown as an upper limit.
THRESHOLD = 2.0


def value_names(sed_type: str) -> list[str]:
    """Return the names of value, errors, limit and sensitivity of a SED type.

    Examples
    --------
    >>> value_names("likelihood")[:3]
    ['norm', 'norm_err', 'norm_errn']
    """
    base = "norm" if sed_type == "likelihood" else sed_type
    return [base + suffix for suffix in SUFFIXES]


def flux_attrs(name: str) -> dict[str, str]:
    """Return unit and label of a variable of flux points.

    Examples
    --------
    >>> flux_attrs("e2dnde_ul")
    {'units': 'erg s-1 cm-2', 'long_name': 'Energy squared times differential flux, upper limit'}
    """
    if name in COMMON:
        return canonical_attrs("", COMMON[name])
    if name in REFERENCES:
        unit, label = SED_TYPES[REFERENCES[name]]
        return canonical_attrs(unit, f"{label} of the reference spectrum")
    base, _, suffix = name.partition("_")
    unit, label = SED_TYPES["likelihood" if base == "norm" else base]
    return canonical_attrs(unit, label + SUFFIXES[f"_{suffix}" if suffix else ""])


def check_sed_type(sed_type: Any, where: str = "sed_type") -> str:
    """Return a SED type as it is, after checking that it is one.

    Raises
    ------
    ValueError
        If it is not known.

    Examples
    --------
    >>> check_sed_type("dnde")
    'dnde'
    """
    if not isinstance(sed_type, str) or sed_type not in SED_TYPES:
        msg = f"{where}={sed_type!r} is not known; it must be one of {list(SED_TYPES)}"
        raise ValueError(msg)
    return sed_type


def guess_sed_type(names: Collection[str], bins: bool) -> str | None:
    """Return the SED type whose value, or limit, is among the names; fluxes need bins of energy.

    Examples
    --------
    >>> guess_sed_type({"e_ref", "e2dnde_ul"}, bins=False)
    'e2dnde'
    """
    order = ("dnde", "e2dnde", "flux", "eflux", "likelihood") if bins else ("dnde", "e2dnde", "likelihood")
    for sed_type in order:
        value, limit = value_names(sed_type)[0], value_names(sed_type)[4]
        if value in names or limit in names:
            return sed_type
    return None


def sed_type_of(points: xr.Dataset) -> str:
    """Return the SED type of flux points, checked against their variables.

    Parameters
    ----------
    points
        Flux points.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is missing or unknown, or its values are not there.

    Examples
    --------
    >>> sed_type_of(xr.Dataset({"norm": ("energy", [1.0])}, attrs={"sed_type": "likelihood"}))
    'likelihood'
    """
    found = points.attrs.get("sed_type", guess_sed_type({str(n) for n in points.data_vars}, bins=True))
    if found is None:
        msg = f"these are not flux points: attrs['sed_type'] is missing and no norm or flux is among {list(points)}"
        raise ValueError(msg)
    sed_type = check_sed_type(found, "attrs['sed_type']")
    value, limit = value_names(sed_type)[0], value_names(sed_type)[4]
    if value not in points and limit not in points:
        msg = f"flux points of type {sed_type!r} need {value!r} or {limit!r}; the variables are {list(points)}"
        raise ValueError(msg)
    return sed_type


def limit_flags(points: xr.Dataset, threshold: float = THRESHOLD) -> xr.DataArray:
    """Say which points are upper limits only; lazy if `points` are.

    Parameters
    ----------
    points
        Flux points.
    threshold
        Points with a lower significance are limits. Points without a significance are limits where they have a limit
        and no value.

    Returns
    -------
    xarray.DataArray
        Flags, dims as the values.

    Examples
    --------
    >>> points = xr.Dataset({"norm": ("energy", [1.0, 0.2]), "sqrt_ts": ("energy", [5.0, 1.0])})
    >>> limit_flags(points).values
    array([False,  True])
    """
    value, limit = value_names(sed_type_of(points))[0], value_names(sed_type_of(points))[4]
    known = points[value] if value in points else points[limit]
    no_value = points[value].isnull() if value in points else xr.full_like(known, True, dtype=bool)
    only_limit = no_value & points[limit].notnull() if limit in points else xr.full_like(known, False, dtype=bool)
    flags: xr.DataArray = only_limit
    if "sqrt_ts" in points:
        # NaN is neither above nor below
        flags = (points["sqrt_ts"] < threshold) | only_limit
    flags.attrs = flux_attrs("is_ul")
    return flags.rename("is_ul")
