"""Numbers that come back to the last bit when a file is read in another unit."""

from __future__ import annotations

import numpy as np

from xgamma.coords.units import conversion_factor

__all__ = ["invert"]


def invert(values: np.ndarray, unit: str, inside: str) -> np.ndarray:
    """Return numbers in `unit` that give `values` in the unit `inside` again, to the last bit where there are such.

    Examples
    --------
    >>> float(invert(np.array([0.1]), "keV", "TeV")[0] * conversion_factor("keV", "TeV"))
    0.1
    """
    factor = conversion_factor(unit, inside)
    exact = np.asarray(values, dtype=np.float64)
    result = exact / factor
    up, down = np.nextafter(result, np.inf), np.nextafter(result, -np.inf)
    for candidate in (up, down):
        better = (result * factor != exact) & (candidate * factor == exact)
        result = np.where(better, candidate, result)
    return result
