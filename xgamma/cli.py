"""The command line: `xgamma demo`, `run`, `info`, `check`, `simulate`, `download`."""

from __future__ import annotations

import difflib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    import xarray as xr

    from xgamma.analysis.demo import Detection

__all__ = ["app", "main"]

app = typer.Typer(
    help="Gamma-ray astronomy on lazy, labelled xarray objects.", no_args_is_help=True, pretty_exceptions_enable=False
)
log = logging.getLogger("xgamma")
#: Warnings that say nothing to who runs a command.
FOR_DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@contextmanager
def _in_words() -> Iterator[None]:
    """Show what goes wrong as one message and warnings as one line each; tracebacks are for ``--debug``."""
    debug = log.isEnabledFor(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in () if debug else FOR_DEVELOPERS:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = _show_warning
        try:
            yield
        except (OSError, ValueError) as error:
            if debug:
                raise
            # what is an argument in Python is an option here
            typer.secho(f"Error: {error}".replace("overwrite=True", "--overwrite"), fg="red", err=True)
            raise typer.Exit(1) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if debug:
                raise
            typer.secho(f"Error inside xgamma: {type(error).__name__}: {error}", fg="red", err=True)
            typer.echo("Please report it with what `xgamma --debug ...` shows.", err=True)
            raise typer.Exit(70) from error


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # a warning is one line, with its kind where it is not our own
    kind = "" if category is UserWarning else f"{category.__name__}: "
    log.warning("Warning: %s%s", kind, " ".join(str(message).split()))


def _version(value: bool) -> None:
    if value:
        import xgamma

        typer.echo(f"xgamma {xgamma.__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
]


@app.callback()
def _options(
    context: typer.Context,
    version: Version = False,  # noqa: ARG001
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    log.propagate = False

    def restore() -> None:
        log.removeHandler(handler)
        log.level, log.propagate = before

    context.call_on_close(restore)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the products.")] = Path("xgamma-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Reduce the sample survey, make ring background and significance maps, and compare with the truth."""
    with _in_words():
        from xgamma.analysis.demo import run_demo

        products, found = run_demo(output, overwrite=overwrite)
        _tell_demo(found)
        _list_products(products.files)
        typer.echo(f"Look first at {products.files['picture']}")


def _tell_demo(found: list[Detection]) -> None:
    """Table of what was simulated and what was found, with the words that a newcomer needs."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(
        f"\nThe sample survey is a simulation: {len(found)} gamma-ray sources under many more background events. "
        "Its event lists were filled into sky maps, and the background of each pixel was taken from a ring around it. "
        "What exceeds it is the excess; it should agree with the simulated events within its error.\n",
    )
    table = Table("source", "simulated", "excess found", "significance", "highest pixel", "distance")
    for item in found:
        table.add_row(
            item.name,
            str(item.simulated),
            f"{item.excess:.0f} ± {item.error:.0f}",
            f"{item.significance:.1f} sigma",
            f"{item.peak:.1f} sigma",
            f"{item.offset:.2f} deg",
        )
    console.print(table)
    console.print(
        "Excess and significance are those of the circles on the maps, which hold nearly all events of a source. "
        "The highest pixel is that of the significance map, whose small disc shows weak sources better; one speaks of "
        "a detection from about 5 sigma on. The distance is that of this pixel from the true position.\n"
    )


def _list_products(files: Mapping[str, Path]) -> None:
    paths = list(files.values())
    typer.echo(f"Written to {paths[0].parent}: " + ", ".join(p.name for p in paths))


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file in the layout of gammapy's AnalysisConfig.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder, by default general.outdir.")] = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Write the cube in pieces, go on after a stop.")] = False,
    update: Annotated[bool, typer.Option("--update", help="As --resume, and take other runs than before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, compute nothing.")] = False,
) -> None:
    """Run the analysis that a configuration file describes."""
    with _in_words():
        from xgamma.analysis.analysis import Analysis
        from xgamma.analysis.config import read_config

        analysis = Analysis(read_config(config))
        if dry_run:
            typer.echo(str(analysis.plan()))
            return
        products = analysis.run(output, overwrite=overwrite, resume=resume, update=update)
        for name, value in products.info.data_vars.items():
            number = f"{float(value):.6g}" if abs(float(value)) >= 1e7 else f"{float(value):.7g}"
            typer.echo(f"{value.attrs['long_name']:32} {number} {value.attrs['units']}".rstrip() + f"  ({name})")
        if products.fit is not None:
            typer.echo(repr(products.fit))
        _list_products(products.files)


