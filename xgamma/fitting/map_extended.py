"""Extended sources on maps: models integrated over pixels, times the exposure, convolved with the PSF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xgamma.coords.sky import SkyGrid
from xgamma.fitting.map_contribution import REMEMBERED, FoldedSource, Memory
from xgamma.fitting.map_irf import Exposure, pixel_of
from xgamma.fitting.psf_kernel import Convolution, finer_grid, psf_kernel
from xgamma.kernels.sphere import from_vectors, separation
from xgamma.models.spatial_geometry import axes_at
from xgamma.models.spatial_model import RadialModel, SpatialModel
from xgamma.models.spatial_pixels import spatial_integral
from xgamma.models.spatial_sky import SkyPixels

__all__ = ["ExtendedContribution"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

#: Part of its radius, and pixels, by which a model may move or grow before its window is made anew.
ROOM, ROOM_PIXELS = 0.25, 4.0
#: Pixels are divided until they are no larger than so many of the model's own bins, at most into FINEST.
BINS, FINEST = 3.0, 8
#: Pixels beyond the reach of a point spread function: its kernel ends where a pixel does.
MARGIN = 3
#: Part of the bins beyond which a source counts as one that fills the map.
DENSE = 0.25


@dataclass(frozen=True, eq=False)
class _Window:
    """Part of the sky around a source, and what of the responses belongs to it.

    Its pixels are those of the map divided by `factor`, and go on beyond the edge of the map.
    """

    pixels: SkyPixels
    factor: int
    #: Centre and radius in deg for which the window was made; None where it is the whole map.
    center: FloatArray | None
    radius: float
    convolution: Convolution | None
    #: Exposure on the pixels that lie on the map, shape (energy_true, rows, columns); None for none. Its rise is times
    #: half of the variance of the point spread function.
    exposure: Exposure | None
    #: Part of each flux in each measured bin, shape (k, energy).
    matrix: FloatArray
    #: Pixels of the window (in units of the map) that lie on the map: positions in the window, and bins.
    rows: slice
    columns: slice | IntArray
    inside: NDArray[np.bool_]
    bins: IntArray

    def fits(self, center: FloatArray | None, radius: float, factor: int) -> bool:
        """Return whether a model still lies inside."""
        if self.center is None or center is None:
            return factor <= self.factor
        moved = float(separation(center, self.center))
        return moved + radius <= self.radius and factor <= self.factor


class ExtendedContribution(FoldedSource):
    """An extended source folded through the responses at its centre; without a point spread function as it is.

    One that fills the map has the energy dispersion's mean over it.
    """

    _cube: Callable[..., tuple[_Window, FloatArray]]
    _shape: Callable[..., tuple[_Window, FloatArray]]
    _folded: Callable[..., tuple[IntArray, FloatArray]]
    _window: _Window | None = None

    def memories(self) -> Mapping[str, Any]:
        """Return functions that remember their results, empty, by the attributes that hold them."""
        return {
            "_cube": lru_cache(maxsize=2)(self._convolved),  # the largest arrays of a fit
            "_shape": Memory(self._integrated, REMEMBERED),
            "_folded": Memory(self._fold, REMEMBERED),
        }

    # ------------------------------------------------------------------ geometry
    def _at(self, shape: tuple[float, ...]) -> _Window:
        """Window of a model with some values."""
        model = self.spatial.model
        place, radius = model.center(*shape), float(model.evaluation_radius(*shape))
        center = None if place is None else axes_at(*place, model.frame).center
        factor = _factor(model, shape, max(self.response.grid.frame.binsize)) if self.response.psf else 1
        if self._window is None or not self._window.fits(center, radius, factor):
            self._window = self._make(center, radius, factor)
            # once it filled the map it stays so
            self.dense = self.dense or self._window.bins.size > DENSE * self.kept.size
        return self._window

    def _make(self, center: FloatArray | None, radius: float, factor: int) -> _Window:
        response = self.response
        size = max(response.grid.frame.binsize)
        own, radius = radius, (1.0 + ROOM) * radius + ROOM_PIXELS * size
        vector = _middle(response.grid) if center is None else center
        nodes = response.psf.nodes_at(vector) if response.psf is not None else None
        reach = 0.0 if nodes is None else nodes.last
        box = None
        if center is not None and np.isfinite(radius):
            lon, lat = from_vectors(center)
            box = SkyPixels(response.grid).box(axes_at(float(lon), float(lat)), radius + reach)
        grid, whole = _clipped(response.grid, box, reach)
        fine = finer_grid(grid, factor)
        convolution = None
        if nodes is not None and response.psf is not None:
            kernel = psf_kernel(response.psf, nodes, fine, vector)
            convolution = Convolution(kernel, fine.shape)
        rows, columns, rows_of, columns_of = _overlap(grid, response.grid)
        exposure = None
        if response.exposure is not None:
            exposure = response.exposure_around(rows_of[:, None], columns_of)
            if convolution is not None:
                # what a difference over two pixels is multiplied by
                for along, variance in zip(exposure[1:], convolution.variance, strict=True):
                    along *= (0.5 * variance / factor**2).astype(np.float32)[:, None, None]
        inside, bins = self.kept.select(rows_of[:, None], columns_of)
        if self.folding.measured is None and (center is None or self._fills(own)):
            matrix = response.mean_edisp()
        else:
            matrix = self.folding.matrix(response.edisp, vector, len(self.kept.index))
        return _Window(
            SkyPixels(fine), factor, None if whole else center, radius, convolution, exposure, matrix,
            rows, _as_slice(columns), inside, bins
        )  # fmt: skip

    def _fills(self, radius: float) -> bool:
        """Return whether a model of a radius in deg is diffuse emission on the map: a template as large as it is."""
        grid = self.response.grid
        height, width = (n * size for n, size in zip(grid.shape, grid.frame.binsize, strict=True))
        return not isinstance(self.spatial.model, RadialModel) and radius >= 0.5 * float(np.hypot(height, width))

    # ------------------------------------------------------------------ predictions
    def _energies(self) -> FloatArray | None:
        axes = self.response.axes
        return np.sqrt(axes.true_low * axes.true_high) if self.spatial.model.is_energy_dependent else None

    def _integrated(self, *shape: float) -> tuple[_Window, FloatArray]:
        """Integral of the model over the pixels of its window, shape (y, x), or (energy_true, y, x)."""
        window = self._at(shape)
        (y, x), part = spatial_integral(self.spatial.model, window.pixels, shape, self._energies())
        result = np.zeros((*part.shape[:-2], *window.pixels.grid.shape))
        result[..., y, x] = part
        place = self.spatial.model.center(*shape)
        if window.factor == FINEST and place is not None and result.ndim == 2:
            grid = window.pixels.grid
            result = centred(result, pixel_of(grid, axes_at(*place, self.spatial.model.frame).center), grid)
        return window, result

    def _convolved(self, *shape: float) -> tuple[_Window, FloatArray]:
        """Exposure times model in each bin of true energy as the instrument sees it, shape (energy_true, pixels)."""
        window, flux = self._shape(*shape)
        number = self.response.axes.true_low.size
        if window.convolution is None:
            planes: Iterator[FloatArray] = iter(np.broadcast_to(flux, (number, *flux.shape[-2:])))
        else:
            planes = window.convolution.planes(flux)
        result = np.empty((number, *window.inside.shape[1:]))
        for k, plane in enumerate(planes):
            result[k] = self._seen(window, k, window_sums(plane[None], window.factor)[0])
        return window, result.reshape(number, -1)

    def _seen(self, window: _Window, k: int, plane: FloatArray) -> FloatArray:
        """What the exposure makes of one plane of a window, shape (rows, columns) on the map.

        Photons at a pixel come from around it, where the exposure of the runs that see the pixel is another: to first
        order by its slope times that of the plane times the variance of the point spread function.
        """
        at = window.rows, window.columns
        if window.exposure is None:
            return plane[at]
        result = window.exposure.values[k] * plane[at]
        if window.convolution is not None:
            padded = np.pad(plane, 1)
            for axis, along in enumerate(window.exposure[1:]):
                rise = _differences(padded, axis, *at)
                rise *= along[k]
                result += rise
        return result

    def _fold(self, shape: tuple[float, ...], key: tuple[Any, ...]) -> tuple[IntArray, FloatArray]:
        """Bins, and counts in them for a flux of scale 1."""
        window, cube = self._cube(*shape)
        weight = (self.flux.shape(*key)[:, None] * window.matrix).T
        counts = np.einsum("ek,kp->ep", weight, self._of_fluxes(cube))
        return window.bins, np.asarray(counts[window.inside.reshape(counts.shape)])

    def _of_fluxes(self, cube: FloatArray) -> FloatArray:
        """The planes of each of the fluxes, not copied where these are the bins of true energy."""
        return cube if self.folding.measured is None else cube[self.folding.true]

    def signal(self, values: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the bins that are filled, each once, and what is added to them."""
        shape = self.spatial.of(values)
        if not np.all(np.isfinite(shape)):
            return np.zeros(1, np.intp), np.full(1, np.nan)
        scale, key = self.flux.split(values)
        bins, counts = self._folded(shape, key)
        return bins, scale * counts

    def add_gradient(self, total: FloatArray, slope: Any, values: FloatArray, steps: Mapping[int, float]) -> None:
        """Add the sum over the bins of a slope times the derivatives of the prediction by the values with steps.

        The slope goes back through energy dispersion and point spread function once; derivatives of the shape are then
        differences of the model alone.
        """
        shape = self.spatial.of(values)
        if not np.all(np.isfinite(shape)):
            return
        spatial = set(self.spatial.places.tolist()) & set(steps)
        spectral = set(self.flux.places.tolist()) & set(steps)
        window, _ = self._shape(*shape)
        back = np.zeros(window.inside.shape)
        back[window.inside] = slope[window.bins]
        scale, key = self.flux.split(values)
        if spectral:
            window_of_cube, cube = self._cube(*shape)
            if window_of_cube is window:
                sums = self._of_fluxes(np.einsum("kp,ep->ke", cube, back.reshape(len(back), -1)))
                self.flux.add_gradient(total, np.sum(sums * window.matrix, axis=1), values, steps)
        if spatial:
            weight = scale * self.flux.shape(*key)[:, None] * window.matrix
            image = self._back(window, weight, back)
            for place in spatial:
                ends = []
                for side in (steps[place], -steps[place]):
                    moved = values.copy()
                    moved[place] += side
                    ends.append(self._integrated(*self.spatial.of(moved))[1])
                if ends[0].shape == ends[1].shape == image.shape[-ends[0].ndim :]:
                    total[place] += float(np.sum(image * (ends[0] - ends[1]))) / (2.0 * steps[place])

    def _back(self, window: _Window, weight: FloatArray, back: FloatArray) -> FloatArray:
        """What a unit of the model in each pixel adds to the sum of slope times counts, per energy if it has some."""
        number, factor = self.response.axes.true_low.size, window.factor
        summed = np.zeros((number, weight.shape[1]))
        np.add.at(summed, self.folding.true, weight)
        by_plane = self.spatial.model.is_energy_dependent
        shape = tuple(n // factor for n in window.pixels.grid.shape)
        planes = (self._unseen(window, k, np.einsum("e,eyx->yx", summed[k], back), shape) for k in range(number))
        fine = (p.repeat(factor, axis=0).repeat(factor, axis=1) for p in planes)
        if window.convolution is not None:
            return window.convolution.collected(fine, by_plane)
        return np.stack(list(fine)) if by_plane else np.asarray(sum(fine))

    def _unseen(self, window: _Window, k: int, slope: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """The transpose of `_seen`: from pixels on the map to those of a window."""
        at = window.rows, window.columns
        result = np.zeros(shape)
        result[at] = slope if window.exposure is None else window.exposure.values[k] * slope
        if window.exposure is not None and window.convolution is not None:
            for axis, along in enumerate(window.exposure[1:]):
                part = np.zeros((shape[0] + 2, shape[1] + 2))
                part[_moved(at[0], 1), _moved(at[1], 1)] = along[k] * slope
                # the transpose of a difference over both sides is its negative
                result -= _differences(part, axis, slice(0, shape[0]), slice(0, shape[1]))
        return result


def _differences(padded: FloatArray, axis: int, rows: slice, columns: slice | IntArray) -> FloatArray:
    """Differences between the neighbours on both sides along an axis, of a plane with one more pixel on all sides."""
    ends = [
        padded[_moved(rows, 1 + dy), _moved(columns, 1 + dx)] for dy, dx in (((1, 0), (-1, 0)), ((0, 1), (0, -1)))[axis]
    ]
    return np.asarray(ends[0] - ends[1])


def _moved(places: slice | IntArray, by: int) -> slice | IntArray:
    return slice(places.start + by, places.stop + by) if isinstance(places, slice) else places + by


def _as_slice(places: IntArray) -> slice | IntArray:
    """Array positions as a slice where they follow each other: then arrays are not copied."""
    if places.size and int(places[-1]) - int(places[0]) + 1 == places.size:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def window_sums(cube: FloatArray, factor: int) -> FloatArray:
    """Return sums over blocks of `factor` by `factor` pixels."""
    if factor == 1:
        return cube
    number, ny, nx = cube.shape
    return np.asarray(cube.reshape(number, ny // factor, factor, nx // factor, factor).sum(axis=(2, 4)))


def centred(image: FloatArray, place: tuple[float, float], grid: SkyGrid) -> FloatArray:
    """Return an image of a source smaller than its pixels with its centroid at a place, shared among neighbours.

    Sources that reach the edge of the image, or whose centroid is not near the place, stay as they are.
    """
    total = image.sum()
    edge = image[0].sum() + image[-1].sum() + image[:, 0].sum() + image[:, -1].sum()
    if not total > 0 or edge > 0 or not np.all(np.isfinite(place)):
        return image
    for axis, (wanted, pixels) in enumerate(zip(place, (grid.y, grid.x), strict=True)):
        numbers = np.asarray(pixels, float)
        shift = wanted - float(image.sum(axis=1 - axis) @ numbers) / total
        if abs(shift) > 1.0:
            return image
        image = (1.0 - abs(shift)) * image + abs(shift) * np.roll(image, int(np.sign(shift)), axis=axis)
    return image


def _factor(model: SpatialModel, shape: tuple[float, ...], size: float) -> int:
    """Into how many parts along each side pixels are divided for the convolution."""
    smallest = BINS * float(model.bin_size_min(*shape))
    return FINEST if smallest * FINEST <= size else max(1, int(np.ceil(size / smallest - 1e-6)))


def _middle(grid: SkyGrid) -> FloatArray:
    lon, lat = grid.center
    return np.asarray(grid.frame.icrs_vectors(lon, lat))


def _clipped(grid: SkyGrid, box: Any, reach: float) -> tuple[SkyGrid, bool]:
    """Pixels that a model reaches and that reach the map; and whether these are all."""
    edge_y, edge_x = (int(np.ceil(reach / size)) + MARGIN for size in grid.frame.binsize)
    period = grid.frame.period
    if period is not None:
        # lines of longitude close up towards the poles
        lat = np.deg2rad(np.abs(_latitudes(grid)).max())
        edge_x = min(int(np.ceil(edge_x / max(np.cos(lat), 0.05))), int(period) // 2)
    y0, y1, x0, x1 = grid.y.start - edge_y, grid.y.stop + edge_y, grid.x.start - edge_x, grid.x.stop + edge_x
    if box is not None:
        y0, y1 = max(y0, int(np.floor(box.y[0])) - 1), min(y1, int(np.ceil(box.y[1])) + 2)
        turns = SkyPixels(grid).turns(box) if period is not None else [0.0]
        if len(turns) == 1:
            low, high = box.x[0] + turns[0], box.x[1] + turns[0]
            x0, x1 = max(x0, int(np.floor(low)) - 1), min(x1, int(np.ceil(high)) + 2)
    return SkyGrid(grid.frame, range(y0, max(y1, y0)), range(x0, max(x1, x0))), box is None


def _latitudes(grid: SkyGrid) -> FloatArray:
    rows = [grid.y.start, 0.5 * (grid.y.start + grid.y.stop - 1), grid.y.stop - 1]
    middle = 0.5 * (grid.x.start + grid.x.stop - 1)
    return np.nan_to_num(grid.frame.pixel_to_sky(np.array(rows), np.full(3, middle))[1])


def _overlap(window: SkyGrid, grid: SkyGrid) -> tuple[slice, IntArray, IntArray, IntArray]:
    """Rows and columns of a window that lie on a map, and their array positions there."""
    first = max(window.y.start, grid.y.start)
    last = max(min(window.y.stop, grid.y.stop), first)
    x = np.asarray(window.x) - grid.x.start
    columns = np.flatnonzero((x >= 0) & (x < len(grid.x)))
    rows = slice(first - window.y.start, last - window.y.start)
    return rows, columns, np.arange(first, last) - grid.y.start, x[columns]
