"""Sums over discs and rings of pixels: kernels, and convolution of the last two axes.

Maps end where they end: outside there are zeros. One Fourier transform of the kernel serves all planes; planes are
transformed one by one, which stays in the cache and is several times faster than all at once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy import fft

__all__ = ["Annulus", "convolve", "disc_kernel", "ring_kernel", "tile_chunks"]

#: A pixel belongs to a disc if its centre lies inside; 0.3 / 0.1 = 2.9999999999999996 has to count as 3.
RADIUS_RTOL = 1e-9
#: Below this fraction of a plane's maximum, a sum of positive numbers may be a rounding error of zero.
NOISE = 1e-9


@dataclass(frozen=True)
class Annulus:
    """A ring around a pixel, or a disc where `r_in` is zero: small enough to send to a worker, unlike its pixels.

    Attributes
    ----------
    r_in, r_out
        Radii; a pixel belongs to the ring if its centre lies between them, both included.
    pixel
        Size of a pixel along (y, x) in the unit of the radii.

    Examples
    --------
    >>> Annulus(0.0, 2.5).depth
    (2, 2)
    """

    r_in: float
    r_out: float
    pixel: tuple[float, float] = (1.0, 1.0)

    @property
    def kernel(self) -> np.ndarray:
        """The pixels: an odd rectangle of zeros and ones."""
        return _annulus_pixels(self)

    @property
    def depth(self) -> tuple[int, int]:
        """By how many pixels the ring reaches over an edge in y and x."""
        height, width = self.kernel.shape
        return height // 2, width // 2


@functools.lru_cache(maxsize=128)
def _annulus_pixels(ring: Annulus) -> np.ndarray:
    limit = ring.r_out * (1 + RADIUS_RTOL)
    y, x = (np.arange(-(n := int(limit / size)), n + 1) * size for size in ring.pixel)
    distance = y[:, None] ** 2 + x**2
    kernel = np.asarray((distance <= limit**2) & (distance >= (ring.r_in * (1 - RADIUS_RTOL)) ** 2), dtype=float)
    kernel.flags.writeable = False
    return kernel


def disc_kernel(radius: float, pixel: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Return a disc of ones: the pixels whose centre is not farther from the central one than `radius`.

    Parameters
    ----------
    radius
        Radius, not necessarily a whole number of pixels.
    pixel
        Size of a pixel along (y, x) in the unit of the radius.

    Returns
    -------
    numpy.ndarray
        Odd rectangle of zeros and ones, as large as needed; a radius below a pixel is the pixel itself.

    Raises
    ------
    ValueError
        If the radius or a pixel size is not positive and finite.

    Examples
    --------
    >>> int(disc_kernel(2.0).sum()), disc_kernel(2.0).shape
    (13, (5, 5))
    >>> int(disc_kernel(0.1, pixel=(0.02, 0.02)).sum())
    81
    """
    if not (np.isfinite(radius) and radius > 0):
        msg = f"a disc needs a positive radius, not {radius!r}"
        raise ValueError(msg)
    _check_pixel(pixel)
    return Annulus(0.0, float(radius), pixel).kernel