@app.command()
def info(path: Annotated[str, typer.Argument(help="DL3 store, cube, map or FITS file.")]) -> None:
    """Say what a store, cube or file holds."""
    with _in_words():
        from xgamma.dl3.store import open_store
        from xgamma.io.describe import describe
        from xgamma.io.fits_file import expand_path

        place = expand_path(path) if "://" not in path else None
        # a folder is a DL3 store unless it is one of Zarr
        is_store = place is not None and place.is_dir() and not (place / "zarr.json").exists()
        typer.echo(repr(open_store(path)) if is_store else describe(path))


@app.command()
def check(path: Annotated[str, typer.Argument(help="DL3 store.")]) -> None:
    """Validate a DL3 store and list every fault; the exit status is 1 if there are errors."""
    with _in_words():
        from xgamma.dl3.check import check_store, summary

        faults = check_store(path)
        for fault in faults:
            typer.echo(str(fault))
        typer.echo(summary(faults))
        if any(fault.severity == "error" for fault in faults):
            raise typer.Exit(1)


class _WithDefault(TyperGroup):
    """A group whose first word may be left out: what is not one of its commands belongs to ``config``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["config", *args]
        return super().parse_args(ctx, args)


simulate = typer.Typer(
    cls=_WithDefault,
    no_args_is_help=True,
    help="Simulate a survey and write it as GADF DL3: `xgamma simulate survey.yaml FOLDER`, or "
    "`xgamma simulate survey FOLDER --runs 1000` for many runs over a region.",
)
app.add_typer(simulate, name="simulate")


@simulate.command("config")
def simulate_config(
    config: Annotated[Path, typer.Argument(help="YAML description of the survey.")],
    output: Annotated[Path, typer.Argument(help="Folder to make.")],
    overwrite: Overwrite = False,
) -> None:
    """Simulate the survey that a YAML file describes; the word config may be left out."""
    with _in_words():
        from xgamma.simulate.config import simulate_from_config

        _tell_survey(simulate_from_config(config, output, overwrite=overwrite), output)


@simulate.command("survey")
def simulate_region(
    output: Annotated[Path, typer.Argument(help="Folder to make.")],
    runs: Annotated[int, typer.Option(help="Number of runs.")] = 100,
    seed: Annotated[int, typer.Option(help="Fixes every event of every run.")] = 0,
    frame: Annotated[str, typer.Option(help="Frame of the region: galactic or icrs.")] = "galactic",
    lon: Annotated[str, typer.Option(help="Longitude of its centre.")] = "0 deg",
    lat: Annotated[str, typer.Option(help="Latitude of its centre.")] = "0 deg",
    width: Annotated[str, typer.Option(help="Width of the region that pointings cover.")] = "60 deg",
    height: Annotated[str, typer.Option(help="Height of the region.")] = "4 deg",
    sources: Annotated[int, typer.Option(help="Number of sources, drawn at random.")] = 20,
    ontime: Annotated[str, typer.Option(help="Time of a run.")] = "28 min",
    energy_min: Annotated[str, typer.Option(help="Lowest energy; a higher one makes fewer events.")] = "0.5 TeV",
    random: Annotated[bool, typer.Option("--random", help="Point at random instead of row by row.")] = False,
    processes: Annotated[bool, typer.Option("--processes", help="Work in processes, a core each.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Simulate many runs over a region, with background and random sources."""
    with _in_words():
        import dask

        from xgamma.simulate.region import simulate_region as make

        with dask.config.set({"scheduler": "processes"} if processes else {}):
            truth = make(
                output,
                (frame, lon, lat),
                (width, height),
                runs,
                n_sources=sources,
                seed=seed,
                ontime=ontime,
                energy_min=energy_min,
                random=random,
                overwrite=overwrite,
            )
        _tell_survey(truth, output)


def _tell_survey(truth: xr.Dataset, output: Path) -> None:
    events = int(truth["simulated"].sum())
    typer.echo(f"{truth.sizes['obs']} runs with {events} events written to {output}")


@app.command()
def download(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; without any they are listed.")] = None,
    path: Annotated[Path | None, typer.Option(help="Folder, by default $GAMMAPY_DATA.")] = None,
) -> None:
    """Fetch public data sets, checked by their checksums."""
    with _in_words():
        from xgamma.dl3.download import data_sets
        from xgamma.dl3.download import download as fetch

        if not names:
            for name, files in data_sets().items():
                typer.echo(f"{name}  ({len(files)} files)")
            return
        known = [*data_sets(), "all"]
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
                msg = f"there is no data set {name!r}; {hint}"
                raise ValueError(msg)
        for name in names:
            typer.echo(f"{name}: {fetch(name, path, progress=True)}")


def main() -> None:
    """Run the command line."""
    app(prog_name="xgamma")
