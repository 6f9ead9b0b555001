"""Cubes from the files of the Fermi-LAT tools: counts, exposure, point spread function, energy dispersion."""

from __future__ import annotations

import os
import warnings

import numpy as np
import xarray as xr

from xgamma.coords.bins import axis_of, bin_edges, rename_axis
from xgamma.coords.sky import SkyGrid, grid_of, has_sky
from xgamma.io.fermi_files import KINDS, DrmTable, FermiFile, fermi_file, read_drm, read_good_times, read_psf
from xgamma.io.fermi_maps import counts_map, event_counts, exposure_map, finite, on_nodes
from xgamma.io.fermi_psf import psf_variables
from xgamma.io.provenance import provenance

__all__ = ["open_fermi", "open_fermi_file"]

#: Edges of energy in two files are the same to this part: some hold float32.
SAME = 1e-4
#: Kinds of files that each argument takes.
TAKES = {
    "counts": ("counts", "background", "events", "map"),
    "exposure": ("exposure", "template", "map"),
    "psf": ("psf",),
    "edisp": ("edisp",),
    "background": ("background", "counts", "map"),
}
Path = str | os.PathLike[str]


def open_fermi(
    counts: Path | None = None,
    exposure: Path | None = None,
    psf: Path | None = None,
    edisp: Path | None = None,
    *,
    background: Path | None = None,
    grid: xr.Dataset | None = None,
    energy_true: xr.DataArray | None = None,
    name: str = "Fermi-LAT",
) -> xr.Dataset:
    """Open the files of a Fermi-LAT analysis as one cube; maps are read when they are computed.

    Parameters
    ----------
    counts
        Counts cube of gtbin (CCUBE), HEALPix counts (HEALPIX), or an event list, which is counted onto `grid`. Without,
        all counts are 0: enough to predict or simulate.
    exposure
        Exposure cube of gtexpcube2, on any sky grid or HEALPix. Its energies are nodes, and it is interpolated.
    psf
        Point spread function of gtpsf.
    edisp
        Energy dispersion of gtdrm. ``"identity"`` says that energies are measured as they are; so does None, with a
        warning.
    background
        Counts predicted by gtmodel, on the pixels and energies of the counts.
    grid
        Sky grid with an axis ``energy`` (`sky_grid`), for event lists and HEALPix counts, or without counts. Counts of
        a cube keep their pixels.
    energy_true
        Axis of true energy, from `energy_axis`. By default that of the energy dispersion or of `grid`, else the
        measured energies.
    name
        Name of the cube, to which models may belong.

    Returns
    -------
    xarray.Dataset
        ``counts``, ``background`` (energy, y, x), ``exposure`` (energy_true, y, x; cm2 s), ``psf`` (energy_true, rad;
        sr-1), ``irf_exposure`` (energy_true; cm2 s), ``edisp`` (energy_true, energy), good times; what no file was
        given for is left out. Without ``edisp`` energies are those that are measured.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ImportError
        If a file has HEALPix pixels and xdggs is not installed (``xgamma[healpix]``).
    OSError
        If a file is truncated or not FITS.
    ValueError
        If a file holds something else than was said, energies or pixels of two files do not fit, or true energies
        reach beyond exposure or point spread function.

    Warns
    -----
    UserWarning
        If exposure is given without energy dispersion, or files were made with different response functions.

    Notes
    -----
    The exposure is interpolated between its nodes so that its logarithm goes linearly with the logarithm of energy,
    and bilinearly on the sky, at the middle of each bin (geometric mean of its edges). The point spread function is
    interpolated linearly over the logarithm of energy and between its angles; its mean over each ring is kept, divided
    by its integral over the table. The matrix of the energy dispersion is taken as it is.

    Diffuse emission is a model: `TemplateSpatialModel` reads the galactic one, `create_fermi_isotropic_diffuse_model`
    the isotropic one.

    References
    ----------
    .. [1] https://fermi.gsfc.nasa.gov/ssc/data/analysis/scitools/overview.html

    Examples
    --------
    >>> import xgamma as xg
    >>> from astropy.coordinates import SkyCoord
    >>> center = SkyCoord(0, 0, unit="deg", frame="galactic")
    >>> grid = xg.sky_grid(center, "2 deg", "0.5 deg", energy=xg.energy_axis("10 GeV", "1 TeV", nbin=4))
    >>> open_fermi(grid=grid, edisp="identity").sizes["energy_true"]
    4
    """
    files = {
        role: _file(path, role)
        for role, path in {
            "counts": counts, "exposure": exposure, "psf": psf, "background": background,
            "edisp": None if _is_identity(edisp) else edisp,
        }.items()
        if path is not None
    }  # fmt: skip
    _same_irfs(files)
    cube = _measured(files.get("counts"), grid)
    cube = _with_background(cube, files.get("background"))
    drm = read_drm(files["edisp"].path) if "edisp" in files else None
    cube = cube.assign_coords(_true_axis(cube, drm, grid, energy_true).coords)
    if drm is not None:
        cube = _with_edisp(cube, drm, files["edisp"])
    elif edisp is None and exposure is not None:
        msg = (
            "no energy dispersion was given: energies are taken as measured exactly, which is fair above some GeV; "
            "give the file of gtdrm, or say edisp='identity'"
        )
        warnings.warn(msg, UserWarning, stacklevel=2)
    if "exposure" in files:
        cube = cube.assign(exposure=exposure_map(files["exposure"], cube).variable)
    if "psf" in files:
        cube = _with_psf(cube, files["psf"])
    if "counts" in files:
        cube = cube.assign(read_good_times(files["counts"].path))
    inputs = {role: os.path.basename(file.path) for role, file in files.items()}
    cube.attrs = {"name": name, "telescope": "Fermi-LAT", **provenance(settings={"open_fermi": inputs})}
    return cube


