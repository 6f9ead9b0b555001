"""The command line: `xgamma demo`, `run`, `info`, `check`, `simulate`, `download`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "main"]

app = typer.Typer(
    help="Gamma-ray astronomy on lazy, labelled xarray objects.", no_args_is_help=True, pretty_exceptions_enable=False
)

Overwrite = Annotated[bool, typer.Option(help="Replace what is there.")]


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Show what went wrong as one message; a traceback is for faults of xgamma's own."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        if logging.getLogger("xgamma").isEnabledFor(logging.DEBUG):
            raise
        typer.secho(f"Error: {error.args[0] if isinstance(error, KeyError) else error}", fg="red", err=True)
        raise typer.Exit(1) from error


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option(help="Show tracebacks and debug messages.")] = False,
) -> None:
    import xgamma

    if version:
        typer.echo(f"xgamma {xgamma.__version__}")
        raise typer.Exit
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(message)s")
    logging.getLogger("xgamma").setLevel(logging.DEBUG if debug else logging.INFO)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the products.")] = Path("xgamma-demo"),
    overwrite: Overwrite = False,
) -> None:
    """Reduce the sample survey, make ring background and significance maps, and compare with the truth."""
    from rich.console import Console
    from rich.table import Table

    with _errors_in_words():
        from xgamma.analysis.demo import run_demo

        products, found = run_demo(output, overwrite=overwrite)
    table = Table("source", "simulated events", "excess", "significance", "peak of the map", "distance", title="Found")
    for item in found:
        table.add_row(
            item.name,
            str(item.simulated),
            f"{item.excess:.0f} ± {item.error:.0f}",
            f"{item.significance:.1f} sigma",
            f"{item.peak:.1f} sigma",
            f"{item.offset:.2f} deg",
        )
    console = Console()
    console.print(table)
    _list_products(products.files)


def _list_products(files: object) -> None:
    paths = [Path(p) for p in dict(files).values()]  # type: ignore[call-overload]
    typer.echo(f"Written to {paths[0].parent}: " + ", ".join(p.name for p in paths))


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file in the layout of gammapy's AnalysisConfig.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder, by default general.outdir.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Run the analysis that a configuration file describes."""
    with _errors_in_words():
        from xgamma.analysis.analysis import Analysis
        from xgamma.analysis.config import read_config

        settings = read_config(config)
        logging.getLogger("xgamma").setLevel(settings.general.log.level.upper())
        products = Analysis(settings).run(output, overwrite=overwrite)
    for name, value in products.info.data_vars.items():
        typer.echo(f"{value.attrs['long_name']:40} {float(value):.6g} {value.attrs['units']}  ({name})")
    _list_products(products.files)


@app.command()
def info(path: Annotated[str, typer.Argument(help="DL3 store, cube, map or FITS file.")]) -> None:
    """Say what a store, cube or file holds."""
    with _errors_in_words():
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
    with _errors_in_words():
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
    with _errors_in_words():
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
    with _errors_in_words():
        from xgamma.dl3.download import data_sets
        from xgamma.dl3.download import download as fetch

        if not names:
            for name, files in data_sets().items():
                typer.echo(f"{name}  ({len(files)} files)")
            return
        for name in names:
            typer.echo(f"{name}: {fetch(name, path, progress=True)}")


def main() -> None:
    """Run the command line."""
    app()
