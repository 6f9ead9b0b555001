"""Background events of a run: from the field of view to the sky, with factors on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xgamma.dl3.pointing import Pointing
from xgamma.kernels.sphere import from_vectors, rotate
from xgamma.models.background_model import FoVBackgroundModel
from xgamma.models.spatial_geometry import frame_rotation
from xgamma.simulate.run import Run, moving_vectors, pointing_vectors
from xgamma.simulate.sampling import sample_intervals, vectors_from_fov

__all__ = ["background_cells", "draw_background", "field_axes", "sky_factor"]

FloatArray = NDArray[np.float64]

#: Times of a run at which the largest factor on its background is looked for, and the margin on it.
SOME_TIMES, BOUND_MARGIN = 8, 1.1


def field_axes(run: Run, time: FloatArray, alignment: str) -> FloatArray:
    """Unit vectors of the pointing, of growing longitude and latitude, shape (3, 3) or (n, 3, 3)."""
    center = pointing_vectors(run, time)
    up = np.array([0.0, 0.0, 1.0]) if alignment != "ALTAZ" else _zenith(run, time)
    east = np.cross(up, center) if alignment != "ALTAZ" else np.cross(center, up)
    length = np.linalg.norm(east, axis=-1, keepdims=True)
    # at the pole right ascension gives the direction, as in any spherical frame
    fallback = np.array([-np.sin(np.deg2rad(run.pointing.ra)), np.cos(np.deg2rad(run.pointing.ra)), 0.0])
    east = np.where(length > 1e-12, east / np.where(length > 1e-12, length, 1.0), fallback)
    north = np.cross(center, east) if alignment != "ALTAZ" else np.cross(east, center)
    return np.stack(np.broadcast_arrays(center, east, north), axis=-2)


def _zenith(run: Run, time: FloatArray) -> FloatArray:
    """Direction of the zenith on the sky (ICRS) at the time of each event, shape (n, 3)."""
    location = run.pointing.location
    if location is None:
        msg = "the background is aligned with altitude and azimuth: give a Pointing with the location of the telescopes"
        raise ValueError(msg)
    return moving_vectors(run, Pointing("drift", alt=90.0, az=0.0, location=location), time)


def draw_background(run: Run, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw background events: times, directions (ICRS unit vectors), energies in TeV."""
    sampler = run.background
    shapes = [m for m in run.factors if m.spatial is not None]
    bound = factor_bound(run, shapes) if shapes else 1.0
    number = 0 if sampler is None else int(rng.poisson(sampler.total * bound * run.ontime))
    time = sample_intervals(*run.intervals, rng.random(number))
    if sampler is None or number == 0:
        return time[:0], np.empty((0, 3)), np.empty(0)
    energy, lon, lat = sampler.sample(number, rng)
    vectors = vectors_from_fov(lon, lat, field_axes(run, time, sampler.alignment))
    if shapes:
        keep = rng.random(number) * bound < sky_factor(shapes, vectors)
        time, vectors, energy = time[keep], vectors[keep], energy[keep]
    return time, vectors, energy


def sky_factor(models: Sequence[FoVBackgroundModel], vectors: FloatArray) -> FloatArray:
    """Return the product of the spatial factors of background models at ICRS unit vectors, shape (n,)."""
    result = np.ones(len(vectors))
    for model in models:
        spatial = model.spatial
        assert spatial is not None
        if spatial.is_energy_dependent:
            msg = f"the spatial part of background model {model.name!r} changes with energy: a factor on the sky cannot"
            raise ValueError(msg)
        place = from_vectors(rotate(vectors, frame_rotation(spatial.frame)))
        factor = np.nan_to_num(spatial.evaluate(*place, *spatial.values))
        if (factor < 0).any():
            msg = f"background model {model.name!r} is negative in the field of view: rates of events cannot be"
            raise ValueError(msg)
        result *= factor
    return result


def factor_bound(run: Run, models: Sequence[FoVBackgroundModel]) -> float:
    """Return a number that the product of spatial factors stays below all over the field of view."""
    lon, lat, _ = background_cells(run)
    times = sample_intervals(*run.intervals, (np.arange(SOME_TIMES) + 0.5) / SOME_TIMES)
    largest = 0.0
    for time in times:
        axes = field_axes(run, np.array([time]), _alignment(run))
        vectors = vectors_from_fov(lon, lat, axes if axes.ndim == 2 else axes[0])
        largest = max(largest, float(sky_factor(models, vectors).max(initial=0.0)))
    # between the middles of cells, and in the corners, it may be larger
    return BOUND_MARGIN * largest


def background_cells(run: Run) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return places in the field of view in deg, and the background that they stand for in s-1."""
    sampler = run.background
    return (np.zeros(0), np.zeros(0), np.zeros(0)) if sampler is None else sampler.cells()


def _alignment(run: Run) -> str:
    return "RADEC" if run.background is None else run.background.alignment
