"""A lock beside a store that is being written, so that no two programs write it at once."""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xgamma.io.location import Location

__all__ = ["Lock", "check_fence", "locked"]

log = logging.getLogger("xgamma")

#: Seconds between two signs of life of the program that holds a lock.
BEAT = 30.0
#: Seconds without a sign of life after which a lock of another machine is taken over.
STALE = 600.0
#: Seconds to wait before a lock that was taken over is looked at again: another program may have done the same.
SETTLE = 0.3


class Lock:
    """The lock of a store that this program writes.

    Parameters
    ----------
    location
        The store.

    Notes
    -----
    The lock is one small object named ``<store>.lock`` that says who holds it. It is made in one step that fails
    where it is there: by a hard link on a disk, by a conditional write (``If-None-Match``) on servers. Its holder
    writes the time into it every half minute. It is stale when its process is gone, which is known on the same
    machine, or after ten minutes without a sign of life. Workers look at it before they write a piece.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.content = {**_identity(), "token": uuid.uuid4().hex, "since": time.time(), "beat": time.time()}
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="xgamma-lock", daemon=True)

    @property
    def token(self) -> str:
        """What tells this lock from those before and after it."""
        return str(self.content["token"])

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        BlockingIOError
            If another program holds it.
        """
        for _ in range(4):
            if _create(self.location, self.content):
                break
            held = _read(self.location)
            if not held:
                # gone again, or not all of it is there yet
                time.sleep(SETTLE)
                continue
            if not _is_stale(held):
                raise BlockingIOError(_refusal(self.location, held))
            log.warning(
                "%s was being written by %s, which is gone; its lock is taken over", self.location.text, _who(held)
            )
            if (_read(self.location) or {}).get("token") == held.get("token"):
                _remove(self.location)
            if _create(self.location, self.content):
                time.sleep(SETTLE)
                break
        held = _read(self.location) or {}
        if held.get("token") != self.token:
            raise BlockingIOError(_refusal(self.location, held))
        self._thread.start()

    def check(self) -> None:
        """Raise if another program has taken the lock over.

        Raises
        ------
        BlockingIOError
            If it has.
        """
        if self._lost is not None:
            raise BlockingIOError(self._lost)

    def confirm(self) -> None:
        """As `check`, after a look at the lock now: before anything that cannot be done twice."""
        self._beat()
        self.check()

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with suppress(OSError):
            if (_read(self.location) or {}).get("token") == self.token:
                _remove(self.location)

    def _live(self) -> None:
        while not self._stop.wait(BEAT):
            # a network that is away for a moment is no reason to give up
            with suppress(OSError):
                self._beat()

    def _beat(self) -> None:
        held = _read(self.location)
        if held is not None and held.get("token") != self.token:
            self._lost = (
                f"{self.location.text} has been taken over by {_who(held)}, so this program does not go on; what is "
                "done stays done"
            )
        elif not self._stop.is_set():
            self.content["beat"] = time.time()
            _replace(self.location, self.content)


@contextmanager
def locked(location: Location) -> Iterator[Lock]:
    """Hold the lock of a store.

    Parameters
    ----------
    location
        The store.

    Yields
    ------
    Lock

    Raises
    ------
    BlockingIOError
        If another program writes the store.

    Examples
    --------
    >>> with locked(Location.of("memory://survey.zarr")) as lock:
    ...     lock.check()
    """
    lock = Lock(location)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def check_fence(location: Location, token: str) -> None:
    """Refuse to write for a program that has lost the lock; runs on workers.

    Raises
    ------
    BlockingIOError
        If another program holds the lock. If nobody does, none can be disturbed.
    """
    held = _read(location)
    if held is not None and held.get("token") != token:
        msg = f"{location.text} is written by {_who(held)} now; this piece belongs to an earlier call and is dropped"
        raise BlockingIOError(msg)


def _identity() -> dict[str, Any]:
    import psutil

    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "space": _process_space(),
    }


def _process_space() -> str:
    """Name of what numbers processes: the same for two programs that can see each other's."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    with suppress(OSError):
        return f"{boot.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


def _is_stale(held: dict[str, Any]) -> bool:
    if held.get("space") == _process_space() and not _is_alive(held):
        return True
    return time.time() - float(held.get("beat", 0.0)) > STALE


def _is_alive(held: dict[str, Any]) -> bool:
    import psutil

    try:
        # numbers of processes are used again
        return abs(psutil.Process(int(held["pid"])).create_time() - float(held["started"])) < 2.0
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def _who(held: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(held.get("since", 0.0))))
    return f"process {held.get('pid', '?')} on {held.get('host', '?')} (since {since})"


def _refusal(location: Location, held: dict[str, Any]) -> str:
    ago = max(0.0, time.time() - float(held.get("beat", time.time())))
    return (
        f"{location.text} is being written by {_who(held)}, last sign of life {ago:.0f} s ago; wait for it, or "
        f"stop it. If it is gone for certain, remove {location.text}.lock"
    )


def _place(location: Location) -> tuple[Any, str]:
    if not location.is_url:
        return None, f"{location.text}.lock"
    fs, path = location.filesystem()
    return fs, f"{path}.lock"


def _read(location: Location) -> dict[str, Any] | None:
    fs, path = _place(location)
    try:
        data = Path(path).read_bytes() if fs is None else fs.cat_file(path)
    except FileNotFoundError:
        return None
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


def _create(location: Location, content: dict[str, Any]) -> bool:
    """Write the lock, unless it is there; False if it is."""
    fs, path = _place(location)
    data = json.dumps(content).encode()
    if fs is None:
        return _create_file(Path(path), data)
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except (OSError, NotImplementedError, ValueError):
        fs.invalidate_cache()
        if fs.exists(path):
            return False
        # a server that knows no conditional writes
        fs.pipe_file(path, data)
    return True


def _create_file(path: Path, data: bytes) -> bool:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    temporary.write_bytes(data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with path.open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _replace(location: Location, content: dict[str, Any]) -> None:
    fs, path = _place(location)
    data = json.dumps(content).encode()
    if fs is not None:
        fs.pipe_file(path, data)
        return
    temporary = Path(f"{path}.{uuid.uuid4().hex[:12]}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove(location: Location) -> None:
    fs, path = _place(location)
    with suppress(FileNotFoundError):
        if fs is None:
            Path(path).unlink()
        else:
            fs.rm_file(path)
