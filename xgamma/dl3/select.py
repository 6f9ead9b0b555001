"""Selections of events: by energy, time, place, any column; all return an event list again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord

from xgamma.coords.units import canonical_attrs, to_value
from xgamma.dl3.gti import gti_contains, gti_table, gti_union
from xgamma.dl3.pointing import Pointing
from xgamma.dl3.times import time_intervals
from xgamma.irf.axes import table_axis
from xgamma.irf.rad_max import evaluate_rad_max
from xgamma.kernels.sphere import separation, to_vectors

if TYPE_CHECKING:
    from regions import SkyRegion

__all__ = [
    "event_offset",
    "event_separation",
    "region_contains",
    "select_energy",
    "select_mask",
    "select_offset",
    "select_rad_max",
    "select_range",
    "select_region",
    "select_time",
]

#: Pixel of the tangential plane in which shapes other than circles are tested, deg.
REGION_PIXEL = 0.001


def select_mask(events: xr.Dataset, mask: Any) -> xr.Dataset:
    """Keep the events where `mask` is true.

    Parameters
    ----------
    events
        Event list. Lazy columns stay lazy; the mask itself is computed, for it gives the new length.
    mask
        bool, shape (event,).

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Raises
    ------
    ValueError
        If the mask has another length or is not bool.

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"energy": ("event", [1.0, 2.0])})
    >>> select_mask(events, [True, False]).sizes["event"]
    1
    """
    keep = np.asarray(mask)
    if keep.dtype != bool or keep.shape != (events.sizes["event"],):
        msg = f"the mask must be a bool for each of {events.sizes['event']} events, not {keep.dtype} {keep.shape}"
        raise ValueError(msg)
    return events if keep.all() else events.isel(event=keep)


def _column(events: xr.Dataset, name: str) -> np.ndarray:
    if name not in events:
        msg = f"the event list has no column {name!r}; it has {sorted(map(str, events.data_vars))}"
        raise ValueError(msg)
    return events[name].values


def select_range(events: xr.Dataset, name: str, lower: Any = None, upper: Any = None) -> xr.Dataset:
    """Keep events with ``lower <= column < upper``.

    Parameters
    ----------
    events
        Event list.
    name
        Column.
    lower, upper
        Bounds as quantities or strings with a unit, or numbers in the unit of the column; None leaves an end open.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"gammaness": ("event", [0.1, 0.9])})
    >>> select_range(events, "gammaness", lower=0.5).sizes["event"]
    1
    """
    values = _column(events, name)
    units = str(events[name].attrs.get("units", ""))
    keep = np.ones(values.shape, dtype=bool)
    for bound, above in ((lower, True), (upper, False)):
        if bound is not None:
            number = float(bound) if isinstance(bound, (int, float, np.number)) else to_value(bound, units, name)
            keep &= values >= number if above else values < number
    return select_mask(events, keep)


def select_energy(events: xr.Dataset, energy_min: Any = None, energy_max: Any = None) -> xr.Dataset:
    """Keep events with ``energy_min <= energy < energy_max``.

    Parameters
    ----------
    events
        Event list.
    energy_min, energy_max
        Quantities or strings, for example ``"1 TeV"``.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"energy": ("event", [0.5, 2.0], {"units": "TeV"})})
    >>> select_energy(events, "1000 GeV").energy.values
    array([2.])
    """
    bounds = [
        None if e is None else to_value(e, "TeV", n)
        for e, n in ((energy_min, "energy_min"), (energy_max, "energy_max"))
    ]
    return select_range(events, "energy", *bounds)


def select_time(events: xr.Dataset, time: Any) -> xr.Dataset:
    """Keep events inside time intervals.

    Parameters
    ----------
    events
        Event list.
    time
        ``(start, stop)``, a list of such pairs, or good time intervals as a Dataset.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"time": ("event", [5.0, 15.0])})
    >>> select_time(events, (0.0, 10.0)).time.values
    array([5.])
    """
    if isinstance(time, xr.Dataset):
        gti = gti_union(time)
    else:
        pairs = time_intervals(time)
        gti = gti_table(pairs[:, 0], pairs[:, 1])
    return select_mask(events, gti_contains(gti, _column(events, "time")))


def event_separation(events: xr.Dataset, position: SkyCoord) -> xr.DataArray:
    """Return the angle between each event and a position.

    Parameters
    ----------
    events
        Event list with ``ra``, ``dec`` (ICRS, degrees).
    position
        One position.

    Returns
    -------
    xarray.DataArray
        Degrees, dims (event,).

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"ra": ("event", [10.0]), "dec": ("event", [1.0])})
    >>> event_separation(events, SkyCoord(10, 0, unit="deg")).values.round(9)
    array([1.])
    """
    icrs = position.icrs
    return _separation(events, float(icrs.ra.deg), float(icrs.dec.deg))


def _separation(events: xr.Dataset, ra: Any, dec: Any) -> xr.DataArray:
    center = to_vectors(np.asarray(ra), np.asarray(dec))
    values = separation(to_vectors(_column(events, "ra"), _column(events, "dec")), center)
    return xr.DataArray(values, dims="event", attrs=canonical_attrs("deg", "Separation"))


def event_offset(events: xr.Dataset, pointing: SkyCoord | Pointing | None = None) -> xr.DataArray:
    """Return the angle between each event and the pointing of its run.

    Parameters
    ----------
    events
        Event list.
    pointing
        Default: RA_PNT and DEC_PNT of the header. A `Pointing` is evaluated at the time of each event.

    Returns
    -------
    xarray.DataArray
        Degrees, dims (event,).

    Raises
    ------
    ValueError
        If there is no pointing.

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"ra": ("event", [10.0]), "dec": ("event", [1.0])}, attrs={"ra_pnt": 10, "dec_pnt": 0})
    >>> float(event_offset(events)[0].round(9))
    1.0
    """
    if isinstance(pointing, Pointing):
        return _separation(events, *pointing.icrs(_column(events, "time")))
    if pointing is not None:
        return event_separation(events, pointing)
    try:
        return _separation(events, float(events.attrs["ra_pnt"]), float(events.attrs["dec_pnt"]))
    except (KeyError, TypeError, ValueError) as error:
        msg = "the event list has no RA_PNT and DEC_PNT; give the pointing as a SkyCoord"
        raise ValueError(msg) from error


def select_offset(
    events: xr.Dataset, offset_min: Any = None, offset_max: Any = None, pointing: SkyCoord | Pointing | None = None
) -> xr.Dataset:
    """Keep events with ``offset_min <= offset < offset_max`` from the pointing.

    Parameters
    ----------
    events
        Event list.
    offset_min, offset_max
        Angles, for example ``"2.5 deg"``.
    pointing
        See `event_offset`.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> select_offset(events, offset_max="1 deg", pointing=SkyCoord(10, 0, unit="deg")).ra.values
    array([10.])
    """
    values = event_offset(events, pointing).values
    keep = np.ones(values.shape, dtype=bool)
    if offset_min is not None:
        keep &= values >= to_value(offset_min, "deg", "offset_min")
    if offset_max is not None:
        keep &= values < to_value(offset_max, "deg", "offset_max")
    return select_mask(events, keep)


def select_rad_max(events: xr.Dataset, rad_max: xr.DataArray, position: SkyCoord) -> xr.Dataset:
    """Keep events closer to `position` than the radius that the point-like response was made with.

    Parameters
    ----------
    events
        Event list, with the pointing as RA_PNT and DEC_PNT of its header.
    rad_max
        Degrees, dims (energy, offset), or no dims for a fixed radius.
    position
        The source.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Raises
    ------
    ValueError
        If there is no pointing, or the table has no radius for the offset of the source.

    See Also
    --------
    xgamma.irf.rad_max.evaluate_rad_max : the radius.

    Notes
    -----
    The radius is that of the bin that holds the energy of the event and the offset of the *source*, for which the
    response was made: not that of the event. Events of energies outside of the table are left out: no response
    tells of them.

    Examples
    --------
    >>> import xarray as xr
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> select_rad_max(events, xr.DataArray(0.1), SkyCoord(10, 0, unit="deg")).ra.values
    array([10.])
    """
    limit: Any = float(rad_max) if rad_max.ndim == 0 else _source_rad_max(events, rad_max, position)
    return select_mask(events, event_separation(events, position).values < limit)


def _source_rad_max(events: xr.Dataset, rad_max: xr.DataArray, position: SkyCoord) -> np.ndarray:
    """Return the radius at the energy of each event and the offset of the source."""
    icrs = position.icrs
    source = xr.Dataset({"ra": ("event", [float(icrs.ra.deg)]), "dec": ("event", [float(icrs.dec.deg)])})
    offset = float(event_offset(source.assign_attrs(events.attrs)).item())
    axis = table_axis(rad_max, "offset")
    if not axis.weights(offset).valid:
        low, high = axis.limits
        msg = (
            f"the source lies {offset:.4g} deg from the pointing; the point-like response holds for offsets of "
            f"{low:.4g} to {high:.4g} deg and has no radius there: leave the run out"
        )
        raise ValueError(msg)
    return evaluate_rad_max(rad_max, _column(events, "energy"), offset)


def select_region(events: xr.Dataset, region: SkyRegion, inverted: bool = False) -> xr.Dataset:
    """Keep events inside a sky region of the `regions` package.

    Parameters
    ----------
    events
        Event list.
    region
        Sky region; circles and annuli are exact on the sphere, other shapes are drawn in the plane
        that touches the sky in their centre.
    inverted
        Keep what lies outside.

    Returns
    -------
    xarray.Dataset
        The events that are left, dims (event,).

    Examples
    --------
    >>> import astropy.units as u
    >>> import xarray as xr
    >>> from regions import CircleSkyRegion
    >>> events = xr.Dataset({"ra": ("event", [10.0, 12.0]), "dec": ("event", [0.0, 0.0])})
    >>> center = SkyCoord(10, 0, unit="deg")
    >>> select_region(events, CircleSkyRegion(center, 1 * u.deg)).ra.values
    array([10.])
    """
    inside = region_contains(region, _column(events, "ra"), _column(events, "dec"))
    return select_mask(events, ~inside if inverted else inside)


def region_contains(region: SkyRegion, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Say for each position (ICRS, degrees) whether it lies in the region; see `select_region`.

    Parameters
    ----------
    region
        Sky region.
    ra, dec
        Degrees, shape (n,).

    Returns
    -------
    numpy.ndarray
        bool, shape (n,).

    Raises
    ------
    TypeError
        If `region` is no sky region.

    Examples
    --------
    >>> import astropy.units as u
    >>> from regions import RectangleSkyRegion
    >>> box = RectangleSkyRegion(SkyCoord(10, 0, unit="deg"), 2 * u.deg, 1 * u.deg)
    >>> region_contains(box, np.array([10.9, 10.0]), np.array([0.0, 0.9]))
    array([ True, False])
    """
    from regions import CircleAnnulusSkyRegion, CircleSkyRegion, CompoundSkyRegion, SkyRegion

    if not isinstance(region, SkyRegion):
        msg = f"region={region!r} must be a sky region of the regions package, for example CircleSkyRegion"
        raise TypeError(msg)
    if isinstance(region, CompoundSkyRegion):
        first, second = (region_contains(r, ra, dec) for r in (region.region1, region.region2))
        return np.asarray(region.operator(first, second), dtype=bool)
    if isinstance(region, (CircleSkyRegion, CircleAnnulusSkyRegion)):
        center = region.center.icrs
        angle = separation(to_vectors(ra, dec), to_vectors(np.asarray(center.ra.deg), np.asarray(center.dec.deg)))
        if isinstance(region, CircleSkyRegion):
            inside = angle < region.radius.to_value("deg")
        else:
            inside = (angle >= region.inner_radius.to_value("deg")) & (angle < region.outer_radius.to_value("deg"))
        return np.asarray(inside if region.meta.get("include", True) else ~inside)
    return _planar_contains(region, ra, dec)


def _planar_contains(region: Any, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    from regions import PixCoord

    from xgamma.coords.frame import SkyFrame
    from xgamma.coords.regions import region_center

    anchor = region_center(region)
    # shapes have their angles in the frame of their own centre
    name = "galactic" if anchor.frame.name == "galactic" else "icrs"
    place = anchor.transform_to(name).spherical
    frame = SkyFrame.create(place.lon.deg, place.lat.deg, REGION_PIXEL, proj="TAN", frame=name)
    y, x = frame.sky_to_pixel(*frame.from_icrs(ra, dec))
    inside = np.zeros(np.shape(x), dtype=bool)
    near = np.isfinite(x) & np.isfinite(y)
    inside[near] = region.to_pixel(frame.wcs).contains(PixCoord(x[near], y[near]))
    return inside
