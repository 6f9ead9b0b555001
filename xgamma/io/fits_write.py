"""Writing maps and cubes in the FITS layouts that gammapy reads."""

from __future__ import annotations

import functools
import json
import os
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from xgamma.coords.bins import axis_of, bin_axis, rename_axis
from xgamma.coords.sky import PREFIXES, decode, encode, grid_of, has_sky
from xgamma.coords.units import to_unit
from xgamma.io.atomic import atomic_path, check_target
from xgamma.io.exact import invert
from xgamma.io.fits_axes import bands_hdu
from xgamma.io.fits_extras import GTI_VARIABLES, attrs_hdu, gti_hdu, table_column
from xgamma.io.fits_region import region_hdu

__all__ = ["to_fits", "write_map"]

#: Variables in the order of the file, with their HDU and the unit written.
VARIABLES = {
    "counts": ("COUNTS", ""),
    "exposure": ("EXPOSURE", "m2 s"),
    "background": ("BACKGROUND", ""),
    "edisp": ("EDISP", ""),
    "psf": ("PSF", "sr-1"),
    "mask_safe": ("MASK_SAFE", ""),
    "mask_fit": ("MASK_FIT", ""),
    "counts_off": ("COUNTS_OFF", ""),
    "acceptance": ("ACCEPTANCE", ""),
    "acceptance_off": ("ACCEPTANCE_OFF", ""),
}
#: Order of the dims of responses in the file.
ORDERS = {
    "psf": ("energy_true", "energy", "rad", "irf_y", "irf_x"),
    "edisp": ("energy_true", "energy", "migra", "irf_y", "irf_x"),
}
#: Maps that were taken from the off regions.
OFF_REGIONS = ("COUNTS_OFF", "ACCEPTANCE_OFF")
#: Dims along which a cube is divided into files.
SPLIT = ("obs", "region")


