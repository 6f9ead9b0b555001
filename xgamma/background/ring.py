"""Ring background: the background around each pixel, run by run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import is_dask_collection

from xgamma.background.correlate import map_halo, positive_angle, stack_parts
from xgamma.background.windows import Window, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.grid import pixel_scale
from xgamma.coords.regions import region_mask
from xgamma.coords.sky import SkyGrid, grid_of
from xgamma.coords.units import canonical_attrs
from xgamma.kernels.convolve import Annulus, convolve

__all__ = [
    "RingGeometry",
    "adaptive_block",
    "adaptive_ring_background",
    "check_ring",
    "check_threshold",
    "exclusion_on",
    "growing_rings",
    "ring_background",
]

#: Variables that an on-off cube has and a cube with a background model has not.
ON_OFF = ("counts_off", "acceptance", "acceptance_off")
#: Up to this size a lazy exclusion is looked at as a whole when it is computed; on the tiles of a survey that would
#: make every tile wait for the last, and regions that cover a survey are no slip.
CHECKED_PIXELS = 2**22


def ring_background(
    cube: xr.Dataset, r_in: Any, width: Any, exclusion: Any = None, *, safe_only: bool = True
) -> xr.Dataset:
    """Estimate the background of each pixel from a ring around it.

    The background model of the cube gives the relative acceptance of the camera; the counts in the ring give
    its level. Each plane is treated on its own, so that runs along a dimension ``obs`` are never mixed: make the ring
    per run, then stack.

    Parameters
    ----------
    cube
        ``counts`` and ``background`` with dims (..., y, x), usually an image (one energy bin). Other variables,
        coordinates and attributes are kept.
    r_in, width
        Inner radius and width of the ring, angles. A pixel belongs to the ring if its centre lies between
        `r_in` and `r_in` + `width`.
    exclusion
        True where a pixel may be used for the background: bool, dims (y, x), on any cutout of the same grid (pixels
        it does not cover may be used); or regions, whose pixels are excluded.
    safe_only
        Leave counts and background outside ``mask_safe`` out of the ring. False uses them as they are.

    Returns
    -------
    xarray.Dataset
        An on-off cube: ``counts_off`` (counts in the ring), ``acceptance`` (the background model), ``acceptance_off``
        (its sum in the ring) and ``background`` (acceptance / acceptance_off * counts_off), dims (..., y, x), lazy if
        the cube is lazy. Pixels whose ring holds no acceptance have a background of 0 and leave ``mask_safe``.

    Raises
    ------
    ValueError
        If counts or background are missing, the cube is on-off already, the ring is empty, narrower than a pixel or
        larger than the map, or the exclusion is not on this grid or leaves no pixel (a lazy exclusion: when it is
        computed).

    See Also
    --------
    adaptive_ring_background : a ring that grows where little of it may be used.

    Notes
    -----
    Pixels where counts or background are not finite are not used. The ring is the same set of pixels all over the map,
    with the pixel size of the projection's reference point.

    References
    ----------
    D. Berge, S. Funk, J. Hinton, A&A 466, 1219 (2007), section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> cube = sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "0.1 deg")
    >>> cube["counts"] = ("y", "x"), np.full((20, 20), 3.0)
    >>> cube["background"] = ("y", "x"), np.full((20, 20), 2.0)
    >>> onoff = ring_background(cube, r_in="0.3 deg", width="0.2 deg")
    >>> float(onoff.background.mean())
    3.0
    """
    geometry = check_ring(cube, r_in, width, exclusion)
    ring = Annulus(geometry.r_in, geometry.r_in + geometry.width, geometry.pixel)
    settings = f"ring_background(r_in={geometry.r_in:g} deg, width={geometry.width:g} deg)"
    arrays = {n: cube[n].variable.transpose(..., "y", "x") for n in ("counts", "background")}
    if geometry.exclusion is not None:
        arrays["exclusion"] = geometry.exclusion
    if safe_only and "mask_safe" in cube:
        arrays["mask_safe"] = cube["mask_safe"].variable.transpose(..., "y", "x")
    counts_off, acceptance_off = _ring_sums(arrays, ring)
    return _on_off(cube, counts_off, acceptance_off, settings)


def adaptive_ring_background(
    cube: xr.Dataset,
    r_in: Any,
    r_out_max: Any,
    width: Any,
    *,
    stepsize: Any = "0.02 deg",
    threshold_alpha: float = 0.1,
    theta: Any = "0.22 deg",
    method: Literal["fixed_width", "fixed_r_in"] = "fixed_width",
    exclusion: Any = None,
    safe_only: bool = True,
) -> xr.Dataset:
    """Estimate the background from a ring that grows until it holds enough acceptance.

    Parameters
    ----------
    cube
        As for `ring_background`.
    r_in
        Inner radius of the first ring, an angle.
    r_out_max
        No ring reaches this outer radius.
    width
        Width of the first ring.
    stepsize
        By how much the inner radius (``"fixed_width"``) or the width (``"fixed_r_in"``) grows.
    threshold_alpha
        A pixel takes the first ring for which the acceptance within `theta` over the acceptance of the ring is at
        most this.
    theta
        Radius of the on region for that ratio.
    method
        What stays as it is while the ring grows.
    exclusion, safe_only
        As for `ring_background`.

    Returns
    -------
    xarray.Dataset
        On-off cube as from `ring_background`. Pixels for which no ring is large enough have ``acceptance_off`` 0 and
        leave ``mask_safe``.

    Raises
    ------
    ValueError
        As for `ring_background`, and if the steps or the threshold are not positive or no ring fits below `r_out_max`.

    Notes
    -----
    `theta` decides which ring is taken, no more: ``acceptance`` stays that of the pixel, so that
    acceptance / acceptance_off * counts_off is the background of the pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.grid import sky_grid
    >>> cube = sky_grid(SkyCoord(0, 0, unit="deg"), "2 deg", "0.1 deg")
    >>> cube["counts"] = ("y", "x"), np.full((20, 20), 3.0)
    >>> cube["background"] = ("y", "x"), np.full((20, 20), 2.0)
    >>> onoff = adaptive_ring_background(cube, "0.3 deg", "0.8 deg", "0.2 deg", threshold_alpha=0.3)
    >>> float(onoff.background.where(onoff.mask_safe).mean().round(6))
    3.0
    """
    geometry = check_ring(cube, r_in, width, exclusion)
    rings = growing_rings(geometry, r_out_max, stepsize, method)
    check_threshold(threshold_alpha)
    radius = positive_angle(theta, "theta")
    disc = Annulus(0.0, radius, geometry.pixel)
    counts, background = _usable(cube, geometry.exclusion, safe_only)
    acceptance = _finite(cube["background"].variable.transpose(..., "y", "x"))
    parts = stack_parts([counts, background, acceptance])
    depth = tuple(max(r.depth[axis] for r in (*rings, disc)) for axis in (0, 1))
    data = map_halo(
        adaptive_block,
        parts.data,
        (depth[0], depth[1]),
        rings=tuple(rings),
        disc=disc,
        threshold=float(threshold_alpha),
    )
    result = parts.copy(data=data)
    settings = (
        f"adaptive_ring_background(r_in={geometry.r_in:g} deg, width={geometry.width:g} deg, method={method}, "
        f"{len(rings)} rings, threshold_alpha={threshold_alpha:g}, theta={radius:g} deg)"
    )
    return _on_off(cube, result.isel(_part=0), result.isel(_part=1), settings)


def check_threshold(threshold_alpha: float) -> None:
    """Refuse a ratio of acceptances that no ring could meet."""
    if not (np.isfinite(threshold_alpha) and threshold_alpha > 0):
        msg = f"threshold_alpha={threshold_alpha!r} must be a positive number"
        raise ValueError(msg)


@dataclass(frozen=True)
class RingGeometry:
    """A ring on a grid: radii and pixel size in degrees, and the pixels that may be used."""

    r_in: float
    width: float
    pixel: tuple[float, float]
    exclusion: xr.Variable | None


def check_ring(cube: xr.Dataset, r_in: Any, width: Any, exclusion: Any) -> RingGeometry:
    """Check the cube and the arguments of a ring, and return them as numbers."""
    present = [n for n in ON_OFF if n in cube]
    if present:
        msg = f"the cube is an on-off cube already (it has {present}); make the ring from counts and a background model"
        raise ValueError(msg)
    for name in ("counts", "background"):
        if name not in cube:
            msg = f"the ring needs {name!r}; the cube has {sorted(map(str, cube.data_vars))}"
            raise ValueError(msg)
        lost = [d for d in ("y", "x") if d not in cube[name].dims]
        if lost:
            msg = f"{name!r} is not a sky map: dims {lost} are missing"
            raise ValueError(msg)
    grid = grid_of(cube)
    pixel = pixel_scale(cube)
    radius, thickness = positive_angle(r_in, "r_in"), positive_angle(width, "width")
    extent = max(n * p for n, p in zip(grid.shape, pixel, strict=True))
    if radius >= extent:
        msg = f"r_in={radius:g} deg is larger than the map ({extent:g} deg): no pixel has a ring; use a smaller r_in"
        raise ValueError(msg)
    if thickness < min(pixel) * (1 - 1e-9):
        msg = f"width={thickness:g} deg is less than a pixel ({min(pixel):g} deg); use a wider ring or smaller pixels"
        raise ValueError(msg)
    return RingGeometry(radius, thickness, pixel, exclusion_on(cube, grid, exclusion))


def exclusion_on(cube: xr.Dataset, grid: SkyGrid, exclusion: Any) -> xr.Variable | None:
    """Return the pixels that may be used, dims (y, x), on the grid of the cube."""
    if exclusion is None:
        return None
    if isinstance(exclusion, xr.Dataset):
        msg = "exclusion is a Dataset; give one DataArray of bools, or regions"
        raise TypeError(msg)
    if isinstance(exclusion, np.ndarray) or (is_dask_collection(exclusion) and not isinstance(exclusion, xr.DataArray)):
        msg = "exclusion is an array without sky; give a bool DataArray with the coordinates of the cube, or regions"
        raise TypeError(msg)
    if not isinstance(exclusion, xr.DataArray):
        mask = ~region_mask(cube, exclusion).variable
    else:
        mask = _aligned_mask(grid, exclusion)
    if isinstance(mask.data, np.ndarray):
        return mask.copy(data=_not_all_excluded(mask.data, mask.data.any()))
    if mask.size <= CHECKED_PIXELS:
        return mask.copy(data=da.map_blocks(_not_all_excluded, mask.data, mask.data.any(), dtype=bool))
    return mask


def _not_all_excluded(mask: np.ndarray, some: Any) -> np.ndarray:
    if not np.all(some):
        msg = "the exclusion covers the whole map: no pixel is left for the background (True means: may be used)"
        raise ValueError(msg)
    return mask


def _aligned_mask(grid: SkyGrid, exclusion: xr.DataArray) -> xr.Variable:
    if exclusion.dtype != bool:
        msg = f"exclusion must be bool (True: may be used), not {exclusion.dtype}"
        raise ValueError(msg)
    exclusion = exclusion.squeeze([d for d in exclusion.dims if d not in ("y", "x") and exclusion.sizes[d] == 1])
    if set(exclusion.dims) != {"y", "x"}:
        msg = f"exclusion must have the dims (y, x), not {exclusion.dims}"
        raise ValueError(msg)
    other = grid_of(exclusion)
    if other.frame != grid.frame:
        msg = "exclusion is on another sky grid than the cube; reproject it, or give the regions instead"
        raise ValueError(msg)
    mask = exclusion.variable.transpose("y", "x")
    if (other.y, other.x) == (grid.y, grid.x):
        return mask
    for dim, mine, theirs in (("y", grid.y, other.y), ("x", grid.x, other.x)):
        start, stop = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
        if stop <= start:
            msg = f"exclusion and cube do not overlap: along {dim!r} they cover {theirs} and {mine}"
            raise ValueError(msg)
        mask = mask.isel({dim: slice(start - theirs.start, stop - theirs.start)})
        mask = mask.pad({dim: (start - mine.start, mine.stop - stop)}, constant_values=True)
    return mask.astype(bool)


def _is_finite(array: xr.Variable) -> xr.Variable:
    return array.copy(data=np.isfinite(array.data))


def _finite(array: xr.Variable) -> xr.Variable:
    return array.where(_is_finite(array), 0.0)


def _ring_sums(arrays: dict[str, xr.Variable], ring: Annulus) -> tuple[xr.Variable, xr.Variable]:
    """Counts and acceptance that may be used, summed over the ring around each pixel."""
    dims = max((a.dims for a in arrays.values()), key=len)
    sizes = {str(d): next(a.sizes[d] for a in arrays.values() if d in a.dims) for d in dims}
    chunks = {d: next((a.chunksizes[d] for a in arrays.values() if d in a.chunksizes), (n,)) for d, n in sizes.items()}
    tiles = sky_chunks(arrays.values())
    plan = {d: spans(c) for d, c in chunks.items()}
    # the cube is handed on in its own chunks, so what is added to it is not cut
    work = tile_sizes(tiles, ring.depth, 0.0)
    plan |= {d: spans(s, n) for d, s, n in zip(("y", "x"), work, ring.depth, strict=True)}
    made = map_windows(_ring_window, arrays, ["counts", "background"], plan, ring=ring)
    made = split_again(made, tiles)
    return made["counts"], made["background"]


def _ring_window(arrays: Mapping[str, xr.Variable], window: Window, ring: Annulus) -> list[np.ndarray]:
    """Sums over the ring in a window, plane by plane."""
    dims = tuple(window)
    counts, background = arrays["counts"], arrays["background"]
    usable: xr.Variable = _is_finite(background) & _is_finite(counts)
    for name in ("exclusion", "mask_safe"):
        if name in arrays:
            usable = usable & arrays[name]
    usable = usable.set_dims({d: s.last - s.first for d, s in window.items()}).transpose(*dims)
    shape = [s.stop - s.start for s in window.values()]
    inner = (window["y"].inner, window["x"].inner)
    results = []
    for array in (counts, background):
        values = array.set_dims(usable.sizes).transpose(*dims).values
        result = np.empty(shape)
        for plane in np.ndindex(*shape[:-2]):
            result[plane] = convolve(np.where(usable.values[plane], values[plane], 0.0), ring.kernel)[inner]
        results.append(result)
    return results


def _usable(cube: xr.Dataset, exclusion: xr.Variable | None, safe_only: bool) -> tuple[xr.Variable, xr.Variable]:
    """Counts and background where both may be used, zero elsewhere."""
    counts, background = (cube[n].variable.transpose(..., "y", "x") for n in ("counts", "background"))
    usable: xr.Variable = _is_finite(background) & _is_finite(counts)
    if exclusion is not None:
        usable = usable & exclusion
    if safe_only and "mask_safe" in cube:
        usable = usable & cube["mask_safe"].variable
    usable = usable.transpose(..., "y", "x")
    return counts.where(usable, 0.0), background.where(usable, 0.0)


def _on_off(cube: xr.Dataset, counts_off: xr.Variable, acceptance_off: xr.Variable, settings: str) -> xr.Dataset:
    """Build the on-off cube from what the rings hold."""
    acceptance = cube["background"].variable.transpose(..., "y", "x")
    has_off = acceptance_off > 0
    background = (acceptance / acceptance_off.where(has_off, 1.0) * counts_off).where(has_off, 0.0)
    safe = has_off & cube["mask_safe"].variable if "mask_safe" in cube else has_off
    labels = {
        "counts_off": (counts_off, "Counts in the ring"),
        "acceptance": (acceptance, "Acceptance"),
        "acceptance_off": (acceptance_off, "Acceptance in the ring"),
        "background": (background, "Background from the ring"),
    }
    variables = {}
    for name, (variable, label) in labels.items():
        variables[name] = xr.Variable(variable.dims, variable.data, canonical_attrs("", label))
    attrs = dict(cube["mask_safe"].attrs) if "mask_safe" in cube else {"long_name": "Safe data range"}
    safe = safe.transpose(..., "y", "x")
    variables["mask_safe"] = xr.Variable(safe.dims, safe.data, attrs)
    result = cube.assign(variables)
    result.attrs["background_method"] = settings
    return result


def growing_rings(geometry: RingGeometry, r_out_max: Any, stepsize: Any, method: str) -> list[Annulus]:
    """Return the rings that an adaptive background tries, the smallest first."""
    limit, step = positive_angle(r_out_max, "r_out_max"), positive_angle(stepsize, "stepsize")
    room = limit - geometry.r_in - geometry.width
    # the last ring ends below r_out_max; a quotient that is whole up to rounding is whole
    number = int(np.ceil(room / step - 1e-9))
    if number < 1:
        msg = (
            f"r_out_max={limit:g} deg leaves no room for a ring of r_in={geometry.r_in:g} deg and "
            f"width={geometry.width:g} deg; make it larger"
        )
        raise ValueError(msg)
    growth = step * np.arange(number)
    if method == "fixed_width":
        radii = [(geometry.r_in + g, geometry.r_in + g + geometry.width) for g in growth]
    elif method == "fixed_r_in":
        radii = [(geometry.r_in, geometry.r_in + geometry.width + g) for g in growth]
    else:
        msg = f"method={method!r} must be 'fixed_width' or 'fixed_r_in'"
        raise ValueError(msg)
    return [Annulus(float(a), float(b), geometry.pixel) for a, b in radii]


def adaptive_block(block: np.ndarray, rings: tuple[Annulus, ...], disc: Annulus, threshold: float) -> np.ndarray:
    """Counts and acceptance of the first ring that is large enough; the third plane is not used."""
    counts, background, acceptance = block
    on = convolve(acceptance, disc.kernel)
    result = np.zeros(block.shape)
    open_ = np.ones(on.shape, dtype=bool)
    for ring in rings:
        if not open_.any():
            break
        off = convolve(background, ring.kernel)
        take = open_ & (off > 0) & (on <= threshold * off)
        if take.any():
            result[0][take] = convolve(counts, ring.kernel)[take]
            result[1][take] = off[take]
            open_ &= ~take
    return result