def _is_identity(edisp: Path | None) -> bool:
    return isinstance(edisp, str) and edisp == "identity"


def _file(path: Path, role: str) -> FermiFile:
    """Say what a file is, and refuse what the argument does not take."""
    file = fermi_file(path)
    if file.kind not in TAKES[role]:
        what = KINDS.get(file.kind, "no file of the Fermi-LAT tools that is known here")
        wanted = " or ".join(KINDS[k] for k in TAKES[role] if k != "map")
        msg = f"{role}={os.fspath(path)!r} is {what}, with the HDUs {list(file.names)}; it should be {wanted}"
        raise ValueError(msg)
    return file


def _same_irfs(files: dict[str, FermiFile]) -> None:
    known = {role: f.irfs for role, f in files.items() if f.irfs and role != "counts"}
    if len(set(known.values())) > 1:
        text = ", ".join(f"{role} of {irfs}" for role, irfs in known.items())
        msg = f"the files were made with different response functions: {text}"
        warnings.warn(msg, UserWarning, stacklevel=3)


def _measured(file: FermiFile | None, grid: xr.Dataset | None) -> xr.Dataset:
    """Cube of measured energies and pixels, with counts where a file has them."""
    if file is None or file.healpix or file.kind == "events":
        if grid is None:
            what = (
                "HEALPix counts need" if file and file.healpix else "an event list needs" if file else "give counts, or"
            )
            msg = f"{what} grid=: a sky grid with an axis 'energy', for example sky_grid(..., energy=energy_axis(...))"
            raise ValueError(msg)
        if not has_sky(grid):
            msg = f"grid has no sky pixels (dims y, x and wcs), only {list(map(str, grid.dims))}; make it with sky_grid"
            raise ValueError(msg)
        coords = grid_of(grid).coords()
        if file is None or not file.healpix:
            coords = coords.merge(_energy_of(grid).coords).coords
        cube = xr.Dataset(coords=coords)
        if file is None:
            return cube.assign(counts=_no_counts(cube))
        if file.kind == "events":
            return cube.assign(counts=event_counts(file, cube))
    else:
        cube = xr.Dataset()
    counts = counts_map(file, cube, "counts")
    if grid is not None:
        _check_same(counts, grid, file)
    return counts.to_dataset(name="counts")


def _no_counts(cube: xr.Dataset) -> xr.Variable:
    import dask.array as da

    shape = (cube.sizes["energy"], cube.sizes["y"], cube.sizes["x"])
    return xr.Variable(("energy", "y", "x"), da.zeros(shape, chunks=-1), {"units": "", "long_name": "Counts"})


def _energy_of(grid: xr.Dataset) -> xr.DataArray:
    try:
        axis = axis_of(grid, "energy")
    except ValueError as error:
        msg = f"grid has no axis of measured energy: {error}; sky_grid(..., energy=energy_axis(...)) makes one"
        raise ValueError(msg) from error
    bin_edges(axis)
    return axis


def _check_same(counts: xr.DataArray, grid: xr.Dataset, file: FermiFile) -> None:
    """Refuse a grid that counts are not on: they are binned already."""
    if has_sky(grid) and grid_of(grid) != grid_of(counts):
        msg = (
            f"{file.path}: counts are on {_sky_text(grid_of(counts))}, grid is {_sky_text(grid_of(grid))}; leave grid "
            "out and cut the cube (.gamma.cutout), or give the event list"
        )
        raise ValueError(msg)
    if "energy_min" in grid.coords:
        _check_energies(axis_of(counts, "energy"), axis_of(grid, "energy"), file.path, "grid")


def _sky_text(grid: SkyGrid) -> str:
    return f"{grid.frame}, {grid.shape[1]} x {grid.shape[0]} pixels"


