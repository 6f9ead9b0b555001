"""Where a cube comes from: versions, inputs, settings, time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["__version__", "provenance"]

#: Packages whose versions can change a number.
PACKAGES = ("numpy", "scipy", "astropy", "xarray", "dask")


@cache
def _version(name: str) -> str:
    """Version of a package; looking it up parses a file of its own each time."""
    return version(name)


def _installed() -> str:
    """Version of xgamma itself, which may lie on the path without having been installed."""
    try:
        return _version("xgamma")
    except PackageNotFoundError:
        return "unknown"


#: Version of the installed package.
__version__ = _installed()


def provenance(obs_ids: Sequence[Any] = (), settings: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the attributes that say how an object was made; text only, so that every file format keeps them.

    Parameters
    ----------
    obs_ids
        Labels of the runs that went in.
    settings
        What was asked for, as values that JSON knows.

    Returns
    -------
    dict
        ``creator``, ``created`` (UTC), ``versions``, ``obs_ids``, ``settings``; the last three as JSON.

    Examples
    --------
    >>> provenance([23523])["obs_ids"]
    '[23523]'
    """
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "creator": f"xgamma {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps(versions),
        "obs_ids": json.dumps([i if isinstance(i, int) else str(i) for i in obs_ids]),
        "settings": json.dumps(dict(settings or {})),
    }
