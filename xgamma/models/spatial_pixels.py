"""Integrals of spatial models over the pixels of a sky grid: geometry made once, models on the pixels that they reach.

Where a model is broader than the pixels it is taken at their centres, with the second differences of neighbours as the
difference between centre and mean. Where it is narrower it is taken on a lattice of parts of pixels that covers the
model alone, and divided by its own sum: what lies inside the grid is exact, however narrow the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.kernels.sphere import from_vectors, rotate
from xgamma.models.spatial_geometry import Axes, Offsets, axes_at, frame_rotation
from xgamma.models.spatial_model import CenteredModel, RadialModel, SpatialModel
from xgamma.models.spatial_shapes import ConstantFluxSpatialModel, PointSpatialModel
from xgamma.models.spatial_sky import WIDEST, Box, SkyPixels, Window

__all__ = ["SkyPixels", "integrate_geom", "spatial_integral"]

FloatArray = NDArray[np.float64]
#: Parts of its radius into which a model is divided at most: elongated and steep ones have bins much smaller.
FINEST = 500
#: Pixels up to which models with edges are taken on a lattice.
LATTICE = 250_000
#: Models smaller than this part of a pixel are points.
POINT = 1e-6
#: Parts of a pixel along each side up to which they are taken around poles and on the edge of the sky.
MOST_PARTS = 16
#: Steps to the neighbours of a pixel.
NEIGHBOURS = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0))
#: Points in radius and in angle where a model is thrown onto pixels, on which no lattice can lie.
THROWN = (200, 400)
#: Pixels up to this part of those of a template are taken at their centres.
SMALL = 0.45
#: Parts of a pixel along each side at most, and points at a time, where a model is sampled.
MOST, POINTS = 50, 100_000


def spatial_integral(
    model: SpatialModel, pixels: SkyPixels, values: Any = None, energy: FloatArray | None = None
) -> tuple[Window, FloatArray]:
    """Integrate a model over pixels.

    Parameters
    ----------
    model
        Spatial model.
    pixels
        Pixels of the grid.
    values
        Values of the parameters in canonical units, in order; the present ones by default.
    energy
        Energies in TeV, shape (n,), for models that depend on it.

    Returns
    -------
    window : tuple of slice
        Part (y, x) of the grid outside of which the integral is 0; empty where the model misses the grid.
    integral : numpy.ndarray
        Shape of the window, behind energies where the model depends on them; `unit` of the model times sr.
    """
    numbers = tuple(model.values if values is None else (float(v) for v in values))
    if not all(np.isfinite(numbers)):
        names = [name for name, v in zip(model.parameters.names, numbers, strict=False) if not np.isfinite(v)]
        msg = f"values of {type(model).__name__} must be finite, not {names}"
        raise ValueError(msg)
    if isinstance(model, ConstantFluxSpatialModel):
        return _everything(pixels), np.ones(pixels.grid.shape)
    if isinstance(model, PointSpatialModel):
        return _four_pixels(pixels, axes_at(*model.center(*numbers), model.frame))
    if isinstance(model, RadialModel):
        return _radial(model, pixels, numbers)
    return _sampled(model, pixels, numbers, energy)


def integrate_geom(
    model: SpatialModel, grid: SkyGrid | SkyPixels, values: Any = None, energy: FloatArray | None = None
) -> FloatArray:
    """Integrate a model over all pixels of a grid; parameters as for `spatial_integral`.

    Returns
    -------
    numpy.ndarray
        Shape (y, x), behind energies where the model depends on them; `unit` of the model times sr.

    Examples
    --------
    >>> from xgamma.coords.frame import SkyFrame
    >>> from xgamma.models.spatial_shapes import GaussianSpatialModel
    >>> grid = SkyGrid(SkyFrame.create(0, 0, 1.0, "CAR", "icrs"), range(-1, 2), range(-1, 2))
    >>> integrate_geom(GaussianSpatialModel(sigma="0.01 deg"), grid).round(6)
    array([[0., 0., 0.],
           [0., 1., 0.],
           [0., 0., 0.]])
    """
    pixels = grid if isinstance(grid, SkyPixels) else SkyPixels(grid)
    (y, x), part = spatial_integral(model, pixels, values, energy)
    result = np.zeros((*part.shape[:-2], *pixels.grid.shape))
    result[..., y, x] = part
    return result


# ---------------------------------------------------------------------- points
def _everything(pixels: SkyPixels) -> Window:
    ny, nx = pixels.grid.shape
    return slice(0, ny), slice(0, nx)


def _nothing() -> tuple[Window, FloatArray]:
    return (slice(0, 0), slice(0, 0)), np.zeros((0, 0))


def _place(pixels: SkyPixels, axes: Axes) -> tuple[float, float]:
    """Pixel coordinates (y, x) of a centre, NaN where the projection does not show it."""
    lon, lat = from_vectors(rotate(axes.center, pixels.grid.frame.rotation))
    y, x = pixels.grid.sky_to_pixel(lon, lat)
    return float(y), float(x)


def _four_pixels(pixels: SkyPixels, axes: Axes) -> tuple[Window, FloatArray]:
    """A point among the four pixels around it: the centroid is that of the point."""
    y, x = _place(pixels, axes)
    if not (np.isfinite(y) and np.isfinite(x)):
        return _nothing()
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    weights = np.outer([1.0 - (y - y0), y - y0], [1.0 - (x - x0), x - x0])
    return _cut(pixels, weights, y0, x0)


def _cut(pixels: SkyPixels, block: FloatArray, y0: int, x0: int) -> tuple[Window, FloatArray]:
    """What of a block of pixels, the first of which has the numbers (y0, x0), lies on the grid, on all turns."""
    ny, nx = block.shape
    period = pixels.grid.frame.period
    turns = [0] if period is None or abs(period - round(period)) > 1e-6 else [k * round(period) for k in (-1, 0, 1)]
    found = []
    for turn in turns:
        window = pixels.window((y0, y0 + ny), (x0 + turn, x0 + turn + nx))
        if window[0].stop > window[0].start and window[1].stop > window[1].start:
            first_y, first_x = (w.start + p.start - n for w, p, n in _starts(pixels, window, y0, x0 + turn))
            part = block[first_y:, first_x:][: window[0].stop - window[0].start, : window[1].stop - window[1].start]
            found.append((window, part))
    if not found:
        return _nothing()
    if len(found) == 1:
        return found[0]
    # on both ends of a grid that shows a full turn
    joined = np.zeros((found[0][1].shape[0], pixels.grid.shape[1]))
    for (_, x), part in found:
        joined[:, x] += part
    return (found[0][0][0], slice(0, pixels.grid.shape[1])), joined


def _starts(pixels: SkyPixels, window: Window, y0: int, x0: int) -> list[tuple[slice, range, int]]:
    return [(window[0], pixels.grid.y, y0), (window[1], pixels.grid.x, x0)]


# ---------------------------------------------------------------------- models with a centre
def _radial(model: RadialModel, pixels: SkyPixels, values: tuple[float, ...]) -> tuple[Window, FloatArray]:
    axes = model.axes(*values)
    radius = model.evaluation_radius(*values)
    if radius <= POINT * pixels.binsize:
        y, x = _place(pixels, axes)
        if not (np.isfinite(y) and np.isfinite(x)):
            return _nothing()
        return _cut(pixels, np.ones((1, 1)), int(np.floor(y + 0.5)), int(np.floor(x + 0.5)))
    smallest = max(model.bin_size_min(*values), radius / FINEST)
    box = pixels.box(axes, radius)
    if box is None:
        window = _everything(pixels)
        if radius > WIDEST:
            return window, _centres(model, pixels, values, window)
        fine = 4 * int(np.ceil(pixels.binsize / smallest))
        if fine > MOST_PARTS:
            return _thrown(model, pixels, values, axes)
        return window, _edges(model, pixels, values, axes, fine)
    parts = [max(1, int(np.ceil(2.0 * radius / (high - low) / smallest - 1e-9))) for low, high in (box.y, box.x)]
    # models with edges are divided by their sum, too, as long as they are not so large that edges are a small part
    if max(parts) > 1 or (not model.is_smooth and (box.y[1] - box.y[0]) * (box.x[1] - box.x[0]) < LATTICE):
        return _lattice(model, pixels, values, box, (parts[0], parts[1]))
    turns = pixels.turns(box)
    if not turns:
        return _nothing()
    window = pixels.window_of(box, turns)
    return window, _centres(model, pixels, values, window)


def _centres(model: RadialModel, pixels: SkyPixels, values: tuple[float, ...], window: Window) -> FloatArray:
    """Integrals over pixels from the model at their centres."""
    shape = tuple(w.stop - w.start for w in window)
    if 0 in shape:
        return np.zeros(shape)
    # one pixel more on each side
    y, x = (slice(w.start, w.stop + 2) for w in window)
    x_plane, y_plane, z_plane = (plane[y, x] for plane in pixels.planes)
    size = float(np.sqrt(np.prod(pixels.grid.frame.binsize)))
    density = model.evaluate_planes((x_plane, y_plane, z_plane), size, *values)
    solid_angle = pixels.solid_angle[y, x]
    missing = np.isnan(density) & (solid_angle > 0)
    if missing.any():
        density = _filled(density, missing)
    means = _means(density) if model.is_smooth else density[1:-1, 1:-1]
    return np.nan_to_num(means) * solid_angle[1:-1, 1:-1]


def _filled(density: FloatArray, missing: NDArray[np.bool_]) -> FloatArray:
    """Give pixels on the edge of the sky, whose centres are not sky, the mean of their neighbours."""
    padded = np.pad(density, 1, constant_values=np.nan)
    around = np.stack([padded[1 + a : padded.shape[0] - 1 + a, 1 + b : padded.shape[1] - 1 + b] for a, b in NEIGHBOURS])
    known = np.isfinite(around)
    mean = np.where(known, around, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(missing, mean, density)


def _means(density: FloatArray) -> FloatArray:
    """Means over pixels from values at their centres: without the pixels on the edge of the array.

    The mean of a function over a cell is its value at the centre and a 24th of its second differences.
    """
    down, right = np.diff(density[:, 1:-1], axis=0), np.diff(density[1:-1, :], axis=1)
    # next to the edge of the sky the neighbour is missing
    for difference in (down, right):
        difference[np.isnan(difference)] = 0.0
    return np.asarray(density[1:-1, 1:-1] + (np.diff(down, axis=0) + np.diff(right, axis=1)) / 24.0)


def _lattice(
    model: RadialModel, pixels: SkyPixels, values: tuple[float, ...], box: Box, parts: tuple[int, int]
) -> tuple[Window, FloatArray]:
    """Integrals over pixels from the model on parts of them, divided by its sum over all that it reaches."""
    if not pixels.turns(box) or box.y[1] < pixels.grid.y.start - 0.5 or box.y[0] > pixels.grid.y.stop - 0.5:
        return _nothing()
    # numbers of the parts, counted from the lower edge of pixel 0
    (first_y, last_y), (first_x, last_x) = (
        (int(np.floor((low + 0.5) * n)) - 1, int(np.ceil((high + 0.5) * n)) + 1)
        for (low, high), n in zip((box.y, box.x), parts, strict=True)
    )
    y0, x0 = first_y // parts[0], first_x // parts[1]
    y1, x1 = -(-last_y // parts[0]), -(-last_x // parts[1])
    lattice = pixels.lattice((first_y, last_y), (first_x, last_x), parts)
    if np.isnan(lattice).any():  # the edge of the sky
        return _thrown(model, pixels, values, model.axes(*values))
    spans = (box.y[1] - box.y[0]) * parts[0], (box.x[1] - box.x[0]) * parts[1]
    size = 2.0 * model.evaluation_radius(*values) / float(np.sqrt(np.prod(spans)))
    flux = model.evaluate_planes((lattice[0], lattice[1], lattice[2]), size, *values)
    if model.is_smooth:
        flux[1:-1, 1:-1] = _means(flux)
    flux = flux * lattice[3]
    edges_y = np.maximum(np.arange(y0, y1) * parts[0] - first_y, 0)
    edges_x = np.maximum(np.arange(x0, x1) * parts[1] - first_x, 0)
    block = np.add.reduceat(np.add.reduceat(flux, edges_y, axis=0), edges_x, axis=1)
    return _cut(pixels, block / block.sum(), y0, x0)


def _edges(model: RadialModel, pixels: SkyPixels, values: tuple[float, ...], axes: Axes, parts: int) -> FloatArray:
    """Integrals over pixels around poles and on the edge of the sky, from those of their parts that are sky."""
    grid = pixels.grid
    reach = model.evaluation_radius(*values) + 2.0 * pixels.binsize
    inner = slice(1, -1)
    versine = Offsets(tuple(p[inner, inner] for p in pixels.planes), axes).versine  # type: ignore[arg-type]
    with np.errstate(invalid="ignore"):
        near = ~(versine > 2.0 * np.sin(np.deg2rad(0.5 * min(reach, 180.0))) ** 2)
    rows, columns = np.nonzero(near & (pixels.solid_angle[inner, inner] > 0))
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    y, x = np.broadcast_arrays(
        (rows + grid.y.start)[:, None, None] + offsets[:, None], (columns + grid.x.start)[:, None, None] + offsets
    )
    vectors = grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(y, x))
    x_plane, y_plane, z_plane = np.moveaxis(vectors, -1, 0)
    density = model.evaluate_planes((x_plane, y_plane, z_plane), pixels.binsize / parts, *values)
    # near a pole the parts of a pixel have different sizes
    area = np.linalg.norm(np.cross(np.gradient(vectors, axis=1), np.gradient(vectors, axis=2)), axis=-1)
    known = np.isfinite(area)
    typical = np.where(known, area, 0.0).sum(axis=(1, 2)) / np.maximum(known.sum(axis=(1, 2)), 1)
    area = np.where(known, area, np.where(typical > 0, typical, 1.0)[:, None, None])
    weight = np.where(np.isfinite(density), area, 0.0)
    total = weight.sum(axis=(1, 2))
    means = (weight * np.nan_to_num(density)).sum(axis=(1, 2)) / np.where(total > 0, total, 1.0)
    result = np.zeros(grid.shape)
    result[rows, columns] = means * pixels.solid_angle[inner, inner][rows, columns]
    return result


def _thrown(model: RadialModel, pixels: SkyPixels, values: tuple[float, ...], axes: Axes) -> tuple[Window, FloatArray]:
    """Integrals over pixels from points of the model, each in its pixel: around poles and across edges of the sky."""
    radius = min(np.deg2rad(model.evaluation_radius(*values)), np.pi)
    rings, angles = THROWN
    r = (np.arange(rings) + 0.5) / rings * radius
    a = (np.arange(angles) + 0.5) / angles * 2.0 * np.pi
    direction = np.cos(a)[:, None] * axes.north + np.sin(a)[:, None] * axes.east
    vectors = np.cos(r)[:, None, None] * axes.center + np.sin(r)[:, None, None] * direction
    x_plane, y_plane, z_plane = np.moveaxis(vectors, -1, 0)
    weight = model.evaluate_planes((x_plane, y_plane, z_plane), float(np.rad2deg(r[0])), *values) * np.sin(r)[:, None]
    weight /= weight.sum()
    grid = pixels.grid
    lon, lat = from_vectors(rotate(vectors, grid.frame.rotation))
    y, x = (np.floor(v + 0.5) for v in grid.sky_to_pixel(lon, lat))
    with np.errstate(invalid="ignore"):
        inside = (y >= grid.y.start) & (y < grid.y.stop) & (x >= grid.x.start) & (x < grid.x.stop)
    index = (y[inside].astype(int) - grid.y.start) * len(grid.x) + x[inside].astype(int) - grid.x.start
    total = np.bincount(index, weight[inside], minlength=len(grid.y) * len(grid.x)).astype(float)
    return _everything(pixels), total.reshape(grid.shape)


# ---------------------------------------------------------------------- templates and constants
def _sampled(
    model: SpatialModel, pixels: SkyPixels, values: tuple[float, ...], energy: FloatArray | None
) -> tuple[Window, FloatArray]:
    """Integrals over pixels from a model at their centres, or at the centres of their parts."""
    keywords = {} if energy is None else {"energy": energy}
    window = _everything(pixels)
    center = model.center(*values) if isinstance(model, CenteredModel) else None
    if center is not None:
        box = pixels.box(axes_at(*center, model.frame), model.evaluation_radius(*values))
        if box is not None:
            turns = pixels.turns(box)
            if not turns:
                return _nothing()
            window = pixels.window_of(box, turns)
    smallest = model.bin_size_min(*values)
    parts = _parts_of(pixels.binsize / smallest) if smallest > 0 else MOST
    wy, wx = (slice(w.start + 1, w.stop + 1) for w in window)
    solid_angle = pixels.solid_angle[wy, wx]
    if parts == 1:
        lon, lat = (v[wy, wx] for v in pixels.lonlat(model.frame))
        return window, np.nan_to_num(model.evaluate_integrand(lon, lat, *values, **keywords)) * solid_angle
    return window, _parts_mean(model, pixels, values, window, parts, keywords) * solid_angle


def _parts_mean(
    model: SpatialModel,
    pixels: SkyPixels,
    values: tuple[float, ...],
    window: Window,
    parts: int,
    keywords: dict[str, FloatArray],
) -> FloatArray:
    """Means over pixels of a model that changes inside them."""
    grid = pixels.grid.tile(*window)
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    matrix = frame_rotation(model.frame)
    rows: list[FloatArray] = []
    # some rows of pixels at a time: parts of all pixels at once may be many
    step = max(1, POINTS // max(len(grid.x) * parts**2, 1))
    columns = (np.asarray(grid.x)[:, None] + offsets).ravel()
    for start in range(0, len(grid.y), step):
        chosen = np.asarray(grid.y)[start : start + step]
        place = np.meshgrid((chosen[:, None] + offsets).ravel(), columns, indexing="ij")
        lon, lat = from_vectors(rotate(grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(*place)), matrix))
        density = np.nan_to_num(model.evaluate_integrand(lon, lat, *values, **keywords))
        shape = (*density.shape[:-2], chosen.size, parts, len(grid.x), parts)
        rows.append(density.reshape(shape).mean(axis=(-3, -1)))
    if not rows:
        return np.zeros(grid.shape)
    return np.concatenate(rows, axis=-2)


def _parts_of(ratio: float) -> int:
    """Into how many parts along each side pixels are divided that are larger by a ratio than those of a model."""
    if ratio <= SMALL:
        return 1
    return int(np.clip(np.ceil((4.0 if ratio <= 3.0 else 2.0) * ratio - 1e-6), 1, MOST))