def _check_energies(first: xr.DataArray, second: xr.DataArray, path: str, other: str) -> None:
    one, two = bin_edges(first), bin_edges(second)
    if one.size != two.size or not np.allclose(one, two, rtol=SAME, atol=0):
        msg = (
            f"{path} has {one.size - 1} bins of energy from {one[0]:g} to {one[-1]:g} TeV, {other} has {two.size - 1} "
            f"from {two[0]:g} to {two[-1]:g} TeV; both must be the same"
        )
        raise ValueError(msg)


def _with_background(cube: xr.Dataset, file: FermiFile | None) -> xr.Dataset:
    if file is None:
        return cube
    background = counts_map(file, cube, "background")
    if not file.healpix and grid_of(background) != grid_of(cube):
        msg = (
            f"{file.path}: the background is on {_sky_text(grid_of(background))}, the counts are on "
            f"{_sky_text(grid_of(cube))}; both must be the same"
        )
        raise ValueError(msg)
    _check_energies(axis_of(background, "energy"), axis_of(cube, "energy"), file.path, "the counts")
    return cube.assign(background=background.variable)


def _true_axis(
    cube: xr.Dataset, drm: DrmTable | None, grid: xr.Dataset | None, given: xr.DataArray | None
) -> xr.DataArray:
    """Axis of true energy: what was given, that of the energy dispersion, of the grid, or the measured one."""
    if given is not None:
        given = rename_axis(axis_of(given, str(given.name)), "energy_true")
        bin_edges(given, "energy_true")
    if drm is not None:
        if given is not None:
            _check_true(given, drm)
        return drm.energy_true
    if given is not None:
        return given
    if grid is not None and "energy_true_min" in grid.coords:
        return axis_of(grid, "energy_true")
    return rename_axis(axis_of(cube, "energy"), "energy_true")


def _check_true(given: xr.DataArray, drm: DrmTable) -> None:
    one, two = bin_edges(given, "energy_true"), bin_edges(drm.energy_true, "energy_true")
    if one.size != two.size or not np.allclose(one, two, rtol=SAME, atol=0):
        msg = (
            f"energy_true has {one.size - 1} bins from {one[0]:g} to {one[-1]:g} TeV, the energy dispersion has "
            f"{two.size - 1} from {two[0]:g} to {two[-1]:g} TeV; leave energy_true out"
        )
        raise ValueError(msg)


def _with_edisp(cube: xr.Dataset, drm: DrmTable, file: FermiFile) -> xr.Dataset:
    edges, own = bin_edges(cube), np.append(drm.low, drm.high[-1])
    if edges.size != own.size or not np.allclose(edges, own, rtol=SAME, atol=0):
        msg = (
            f"{file.path}: the energy dispersion is for {own.size - 1} measured energies from {own[0]:g} to "
            f"{own[-1]:g} TeV, the counts have {edges.size - 1} from {edges[0]:g} to {edges[-1]:g} TeV; run gtdrm with "
            "the counts cube"
        )
        raise ValueError(msg)
    attrs = {"units": "", "long_name": "Energy dispersion"}
    return cube.assign(edisp=(("energy_true", "energy"), drm.matrix, attrs))


def _with_psf(cube: xr.Dataset, file: FermiFile) -> xr.Dataset:
    variables, rad = psf_variables(read_psf(file.path), axis_of(cube, "energy_true"), file.path)
    return cube.assign_coords(rad.coords).assign({n: v.variable for n, v in variables.items()})


def open_fermi_file(path: Path) -> xr.Dataset | None:
    """Open one file of the Fermi-LAT tools on its own axes; None where it is something else.

    Parameters
    ----------
    path
        Counts or exposure on sky pixels, point spread function or energy dispersion.

    Returns
    -------
    xarray.Dataset or None
        ``counts`` or ``background`` with good times; ``exposure`` at the nodes of its energies; ``psf`` and
        ``irf_exposure`` with ``energy_true`` in bins around the nodes; ``edisp``.
    """
    file = fermi_file(path)
    if file.healpix or file.kind not in ("counts", "background", "exposure", "psf", "edisp"):
        return None
    if file.kind in ("counts", "background"):
        cube = counts_map(file, xr.Dataset(), file.kind).to_dataset(name=file.kind).assign(read_good_times(file.path))
    elif file.kind == "exposure":
        cube = finite(on_nodes(file), file.path).to_dataset(name="exposure")
    elif file.kind == "psf":
        table = read_psf(file.path)
        variables, rad = psf_variables(table, None, file.path)
        cube = xr.Dataset(coords=variables["psf"].coords).assign_coords(rad.coords).assign(variables)
    else:
        drm = read_drm(file.path)
        from xgamma.coords.bins import bin_axis

        energy = bin_axis("energy", drm.low, drm.high, "TeV", long_name="Energy")
        cube = xr.Dataset(coords=drm.energy_true.coords).assign_coords(energy.coords)
        cube = _with_edisp(cube, drm, file)
    cube.attrs = {"telescope": "Fermi-LAT"}
    return cube
