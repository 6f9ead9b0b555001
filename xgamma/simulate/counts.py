"""Counts of cubes, drawn from what models predict or equal to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.units import canonical_attrs
from xgamma.fitting.cubes import UNNAMED, named_cubes, spectra_of
from xgamma.fitting.map_cubes import is_map, maps_of
from xgamma.fitting.points import is_points
from xgamma.fitting.predict import npred, npred_signal
from xgamma.models.models import Models, as_models
from xgamma.models.sky_model import Model
from xgamma.simulate.poisson import philox_key, poisson_quantile, uniform_at

__all__ = ["asimov_counts", "simulate_counts"]

FloatArray = NDArray[np.float64]
CubeOrTree = TypeVar("CubeOrTree", xr.Dataset, xr.DataTree)
#: Draws counts around their expectation; the second argument is a name for the random numbers.
Draw = Callable[[xr.Variable, str], xr.Variable]
LABELS = {"counts": "Counts", "counts_off": "Off counts"}


def simulate_counts(
    cube: CubeOrTree,
    models: Model | Iterable[Model] = (),
    *,
    seed: int = 0,
    background: xr.DataArray | None = None,
    name: str | None = None,
) -> CubeOrTree:
    """Draw the counts of a cube from what models predict.

    Parameters
    ----------
    cube
        Cube of spectra or maps, also on-off ones and those of single runs (dim ``obs``), or a DataTree of cubes.
    models
        Models, or one; none for the background alone.
    seed
        Seed of the random numbers.
    background
        Expected background in the bins of an on-off cube, dims of the counts or some of them; by default what its off
        counts say, times the ratio of acceptances. Other cubes have a background of their own.
    name
        Name of the cube where models are assigned to it by name; by default ``attrs["name"]``.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        The cube with other ``counts``, and other ``counts_off`` where it has such; lazy where the cube is.

    Raises
    ------
    TypeError
        If `cube` is neither, or flux points are among the groups of a DataTree.
    ValueError
        If the seed is wrong, a response is missing, or the prediction is negative or not finite in a bin that
        ``mask_safe`` does not exclude (of a lazy cube when it is computed).

    See Also
    --------
    asimov_counts : counts that are equal to the prediction.
    xgamma.simulate.events.simulate_events : event lists from the same models.

    Notes
    -----
    Counts are Poisson numbers around ``npred``, off counts around the background divided by the ratio of acceptances.
    Each bin has a random number of its own, which the seed, the cube's name within a DataTree and the place of the bin
    fix (the counter-based generator Philox [1]_): results are equal bit by bit however the cube is chunked and in
    whatever order it is computed. The count is the quantile of the Poisson distribution at that number, so that
    small changes of a model change few counts.

    References
    ----------
    .. [1] J. K. Salmon et al., Proc. SC11 (2011), "Parallel random numbers: as easy as 1, 2, 3".

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [0.0, 0.0]
    >>> cube["background"] = "energy", [1e6, 0.0]
    >>> simulate_counts(cube, seed=1).counts.values
    array([999504.,      0.])
    """
    philox_key(seed)

    def draw(mean: xr.Variable, what: str) -> xr.Variable:
        return mean.copy(deep=False, data=_poisson(mean.data, philox_key(seed, what)))

    return _filled(cube, as_models(models), draw, background, name)


def asimov_counts(
    cube: CubeOrTree,
    models: Model | Iterable[Model] = (),
    *,
    background: xr.DataArray | None = None,
    name: str | None = None,
) -> CubeOrTree:
    """Fill a cube with the counts that models predict: the data set whose fit gives the models back.

    Parameters
    ----------
    cube, models, background, name
        As in `simulate_counts`.

    Returns
    -------
    xarray.Dataset or xarray.DataTree
        The cube with ``counts`` (and ``counts_off``) equal to the expectation, no whole numbers.

    Raises
    ------
    TypeError, ValueError
        As in `simulate_counts`.

    References
    ----------
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, Eur. Phys. J. C 71 (2011) 1554: errors and significances that are
    expected on average follow from such a data set.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=1)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords})
    >>> cube["counts"] = "energy", [0.0]
    >>> cube["background"] = "energy", [2.5]
    >>> asimov_counts(cube).counts.values
    array([2.5])
    """
    return _filled(cube, as_models(models), None, background, name)


def _filled(cube: Any, models: Models, draw: Draw | None, background: xr.DataArray | None, name: str | None) -> Any:
    if isinstance(cube, xr.DataTree):
        if background is not None or name is not None:
            what = "background" if background is not None else "name"
            msg = f"{what}= is for one cube; call the function for each group of the tree that needs it"
            raise TypeError(msg)
        result = cube.copy()
        groups = {node.path.strip("/") or UNNAMED: node for node in result.subtree}
        for path, part in named_cubes(cube).items():
            _check(path, part)
            mine = _own(path, part, models)
            groups[path].dataset = _filled_cube(
                path, part, mine, None if draw is None else partial(_draw_group, draw, path)
            )
        return result
    if not isinstance(cube, xr.Dataset):
        msg = f"counts are drawn for a cube (xarray.Dataset) or a DataTree of cubes, not {type(cube).__name__}"
        raise TypeError(msg)
    own = str(cube.attrs.get("name", UNNAMED)) if name is None else name
    return _filled_cube(own, cube, models, draw, background)


def _draw_group(draw: Draw, path: str, mean: xr.Variable, what: str) -> xr.Variable:
    return draw(mean, f"{path}/{what}")


def _own(name: str, cube: xr.Dataset, models: Models) -> Models:
    """Models that belong to a group."""
    s = maps_of(name, cube) if is_map(cube) else spectra_of(name, cube)
    return Models([m for m in models if s.rows(m).any()])


def _check(name: str, cube: xr.Dataset) -> None:
    if is_points(cube):
        msg = f"{name!r} holds flux points, which have no counts; draw the counts of the cubes that they are from"
        raise TypeError(msg)
    if "counts" not in cube:
        msg = f"{name!r} has no 'counts', whose bins are to be filled; it has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)


def _filled_cube(
    name: str, cube: xr.Dataset, models: Models, draw: Draw | None, background: xr.DataArray | None = None
) -> xr.Dataset:
    _check(name, cube)
    if background is not None and "counts_off" not in cube:
        msg = f"background= is for cubes with off counts; {name!r} has a background of its own: assign it there"
        raise ValueError(msg)
    off = None
    if "counts_off" in cube:
        mean_background, off = _on_off(name, cube, background)
        mean = npred_signal(cube, models, name=name).variable + mean_background
    else:
        mean = npred(cube, models, name=name).variable
    drawn = {"counts": _drawn(mean, cube, "counts", name, draw)}
    if off is not None:
        drawn["counts_off"] = _drawn(off, cube, "counts_off", name, draw)
    return cube.assign(drawn)


def _on_off(name: str, cube: xr.Dataset, background: xr.DataArray | None) -> tuple[xr.Variable, xr.Variable]:
    """Expected background and off counts of an on-off cube; the first is 0 where there are no off regions."""
    missing = [n for n in ("acceptance", "acceptance_off") if n not in cube]
    if missing:
        msg = f"{name!r} has 'counts_off' and needs {missing}, too"
        raise ValueError(msg)
    acceptance, acceptance_off = (cube[n].variable for n in ("acceptance", "acceptance_off"))
    usable = (acceptance_off > 0) & (acceptance > 0)
    alpha = (acceptance / acceptance_off.where(usable, 1.0)).where(usable, 0.0)
    if background is None:
        off = cube["counts_off"].variable.astype(float)
        return alpha * off, off
    odd = [str(d) for d in background.dims if d not in cube["counts"].dims]
    if odd:
        msg = f"background has dim {odd[0]!r}, which the counts of {name!r} have not: {cube['counts'].dims}"
        raise ValueError(msg)
    # the same axes, whatever coordinates the values bring
    expected = background.variable.set_dims(
        {str(d): cube.sizes[d] if d not in background.dims else background.sizes[d] for d in cube["counts"].dims}
    )
    return expected, (expected / alpha.where(usable, 1.0)).where(usable, 0.0)


def _drawn(mean: xr.Variable, cube: xr.Dataset, what: str, name: str, draw: Draw | None) -> xr.Variable:
    like = cube[what]
    whole = mean.set_dims(dict(zip(like.dims, like.shape, strict=True))).transpose(*like.dims)
    if like.chunks is not None and whole.chunks is not None:
        whole = whole.chunk(like.chunksizes)
    mask = (
        cube["mask_safe"].variable.set_dims(dict(whole.sizes)).transpose(*whole.dims) if "mask_safe" in cube else True
    )
    checked: xr.Variable = xr.apply_ufunc(
        _checked, whole, mask, kwargs={"where": f"{what} of {name!r}"}, dask="parallelized", output_dtypes=[float]
    )
    result = checked if draw is None else draw(checked, what)
    result.attrs = canonical_attrs("", str(like.attrs.get("long_name", LABELS[what])))
    return result


def _checked(mean: FloatArray, mask: Any, where: str) -> FloatArray:
    """Expectations, 0 in bins that are masked and about which nothing is known."""
    wrong = ~(np.isfinite(mean) & (mean >= 0))
    if not wrong.any():
        return mean
    bad = wrong & mask
    if bad.any():
        kinds = "negative" if (mean[bad] < 0).any() else "not finite"
        msg = (
            f"the expected {where} are {kinds} in {int(bad.sum())} bins: correct the models or the background, or mask "
            "bins that true energies do not cover (mask_safe)"
        )
        raise ValueError(msg)
    return np.where(wrong, 0.0, mean)


def _poisson(mean: Any, key: NDArray[np.uint64]) -> Any:
    """Poisson numbers of an array, block by block where it is lazy."""
    if isinstance(mean, np.ndarray):
        return poisson_quantile(uniform_at(key, mean.shape, (0,) * mean.ndim, mean.shape), mean)
    return mean.map_blocks(_block, key=key, shape=mean.shape, dtype=float)


def _block(mean: FloatArray, key: NDArray[np.uint64], shape: tuple[int, ...], block_info: Any = None) -> FloatArray:
    place = block_info[0]["array-location"] if block_info else [(0, n) for n in mean.shape]
    start, stop = zip(*place, strict=True) if place else ((), ())
    return poisson_quantile(uniform_at(key, shape, start, stop), mean)
