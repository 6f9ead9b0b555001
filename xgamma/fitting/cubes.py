"""The cubes of a fit: their names, those of their runs and regions, and which models belong to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xgamma.coords.bins import axis_of
from xgamma.fitting.response import Axes
from xgamma.models.models import Models
from xgamma.models.sky_model import Model, SkyModel

__all__ = ["Cubes", "Spectra", "match_models", "named_cubes", "spectra_of"]

#: What a fit takes.
Cubes: TypeAlias = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset] | Iterable[xr.Dataset]
#: Name of a single cube that has none.
UNNAMED = "cube"


@dataclass(frozen=True, eq=False)
class Spectra:
    """What a fit and a prediction need to know of a cube of spectra before its values.

    Parameters
    ----------
    name
        Name of the cube.
    cube
        The cube.
    lead
        Dims of the counts in front of energy: runs, regions.
    shape
        Their sizes.
    labels
        A name for each spectrum, in C order: its run and region, or the name of the cube.
    axes
        Bins of measured and true energy.
    """

    name: str
    cube: xr.Dataset
    lead: tuple[str, ...]
    shape: tuple[int, ...]
    labels: tuple[str, ...]
    axes: Axes

    @property
    def bins(self) -> tuple[int, ...]:
        """Shape of the bins of one spectrum."""
        return (self.axes.low.size,)

    def rows(self, model: Model) -> NDArray[np.bool_]:
        """Return which spectra a model belongs to, by the name of the cube, of a spectrum, or of both."""
        wanted = [self.name, *self.labels]
        if model.datasets_names is None or model.belongs_to(self.name):
            return np.ones(self.shape, bool)
        names = [(label, label.removeprefix(f"{self.name}/")) for label in wanted[1:]]
        chosen = [any(model.belongs_to(n) for n in pair) for pair in names]
        return np.array(chosen, bool).reshape(self.shape)


def named_cubes(cubes: Cubes) -> dict[str, xr.Dataset]:
    """Return the cubes of a fit by name.

    Parameters
    ----------
    cubes
        A cube; several with their names; a list of cubes with ``attrs["name"]``; or a DataTree of cubes.

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If something else is given.
    ValueError
        If there is none, or two have the same name.

    Examples
    --------
    >>> list(named_cubes([xr.Dataset(attrs={"name": "hess"}), xr.Dataset()]))
    ['hess', 'cube-1']
    """
    named: list[tuple[str, Any]]
    if isinstance(cubes, xr.DataTree):
        cubes = {node.path.strip("/") or UNNAMED: node.to_dataset() for node in cubes.subtree if node.data_vars}
    if isinstance(cubes, xr.Dataset):
        named = [(str(cubes.attrs.get("name", UNNAMED)), cubes)]
    elif isinstance(cubes, Mapping):
        named = [(str(name), cube) for name, cube in cubes.items()]
    elif isinstance(cubes, Iterable) and not isinstance(cubes, (str, xr.DataArray)):
        given: list[Any] = list(cubes)
        named = [(str(getattr(c, "attrs", {}).get("name", f"{UNNAMED}-{i}")), c) for i, c in enumerate(given)]
    else:
        kind = type(cubes).__name__
        msg = f"a fit takes a cube (xarray.Dataset), several as a mapping or a list, or a DataTree, not {kind}"
        raise TypeError(msg)
    result: dict[str, xr.Dataset] = {}
    for name, cube in named:
        if not isinstance(cube, xr.Dataset):
            msg = f"{name!r} must be a cube (xarray.Dataset), not {type(cube).__name__}"
            raise TypeError(msg)
        if name in result:
            msg = f"there are two cubes {name!r}; give them as a mapping with names of their own"
            raise ValueError(msg)
        result[name] = cube
    if not result:
        msg = "there is no cube to fit"
        raise ValueError(msg)
    return result


def spectra_of(name: str, cube: xr.Dataset, alone: bool = True) -> Spectra:
    """Return what a cube of spectra is made of.

    Parameters
    ----------
    name
        Name of the cube.
    cube
        Cube with dims (..., energy).
    alone
        Whether it is the only cube; the labels of several bring the name of theirs.

    Returns
    -------
    Spectra

    Raises
    ------
    ValueError
        If counts or axes are missing, or the cube is a map.

    Examples
    --------
    >>> from xgamma.coords.bins import energy_axis, rename_axis
    >>> energy = energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> cube = xr.Dataset(coords={**energy.coords, **rename_axis(energy, "energy_true").coords, "obs": [11, 12]})
    >>> cube["counts"] = ("obs", "energy"), np.ones((2, 2))
    >>> spectra_of("crab", cube).labels
    ('11', '12')
    """
    if "counts" not in cube:
        msg = f"{name!r} has no 'counts'; it has {sorted(map(str, cube.data_vars))}"
        raise ValueError(msg)
    dims = tuple(map(str, cube["counts"].dims))
    if "y" in dims or "x" in dims:
        msg = f"{name!r} is a map with dims {dims}; take spectra of a region: reduce on xgamma.region_grid(...)"
        raise ValueError(msg)
    axes = axes_of(name, cube, dims)
    lead = tuple(d for d in dims if d != "energy")
    return Spectra(name, cube, lead, tuple(cube.sizes[d] for d in lead), labels_of(name, cube, lead, alone), axes)


def axes_of(name: str, cube: xr.Dataset, dims: tuple[str, ...]) -> Axes:
    """Return the energies of a cube whose counts have some dims; raise ValueError where they cannot be fitted."""
    if "energy" not in dims:
        msg = f"the counts of {name!r} have no dim 'energy', but {dims}"
        raise ValueError(msg)
    try:
        energy, true = axis_of(cube, "energy"), axis_of(cube, "energy_true")
    except ValueError as error:
        msg = f"{name!r} cannot be fitted: {error}"
        raise ValueError(msg) from error
    for axis in (energy, true):
        if axis.attrs.get("units") != "TeV":
            msg = f"axis {axis.name!r} of {name!r} must be in TeV, not {axis.attrs.get('units')!r}"
            raise ValueError(msg)
    edges = [axis[f"{axis.name}_{end}"].values.astype(float) for axis in (energy, true) for end in ("min", "max")]
    return Axes(*edges)


def labels_of(name: str, cube: xr.Dataset, lead: tuple[str, ...], alone: bool = True) -> tuple[str, ...]:
    """Return a name for each part of a cube: its own, or those of its runs and regions, behind its own among others."""
    if not lead:
        return (name,)
    labels = _labels(cube, lead)
    return tuple(labels if alone else [f"{name}/{label}" for label in labels])


def _labels(cube: xr.Dataset, lead: tuple[str, ...]) -> list[str]:
    """Names of the spectra: the coordinates along their dims, numbers where there are none or they repeat."""
    values = []
    for dim in lead:
        found = [str(v) for v in cube[dim].values] if dim in cube.coords else []
        values.append(found if found and len(set(found)) == len(found) else [str(i) for i in range(cube.sizes[dim])])
    return ["/".join(parts) for parts in product(*values)]


def match_models(models: Models, spectra: Iterable[Spectra], maps: Iterable[Spectra] = ()) -> list[SkyModel]:
    """Return the sources of a fit after checking them; warn of models that belong to no dataset.

    Raises
    ------
    TypeError
        If a model is not one for spectra, and belongs to no map.
    ValueError
        If a model is a factor where a spectrum should be.
    """
    cubes, sky = list(spectra), list(maps)
    sources: list[SkyModel] = []
    for model in models:
        on_map = any(s.rows(model).any() for s in sky)
        if not on_map and not any(s.rows(model).any() for s in cubes):
            known = [n for s in (*cubes, *sky) for n in dict.fromkeys([s.name, *s.labels])]
            where = f"belongs to {model.datasets_names}, none of the datasets {_some(known)}"
            warnings.warn(f"model {model.name!r} {where}; it takes no part", UserWarning, stacklevel=2)
        elif len(cubes) + len(sky) > 1:  # one alone may be a part of what the models are for
            _tell_missing(model, (*cubes, *sky))
        if not isinstance(model, SkyModel):
            if on_map or (not cubes and sky):
                continue
            msg = f"{model.name!r} is a {type(model).__name__}; spectra are fitted with SkyModel"
            raise TypeError(msg)
        # a template of energies has the unit of a flux itself
        if model.spectral.is_norm and not (on_map and getattr(model.spatial, "is_energy_dependent", False)):
            msg = f"the spectrum of {model.name!r} is a factor without unit; multiply it by a spectrum that has one"
            raise ValueError(msg)
        sources.append(model)
    return sources


def _tell_missing(model: Model, parts: Iterable[Spectra]) -> None:
    """Warn of names that no dataset has: a typing error would leave one out silently."""
    listed = list(parts)
    known = [n for s in listed for label in s.labels for n in (s.name, label, label.removeprefix(f"{s.name}/"))]
    missing = [n for n in model.datasets_names or () if n not in known]
    if missing:
        msg = f"model {model.name!r} belongs to {missing}, none of the datasets {_some(list(dict.fromkeys(known)))}"
        warnings.warn(f"{msg}; it takes part in the others", UserWarning, stacklevel=3)


def _some(names: list[str], most: int = 8) -> str:
    return str(names) if len(names) <= most else f"{names[:most]} and {len(names) - most} more"
