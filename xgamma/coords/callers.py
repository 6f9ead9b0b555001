"""Where a warning points: the line of the user, however deep inside xgamma it arises."""

from __future__ import annotations

import inspect

__all__ = ["outer_level"]


def outer_level() -> int:
    """Return the ``stacklevel`` with which `warnings.warn` names the first line outside of xgamma.

    Methods of the accessor, and estimators that call one another, put a varying number of calls between the two.

    Examples
    --------
    >>> outer_level() > 0
    True
    """
    level, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "xgamma":
        level, frame = level + 1, frame.f_back
    return level
