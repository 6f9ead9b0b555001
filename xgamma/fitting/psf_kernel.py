"""Convolution with the point spread function at one position, for extended sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy import fft

from xgamma.coords.frame import SkyFrame
from xgamma.coords.sky import SkyGrid
from xgamma.fitting.map_irf import PointSpread, pixel_of
from xgamma.fitting.psf_pixels import PsfPixels
from xgamma.kernels.radial import RadialNodes

__all__ = ["Convolution", "finer_grid", "psf_kernel", "sharpened"]

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def finer_grid(grid: SkyGrid, factor: int) -> SkyGrid:
    """Return the grid with each pixel divided into `factor` by `factor`.

    Examples
    --------
    >>> grid = SkyGrid(SkyFrame.create(0.0, 0.0, 0.1, "CAR", "icrs"), range(-1, 2), range(0, 4))
    >>> finer_grid(grid, 2).shape
    (6, 8)
    """
    if factor == 1:
        return grid
    header = grid.frame.header(grid.y.start, grid.x.start)
    for axis in "12":
        header[f"CDELT{axis}"] /= factor
        header[f"CRPIX{axis}"] = (header[f"CRPIX{axis}"] - 0.5) * factor + 0.5
    frame, (y0, x0) = SkyFrame.from_wcs(WCS(header))
    ny, nx = grid.shape
    return SkyGrid(frame, range(y0, y0 + factor * ny), range(x0, x0 + factor * nx))


def psf_kernel(psf: PointSpread, nodes: RadialNodes, grid: SkyGrid, vector: FloatArray) -> FloatArray:
    """Return the point spread function at a position as a kernel on pixels, for sums over pixels of a model.

    Parameters
    ----------
    psf
        Point spread function.
    nodes
        Its nodes: where it ends.
    grid
        Grid that is convolved.
    vector
        ICRS unit vector of the position.

    Returns
    -------
    numpy.ndarray
        Shape (energy_true, 2 h + 1, 2 w + 1), no larger than needed on the grid; integrates to 1.
    """
    y, x = pixel_of(grid, vector)
    # in the middle of the pixel that holds the position, also outside of the grid; else in the middle of the grid
    middle = [0.5 * (r.start + r.stop - 1) for r in (grid.y, grid.x)]
    place = [int(np.floor((p if np.isfinite(p) else m) + 0.5)) for p, m in zip((y, x), middle, strict=True)]
    lon, lat = grid.frame.pixel_to_sky(*place)
    center = grid.frame.icrs_vectors(lon, lat)
    if not np.isfinite(center).all():
        center = vector
    half = []
    for axis in (0, 1):
        step = np.array(place, float)
        step[axis] += 1.0
        other = grid.frame.icrs_vectors(*grid.frame.pixel_to_sky(*step))
        size = np.rad2deg(np.linalg.norm(other - center))
        size = size if np.isfinite(size) and size > 0 else grid.frame.binsize[axis]
        half.append(int(np.ceil(nodes.last / size)) + 1)
    around = SkyGrid(grid.frame, *(range(p - h, p + h + 1) for p, h in zip(place, half, strict=True)))
    spread = PsfPixels(around, nodes, psf.width_at(vector))
    shape = spread.shape(center)
    outer, core = spread.split(*psf.functions(nodes, vector))
    kernel = np.zeros((outer.shape[0], *around.shape))
    kernel[:, shape.rows, shape.columns] = shape.integrals(outer.T, core.T).T
    # what reaches over the whole grid from any of its pixels is cut off, after all else is done
    cut = [max(h - max(n - 1, 0), 0) for h, n in zip(half, grid.shape, strict=True)]
    inner = (slice(c, 2 * h + 1 - c) for c, h in zip(cut, half, strict=True))
    return sharpened(kernel)[(slice(None), *inner)]


def sharpened(kernel: FloatArray) -> FloatArray:
    """Return the kernel that belongs to integrals over pixels, from the one for points in their middle.

    What lies anywhere in a pixel is summed up and then spread as if it lay in the middle. That broadens it by the
    second differences over 24, as the mean of a function over a pixel differs from its middle; they are subtracted.

    Parameters
    ----------
    kernel
        Shape (..., y, x), zero at the edges.

    Examples
    --------
    >>> sharpened(np.array([[[0.0, 0.0, 0.0], [0.0, 24.0, 0.0], [0.0, 0.0, 0.0]]]))[0, 1]
    array([ 0., 24.,  0.])
    """
    result = kernel.copy()
    for axis in (-1, -2):
        if kernel.shape[axis] >= 3:
            wide = np.pad(kernel, [(0, 0)] * (kernel.ndim - 2) + [(1, 1) if a == axis else (0, 0) for a in (-2, -1)])
            result -= np.diff(wide, n=2, axis=axis) / 24.0
    # far outside a steep function this may overshoot; the content stays
    np.maximum(result, 0.0, out=result)
    before, after = kernel.sum(axis=(-2, -1), keepdims=True), result.sum(axis=(-2, -1), keepdims=True)
    return np.asarray(result * np.divide(before, after, out=np.ones_like(after), where=after > 0))


class Convolution:
    """Convolution of planes, each with its own kernel; zeros outside, same shape.

    Parameters
    ----------
    kernel
        Shape (k, odd, odd).
    shape
        Of the planes.

    Examples
    --------
    >>> kernel = np.array([[[1.0, 2.0, 3.0]]])
    >>> Convolution(kernel, (1, 4))(np.array([[[0.0, 1.0, 0.0, 0.0]]])).round(6) + 0.0
    array([[[1., 2., 3., 0.]]])
    """

    def __init__(self, kernel: FloatArray, shape: tuple[int, int]) -> None:
        self.shape = shape
        half = [n // 2 for n in kernel.shape[1:]]
        # what wraps around lands in the padding
        self.length = [fft.next_fast_len(n + h, real=True) for n, h in zip(shape, half, strict=True)]
        padded = np.zeros((len(kernel), *self.length))
        rows, columns = ((np.arange(n) - h) % m for n, h, m in zip(kernel.shape[1:], half, self.length, strict=True))
        padded[:, rows[:, None], columns] = kernel
        self.kernel: ComplexArray = np.stack([fft.rfft2(plane, self.length) for plane in padded])
        #: Variance along both axes, in pixels, shape (k,).
        self.variance = [_variance(kernel, axis) for axis in (1, 2)]

    def planes(self, image: FloatArray) -> Iterator[FloatArray]:
        """Go through the convolved planes, shape (y, x), of one image for all kernels or of one for each."""
        ny, nx = self.shape
        one = fft.rfft2(image, self.length) if image.ndim == 2 else None
        for k, kernel in enumerate(self.kernel):
            whole = fft.rfft2(image[k], self.length) if one is None else one
            yield fft.irfft2(whole * kernel, self.length)[:ny, :nx]

    def __call__(self, image: FloatArray) -> FloatArray:
        """Return the convolved planes, shape (k, y, x)."""
        return np.stack(list(self.planes(image)))

    def collected(self, planes: Iterable[FloatArray], by_plane: bool) -> FloatArray:
        """Return what the transpose makes of planes (y, x): their sum, or shape (k, y, x)."""
        ny, nx = self.shape
        images = (fft.rfft2(p, self.length) * k.conj() for p, k in zip(planes, self.kernel, strict=True))
        if by_plane:
            return np.stack([fft.irfft2(image, self.length)[:ny, :nx] for image in images])
        total = np.zeros(self.kernel.shape[1:], complex)
        for image in images:
            total += image
        return np.asarray(fft.irfft2(total, self.length)[:ny, :nx])


def _variance(kernel: FloatArray, axis: int) -> FloatArray:
    """Variance of kernels along an axis, in pixels."""
    profile = kernel.sum(axis=3 - axis)
    place = np.arange(profile.shape[1]) - profile.shape[1] // 2
    total = profile.sum(axis=1)
    return np.divide(profile @ (place**2.0), total, out=np.zeros_like(total), where=total > 0)
