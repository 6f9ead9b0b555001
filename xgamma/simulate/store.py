"""Stores in the making: what all simulations that write one share."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xgamma.coords.units import to_value
from xgamma.io.fits_file import open_fits
from xgamma.irf.read import read_irf
from xgamma.simulate.response import Responses, prepare_responses
from xgamma.simulate.truth import TRUTH_FILE

__all__ = ["check_target", "chosen_energies", "labelled_counts", "load_responses", "new_store", "warn_unseen"]

HDU_NAMES = {"aeff": "AEFF", "edisp": "EDISP", "psf": "PSF", "bkg": "BKG"}
#: A quick compression: a thorough one takes ten times as long for nothing, as mantissas are random.
GZIP_LEVEL = 5
#: Step to which times are rounded, about a microsecond: a power of two leaves short mantissas.
TIME_STEP = 2.0**-20


def chosen_energies(energy_range: Any) -> tuple[float, float]:
    """Return the lowest and highest reconstructed energy in TeV.

    Raises
    ------
    ValueError
        If they are not two ascending energies.
    """
    limits = tuple(np.ravel(to_value(list(energy_range), "TeV", "energy_range")).tolist())
    if len(limits) != 2 or not 0 <= limits[0] < limits[1]:
        msg = f"energy_range={energy_range!r} must be two ascending energies"
        raise ValueError(msg)
    return limits[0], limits[1]


def check_target(target: Path, overwrite: bool) -> None:
    """Say if a folder may not be written."""
    if not target.exists():
        return
    if not overwrite:
        msg = f"{target} exists; give overwrite=True to replace it"
        raise FileExistsError(msg)
    if not target.is_dir() or (any(target.iterdir()) and not (target / TRUTH_FILE).is_file()):
        msg = f"{target} is no simulated survey (it has no {TRUTH_FILE}), so it is not replaced; choose another folder"
        raise FileExistsError(msg)


@contextmanager
def new_store(target: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a folder with ``data`` inside, which gets the name `target` at the end and vanishes after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        (draft / "data").mkdir()
        yield draft
        draft.chmod(0o755)
        _move_into_place(draft, target, overwrite)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move_into_place(draft: Path, target: Path, overwrite: bool) -> None:
    """Give a finished folder its name."""
    check_target(target, overwrite)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.replace(old / target.name)
        draft.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        draft.replace(target)


@lru_cache(maxsize=4)
def load_responses(
    files: tuple[tuple[str, tuple[str, str]], ...], energy_range: tuple[float, float], background: bool = True
) -> Responses:
    """Read and prepare responses, once per process."""
    irfs: dict[str, Any] = {"aeff": None, "psf": None, "edisp": None, "bkg": None}
    for name, (file, hdu) in files:
        with open_fits(file) as hdus:
            irfs[name] = read_irf(hdus[hdu])
    return prepare_responses(irfs, energy_range, background=background)


def labelled_counts(
    obs_ids: Sequence[Any], sources: Sequence[str], counts: np.ndarray, pointings: Sequence[tuple[float, float]]
) -> xr.Dataset:
    """Label simulated and expected counts, shape (runs, 2, components), with runs, components and pointings in deg."""
    coords = {"obs": list(obs_ids), "component": ["background", *sources]}
    dims = ("obs", "component")
    variables = {"simulated": (dims, counts[:, 0].astype(np.int64)), "expected": (dims, counts[:, 1])}
    truth = xr.Dataset({n: (d, v, {"units": ""}) for n, (d, v) in variables.items()}, coords=coords)
    ra, dec = zip(*pointings, strict=True)
    return truth.assign_coords({f"{n}_pnt": ("obs", list(v), {"units": "deg"}) for n, v in (("ra", ra), ("dec", dec))})


def warn_unseen(truth: xr.Dataset) -> None:
    """Say which sources no run sees."""
    total = truth["expected"].sum("obs")
    unseen = [str(c) for c in truth["component"].values if float(total.sel(component=c)) == 0]
    if unseen:
        msg = f"{unseen} lie outside the effective area of all {truth.sizes['obs']} runs: no events come from there"
        warnings.warn(msg, UserWarning, stacklevel=3)
