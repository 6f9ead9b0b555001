"""A reduction written down once more, slowly: astropy's WCS and SkyCoord, scipy's interpolator, loops."""

from __future__ import annotations

import itertools

import astropy.units as u
import numpy as np
from astropy.coordinates import AltAz, SkyCoord, SkyOffsetFrame
from astropy.time import Time
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord, skycoord_to_pixel
from scipy.interpolate import RegularGridInterpolator

#: Smallest float32 in s-1 MeV-1 sr-1, in s-1 TeV-1 sr-1: what an empty node counts as.
FLOOR = float(np.finfo("float32").tiny) * 1e6


def make_wcs(center, shape, binsize, frame, proj):
    """WCS of a map around `center`, its reference point in the middle."""
    wcs = WCS(naxis=2)
    names = {"icrs": ("RA---", "DEC--"), "galactic": ("GLON-", "GLAT-")}[frame]
    wcs.wcs.ctype = [n + proj for n in names]
    position = center.transform_to(frame).spherical
    wcs.wcs.crval = [position.lon.deg, position.lat.deg]
    wcs.wcs.cdelt = [-binsize, binsize]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    return wcs


def pixel_centres(wcs, shape):
    """Sky positions of all pixels; NaN where there is no sky."""
    y, x = np.indices(shape)
    return pixel_to_skycoord(x, y, wcs, origin=0)


def counts(events, wcs, shape, edges):
    """Histogram of events in (energy, y, x)."""
    sky = SkyCoord(events["ra"].values, events["dec"].values, unit="deg")
    x, y = skycoord_to_pixel(sky, wcs, origin=0)
    keep = np.isfinite(x) & np.isfinite(y)
    sides = [np.arange(n + 1) - 0.5 for n in shape]
    sample = np.stack([events["energy"].values, y, x], axis=-1)[keep]
    result, _ = np.histogramdd(sample, bins=[edges, *sides])
    # numpy's last bins hold their upper edge
    assert not np.isin(sample[:, 0], edges[-1]).any()
    return result


def interpolate(axes, table, points):
    """Multilinear interpolation, continued beyond the outermost nodes."""
    return RegularGridInterpolator(axes, table, bounds_error=False, fill_value=None)(np.stack(points, axis=-1))


def exposure(aeff, livetime, true, offset):
    """Effective area at each energy and offset, times livetime."""
    axes = [np.log(aeff.energy_true.values), aeff.offset.values]
    e, o = np.broadcast_arrays(np.log(true).reshape(-1, *(1,) * offset.ndim), offset)
    result = np.maximum(interpolate(axes, aeff.transpose("energy_true", "offset").values, [e, o]), 0)
    outermost = aeff.offset_max.values[-1]
    if outermost == aeff.offset_min.values[-1]:
        # an axis of nodes ends half a step beyond its last one
        outermost += 0.5 * (outermost - aeff.offset.values[-2])
    result[o > outermost] = 0
    result[(e < np.log(aeff.energy_true_min.values[0])) | (e > np.log(aeff.energy_true_max.values[-1]))] = 0
    return result * livetime


def background_rate(bkg, edges, lon, lat, offset, steps=1):
    """Rate in s-1 sr-1 of each bin: power laws between the edges (or `steps` parts of a bin)."""
    fine = np.concatenate([np.geomspace(a, b, steps + 1)[:-1] for a, b in itertools.pairwise(edges)] + [edges[-1:]])
    spatial = ["offset"] if "offset" in bkg.dims else ["fov_lon", "fov_lat"]
    where = {"offset": offset, "fov_lon": lon, "fov_lat": lat}
    axes = [np.log(bkg.energy.values), *(bkg[n].values for n in spatial)]
    table = np.log(np.maximum(bkg.transpose("energy", *spatial).values, FLOOR))
    points = np.broadcast_arrays(np.log(fine).reshape(-1, *(1,) * offset.ndim), *(where[n] for n in spatial))
    rate = np.exp(interpolate(axes, table, points))
    for name, value in zip(spatial, points[1:], strict=True):
        rate[(value < bkg[f"{name}_min"].values[0]) | (value > bkg[f"{name}_max"].values[-1])] = 0
    rate[(fine < bkg.energy_min.values[0] * (1 - 1e-9)) | (fine > bkg.energy_max.values[-1] * (1 + 1e-9))] = 0
    parts = []
    for k in range(len(fine) - 1):
        low, high = rate[k], rate[k + 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            index = np.log(high / low) / np.log(fine[k + 1] / fine[k])
            part = np.where(
                np.abs(index + 1) > 1e-7,
                (high * fine[k + 1] - low * fine[k]) / (index + 1),
                low * fine[k] * np.log(fine[k + 1] / fine[k]),
            )
        parts.append(np.where((low > 0) & (high > 0), part, 0.0))
    return np.array(parts).reshape(len(edges) - 1, steps, *offset.shape).sum(axis=1)


def field_of_view(sky, pointing):
    """Field-of-view longitude (falling with right ascension) and latitude in deg."""
    local = sky.transform_to(SkyOffsetFrame(origin=pointing))
    return -local.lon.wrap_at("180d").deg, local.lat.deg


def background_rate_altaz(bkg, edges, sky, pointing, location, gti, offset, step):
    """Mean rate over the good time, the field of view being fixed to the horizon."""
    total = np.zeros((len(edges) - 1, *offset.shape))
    length = 0.0
    for start, stop in gti:
        number = max(1, round((stop - start) / step))
        middles = start + (np.arange(number) + 0.5) * (stop - start) / number
        for middle in middles:
            time = Time("2000-01-01T12:00:00", scale="tt") + middle * u.s
            frame = AltAz(obstime=time, location=location)
            lon, lat = field_of_view(sky.transform_to(frame), pointing.transform_to(frame))
            total += background_rate(bkg, edges, lon, lat, offset) * (stop - start) / number
            length += (stop - start) / number
    return total / length


def solid_angle(wcs, shape):
    """Solid angles by Girard: the angles at the corners of each quadrangle, less two pi."""
    y, x = np.indices((shape[0] + 1, shape[1] + 1)) - 0.5
    corner = pixel_to_skycoord(x, y, wcs, origin=0)
    quads = [corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]]
    total = np.zeros(shape)
    for k in range(4):
        here, before, after = quads[k], quads[k - 1], quads[(k + 1) % 4]
        angle = np.abs((here.position_angle(before) - here.position_angle(after)).wrap_at("180d").rad)
        total += angle
    return total - 2 * np.pi
