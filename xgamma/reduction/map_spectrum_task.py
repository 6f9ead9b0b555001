"""Sums over the pixels of regions on plain arrays: what runs on a worker for a tile of a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xgamma.coords.region_pixels import PixelWindow

__all__ = ["RegionPart", "add_sums", "finish_regions", "sum_regions"]

Arrays = dict[str, np.ndarray]

#: Sums over the safe pixels of a region.
SUMS = ("counts", "background", "counts_off", "acceptance", "acceptance_off")


@dataclass(frozen=True, eq=False)
class RegionPart:
    """Pixels of one region on one tile.

    Parameters
    ----------
    number
        Position of the region among those of the task.
    window
        Its pixels, counted from the first one of the tile.
    """

    number: int
    window: PixelWindow


def sum_regions(arrays: Mapping[str, np.ndarray], *, parts: Sequence[RegionPart], number: int, fold: bool) -> Arrays:
    """Return what the pixels of a tile add to each region.

    Parameters
    ----------
    arrays
        Variables of the cube on the tile, shape (..., bin, y, x).
    parts
        Pixels of regions on this tile.
    number
        Number of regions.
    fold
        Also sum the exposure over the pixels that are safe in each bin of energy.

    Returns
    -------
    dict of numpy.ndarray
        ``pixels`` (number,); sums over safe pixels, ``safe`` (number of safe pixels), ``mask_fit`` (any), ``exposure``
        (over all pixels), shape (..., number, bin); ``safe_exposure``, shape (..., number, energy_true, energy).
    """
    result: Arrays = {"pixels": np.zeros(number)}
    for name, array in arrays.items():
        key = "safe" if name == "mask_safe" else name
        result[key] = np.zeros((*array.shape[:-3], number, array.shape[-3]), dtype=bool if key == "mask_fit" else float)
    if fold:
        lead, n_true, n_energy = result["safe"].shape[:-2], arrays["exposure"].shape[-3], arrays["mask_safe"].shape[-3]
        result["safe_exposure"] = np.zeros((*lead, number, n_true, n_energy))
    for part in parts:
        w, i = part.window, part.number
        place = (..., slice(w.y, w.y + w.mask.shape[0]), slice(w.x, w.x + w.mask.shape[1]))
        bins = {name: array[place][..., w.mask] for name, array in arrays.items()}
        _add(result, bins, i, fold)
        result["pixels"][i] += w.mask.sum()
    return result


def _add(result: Arrays, bins: Mapping[str, np.ndarray], i: int, fold: bool) -> None:
    """Add the pixels of a region, arrays of shape (..., bin, pixel)."""
    safe = bins.get("mask_safe")
    for name, values in bins.items():
        if name in SUMS:
            inside = values if safe is None else np.where(safe, values, 0.0)
            result[name][..., i, :] += inside.sum(axis=-1, dtype=float)
        elif name == "mask_safe":
            result["safe"][..., i, :] += values.sum(axis=-1)
        elif name == "mask_fit":
            result["mask_fit"][..., i, :] |= values.any(axis=-1)
        else:
            result[name][..., i, :] += values.sum(axis=-1, dtype=float)
    if fold and safe is not None:
        if (safe == safe[..., :1]).all():
            # the same for all pixels, as it is nearly always
            part = bins["exposure"].sum(axis=-1, dtype=float)[..., :, None] * safe[..., None, :, 0]
        else:
            part = np.einsum("...tp,...ep->...te", bins["exposure"].astype(float), safe.astype(float))
        result["safe_exposure"][..., i, :, :] += part


def add_sums(*sums: Arrays) -> Arrays:
    """Return the sum of what several tiles add."""
    total = {name: values.copy() for name, values in sums[0].items()}
    for more in sums[1:]:
        for name, values in more.items():
            if values.dtype == bool:
                total[name] |= values
            else:
                total[name] += values
    return total


def finish_regions(total: Arrays) -> Arrays:
    """Make the variables of spectra of the sums over all pixels.

    Parameters
    ----------
    total
        As `sum_regions` makes it.

    Returns
    -------
    dict of numpy.ndarray
        Counts and background as they are; ``exposure`` the mean over the pixels; ``mask_safe``; ``coverage``, the part
        of the exposure that is safe, shape (..., number, energy_true, energy); the ``acceptance_off`` that keeps the
        sum of the backgrounds.
    """
    pixels = total["pixels"][:, None]
    result = {name: total[name] for name in (*SUMS, "mask_fit") if name in total}
    if "exposure" in total:
        result["exposure"] = total["exposure"] / pixels
    if "safe_exposure" in total:
        result["mask_safe"] = total["safe"] > 0
        whole = total["exposure"][..., None]
        safe = np.broadcast_to(total["safe"][..., None, :] / pixels[..., None], total["safe_exposure"].shape)
        # without exposure no event comes: pixels will do as a weight
        result["coverage"] = np.divide(total["safe_exposure"], whole, out=safe.copy(), where=whole > 0)
    elif "safe" in total:
        # nothing says which part of the signal comes from a part of the pixels
        result["mask_safe"] = total["safe"] >= pixels
    if "counts_off" in total and "background" in total and "acceptance" in total:
        background = total["background"]
        ratio = np.divide(total["counts_off"], background, out=np.zeros_like(background), where=background > 0)
        result["acceptance_off"] = np.where(background > 0, total["acceptance"] * ratio, total["acceptance_off"])
    return result
