"""The command line: `xgamma demo`, `run`, `info`, `check`, `simulate`, `download`."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xgamma.analysis.demo import Detection

__all__ = ["app", "main"]

app = typer.Typer(
    help="Gamma-ray astronomy on lazy, labelled xarray objects.", no_args_is_help=True, pretty_exceptions_enable=False
)
log = logging.getLogger("xgamma")

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@contextmanager
def _in_words() -> Iterator[None]:
    """Show what goes wrong as one message and warnings as one line each; tracebacks are for ``--debug``."""
    debug = log.isEnabledFor(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = _show_warning
        try:
            yield
        except (OSError, ValueError) as error:
            if debug:
                raise
            typer.secho(f"Error: {error}", fg="red", err=True)
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


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
) -> None:
    if version:
        import xgamma

        typer.echo(f"xgamma {xgamma.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
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
        typer.echo(f"Look at {os.path.relpath(products.files['picture'])} first.")


def _tell_demo(found: list[Detection]) -> None:
    """Table of what was simulated and what was found, with the words that a newcomer needs."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"\nThe sample survey is a simulation: {len(found)} gamma-ray sources under many more background events. "
        "Its event lists were filled into sky maps, the background of each pixel was taken from a ring around it, and what "
        "exceeds it is the excess: it should agree with the simulated events within its error.\n",
    )
    table = Table("source", "simulated events", "found (excess)", "significance", "highest pixel of the map")
    for item in found:
        table.add_row(
            item.name,
            str(item.simulated),
            f"{item.excess:.0f} ± {item.error:.0f}",
            f"{item.significance:.1f} sigma",
            f"{item.peak:.1f} sigma, {item.offset:.2f} deg away",
        )
    console.print(table)
    console.print(
        "The significance is how unlikely it is that background alone makes such an excess; 5 sigma and more count as a "
        "detection.\n"
    )


def _list_products(files: Mapping[str, Path]) -> None:
    paths = list(files.values())
    typer.echo(f"Written to {paths[0].parent}: " + ", ".join(p.name for p in paths))


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file in the layout of gammapy's AnalysisConfig.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder, by default general.outdir.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Run the analysis that a configuration file describes."""
    with _in_words():
        from xgamma.analysis.analysis import Analysis
        from xgamma.analysis.config import read_config

        products = Analysis(read_config(config)).run(output, overwrite=overwrite)
        for name, value in products.info.data_vars.items():
            number = f"{float(value):.6g}" if abs(float(value)) >= 1e7 else f"{float(value):.7g}"
            typer.echo(f"{value.attrs['long_name']:32} {number} {value.attrs['units']}".rstrip() + f"  ({name})")
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


@app.command()
def simulate(
    config: Annotated[Path, typer.Argument(help="YAML description of the survey.")],
    output: Annotated[Path, typer.Argument(help="Folder to make.")],
    overwrite: Overwrite = False,
) -> None:
    """Simulate a survey and write it as GADF DL3."""
    with _in_words():
        from xgamma.simulate.config import simulate_from_config

        truth = simulate_from_config(config, output, overwrite=overwrite)
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
        unknown = [n for n in names if n not in known]
        if unknown:
            msg = f"there is no data set {unknown}; there are {', '.join(known)}"
            raise ValueError(msg)
        for name in names:
            typer.echo(f"{name}: {fetch(name, path, progress=True)}")


def main() -> None:
    """Run the command line."""
    app(prog_name="xgamma")
