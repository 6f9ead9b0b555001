"""How much of a point source's events lie inside a circle: the correction of a spectrum's exposure."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xgamma.irf.axes import table_axis
from xgamma.irf.psf import containment
from xgamma.kernels.interp import interp_points, interp_rows

__all__ = ["circle_containment"]


def circle_containment(
    psf: xr.DataArray | xr.Dataset, energy_true: np.ndarray, offset: np.ndarray, radius: float
) -> np.ndarray:
    """Return the part of the PSF inside a radius.

    Parameters
    ----------
    psf
        Table or parameters, as `xgamma.irf.read.read_irf` gives them.
    energy_true
        True energies in TeV, shape (n,).
    offset
        Offsets from the pointing in deg, shape (m,).
    radius
        Degrees.

    Returns
    -------
    numpy.ndarray
        Shape (n, m).

    Notes
    -----
    Gaussians and King profiles have closed forms. A table holds mean densities of rings, so the sum over its rings is
    exact at their edges; the integral of a line between their middles is not: it loses between 0.1 and 3 % of the
    events of the H.E.S.S. data release 1, whose rings are wide beside the core. Here, as in gammapy 2.1, the sum is
    linear in the radius inside a ring and taken as it is: what a table lacks to 1, because events lie beyond its end
    or an energy beside it is empty, is lost to the circle. `xgamma.irf.psf.containment` gives the part of the table's
    own sum, as maps do, whose PSF is normalised, and is linear in the square of the radius. For a circle of 0.11 deg
    and these runs it is larger by 1e-4 to 7e-4 (the sum; the square of the radius makes 5e-5), which would make
    fluxes smaller by as much: half a percent of the error of the amplitude in a fit of four runs of the Crab nebula.

    Examples
    --------
    >>> from xgamma.irf.psf import from_gauss
    >>> circle_containment(from_gauss("0.1 deg"), np.array([1.0]), np.array([0.5]), 0.1).round(4)
    array([[0.3935]])
    """
    if not isinstance(psf, xr.DataArray):
        return containment(psf, energy_true, offset, [radius])[..., 0]
    rad, energy, theta = (table_axis(psf, name) for name in ("rad", "energy_true", "offset"))
    edges = np.maximum(rad.edges, 0.0)
    lower, width = edges[:-1], np.diff(edges)
    part = np.clip((radius - lower) / np.where(width > 0, width, 1.0), 0.0, 1.0)
    rings = np.pi * np.diff(np.deg2rad(edges) ** 2) * part
    # summed before it is interpolated: both are linear, and the table is small then
    table = (psf.transpose("energy_true", "offset", "rad").values * rings).sum(axis=-1)
    rows = interp_rows(table, energy.weights(energy_true))
    result = interp_points(rows, theta.weights(offset))
    return np.maximum(result, 0.0, out=result)
