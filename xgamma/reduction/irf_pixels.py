"""Between the fine grid of a cube and the coarse grid of its responses."""

from __future__ import annotations

import numpy as np

from xgamma.coords.sky import SkyGrid

__all__ = ["nearest_pixels"]


def nearest_pixels(grid: SkyGrid, irf_grid: SkyGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the array positions (rows, columns) in `grid` of the centres of the pixels of `irf_grid`.

    The third array says which of them lie inside; positions outside are 0. All of the shape of `irf_grid`.
    """
    lon, lat = irf_grid.frame.pixel_to_sky(*np.meshgrid(np.asarray(irf_grid.y), np.asarray(irf_grid.x), indexing="ij"))
    y, x = grid.sky_to_pixel(lon, lat)
    with np.errstate(invalid="ignore"):
        row, column = np.floor(y + 0.5) - grid.y.start, np.floor(x + 0.5) - grid.x.start
        inside = (row >= 0) & (row < len(grid.y)) & (column >= 0) & (column < len(grid.x))
    return np.where(inside, row, 0).astype(int), np.where(inside, column, 0).astype(int), inside
