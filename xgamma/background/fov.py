"""Field-of-view background: the background model of each run, scaled to its counts outside the sources."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize

from xgamma.background.fov_model import FoVTask, fov_task
from xgamma.background.ring import exclusion_on
from xgamma.coords.bins import axis_of
from xgamma.coords.regions import as_regions, to_ds9
from xgamma.coords.sky import grid_of, has_sky
from xgamma.coords.units import canonical_attrs
from xgamma.fitting.predict import npred_signal
from xgamma.models.spectral_model import SpectralModel
from xgamma.reduction.run_norm import PreparedNorm

__all__ = ["FoVBackground", "fov_background"]

SKY = ("y", "x")


@dataclass(frozen=True, kw_only=True)
class FoVBackground:
    """Settings of a field-of-view background for `xgamma.reduce`: each run's model scaled to its own counts.

    Parameters
    ----------
    method
        ``"scale"`` finds the norm in closed form, ``"fit"`` the free parameters of `spectral` by Cash's likelihood
        over the bins of energy.
    exclusion
        Regions whose pixels are left out; or a bool map, True where a pixel may be used, dims (y, x), on any
        cutout of the same grid, also lazy.
    spectral
        Factor on the model as a function of energy, by default `PowerLawNormSpectralModel` with a free norm; free
        its tilt where the model's spectrum is not that of the data.
    min_counts, min_npred
        A run needs more counts and more predicted background events than these, in safe pixels outside the exclusion.

    See Also
    --------
    fov_background : the same for a cube, with notes and references.

    Notes
    -----
    A small task for each run adds up its counts and background over all tiles that it touches, bin by bin of energy;
    the tasks of the tiles then multiply. The cube has ``fov_norm``, ``fov_norm_err``, ``fov_tilt``, ``fov_tilt_err``,
    ``fov_counts``, ``fov_npred`` and ``fov_success`` along ``run``, or along ``obs`` where runs are kept apart. Nothing
    of a run without success is safe; when the cube is computed a warning names it and says why.

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> runs = xg.open_store(xg.sample_path("survey")).observations
    >>> energy = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.sky_grid(SkyCoord(150, -25, unit="deg"), "2 deg", "0.1 deg", energy=energy, energy_true=energy)
    >>> background = FoVBackground(exclusion="icrs;circle(150, -25, 0.3)")
    >>> cube = xg.reduce(runs, grid, offset_max="2.5 deg", background=background)
    >>> cube.fov_norm.dims
    ('run',)
    """

    method: Literal["scale", "fit"] = "scale"
    exclusion: Any = None
    spectral: SpectralModel | None = None
    min_counts: float = 0
    min_npred: float = 0

    def prepare(self, grid: xr.Dataset, tiles: tuple[tuple[int, ...], tuple[int, ...]]) -> PreparedNorm:
        """Check the settings against a grid that is cut into tiles of these sizes along (y, x)."""
        task = fov_task(self.method, self.spectral, self.min_counts, self.min_npred, grid.sizes["energy"])
        shape = grid_of(grid).shape
        many = any(len(sizes) > 1 for sizes in tiles)
        # regions on many tiles become a lazy mask, on one tile an array
        empty = da.zeros(shape, chunks=tiles) if many else np.broadcast_to(0.0, shape)
        usable = exclusion_on(grid.assign(counts=(SKY, empty)), grid_of(grid), self.exclusion)
        method = f"fov_background({task.describe()})"
        token = tokenize(method, repr(task.model), _usable_text(self.exclusion, usable))
        return PreparedNorm(task, task.variables, usable, method, token)


def fov_background(
    cube: xr.Dataset,
    method: Literal["scale", "fit"] = "scale",
    exclusion: Any = None,
    *,
    models: Any = None,
    spectral: SpectralModel | None = None,
    min_counts: float = 0,
    min_npred: float = 0,
) -> xr.Dataset:
    r"""Scale the background model of a cube to its counts in safe pixels outside of sources.

    Parameters
    ----------
    cube
        ``counts`` and ``background`` with dims ([obs,] energy, y, x), and masks, which count. Runs along ``obs`` are
        scaled one by one. Lazy stays lazy.
    method
        ``"scale"``: the norm that makes the predicted events as many as the counts; ``"fit"``: the free
        parameters of `spectral` at the maximum of the likelihood.
    exclusion
        True where a pixel may be used: bool, dims (y, x), on any cutout of the same grid (pixels that it does not
        cover may be used); or regions, whose pixels are left out.
    models
        Models of sources, whose predicted events are no background; or these events themselves, an array with the
        dims of the counts.
    spectral
        Factor on the background as a function of energy, by default `PowerLawNormSpectralModel`: a free norm and a
        frozen tilt.
    min_counts, min_npred
        More counts and more predicted background events than these are needed.

    Returns
    -------
    xarray.Dataset
        The cube with ``background`` scaled, and numbers of each run: ``fov_norm``, ``fov_norm_err``, ``fov_tilt``,
        ``fov_tilt_err`` (of other models the parameters that they have), ``fov_counts`` and ``fov_npred`` (the sums
        before scaling), and ``fov_success``. Where that is False the background is as it was, the numbers are NaN, and
        nothing is safe.

    Raises
    ------
    TypeError, ValueError
        If counts or background are missing, the cube has off counts or was scaled before, the exclusion is not on
        this grid or leaves no pixel, or the model cannot be fitted.

    Warns
    -----
    UserWarning
        When it is computed: names the runs without success, and why.

    Notes
    -----
    With the model :math:`b`, the events :math:`s` of other models and the counts :math:`n`, all summed over safe pixels
    that may be used, ``scale`` is :math:`(n - s) / b` with the error :math:`\sqrt{n - s} / b`. ``fit`` minimises

    .. math:: C = 2 \sum_i \left[ b_i f(E_i) + s_i - n_i \ln(b_i f(E_i) + s_i) \right]

    with the factor :math:`f` at the centre of each bin of energy. Without other models the sum over pixels needs no
    more than the sums of counts and background in each bin of energy. A run has no success if :math:`b` is not larger
    than `min_npred`, :math:`n` not larger than `min_counts`, :math:`n - s` not positive, or the fit does not converge.

    References
    ----------
    .. [1] Berge, Funk & Hinton 2007, A&A 466, 1219, section 3.3.
    .. [2] Mohrmann et al. 2019, A&A 632, A72 (background models, their norm and tilt).
    .. [3] Cash 1979, ApJ 228, 939.

    Examples
    --------
    >>> from astropy.coordinates import SkyCoord
    >>> from xgamma.coords.bins import energy_axis
    >>> from xgamma.coords.grid import sky_grid
    >>> grid = sky_grid(SkyCoord(0, 0, unit="deg"), "1 deg", "0.1 deg", energy=energy_axis("1 TeV", "10 TeV", nbin=1))
    >>> cube = grid.assign(counts=(("energy", "y", "x"), np.full((1, 10, 10), 3.0)))
    >>> cube["background"] = ("energy", "y", "x"), np.full((1, 10, 10), 2.0)
    >>> float(fov_background(cube).fov_norm)
    1.5
    """
    _check(cube)
    task = fov_task(method, spectral, min_counts, min_npred, cube.sizes["energy"])
    usable = exclusion_on(cube, grid_of(cube), exclusion)
    lead = [str(d) for d in cube["counts"].dims if d not in ("energy", *SKY)]
    counts, background = (cube[n].transpose(*lead, "energy", *SKY) for n in ("counts", "background"))
    keep = np.isfinite(counts) & np.isfinite(background) & (background > 0)
    for name in ("mask_safe", "mask_fit"):
        if name in cube:
            keep = keep & cube[name]
    if usable is not None:
        keep = keep & usable
    arrays = [counts, background]
    if models is not None:
        arrays.append(models if isinstance(models, xr.DataArray) else npred_signal(cube, models))
    arrays = [a.where(keep, 0.0).transpose(*lead, "energy", *SKY) for a in arrays]
    # a fit beside other events looks at every pixel
    core = ["energy", *SKY] if method == "fit" and models is not None else ["energy"]
    if core == ["energy"]:
        arrays = [a.sum(SKY) for a in arrays]
    factor, numbers = _solved(cube, arrays, lead, core, task)
    scaled = (cube["background"] * factor).transpose(*cube["background"].dims)
    success = numbers["fov_success"]
    safe = (cube["mask_safe"] if "mask_safe" in cube else xr.ones_like(counts, dtype=bool)) & success
    numbers["background"] = scaled.assign_attrs(cube["background"].attrs)
    attrs = {"units": "", "long_name": "Safe data range"}
    numbers["mask_safe"] = safe.transpose(*lead, "energy", *SKY).assign_attrs(attrs)
    result = cube.assign(numbers)
    result.attrs["background_method"] = f"fov_background({task.describe()})"
    return result


def _check(cube: xr.Dataset) -> None:
    """Refuse what has no background model to scale."""
    for name in ("counts", "background"):
        if name not in cube:
            msg = f"a field-of-view background needs {name!r}; the cube has {sorted(map(str, cube.data_vars))}"
            raise ValueError(msg)
    if "counts_off" in cube:
        msg = "the cube has off counts: its background is measured already; scale the model of a cube without them"
        raise ValueError(msg)
    if not has_sky(cube) or "energy" not in cube["counts"].dims:
        msg = f"a field-of-view background needs a map with dims (energy, y, x), not {cube['counts'].dims}"
        raise ValueError(msg)
    scaled = [str(n) for n in cube.data_vars if str(n).startswith("fov_")]
    if scaled:
        msg = f"the background was scaled before (the cube has {scaled}); drop these variables to do it again"
        raise ValueError(msg)


def _solved(
    cube: xr.Dataset, arrays: Sequence[xr.DataArray], lead: list[str], core: list[str], task: FoVTask
) -> tuple[xr.DataArray, dict[str, xr.DataArray]]:
    """Factor for each energy, and the numbers of each run."""
    energy = axis_of(cube, "energy").values
    labels = cube["obs"].astype(str) if "obs" in lead and "obs" in cube.coords else xr.DataArray("")
    plain = [a.variable for a in arrays]
    plain = [a.chunk(dict.fromkeys(core, -1)) if a.chunks is not None else a for a in plain]
    names = [*task.variables, "fov_success"]
    made = xr.apply_ufunc(
        _norms,
        labels.variable,
        *plain,
        input_core_dims=[[], *[core] * len(plain)],
        output_core_dims=[["energy"], *[[]] * len(names)],
        kwargs={"task": task, "energy": energy, "pixels": len(core) > 1},
        dask="parallelized",
        output_dtypes=[float, *[float] * len(task.variables), bool],
    )
    units = {**task.variables, "fov_success": ("", "A norm was found")}
    numbers = {n: xr.DataArray(v, attrs=canonical_attrs(*units[n])) for n, v in zip(names, made[1:], strict=True)}
    return xr.DataArray(made[0]), numbers


def _norms(
    labels: np.ndarray, *arrays: np.ndarray, task: FoVTask, energy: np.ndarray, pixels: bool
) -> tuple[np.ndarray, ...]:
    """Norms of runs: sums of shape (..., n_energy), or pixels of shape (..., n_energy, ny, nx)."""
    depth = 3 if pixels else 1
    lead = arrays[0].shape[:-depth]
    names = np.broadcast_to(labels, lead)
    factor = np.empty((*lead, energy.size))
    numbers = [np.full(lead, np.nan) for _ in task.variables]
    success = np.zeros(lead, dtype=bool)
    for place in np.ndindex(*lead):
        flat = [np.reshape(a[place], (energy.size, -1)) for a in arrays]
        sums = flat if pixels else [a[:, 0] for a in flat]
        found = task(sums[0], sums[1], energy, sums[2] if len(sums) > 2 else None)
        factor[place], success[place] = found.factor, found.success
        for values, name in zip(numbers, task.variables, strict=True):
            values[place] = found.numbers.get(name, np.nan)
        if not found.success:
            who = f"run {names[place]}" if names[place] else "the cube"
            msg = f"{who}: no background could be made: {found.message}; nothing of it is safe"
            warnings.warn(msg, UserWarning, stacklevel=2)
    return (factor, *numbers, success)


def _usable_text(exclusion: Any, usable: xr.Variable | None) -> str:
    """What tells a mask from others: its pixels, or where it is lazy what it is made of."""
    if usable is None:
        return ""
    if isinstance(usable.data, np.ndarray):
        return hashlib.sha256(np.packbits(usable.data).tobytes()).hexdigest()[:32]
    if isinstance(exclusion, xr.DataArray):
        return str(usable.data.name)
    return repr([to_ds9(region) for region in as_regions(exclusion)])