def ring_kernel(r_in: float, width: float, pixel: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Return a ring of ones: the pixels whose centre lies between `r_in` and ``r_in + width``, both included.

    Parameters
    ----------
    r_in, width
        Inner radius and width, not necessarily whole numbers of pixels.
    pixel
        Size of a pixel along (y, x) in the unit of the radii.

    Returns
    -------
    numpy.ndarray
        Odd rectangle of zeros and ones, as large as needed.

    Raises
    ------
    ValueError
        If a number is not positive (`r_in` may be 0) and finite, or the ring holds no pixel.

    Examples
    --------
    >>> int(ring_kernel(25.0, 15.0).sum()), ring_kernel(25.0, 15.0).shape
    (3084, (81, 81))
    """
    if not (np.isfinite(r_in) and np.isfinite(width) and r_in >= 0 and width > 0):
        msg = f"a ring needs an inner radius of at least 0 and a positive width, not {r_in!r} and {width!r}"
        raise ValueError(msg)
    _check_pixel(pixel)
    kernel = Annulus(float(r_in), float(r_in) + float(width), pixel).kernel
    if not kernel.any():
        msg = f"the ring from {r_in:g} to {r_in + width:g} holds no pixel centre (pixels of {pixel}); make it wider"
        raise ValueError(msg)
    return kernel


def _check_pixel(pixel: tuple[float, float]) -> None:
    if len(pixel) != 2 or not all(np.isfinite(p) and p > 0 for p in pixel):
        msg = f"pixel sizes along (y, x) must be positive, not {pixel!r}"
        raise ValueError(msg)


def _check_kernel(kernel: np.ndarray) -> None:
    if kernel.ndim != 2 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        msg = f"a kernel has two axes of odd length, not the shape {kernel.shape}"
        raise ValueError(msg)
    if not np.isfinite(kernel).all():
        msg = "the kernel holds numbers that are not finite"
        raise ValueError(msg)


def convolve(array: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve each plane of the last two axes with a kernel; zeros outside, same shape.

    Parameters
    ----------
    array
        Shape (..., ny, nx); integers, booleans or floats.
    kernel
        Shape (ky, kx), both odd; larger than the planes is allowed.

    Returns
    -------
    numpy.ndarray
        float64, shape of `array`. Planes of whole numbers under a kernel of whole numbers give whole numbers exactly.
        Sums of numbers that are not negative are zero where nothing but zeros lies under the kernel, and positive
        elsewhere. A NaN makes its whole plane NaN.

    Raises
    ------
    ValueError
        If the kernel is not a finite odd rectangle or the array has fewer than two axes.

    Examples
    --------
    >>> convolve(np.eye(3), disc_kernel(1.0))
    array([[1., 2., 0.],
           [2., 1., 2.],
           [0., 2., 1.]])
    """
    array = np.asarray(array)
    if array.ndim < 2:
        msg = f"convolution is over two axes, the array has the shape {array.shape}"
        raise ValueError(msg)
    kernel = np.ascontiguousarray(kernel, dtype=float)
    _check_kernel(kernel)
    if array.size:
        kernel = _crop(kernel, array.shape[-2:])
    if array.size == 0 or not kernel.any():
        return np.zeros(array.shape)
    if kernel.size == 1:
        return np.asarray(array * kernel[0, 0], dtype=float)
    planes = array.reshape((-1, *array.shape[-2:]))
    result = np.empty(planes.shape)
    transformed = _transform(kernel.tobytes(), kernel.shape, array.shape[-2:])
    whole_kernel = bool((kernel == np.rint(kernel)).all())
    positive_kernel = bool((kernel >= 0).all())
    for number in range(len(planes)):
        plane = np.asarray(planes[number], dtype=float)
        out = _convolve_plane(plane, transformed)
        if whole_kernel and np.array_equal(plane, np.rint(plane)):
            out = np.rint(out) + 0.0  # no negative zeros
        elif positive_kernel and plane.min() >= 0 and out.min() < NOISE * out.max():
            out = _remove_noise(plane, kernel, transformed, out)
        result[number] = out
    return result.reshape(array.shape)


def _crop(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cut off the part of a kernel that reaches beyond the map from every pixel."""
    cut = [max(0, k // 2 - (n - 1)) for k, n in zip(kernel.shape, shape, strict=True)]
    inner = tuple(slice(c, k - c) for c, k in zip(cut, kernel.shape, strict=True))
    return np.ascontiguousarray(kernel[inner])


@functools.lru_cache(maxsize=64)
def _transform(data: bytes, shape: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, list[int]]:
    """Fourier transform of a kernel and its padded size; the same for all planes and tiles.

    The padding is half a kernel: what wraps around lands in the padding, not in the map.
    """
    kernel = np.frombuffer(data).reshape(shape)
    half = shape[0] // 2, shape[1] // 2
    length = [fft.next_fast_len(n + h, real=True) for n, h in zip(size, half, strict=True)]
    padded = np.zeros(length)
    rows, columns = ((np.arange(k) - h) % n for k, h, n in zip(shape, half, length, strict=True))
    padded[np.ix_(rows, columns)] = kernel
    result = np.asarray(fft.rfft2(padded))
    result.flags.writeable = False
    return result, length


def _convolve_plane(plane: np.ndarray, transformed: tuple[np.ndarray, list[int]]) -> np.ndarray:
    kernel, length = transformed
    full = fft.irfft2(fft.rfft2(plane, length) * kernel, length)
    return np.asarray(full[: plane.shape[0], : plane.shape[1]])


def _remove_noise(
    plane: np.ndarray, kernel: np.ndarray, transformed: tuple[np.ndarray, list[int]], out: np.ndarray
) -> np.ndarray:
    """Make zero what is zero, and keep the rest above the smallest term of the sum."""
    filled = plane > 0
    support = kernel > 0
    if (kernel == support).all():
        number = _convolve_plane(filled.astype(float), transformed)
    else:
        same = support.astype(float)
        number = _convolve_plane(filled.astype(float), _transform(same.tobytes(), same.shape, plane.shape))
    smallest = float(plane[filled].min() * kernel[support].min()) if filled.any() else 0.0
    return np.where(number > 0.5, np.maximum(out, smallest), 0.0)


def tile_chunks(chunks: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Return tiles along one axis none of which is smaller than the halo.

    Parameters
    ----------
    chunks
        Sizes of the tiles along the axis.
    depth
        Reach of the kernel.

    Returns
    -------
    tuple of int
        The same tiles where all are large enough; else neighbours are joined. One tile if the axis is short.

    Examples
    --------
    >>> tile_chunks((10, 10, 10, 3), 12)
    (20, 13)
    >>> tile_chunks((100, 100), 15)
    (100, 100)
    """
    if min(chunks) >= depth:
        return chunks
    joined: list[int] = []
    for size in chunks:
        if joined and joined[-1] < depth:
            joined[-1] += size
        else:
            joined.append(size)
    if len(joined) > 1 and joined[-1] < depth:
        last = joined.pop()
        joined[-1] += last
    return tuple(joined)