def write_map(array: xr.DataArray, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write one map to a FITS file in the GADF sky map format.

    Parameters
    ----------
    array
        Dims (axes..., y, x), at most five axes; computed if lazy. Axes with bins, numbers or text labels
        (these are sorted, since gammapy reads them so).
    path
        ``*.fits`` or ``*.fits.gz``.
    overwrite
        Replace a file that is there.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ValueError
        If the array is no map, or has axes that FITS cannot hold.

    Notes
    -----
    The map is the primary HDU; a mask is an extension whose name contains ``MASK``, from which
    readers know that it is one.

    Examples
    --------
    >>> import numpy as np
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.5 deg")
    >>> write_map(grid.assign(ts=(("y", "x"), np.eye(2), {"units": ""})).ts, "ts.fits").name
    'ts.fits'
    """
    target = check_target(path, overwrite)
    name = "map" if array.name is None else str(array.name)
    grid_of(array)
    computed = decode(encode(array).compute())
    if array.dtype == bool:
        hdus = map_hdus(computed, name.upper() if "mask" in name.lower() else "MASK")
        _write([fits.PrimaryHDU(), *hdus], target, overwrite)
    else:
        image, *bands = map_hdus(computed, "PRIMARY")
        _write([fits.PrimaryHDU(image.data, image.header), *bands], target, overwrite)
    return target


def to_fits(cube: xr.Dataset | xr.DataArray, path: str | os.PathLike[str], overwrite: bool = False) -> list[Path]:
    """Write a cube as a file that gammapy reads as MapDataset or MapDatasetOnOff.

    Parameters
    ----------
    cube
        Dataset, or a DataArray with a name. Variables that a dataset does not have (``sqrt_ts``, ...)
        become maps of their own. One file is computed and held in memory at a time.
    path
        ``*.fits`` or ``*.fits.gz``. A cube with the dimension ``obs`` (or ``region``) makes one file for each:
        the path has to have ``{obs}`` (``{region}``) where its label goes.
    overwrite
        Replace files that are there.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    FileExistsError
        If a file exists and `overwrite` is False.
    ValueError
        If units are missing or wrong, or a variable has no place in the layout.

    Notes
    -----
    Exposures are written in m2 s, as gammapy does. Attributes and single numbers are kept in a
    table of our own (``XGAMMA``) and restored by `xgamma.open_cube`.

    Examples
    --------
    >>> import numpy as np
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> axis = xg.energy_axis("1 TeV", "10 TeV", nbin=2)
    >>> grid = xg.sky_grid(SkyCoord(83.63, 22.01, unit="deg"), "1 deg", "0.5 deg", energy=axis)
    >>> cube = grid.assign(counts=(("energy", "y", "x"), np.ones((2, 2, 2)), {"units": ""}))
    >>> to_fits(cube, "cube.fits")[0].name
    'cube.fits'
    """
    if isinstance(cube, xr.DataArray):
        cube = cube.to_dataset(name="map" if cube.name is None else cube.name)
    text = os.fspath(path)
    for prefix in PREFIXES:
        if has_sky(cube, prefix):
            grid_of(cube, prefix)
    for name in cube.data_vars:
        if cube[name].ndim:
            _check(cube, str(name))
    pieces = _pieces(cube, text)
    targets = [check_target(name, overwrite) for name, _ in pieces]
    if len(set(targets)) < len(targets):
        msg = f"two parts of the cube would be written to the same file: {sorted(map(str, targets))[0]}"
        raise ValueError(msg)
    for target, (_, piece) in zip(targets, pieces, strict=True):
        _write(_cube_hdus(decode(encode(piece).compute())), target, overwrite)
    return targets


def _pieces(cube: xr.Dataset, path: str) -> list[tuple[str, xr.Dataset]]:
    """Return file names and the cubes without obs and region dims that go there."""
    pieces = [(path, cube)]
    for dim in SPLIT:
        if dim not in cube.dims:
            continue
        field = f"{{{dim}}}"
        if field not in path:
            msg = (
                f"the cube has the dimension {dim!r} ({cube.sizes[dim]}), a FITS file holds one; write one file each "
                f"with a path such as 'cube_{field}.fits', stack it first, or write Zarr"
            )
            raise ValueError(msg)
        labels = cube[dim].values if dim in cube.coords else np.arange(cube.sizes[dim])
        names = [re.sub(r"[^\w.+-]+", "_", str(label)) for label in labels]
        if len(set(names)) < len(names):
            names = [str(number) for number in range(len(names))]
        pieces = [
            (name.replace(field, label), piece.isel({dim: i}))
            for name, piece in pieces
            for i, label in enumerate(names)
        ]
    return pieces


def _write(hdus: list[Any], target: Path, overwrite: bool) -> None:
    with atomic_path(target, overwrite) as temporary:
        fits.HDUList(hdus).writeto(temporary)


@functools.cache
def _creator() -> str:
    try:
        return f"xgamma {metadata.version('xgamma')}"
    except metadata.PackageNotFoundError:
        return "xgamma"


def _cube_hdus(cube: xr.Dataset) -> list[Any]:
    """Return all HDUs of one file."""
    primary = fits.PrimaryHDU()
    primary.header["NAME"] = str(cube.attrs.get("name", cube.coords["obs"].item() if "obs" in cube.coords else "cube"))
    primary.header["CREATOR"] = _creator()
    primary.header["CREATED"] = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    hdus: list[Any] = [primary]
    names = [n for n in VARIABLES if n in cube] + [n for n in cube.data_vars if n not in VARIABLES]
    singles = {}
    for name in names:
        if name in GTI_VARIABLES or str(name).endswith("_exposure"):
            continue
        if cube[name].ndim == 0:
            singles[str(name)] = cube[name]
            continue
        hdus += _variable_hdus(cube, str(name))
    written = {hdu.name for hdu in hdus}
    for name in ("irf_exposure", "psf_exposure", "edisp_exposure"):
        # exposures that go with no response in the file
        partners = {"PSF_EXPOSURE", "EDISP_EXPOSURE"} if name == "irf_exposure" else {name.upper()}
        if name in cube and not partners & written:
            hdus += map_hdus(_in_units(cube[name], "m2 s"), name.upper(), "irf_")
    if "gti_start" in cube:
        hdus.append(gti_hdu(cube))
    if "meta_table" in cube.attrs:
        columns = {k: np.asarray(v) for k, v in cube.attrs["meta_table"].items()}
        hdus.append(fits.BinTableHDU.from_columns([table_column(k, v) for k, v in columns.items()], name="META_TABLE"))
    hdus.append(attrs_hdu(cube, singles))
    return hdus


def _variable_hdus(cube: xr.Dataset, name: str) -> list[Any]:
    array = _check(cube, name)
    if name not in VARIABLES:
        return map_hdus(array, name.upper())
    hdu, _ = VARIABLES[name]
    if f"{name}_energy_true" in array.dims:
        array = _renamed(array, f"{name}_energy_true")
    if name in ("exposure", *ORDERS) and "energy" not in (array.dims if name == "psf" else ()):
        array = _with_axis(array, "energy_true")
    if name not in ("exposure", "psf") and "migra" not in array.dims:
        array = _with_axis(array, "energy")
    if name in ORDERS:
        array = array.transpose(..., *[d for d in ORDERS[name] if d in array.dims])
        if not {"rad", "migra", "energy"} & set(array.dims):
            needed = "rad" if name == "psf" else "energy or migra"
            msg = f"variable {name!r} has the dims {list(array.dims)}; FITS needs {needed}"
            raise ValueError(msg)
    prefix = "irf_" if name in ORDERS else ""
    meta = {n: f"{cube[n].item()!r} s" for n in ("livetime", "ontime") if n in cube and cube[n].ndim == 0}
    hdus = map_hdus(array, hdu, prefix, meta if name == "exposure" else None)
    return hdus + (_exposure_hdus(cube, name, array) if name in ORDERS else [])


def _check(cube: xr.Dataset, name: str) -> xr.DataArray:
    array = cube[name]
    unit = VARIABLES.get(name, (None, None))[1]
    if array.dtype.kind not in "biuf":
        msg = f"variable {name!r} is of type {array.dtype}; a FITS map holds numbers"
        raise ValueError(msg)
    return array if unit is None or array.dtype == bool else _in_units(array, unit)


def _in_units(array: xr.DataArray, unit: str) -> xr.DataArray:
    try:
        result = to_unit(array, unit)
        if isinstance(array.data, np.ndarray) and array.attrs["units"] != unit and array.dtype == np.float64:
            # what reads the same to the last bit when it is converted back
            result = result.copy(data=invert(array.values, unit, str(array.attrs["units"])))
        return result
    except ValueError as error:
        msg = f"variable {array.name!r} cannot be written: {error}"
        raise ValueError(msg) from error


def _with_axis(array: xr.DataArray, name: str) -> xr.DataArray:
    """Give an array that was selected at one bin its axis back."""
    names = [name, f"{name}_min", f"{name}_max"]
    if name in array.dims or any(n not in array.coords for n in names):
        return array
    axis = axis_of(array, name)
    return array.drop_vars(names).expand_dims(name).assign_coords(axis.coords)


def _renamed(array: xr.DataArray, dim: str) -> xr.DataArray:
    axis = rename_axis(axis_of(array, dim), "energy_true")
    drop = [
        n
        for n in (dim, f"{dim}_min", f"{dim}_max", "energy_true", "energy_true_min", "energy_true_max")
        if n in array.coords
    ]
    return array.drop_vars(drop).rename({dim: "energy_true"}).assign_coords(axis.coords)


def _exposure_hdus(cube: xr.Dataset, name: str, response: xr.DataArray) -> list[Any]:
    """Exposure of a response, with one bin along the axis of the response, as gammapy wants it."""
    source = f"{name}_exposure" if f"{name}_exposure" in cube else "irf_exposure"
    if source not in cube and "irf_y" not in response.dims and "y" not in cube.dims:
        source = "exposure"  # of a spectrum: the weight of its responses
    if source not in cube:
        return []
    array = cube[source]
    if f"{name}_energy_true" in array.dims:
        array = _renamed(array, f"{name}_energy_true")
    array = _with_axis(array, "energy_true")
    if {**array.sizes} != {d: n for d, n in response.sizes.items() if d in ("energy_true", "irf_y", "irf_x")}:
        return []
    array = _in_units(array, "m2 s")
    summed = next(d for d in ("rad", "migra", "energy") if d in response.dims)
    axis = axis_of(response, summed)
    lo, hi = axis[f"{summed}_min"].values[:1], axis[f"{summed}_max"].values[-1:]
    one = bin_axis(summed, lo, hi, axis.attrs["units"], axis.attrs.get("interp", "lin"))
    array = array.expand_dims({summed: 1}, axis=1).assign_coords(one.coords)
    return map_hdus(array, f"{name.upper()}_EXPOSURE", "irf_")


def map_hdus(array: xr.DataArray, name: str, prefix: str = "", meta: dict[str, str] | None = None) -> list[Any]:
    """Return the HDUs of one map: the values, their axes and, without pixels, their region.

    Parameters
    ----------
    array
        Dims (axes..., y, x) or (axes...), in memory.
    name
        Name of the first HDU.
    prefix
        ``"irf_"`` for maps on the grid of the responses.
    meta
        Content of the META card.
    """
    sky = [f"{prefix}y", f"{prefix}x"]
    if any(d in array.dims for d in sky):
        array = array.transpose(..., *sky)
    axes = []
    for dim in [str(d) for d in array.dims if d not in sky]:
        if dim in array.coords and array[dim].dtype.kind in "UO":
            array = array.sortby(dim)  # readers sort the labels, so the planes have to follow
        axes.append(_axis_for(array, dim, name))
    axes.reverse()
    table, cards = bands_hdu(axes, f"{name}_BANDS") if axes else (None, {})
    values = np.ascontiguousarray(array.values)
    values = values.astype(np.uint8) if values.dtype == bool else values
    units = str(array.attrs.get("units", ""))
    if sky[0] not in array.dims:
        return _region_hdus(array, values, table, cards, units, name)
    grid = grid_of(array, prefix)
    header = fits.Header({"WCSAXES": 2})
    header.update(grid.frame.header(grid.y.start, grid.x.start))
    header.update(cards)
    shape = [*reversed(grid.shape), *(axis.size for axis in axes)]
    header["WCSSHAPE"] = f"({','.join(map(str, shape))})"
    header["META"] = json.dumps(meta or {})
    header["BUNIT"] = units
    if table is not None:
        header["BANDSHDU"] = f"{name}_BANDS"
    image = fits.ImageHDU(values, header, name="" if name == "PRIMARY" else name)
    return [image] if table is None else [image, table]


def _axis_for(array: xr.DataArray, dim: str, name: str) -> xr.DataArray:
    if f"{dim}_min" in array.coords and f"{dim}_max" in array.coords:
        return axis_of(array, dim)
    if dim not in array.coords or array[dim].dtype.kind not in "iufUO":
        what = "no bins, numbers or labels that a FITS map could hold"
        msg = f"{name}: dimension {dim!r} has {what}; select or sum it first"
        raise ValueError(msg)
    return array[dim]


def _region_hdus(
    array: xr.DataArray, values: np.ndarray, table: Any, cards: dict[str, Any], units: str, name: str
) -> list[Any]:
    """Region map: one row for each bin of the last axis, the others in a vector."""
    if table is None:
        msg = f"{name} has neither sky nor other dimensions; it is not a map"
        raise ValueError(msg)
    rows = values.reshape(*values.shape, 1, 1)
    code = {"u": "L", "i": "K"}.get(values.dtype.kind, "D")
    rows = rows.astype(bool) if code == "L" else rows.astype(np.int64 if code == "K" else np.float64)
    size = int(np.prod(rows.shape[1:]))
    dim = f"({','.join(str(n) for n in reversed(rows.shape[1:]))})"
    columns = [
        fits.Column("CHANNEL", "K", array=np.arange(len(rows))),
        fits.Column("DATA", f"{size}{code}", unit=units, dim=dim, array=rows),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header.update(cards)
    hdus = [hdu, table]
    texts = [str(array["region"].item())] if "region" in array.coords else []
    if name in OFF_REGIONS and "off_regions" in array.coords:
        texts = [t for t in str(array["off_regions"].item()).split("\n") if t] or texts
    if texts and name not in ("EDISP", "PSF", "EDISP_EXPOSURE", "PSF_EXPOSURE"):
        hdus.append(region_hdu(texts, f"{name}_REGION"))
    return hdus
