"""Residual maps: counts beside what models predict."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of
from xgamma.coords.units import canonical_attrs
from xgamma.estimators.excess import excess_map

__all__ = ["residuals"]

METHODS = {
    "diff": "Counts minus prediction",
    "diff/sqrt(model)": "Residual over the root of the prediction",
    "diff/model": "Relative residual",
    "significance": "Significance of the residual",
}


def residuals(
    cube: xr.Dataset,
    npred: Any = None,
    *,
    method: str = "significance",
    radius: Any = "0.1 deg",
    energy_edges: Any = None,
) -> xr.DataArray:
    """Compare counts with what models predict, summed over a disc around each pixel.

    Parameters
    ----------
    cube
        Cube with ``counts``, dims (..., energy, y, x), and where present ``mask_safe`` and ``mask_fit``.
    npred
        Predicted counts, a DataArray with dims of the counts; or models, whose counts are predicted with the background
        of the cube; None takes the background alone.
    method
        ``"significance"``: square root of the rise of Cash from the best prediction to the given one, with the sign of
        the residual; ``"diff"``: counts minus prediction; ``"diff/sqrt(model)"`` and ``"diff/model"``.
    radius
        Radius of the disc, an angle.
    energy_edges
        Edges of the energy groups; by default one group of all bins.

    Returns
    -------
    xarray.DataArray
        Dims (..., energy, y, x), lazy if the cube is; NaN outside the masks and where a ratio has no prediction.

    Raises
    ------
    ValueError
        If the method is not known, or counts or prediction are missing or on different grids.

    See Also
    --------
    xgamma.estimators.excess.excess_map : the sums.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg", energy=energy)
    >>> cube["counts"] = ("energy", "y", "x"), np.full((2, 10, 10), 2.0)
    >>> residuals(cube, cube.counts / 2, method="diff").values[0, 5, 5]
    np.float64(10.0)
    """
    if method not in METHODS:
        msg = f"method={method!r} not known; choose from {list(METHODS)}"
        raise ValueError(msg)
    if "counts" not in cube:
        msg = "residuals need counts"
        raise ValueError(msg)
    # an on-off cube, too, is compared with a prediction: its off counts play no part
    measured = cube.drop_vars([n for n in ("counts_off", "acceptance", "acceptance_off") if n in cube])
    measured = measured.assign(background=_prediction(cube, npred))
    if energy_edges is None and "energy" in cube["counts"].dims:
        axis = axis_of(cube, "energy")
        energy_edges = [axis["energy_min"].values[0], axis["energy_max"].values[-1]]
        energy_edges = np.asarray(energy_edges) * u.TeV
    maps = excess_map(measured, radius, energy_edges=energy_edges)
    counts, model = maps["counts"], maps["background"]
    if method == "significance":
        result = maps["sqrt_ts"]
    elif method == "diff":
        result = counts - model
    else:
        positive = model.where(model > 0)
        result = (counts - model) / (positive**0.5 if method == "diff/sqrt(model)" else positive)
    result = result.rename("residuals")
    result.attrs = canonical_attrs("", METHODS[method])
    return result


def _prediction(cube: xr.Dataset, npred: Any) -> xr.DataArray:
    if npred is None:
        if "background" not in cube:
            msg = "the cube has no background: give npred, or models"
            raise ValueError(msg)
        return cube["background"]
    if isinstance(npred, xr.DataArray):
        return npred
    from xgamma.fitting.predict import npred as predict

    return predict(cube, npred)
