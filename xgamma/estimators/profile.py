"""Flux profiles: flux points in many regions of a map at once, along a line or around a point."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xgamma.coords.callers import outer_level
from xgamma.coords.region_pixels import region_pixels
from xgamma.coords.region_shapes import regions_on_grid
from xgamma.coords.regions import as_regions, is_one_region, region_center
from xgamma.coords.sky import grid_of, has_sky
from xgamma.coords.units import canonical_attrs
from xgamma.estimators.flux_points import flux_points
from xgamma.io.flux_layout import flux_attrs
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.models.power_law import PowerLawSpectralModel
from xgamma.models.sky_model import SkyModel
from xgamma.reduction.map_spectrum import to_spectrum

if TYPE_CHECKING:
    from regions import SkyRegion

    from xgamma.models.spectral_model import SpectralModel

__all__ = ["flux_profile", "profile_distance"]

#: Name of the source that all regions have.
SOURCE = "profile"
#: Centres of rings differ by less than this, in degrees.
SAME_CENTER = 1e-6


def flux_profile(
    cube: xr.Dataset,
    regions: Any,
    spectral_model: SpectralModel | None = None,
    *,
    energy_edges: Any = None,
    selection: Sequence[str] | str = ("errn-errp", "ul"),
    background: xr.DataArray | None = None,
    n_sigma: float = 1.0,
    n_sigma_ul: float = 2.0,
    n_sigma_sensitivity: float = 5.0,
    scan_values: Any = None,
    sqrt_ts_threshold_ul: float = 2.0,
    use_region_center: bool = True,
) -> xr.Dataset:
    """Estimate flux points in each of many regions of a map.

    Parameters
    ----------
    cube
        Cube of maps, dims (..., energy, y, x), lazy or not; or spectra that `to_spectrum` has taken of the regions.
    regions
        Regions of the `regions` package or DS9 strings, as for `xgamma.to_spectrum`; `xgamma.regions_along_line`,
        `xgamma.concentric_annuli` and `xgamma.region_boxes` make some.
    spectral_model
        Spectrum inside the bands, with the flux to which norms refer; by default a power law of index 2.
    energy_edges
        Edges of the bands, shape (n + 1,), moved to the nearest edges of the cube with a warning; None takes its bins.
    selection
        What to make beside norm, error and significance, as for `xgamma.flux_points`.
    background
        Predicted counts of all but the source, dims (..., energy, y, x), instead of the cube's ``background``: that
        of other sources is added to it with ``cube.gamma.npred(models)``.
    n_sigma, n_sigma_ul, n_sigma_sensitivity, scan_values, sqrt_ts_threshold_ul
        As for `xgamma.flux_points`.
    use_region_center
        Take the energy dispersion at the centre of each region, or average it over the region.

    Returns
    -------
    xarray.Dataset
        Dims (region, energy), lazy where the cube is: the variables of `xgamma.flux_points`, with ``npred``,
        ``npred_excess``, ``npred_background`` and ``counts`` summed over all runs, and the coordinates ``distance``,
        ``distance_min`` and ``distance_max`` (degrees) of the regions, and how many pixels they have, ``n_pixels``.

    Raises
    ------
    TypeError, ValueError
        If there are no regions, or one reaches beyond the map or holds no pixel; if the cube has neither background nor
        off counts, or no exposure; and as `xgamma.flux_points`.

    Warns
    -----
    UserWarning
        If energies are moved to the nearest edges of the cube, regions share pixels, or the norms that were given for
        likelihood profiles end before a minimum (of points that are not lazy).

    Notes
    -----
    Each flux is that of a source with the exposure averaged over the region: a sum over the region, not a brightness.
    Divided by the solid angle of the region, ``n_pixels`` times that of a pixel, it is one.

    Distances are those of the centres from the first centre; those of concentric rings the mean of inner and outer
    radius. Bins end half way between neighbours.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.coords.grid import sky_grid
    >>> from xgamma.coords.region_shapes import concentric_annuli
    >>> center, energy = SkyCoord(0, 0, unit="deg"), energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> grid = sky_grid(center, "1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube = grid.assign(counts=(("energy", "y", "x"), np.full((1, 10, 10), 3.0)))
    >>> cube = cube.assign(background=cube.counts / 3)
    >>> cube["exposure"] = ("energy_true", "y", "x"), np.full((1, 10, 10), 1e13), {"units": "cm2 s"}
    >>> profile = flux_profile(cube, concentric_annuli(center, "0.4 deg", nbin=2))
    >>> profile.npred_excess.values.ravel().round(), profile.distance.values
    (array([24., 80.]), array([0.1, 0.3]))
    """
    if is_one_region(regions):
        regions = [regions]
    items = regions_on_grid(grid_of(cube), regions) if has_sky(cube) else as_regions(regions)
    spectra = _spectra(cube, items, background, use_region_center)
    model = PowerLawSpectralModel() if spectral_model is None else spectral_model
    points = flux_points(
        spectra,
        SkyModel(spectral=model, name=SOURCE),
        SOURCE,
        energy_edges=energy_edges,
        selection=selection,
        n_sigma=n_sigma,
        n_sigma_ul=n_sigma_ul,
        n_sigma_sensitivity=n_sigma_sensitivity,
        scan_values=scan_values,
        sqrt_ts_threshold_ul=sqrt_ts_threshold_ul,
    )
    sums = {n: points[n].sum("dataset", skipna=False, keep_attrs=True) for n in ("npred", "npred_excess", "counts")}
    points = points.drop_vars(["dataset", *sums]).assign(sums)
    points["npred_background"] = (points["npred"] - points["npred_excess"]).assign_attrs(flux_attrs("npred_background"))
    return points.assign_coords(profile_distance(items))


def _spectra(
    cube: xr.Dataset, regions: Sequence[SkyRegion], background: xr.DataArray | None, use_region_center: bool
) -> xr.Dataset:
    if not has_sky(cube):
        if cube.sizes.get("region") != len(regions):
            msg = f"a cube without pixels must hold spectra of the {len(regions)} regions, dim region"
            raise ValueError(msg)
        return cube
    if background is not None:
        if not isinstance(background, xr.DataArray) or not {"y", "x"} <= set(background.dims):
            msg = "background must be a DataArray of predicted counts with the dims energy, y, x"
            raise TypeError(msg)
        if grid_of(background) != grid_of(cube):
            msg = "background is on another grid than the cube; select or reproject it first"
            raise ValueError(msg)
        cube = cube.drop_vars("background", errors="ignore").assign(background=background.variable)
    lacking = [n for n in ("exposure",) if n not in cube]
    if "background" not in cube and "counts_off" not in cube:
        lacking.append("background")
    if lacking:
        hint = "; give background=..., or off counts with their acceptances" if "background" in lacking else ""
        msg = f"a flux profile needs {lacking}; the cube has {sorted(map(str, cube.data_vars))}{hint}"
        raise ValueError(msg)
    _warn_overlap(cube, regions)
    return to_spectrum(cube, regions, use_region_center=use_region_center)


def _warn_overlap(cube: xr.Dataset, regions: Sequence[SkyRegion]) -> None:
    """Warn of pixels that belong to several regions."""
    grid = grid_of(cube)
    owner: list[np.ndarray] = []
    pixels: list[np.ndarray] = []
    for i, windows in enumerate(region_pixels(grid, regions)):
        for window in windows:
            y, x = np.nonzero(window.mask)
            pixels.append((y + window.y) * grid.shape[1] + x + window.x)
            owner.append(np.full(y.size, i))
    if not pixels:
        return
    place, number = np.concatenate(pixels), np.concatenate(owner)
    order = np.argsort(place, kind="stable")
    place, number = place[order], number[order]
    twice = np.flatnonzero(place[1:] == place[:-1])
    if twice.size:
        first, second = number[twice[0]], number[twice[0] + 1]
        msg = (
            f"regions {first} and {second} share pixels ({twice.size} pixels are in more than one region): "
            "their points are not independent"
        )
        warnings.warn(msg, UserWarning, stacklevel=outer_level())


def profile_distance(regions: Sequence[SkyRegion]) -> dict[str, Any]:
    """Return the coordinates ``distance``, ``distance_min`` and ``distance_max`` of regions, in degrees.

    Parameters
    ----------
    regions
        Sky regions in order.

    Returns
    -------
    dict
        Dims (region,). Of concentric circles and rings the mean radius, of others the separation from the first centre.
        Bins end half way between neighbours where distances ascend; where they do not, each bin has no width.

    Examples
    --------
    >>> from xgamma.coords.regions import from_ds9
    >>> boxes = [from_ds9(f"galactic;box({lon}, 0, 1, 2, 0)") for lon in (0, 1, 2)]
    >>> profile_distance(boxes)["distance_max"][1].round(6)
    array([0.5, 1.5, 2.5])
    """
    centers = [region_center(r) for r in regions]
    own = centers[0].frame
    lonlat = []
    for center in centers:
        same = center.frame.is_equivalent_frame(own)
        data = (center.frame if same else center.transform_to(own).frame).spherical
        lonlat.append((float(data.lon.deg), float(data.lat.deg)))
    vectors = to_vectors(*np.array(lonlat).T)
    distance = separation(vectors, vectors[0])
    edges = _ring_edges(regions) if (distance < SAME_CENTER).all() else None
    if edges is not None:
        distance = edges.mean(axis=1)
    low = high = distance
    if len(distance) > 1 and (np.diff(distance) > 0).all():
        middle = 0.5 * (distance[1:] + distance[:-1])
        low = np.concatenate([[2 * distance[0] - middle[0]], middle])
        high = np.concatenate([middle, [2 * distance[-1] - middle[-1]]])
    elif edges is not None:
        low, high = edges.T
    texts = ("Distance", "lower edge of distance", "upper edge of distance")
    names = ("distance", "distance_min", "distance_max")
    return {
        name: ("region", np.ascontiguousarray(values), canonical_attrs("deg", text))
        for name, values, text in zip(names, (distance, low, high), texts, strict=True)
    }


def _ring_edges(regions: Sequence[SkyRegion]) -> np.ndarray | None:
    """Inner and outer radii of circles and rings in degrees, shape (n, 2); None if there are other shapes."""
    edges = []
    for region in regions:
        kind = type(region).__name__
        if kind == "CircleAnnulusSkyRegion":
            edges.append((float(region.inner_radius.to_value("deg")), float(region.outer_radius.to_value("deg"))))
        elif kind == "CircleSkyRegion":
            edges.append((0.0, float(region.radius.to_value("deg"))))
        else:
            return None
    return np.array(edges)
