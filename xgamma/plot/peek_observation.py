"""A look at a run: its events on the sky, in energy, time and offset, and its responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from astropy.coordinates import SkyCoord
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xgamma.coords.grid import sky_grid
from xgamma.coords.sky import grid_of
from xgamma.dl3.gti import gti_duration, gti_union
from xgamma.dl3.times import to_time
from xgamma.kernels.sphere import separation, to_vectors
from xgamma.plot.irf import plot_aeff, plot_background, plot_edisp, plot_psf, plot_rad_max
from xgamma.plot.sky import plot_map, sky_axes
from xgamma.plot.style import LINES, axis_label

if TYPE_CHECKING:
    from xgamma.dl3.observation import Observation

__all__ = ["peek_observation"]

#: Pixels along each side of the map of events.
MAP_PIXELS = 80


def peek_observation(obs: Observation) -> Figure:
    """Show a run: where and when its events are, their energies and offsets, and its responses.

    Parameters
    ----------
    obs
        Run of a store. Its files are opened once.

    Returns
    -------
    matplotlib.figure.Figure
        Up to eight panels; what the run does not have is left out.

    Raises
    ------
    ValueError
        If the run has neither events nor responses.

    Examples
    --------
    >>> from xgamma.dl3.observation import Observation
    >>> peek_observation(Observation(1, ()))
    Traceback (most recent call last):
    ...
    ValueError: run 1 has neither events nor responses to show; its index names []
    """
    panels: list[tuple[bool, Callable[..., Any]]] = []
    title = [f"Run {obs.obs_id}"]
    with obs.open() as files:
        if "events" in obs.available:
            events, gti, header = files.events(["ra", "dec", "energy", "time"]), files.gti(), files.header("events")
            middle = float(0.5 * (gti["gti_start"].min() + gti["gti_stop"].max())) if gti.sizes["gti"] else float("nan")
            if not np.isfinite(middle):
                middle = float(events["time"].mean()) if events.sizes["event"] else 0.0
            center = SkyCoord(*files.pointing().icrs(middle), unit="deg")
            title += [str(header.get("TELESCOP", "")).strip(), to_time(np.array(middle)).utc.iso[:16]]
            title += [f"{gti_duration(gti) / 60:.1f} min", f"{events.sizes['event']} events"]
            panels += _event_panels(events, gti, center)
        panels += _response_panels(obs, files)
    if not panels:
        msg = f"run {obs.obs_id} has neither events nor responses to show; its index names {list(obs.available)}"
        raise ValueError(msg)
    ncols = min(len(panels), 4)
    nrows = -(-len(panels) // ncols)
    fig = plt.figure(figsize=(4.7 * ncols, 4.0 * nrows), layout="compressed")
    places = fig.add_gridspec(nrows, ncols)
    for number, (on_sky, draw) in enumerate(panels):
        place = places[divmod(number, ncols)]
        if on_sky:
            draw(fig, place)
        else:
            draw(fig.add_subplot(place, box_aspect=1.0))
    fig.suptitle(", ".join(t for t in title if t))
    return fig


def _event_panels(events: xr.Dataset, gti: xr.Dataset, center: SkyCoord) -> list[tuple[bool, Callable[..., Any]]]:
    vectors = to_vectors(events["ra"].values, events["dec"].values)
    offset = separation(vectors, to_vectors(np.asarray(center.ra.deg), np.asarray(center.dec.deg)))
    reach = 1.15 * float(np.percentile(offset, 98.0)) if offset.size else 2.5
    return [
        (True, lambda fig, place: _plot_events_on_sky(fig, place, events, center, max(reach, 0.1))),
        (False, lambda ax: _plot_energies(ax, events["energy"].values)),
        (False, lambda ax: _plot_rate(ax, events["time"].values, gti)),
        (False, lambda ax: _plot_offsets(ax, offset, max(reach, 0.1))),
    ]


def _plot_events_on_sky(fig: Figure, place: Any, events: xr.Dataset, center: SkyCoord, reach: float) -> None:
    """Counts on a tangential map around the pointing, which a cross marks."""
    width, binsize = 2 * reach * u.deg, 2 * reach / MAP_PIXELS * u.deg
    sky = sky_grid(center.icrs, width, binsize, proj="TAN")
    grid = grid_of(sky)
    y, x = grid.sky_to_pixel(events["ra"].values, events["dec"].values)
    seen = np.isfinite(y) & np.isfinite(x)
    edges = [np.append(np.asarray(r), r.stop) - 0.5 for r in (grid.y, grid.x)]
    counts, *_ = np.histogram2d(y[seen], x[seen], bins=edges)
    image = xr.DataArray(counts, dims=("y", "x"), coords=grid.coords(), name="counts", attrs={"units": ""})
    ax = sky_axes(image, fig, place)
    plot_map(image, ax, stretch="sqrt", vmin=0.0, label="Events per pixel", title="Events (cross: pointing)")
    row, column = grid.sky_to_pixel(center.icrs.ra.deg, center.icrs.dec.deg)
    ax.plot(float(column), float(row), marker="+", markersize=10, color="white", linestyle="none", label="Pointing")


def _plot_energies(ax: Axes, energy: np.ndarray) -> None:
    if energy.size:
        # ten bins per decade, from whole tenths of a decade
        lo, hi = np.floor(10 * np.log10(energy.min())), np.floor(10 * np.log10(energy.max())) + 1
        edges = np.logspace(lo / 10, hi / 10, int(hi - lo) + 1)
        ax.stairs(np.histogram(energy, edges)[0], edges, color=LINES[0], linewidth=1.4)
        ax.set(xscale="log", yscale="log", xlim=(edges[0], edges[-1]))
        ax.set_ylim(bottom=0.5)
    ax.set_xlabel(axis_label("Energy", "TeV"))
    ax.set_ylabel("Events per bin")
    ax.grid(alpha=0.3)


def _plot_rate(ax: Axes, time: np.ndarray, gti: xr.Dataset) -> None:
    """Rate of events in minutes since the start; grey outside of the good time intervals."""
    good = gti_union(gti)
    start, stop = good["gti_start"].values, good["gti_stop"].values
    everything = np.concatenate([time, start, stop])
    if everything.size and np.ptp(everything) > 0:
        first, last = everything.min(), everything.max()
        edges = np.linspace(first, last, 31)
        counts = np.histogram(time, edges)[0]
        # only the good part of a bin counts as its time
        inside = np.clip(np.minimum(edges[1:, None], stop) - np.maximum(edges[:-1, None], start), 0, None).sum(axis=1)
        rate = np.divide(counts, inside, out=np.full(len(counts), np.nan), where=inside > 0)
        minutes = (edges - first) / 60
        ax.set_facecolor("0.92")
        for lo, hi in zip(start, stop, strict=True):
            ax.axvspan((lo - first) / 60, (hi - first) / 60, color="white", zorder=0)
        ax.stairs(rate, minutes, color=LINES[0], linewidth=1.4)
        error = np.divide(np.sqrt(counts), inside, out=np.full(len(counts), np.nan), where=inside > 0)
        middle = 0.5 * (minutes[1:] + minutes[:-1])
        ax.errorbar(middle, rate, error, fmt="none", color=LINES[0], linewidth=1.0)
        ax.set_xlim(minutes[0], minutes[-1])
        ax.set_ylim(bottom=0.0)
    ax.set_xlabel(axis_label("Time since start", "min"))
    ax.set_ylabel(axis_label("Event rate", "s-1"))


def _plot_offsets(ax: Axes, offset: np.ndarray, reach: float) -> None:
    """Events per solid angle over the square of the offset: flat for a flat acceptance."""
    edges = np.linspace(0.0, reach**2, 41)
    ax.stairs(np.histogram(offset**2, edges)[0], edges, color=LINES[0], linewidth=1.4)
    ax.set_xlim(0.0, reach**2)
    ax.set_xlabel(axis_label("Squared offset from pointing", "deg2"))
    ax.set_ylabel("Events per bin")
    ax.grid(alpha=0.3)


def _response_panels(obs: Observation, files: Any) -> list[tuple[bool, Callable[..., Any]]]:
    """One panel for each response that the run has."""
    drawings: dict[str, tuple[str, Callable[..., Any]]] = {
        "aeff": ("Effective area", plot_aeff),
        "edisp": ("Energy dispersion", lambda irf, ax: plot_edisp(irf, ax, kind="bias")),
        "psf": ("Point spread function", plot_psf),
        "bkg": ("Background", lambda irf, ax: plot_background(irf, ax, kind="image")),
        "rad_max": ("Selection radius", plot_rad_max),
    }
    panels: list[tuple[bool, Callable[..., Any]]] = []
    for name, (title, draw) in drawings.items():
        if name in obs.available:
            panels.append((False, _titled(draw, files.irf(name), title)))
    return panels


def _titled(draw: Callable[..., Any], irf: Any, title: str) -> Callable[[Axes], None]:
    def panel(ax: Axes) -> None:
        draw(irf, ax=ax)
        ax.set_title(f"{title}, {ax.get_title()}" if ax.get_title() else title)

    return panel
