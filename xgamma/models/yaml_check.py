"""Checksum and creator of YAML files: whether a text was changed, and whether a newer version wrote it."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import yaml

from xgamma.io.provenance import __version__
from xgamma.models.yaml_parse import parse

__all__ = ["checksum_line", "newer_creator", "read_as_known", "verify_checksum"]

T = TypeVar("T")

#: Newest major version of gammapy whose files are known.
GAMMAPY = 2


def checksum_line(text: str) -> str:
    r"""Return the line that ends a file: the checksum of all before it.

    Examples
    --------
    >>> checksum_line("components: []\n")
    'checksum: cc15ceb2db276edb239b5dfabbef5acf\n'
    """
    return f"checksum: {_md5(text)}\n"


def verify_checksum(text: str, name: str) -> None:
    r"""Compare YAML text with the checksum that it holds, as gammapy and xgamma write it.

    Parameters
    ----------
    text
        Text of the file.
    name
        Name of the file, for messages.

    Raises
    ------
    ValueError
        If it holds none, or another.

    Examples
    --------
    >>> verify_checksum("components: []\n" + checksum_line("components: []\n"), "models.yaml")
    """
    data = parse(text, name)
    stored = data.pop("checksum", None) if isinstance(data, dict) else None
    if stored is None:
        msg = f"{name} holds no checksum"
        raise ValueError(msg)
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("checksum:"))
    dumped = yaml.safe_dump(dict(data), sort_keys=False, indent=4, width=80, default_flow_style=False)
    if stored not in (_md5(body), _md5(dumped)):
        msg = f"the checksum of {name} is not that of its text: it was changed after it was written"
        raise ValueError(msg)


def newer_creator(data: Any) -> str:
    """Return who wrote a file if that was a newer version than the ones that are known here; else an empty text.

    Parameters
    ----------
    data
        Mapping of the file, whose ``metadata`` name the creator.

    Examples
    --------
    >>> newer_creator({"metadata": {"creator": "Gammapy 7.0"}}), newer_creator({"metadata": {"creator": "Gammapy 2.1"}})
    ('Gammapy 7.0', '')
    """
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    creator = str(metadata.get("creator", "")) if isinstance(metadata, Mapping) else ""
    found = re.match(r"(gammapy|xgamma)\s+(\d+)\.(\d+)", creator, re.IGNORECASE)
    if found is None:
        return ""
    version = int(found[2]), int(found[3])
    if found[1].lower() == "gammapy":
        return creator if version[0] > GAMMAPY else ""
    own = re.match(r"(\d+)\.(\d+)", __version__)
    return creator if own is not None and version > (int(own[1]), int(own[2])) else ""


def read_as_known(data: Any, name: str, read: Callable[[], T], stacklevel: int) -> T:
    """Return what is read from a file, and say in errors and in a warning if a newer version wrote it.

    Parameters
    ----------
    data
        Mapping of the file.
    name
        Name of the file, for messages.
    read
        Makes the result.
    stacklevel
        Whom the warning speaks to, counted from the caller.

    Raises
    ------
    ValueError
        As `read`; it tells who wrote the file if that may be the reason.

    Examples
    --------
    >>> read_as_known({"metadata": {"creator": "Gammapy 2.1"}}, "models.yaml", lambda: 3, 1)
    3
    """
    newer = newer_creator(data)
    try:
        result = read()
    except ValueError as error:
        if not newer:
            raise
        msg = f"{error}; the file was written by {newer}, which is newer than this xgamma knows"
        raise ValueError(msg) from error
    if newer:
        msg = f"{name} was written by {newer}, which is newer than this xgamma knows: what is new in it is not read"
        warnings.warn(msg, UserWarning, stacklevel=stacklevel + 1)
    return result


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
