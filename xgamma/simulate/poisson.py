"""Poisson numbers that depend on a seed and on the place of a bin alone: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = ["philox_key", "poisson_quantile", "uniform_at"]

FloatArray = NDArray[np.float64]

#: Means from which the quantile is searched for around a normal approximation instead of from 0.
LARGE = 20.0
#: Numbers that Philox makes of one value of its counter.
WORDS = 4


def philox_key(seed: int, *names: str) -> NDArray[np.uint64]:
    """Return the key of the random numbers of a seed and of something with a name.

    Raises
    ------
    ValueError
        If the seed is not a whole number of at least 0.

    Examples
    --------
    >>> bool((philox_key(1, "counts") == philox_key(1, "counts")).all())
    True
    >>> bool((philox_key(1, "counts") == philox_key(1, "counts_off")).any())
    False
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        msg = f"seed={seed!r} must be a whole number of at least 0"
        raise ValueError(msg)
    spawn = tuple(crc32(name.encode()) for name in names)
    words = np.random.SeedSequence(int(seed), spawn_key=spawn).generate_state(2, np.uint64)
    return np.asarray(words, np.uint64)


def uniform_at(key: NDArray[np.uint64], shape: Sequence[int], start: Sequence[int], stop: Sequence[int]) -> FloatArray:
    """Return the part of an array of uniform random numbers between two corners: no other part is made.

    Parameters
    ----------
    key
        Key of the array, see `philox_key`.
    shape
        Shape of the whole array.
    start, stop
        First index and the one behind the last, along each axis.

    Returns
    -------
    numpy.ndarray
        Numbers in [0, 1), shape ``stop - start``.

    Notes
    -----
    The number at flat index i of the whole array is word ``i % 4`` of Philox [1]_ at counter ``i // 4``.

    References
    ----------
    .. [1] J. K. Salmon et al., Proc. SC11 (2011), "Parallel random numbers: as easy as 1, 2, 3".

    Examples
    --------
    >>> key = philox_key(7)
    >>> whole, part = uniform_at(key, (5, 6), (0, 0), (5, 6)), uniform_at(key, (5, 6), (1, 2), (4, 5))
    >>> bool((part == whole[1:4, 2:5]).all())
    True
    """
    size = [b - a for a, b in zip(start, stop, strict=True)]
    result = np.empty(size)
    if not result.size:
        return result
    # trailing axes that are taken whole lie in one piece
    split = len(size)
    while split and size[split - 1] == shape[split - 1]:
        split -= 1
    split = max(split - 1, 0)
    steps = np.append(np.cumprod(list(shape)[:0:-1])[::-1], 1).astype(int) if len(shape) else np.ones(0, int)
    first = int(np.dot(start, steps)) if len(shape) else 0
    rows = result.reshape(int(np.prod(size[:split])), -1)
    for i, place in enumerate(np.ndindex(*size[:split])):
        rows[i] = _line(key, first + int(np.dot(place, steps[:split])), rows.shape[1])
    return rows.reshape(size)


def _line(key: NDArray[np.uint64], first: int, number: int) -> FloatArray:
    skipped = first % WORDS
    generator = np.random.Generator(np.random.Philox(key=key, counter=first // WORDS))
    return generator.random(number + skipped)[skipped:]


def poisson_quantile(uniform: ArrayLike, mean: ArrayLike) -> FloatArray:
    """Return Poisson numbers from uniform ones: the smallest k whose cumulative probability exceeds them.

    Parameters
    ----------
    uniform
        Numbers in [0, 1).
    mean
        Means of at least 0, shape of `uniform`.

    Returns
    -------
    numpy.ndarray
        Whole numbers as float64, monotone in both arguments.

    Examples
    --------
    >>> poisson_quantile([0.0, 0.5, 0.999], [2.0, 2.0, 2.0])
    array([0., 2., 8.])
    >>> poisson_quantile([0.5], [1e6])
    array([1000000.])
    """
    u, mu = (np.asarray(v, float).ravel() for v in np.broadcast_arrays(uniform, mean))
    result = np.zeros(u.shape)
    large = mu >= LARGE
    small = np.flatnonzero(~large)
    result[small] = _from_zero(u[small], mu[small])
    result[large] = _from_middle(u[large], mu[large])
    return result.reshape(np.shape(np.broadcast_arrays(uniform, mean)[0]))


def _from_zero(u: FloatArray, mu: FloatArray) -> FloatArray:
    """Add up probabilities until they exceed the number; bins that are done leave."""
    result = np.zeros(u.shape)
    term = np.exp(-mu)
    left = np.flatnonzero(u >= term)
    u, mu, term = u[left], mu[left], term[left]
    below, k = term.copy(), 0
    while left.size:
        k += 1
        term *= mu / k
        result[left] = k
        # beyond all digits of the sum nothing is added any more
        more = (u >= below + term) & (below + term > below)
        below += term
        left, u, mu, term, below = left[more], u[more], mu[more], term[more], below[more]
    return result


def _from_middle(u: FloatArray, mu: FloatArray) -> FloatArray:
    """Step from the expansion of Cornish and Fisher to the exact number."""
    z = special.ndtri(np.clip(u, 1e-300, None))
    k = np.maximum(np.floor(mu + z * np.sqrt(mu) + (z * z - 1.0) / 6.0), 0.0)
    up = special.pdtr(k, mu) <= u
    moving = np.flatnonzero(up)
    while moving.size:
        k[moving] += 1.0
        moving = moving[special.pdtr(k[moving], mu[moving]) <= u[moving]]
    moving = np.flatnonzero(~up & (k > 0))
    while moving.size:
        moving = moving[special.pdtr(k[moving] - 1.0, mu[moving]) > u[moving]]
        k[moving] -= 1.0
        moving = moving[k[moving] > 0]
    return k
