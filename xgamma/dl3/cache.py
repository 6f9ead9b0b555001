"""A bounded cache of parsed HDUs, one per process: many runs share one response file."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

__all__ = ["ByteCache", "cache", "file_key", "set_cache_size"]

T = TypeVar("T")
DEFAULT_BYTES = 512 * 1024**2


class ByteCache:
    """Least-recently-used cache that is bounded by bytes and safe between threads.

    Parameters
    ----------
    max_bytes
        Bound of the summed sizes; 0 switches the cache off.

    Examples
    --------
    >>> small = ByteCache(100)
    >>> small.get("a", lambda: [0] * 60, len)[:2], small.get("b", lambda: [1] * 60, len)[:2]
    ([0, 0], [1, 1])
    >>> len(small), small.nbytes
    (1, 60)
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._items: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._making: dict[Hashable, tuple[threading.Event, int]] = {}
        self.max_bytes, self.nbytes = max_bytes, 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """Return the value of `key`, made by `make` where it is not here.

        A thread that asks for what another is making waits for it: neighbouring tiles ask for the same runs at the
        same time. No lock is held while a value is made, so that none waits for another file.
        """
        me = threading.get_ident()
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key][0]  # type: ignore[return-value]
            done, maker = self._making.setdefault(key, (threading.Event(), me))
        if maker != me:
            done.wait()
            with self._lock:
                if key in self._items:
                    return self._items[key][0]  # type: ignore[return-value]
            # the other has failed, or what it made is not kept
            return self._keep(key, make(), size)
        try:
            return self._keep(key, make(), size)
        finally:
            with self._lock:
                self._making.pop(key, None)
            done.set()

    def _keep(self, key: Hashable, value: T, size: Callable[[T], int]) -> T:
        nbytes = size(value)
        with self._lock:
            if key not in self._items and nbytes <= self.max_bytes:
                self._items[key] = (value, nbytes)
                self.nbytes += nbytes
                self._shrink()
        return value

    def resize(self, max_bytes: int) -> None:
        """Change the bound; 0 empties the cache and switches it off."""
        if max_bytes < 0:
            msg = f"max_bytes={max_bytes} must not be negative"
            raise ValueError(msg)
        with self._lock:
            self.max_bytes = max_bytes
            self._shrink()

    def _shrink(self) -> None:
        while self.nbytes > self.max_bytes:
            _, (_, nbytes) = self._items.popitem(last=False)
            self.nbytes -= nbytes


_CACHE = ByteCache(DEFAULT_BYTES)


def cache() -> ByteCache:
    """Return the cache of this process."""
    return _CACHE


def set_cache_size(max_bytes: int) -> None:
    """Bound the memory that parsed responses may take in this process (default 512 MiB); 0 keeps nothing.

    Examples
    --------
    >>> set_cache_size(256 * 1024**2)
    >>> set_cache_size(512 * 1024**2)
    """
    _CACHE.resize(max_bytes)


def file_key(path: str) -> tuple[str, int, int]:
    """Return what tells one state of a file from another: path, time of change, size."""
    status = os.stat(path)
    return path, status.st_mtime_ns, status.st_size
