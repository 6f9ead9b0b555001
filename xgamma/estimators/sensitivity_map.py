"""Maps of sensitivity: the flux that a source needs at each pixel to be seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.background.correlate import positive_angle
from xgamma.background.windows import Window, map_windows, sky_chunks, spans, split_again, tile_sizes
from xgamma.coords.energy_groups import energy_groups
from xgamma.coords.grid import pixel_scale
from xgamma.coords.sky import grid_of
from xgamma.estimators.excess import excess_map
from xgamma.estimators.sensitivity import checked_criteria, described, needed_fluxes
from xgamma.estimators.ts_inputs import cube_arrays, cube_settings, map_zones, needed_ranges
from xgamma.estimators.ts_planes import MapSettings, window_parts, with_halo
from xgamma.estimators.ts_source import OVERSAMPLING, source_of
from xgamma.kernels.convolve import Annulus
from xgamma.kernels.ts_fit import Signal, TSSettings, total_signal

__all__ = ["sensitivity_map"]

FloatArray = NDArray[np.float64]


def sensitivity_map(
    cube: xr.Dataset,
    radius: Any = "0.1 deg",
    model: Any = None,
    *,
    energy_edges: Any = None,
    n_sigma: float = 5.0,
    gamma_min: float = 10.0,
    bkg_syst_fraction: float = 0.05,
    zone_width: Any = "2 deg",
) -> xr.Dataset:
    """Compute the flux that a source needs at each pixel and in each bin of energy to be seen in a disc around it.

    Parameters
    ----------
    cube
        Cube, dims (energy, y, x), lazy or not: ``exposure``, ``psf``, ``edisp`` where energies are not exact, and
        ``background``, which is known, or ``counts_off``, ``acceptance`` and ``acceptance_off``, by which it is
        measured. Masks are used where present; ``counts`` do not matter.
    radius
        Radius of the disc over which counts and background are added, an angle.
    model
        Source: a spectral model, a spatial model, or a SkyModel of both. By default a point with a power law of index
        2. Its position does not matter.
    energy_edges
        Edges of the bins, moved to those of the cube with a warning; None takes the bins of the cube.
    n_sigma
        Significance of the source.
    gamma_min
        Excess counts that it must have at least.
    bkg_syst_fraction
        Part of the background that its excess must exceed: systematic errors of the background.
    zone_width
        Side of the squares within which one point spread function is used, the mean over the square; None takes one
        for the whole map.

    Returns
    -------
    xarray.Dataset
        Dims (energy, y, x), lazy where the cube is: ``e2dnde`` (erg s-1 cm-2), ``dnde`` (TeV-1 s-1 cm-2), ``flux``
        (s-1 cm-2, in the bin), all of the whole source; ``excess`` and ``background`` in the disc (counts), and
        ``criterion``: what limits, by number, with the words in its attribute ``meanings``, and -1 where there is no
        answer. NaN outside the masks and where no signal is expected.

    Raises
    ------
    ValueError
        If a variable is missing, runs are not stacked, or a number is out of range.

    See Also
    --------
    xgamma.estimators.sensitivity.sensitivity : the same for spectra.
    xgamma.estimators.excess.excess_map : significances with the same disc.

    Notes
    -----
    The expected counts are those of the part of the source inside disc and masks: the point spread function is
    integrated over the pixels of the disc, the exposure is that at the source. Off counts are added over the disc as
    `excess_map` does. A disc of about the radius of 68 % containment is a good choice at each energy.

    References
    ----------
    T.-P. Li, Y.-Q. Ma, ApJ 272, 317 (1983).

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> import xgamma as xg
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xg.sky_grid(SkyCoord(0, 0, unit="deg"), "1.1 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> cube["background"] = ("energy", "y", "x"), np.full((1, 11, 11), 5.0)
    >>> cube["exposure"] = ("energy_true", "y", "x"), np.full((1, 11, 11), 1e13)
    >>> cube["psf"] = ("energy_true", "rad"), [np.exp(-0.5 * (cube.rad.values / 0.1) ** 2)]
    >>> maps = sensitivity_map(cube, "0.2 deg")
    >>> middle = maps.sel(lon=0, lat=0, method="nearest").squeeze()
    >>> middle.background.item(), round(middle.excess.item(), 2), float(f"{middle.flux.item():.3g}")
    (65.0, 44.29, 5.25e-12)
    """
    numbers = checked_criteria(n_sigma, gamma_min, bkg_syst_fraction)
    cube = _prepared(cube)
    disc = Annulus(0.0, positive_angle(radius, "radius"), pixel_scale(cube))
    source = source_of(model, cube)
    slices, axis = energy_groups(cube, energy_edges)
    groups = np.full(cube.sizes["energy"], -1)
    for number, part in enumerate(slices):
        groups[part] = number
    zones = map_zones([cube], None if zone_width is None else positive_angle(zone_width, "zone_width"))
    arrays = cube_arrays(0, "cube", cube, None, source)
    settings = MapSettings(
        cubes=(cube_settings(cube, tuple(groups.tolist()), source, zones),),
        n_groups=axis.sizes["energy"],
        half=disc.depth,
        pixel=pixel_scale(cube),
        shape=source.shape,
        parts=1 if source.shape is None else OVERSAMPLING,
        at_source=source.shape is None,
        zones=zones,
        fit=TSSettings(),
    )
    tiles = tile_sizes(sky_chunks(arrays.values()), disc.depth, 8.0 * (settings.n_groups + 4 * len(groups)))
    plan = {"energy": spans((settings.n_groups,))}
    plan |= {d: spans(s, n) for d, s, n in zip(("y", "x"), tiles, disc.depth, strict=True)}
    made = map_windows(
        _signal_of_window, arrays, ("signal",), plan, needed_ranges(arrays, settings), settings=settings, disc=disc
    )
    sums = split_again(made, sky_chunks(arrays.values())) | _needs(cube, radius, energy_edges)
    values = needed_fluxes(sums, source.spectral, axis, numbers)
    here = np.isfinite(sums["background"]) & (sums["signal"] > 0)
    values = {n: v.where(here, -1 if n == "criterion" else np.nan) for n, v in values.items()}
    result = xr.Dataset({n: v.transpose("energy", "y", "x") for n, v in values.items()}, coords=grid_of(cube).coords())
    result = described(result.assign_coords(axis.coords), numbers)
    result["criterion"] = result["criterion"].astype(int)
    result.attrs.update(radius=f"{disc.r_out:g} deg", model=source.text)
    return result


def _prepared(cube: xr.Dataset) -> xr.Dataset:
    """Return a cube with a background, and counts that nobody looks at."""
    grid_of(cube)
    measured = [n for n in ("counts_off", "acceptance", "acceptance_off") if n in cube]
    if "background" not in cube:
        if len(measured) < 3:
            found = sorted(map(str, cube.data_vars))
            msg = f"a sensitivity needs 'background', or counts_off with both acceptances; the cube has {found}"
            raise ValueError(msg)
        off = cube["acceptance_off"]
        background = (cube["counts_off"] * cube["acceptance"] / off.where(off > 0)).fillna(0.0)
        cube = cube.assign(background=background)
    elif 0 < len(measured) < 3:
        cube = cube.drop_vars(measured)
    if "exposure" not in cube:
        msg = "a sensitivity needs 'exposure'"
        raise ValueError(msg)
    if set(cube["background"].dims) != {"energy", "y", "x"}:
        dims = cube["background"].dims
        msg = f"the background has the dims {dims}; maps of sensitivity need (energy, y, x): stack runs first"
        raise ValueError(msg)
    return cube.assign(counts=cube["background"])


def _needs(cube: xr.Dataset, radius: Any, energy_edges: Any) -> dict[str, xr.Variable]:
    """Background, off counts and alpha in the disc around each pixel."""
    on_off = "counts_off" in cube
    maps = excess_map(cube, radius, energy_edges=energy_edges, selection=("alpha", "counts_off") if on_off else ())
    background = maps["background"].variable
    if not on_off:
        # an alpha of 0 is a background that is known
        return {"background": background, "off": xr.zeros_like(background), "alpha": xr.zeros_like(background)}
    return {"background": background, "off": maps["counts_off"].variable, "alpha": maps["alpha"].variable}


def _signal_of_window(
    arrays: Mapping[str, xr.Variable], window: Window, settings: MapSettings, disc: Annulus
) -> list[FloatArray]:
    """Counts of the source at norm 1 inside disc and masks, shape (groups, ny, nx)."""
    y, x = window["y"], window["x"]
    result = np.zeros((settings.n_groups, y.stop - y.start, x.stop - x.start))
    for zone_y, top, bottom in settings.zones.along("y", y):
        for zone_x, left, right in settings.zones.along("x", x):
            rows = with_halo(top, bottom, y, settings.half[0])
            columns = with_halo(left, right, x, settings.half[1])
            place = (slice(top - y.start, bottom - y.start), slice(left - x.start, right - x.start))
            for part in window_parts(arrays, window, settings, 0, (zone_y, zone_x), (rows, columns)):
                for group in range(settings.n_groups):
                    bins = part.groups == group
                    exposure = part.exposure[bins]
                    signal = Signal(
                        part.kernel[bins] * disc.kernel,
                        exposure if settings.at_source else None,
                        None if settings.at_source else exposure,
                    )
                    result[(group, *place)] = total_signal(part.mask[bins], signal, (rows.inner, columns.inner))
    return [result]
