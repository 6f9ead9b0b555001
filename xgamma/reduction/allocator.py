"""How a worker's process holds on to memory that arrays give back."""

from __future__ import annotations

import ctypes
import functools
import os

__all__ = ["few_arenas", "keep_freed_memory"]

#: What the nannies of dask.distributed set MALLOC_TRIM_THRESHOLD_ to, unless their configuration says otherwise.
NANNY = "65536"
#: Bytes that stay in the process when arrays are freed, and size above which an array is mapped on its own; the
#: largest that glibc takes.
KEPT, MAPPED = 64 * 2**20, 32 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
#: Heaps that threads share: each keeps freed arrays of its own, those of threads that write, too.
ARENAS = 2


@functools.cache
def keep_freed_memory() -> bool:
    """Let a worker keep up to 64 MiB of freed memory, once a process; return whether anything was changed.

    Notes
    -----
    A nanny has glibc give back every freed page at once, and stops it from adapting to the sizes that it sees. Each
    temporary array of a task then costs a page fault every 4 kB: a survey takes two and a half times as long. Nothing
    is changed in other processes, with another C library, or where the environment has another value.

    Examples
    --------
    >>> keep_freed_memory()
    False
    """
    if os.environ.get("MALLOC_TRIM_THRESHOLD_") != NANNY:
        return False
    return _set_options((M_TRIM_THRESHOLD, KEPT), (M_MMAP_THRESHOLD, MAPPED))


@functools.cache
def few_arenas() -> bool:
    """Let threads that begin later share two heaps, once a process; return whether anything was changed.

    Notes
    -----
    Every thread of a pool, and of those that compress, gets a heap of its own from glibc, and with it tens of MiB of
    freed arrays that no other can use. Nothing is changed where the environment has a number of its own.

    Examples
    --------
    >>> changed = few_arenas()  # False where there is no glibc
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    return _set_options((M_ARENA_MAX, ARENAS))


def _set_options(*options: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False  # no glibc
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return all(mallopt(*option) == 1 for option in options)
