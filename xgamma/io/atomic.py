"""Writing so that a name holds a whole file or folder, the old one, or nothing."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xgamma.io.fits_file import expand_path

__all__ = ["atomic_path", "check_target"]

#: Seconds to go on removing a folder into which others still write.
PATIENCE = 10.0


def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Return the absolute path of something that is about to be written, after checking that it may be.

    Parameters
    ----------
    path
        File or folder; ``$VARIABLES`` and ``~`` are expanded.
    overwrite
        Whether something may lie there already.

    Returns
    -------
    pathlib.Path
        Absolute: the workers of a cluster may run in other folders.

    Raises
    ------
    FileExistsError
        If something is there and `overwrite` is False.
    FileNotFoundError
        If the folder that should hold it does not exist.

    Examples
    --------
    >>> check_target("new.fits").name
    'new.fits'
    """
    target = Path(os.path.abspath(expand_path(path)))
    if not overwrite and os.path.lexists(target):
        raise _exists(target)
    if not target.parent.is_dir():
        msg = f"the folder {target.parent} does not exist; make it first, then write {target.name}"
        raise FileNotFoundError(msg)
    return target


@contextmanager
def atomic_path(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there gets the name `path` at the end.

    After an error the temporary file or folder is removed and `path` is as it was. After a kill
    a leftover stays whose name starts with ``.{name}.tmp-``; it can be deleted.

    Parameters
    ----------
    path
        File or folder to write.
    overwrite
        Replace what is there. A folder is replaced in two steps: a kill between them leaves
        nothing under the name, and the old folder as ``.{name}.old-...`` beside it.

    Yields
    ------
    pathlib.Path
        Does not exist yet; same suffix as `path`.

    Raises
    ------
    FileExistsError
        If something lies at `path`, also if it came while writing, and `overwrite` is False.

    Examples
    --------
    >>> with atomic_path("numbers.txt") as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> Path("numbers.txt").read_text()
    '1 2 3'
    """
    target = check_target(path, overwrite)
    label = uuid.uuid4().hex[:12]
    suffix = "".join(target.suffixes[-2:])
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{label}{suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            _place_folder(temporary, target, overwrite, label)
        else:
            _place_file(temporary, target, overwrite)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing happens if it is not there.

    After an error other threads may still be writing chunks, which would make the folder again;
    so it has to be gone twice.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    gone = 0
    deadline = time.monotonic() + PATIENCE
    while gone < 2 and time.monotonic() < deadline:
        shutil.rmtree(path, ignore_errors=True)
        gone = 0 if path.exists() else gone + 1
        time.sleep(0.05)


def _place_file(temporary: Path, target: Path, overwrite: bool) -> None:
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())  # a full disk may show only here
    if target.is_dir() and not target.is_symlink():
        msg = f"{target} is a folder; remove it by hand, a file does not replace it"
        raise IsADirectoryError(msg)
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # fails where the name was taken in the meantime, which a rename would not
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise _exists(target) from None
        temporary.replace(target)


def _place_folder(temporary: Path, target: Path, overwrite: bool, label: str) -> None:
    if not os.path.lexists(target):
        temporary.rename(target)
        return
    if not overwrite:
        raise _exists(target)
    old = target.with_name(f".{target.name}.old-{label}")
    target.rename(old)  # a full folder cannot be replaced in one step
    try:
        temporary.rename(target)
    except OSError:
        with suppress(OSError):
            old.rename(target)
        raise
    remove(old)


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(f"{target} exists; pass overwrite=True to replace it, or choose another name")
