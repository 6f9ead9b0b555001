"""Configuration of the documentation; it also writes the notebook pages and the lists of the API."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path

import jupytext
import nbformat
import sphinx_autosummary_accessors
import xarray as xr

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

project = "xgamma"
author = "The xgamma developers"
project_copyright = "The xgamma developers"
release = importlib.metadata.version("xgamma")
version = release

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_autosummary_accessors",
    "sphinx_design",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_build", "_templates", "**/.ipynb_checkpoints", "jupyter_execute"]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the parameters carry them in words
numpydoc_show_class_members = False
viewcode_line_numbers = True

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# notebooks run in the build, on the data of $GAMMAPY_DATA where it is set and on the sample data elsewhere
nb_execution_mode = "off" if os.environ.get("XGAMMA_DOCS_EXECUTE", "1") == "0" else "cache"
nb_execution_cache_path = str(DOCS / "_build" / ".jupyter_cache")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600

html_theme = "pydata_sphinx_theme"
html_title = "xgamma"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}

#: Folders of the package in the order of a reader, with their titles.
SECTIONS = {
    "dl3": "Stores, observations and events",
    "coords": "Axes, grids and regions",
    "irf": "Instrument responses",
    "reduction": "Data reduction",
    "background": "Background",
    "models": "Models",
    "fitting": "Fits",
    "estimators": "Estimators",
    "plot": "Plots",
    "analysis": "Analysis from a configuration",
    "simulate": "Simulation",
    "io": "Files",
    "kernels": "Kernels",
}


def public_names(path: Path) -> list[str]:
    """Return what the ``__all__`` of a module says, without importing it."""
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return []
    return []


def first_line(path: Path) -> str:
    """Return the first line of the docstring of a module."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def autosummary(names: list[str], template: str = "") -> str:
    """Return an autosummary table as MyST text."""
    option = f"   :template: {template}\n" if template else ""
    listing = "\n".join(f"   {name}" for name in names)
    return f"```{{eval-rst}}\n.. autosummary::\n   :toctree: items\n{option}\n{listing}\n```\n"


def section_page(folder: str, title: str) -> str:
    """Return the page of one folder of the package: a table for each module with public names."""
    parts = [f"# {title}\n"]
    for path in sorted((ROOT / "xgamma" / folder).glob("*.py")):
        names = [] if path.name == "__init__.py" else public_names(path)
        if names:
            module = f"xgamma.{folder}.{path.stem}"
            parts.append(f"## {module}\n\n{first_line(path)}\n\n{autosummary([f'{module}.{n}' for n in names])}")
    return "\n".join(parts) if len(parts) > 1 else ""


def accessor_page() -> str:
    """Return the page of the accessor, made from what it registers."""
    importlib.import_module("xgamma")
    parts = ["# The accessor `.gamma`\n"]
    for owner in (xr.Dataset, xr.DataArray, xr.DataTree):
        accessor = getattr(owner, "gamma", None)
        if accessor is None:
            continue
        public = [n for n in dir(accessor) if not n.startswith("_")]
        for kind, template in (
            ("method", "autosummary/accessor_method.rst"),
            ("attribute", "autosummary/accessor_attribute.rst"),
        ):
            names = [n for n in public if callable(getattr(accessor, n)) == (kind == "method")]
            if names:
                listing = autosummary([f"{owner.__name__}.gamma.{n}" for n in names], template)
                listing = listing.replace(".. autosummary::", ".. currentmodule:: xarray\n\n.. autosummary::")
                parts.append(f"## {kind.capitalize()}s of a {owner.__name__}\n\n{listing}")
    return "\n".join(parts) if len(parts) > 1 else ""


def write(path: Path, text: str) -> None:
    """Write a page if it changed, so that an unchanged one is not built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_api() -> None:
    """Write the pages of the API to docs/api/generated."""
    folder = DOCS / "api" / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    pages = {"accessor": accessor_page()}
    pages |= {name: section_page(name, title) for name, title in SECTIONS.items()}
    pages = {name: text for name, text in pages.items() if text}
    for name, text in pages.items():
        write(folder / f"{name}.md", text)
    listing = "\n".join(f"generated/{name}" for name in pages)
    write(folder / "contents.txt", f"```{{toctree}}\n:maxdepth: 2\n\n{listing}\n```\n")


def write_notebooks() -> None:
    """Turn the text notebooks into files that MyST-NB runs and shows."""
    folder = DOCS / "notebooks"
    names = sorted(p for p in (ROOT / "notebooks").glob("*") if p.suffix in (".md", ".py"))
    wanted = {f"{p.stem}.ipynb" for p in names} | {"index.md"}
    for old in folder.glob("*"):
        if old.is_file() and old.name not in wanted:
            old.unlink()
    for path in names:
        notebook = jupytext.read(path)
        # a fixed kernel and fixed cell names: the cache compares cells, and must find them unchanged
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"
        write(folder / f"{path.stem}.ipynb", nbformat.writes(notebook))
    listing = "\n".join(p.stem for p in names)
    text = "# Notebooks\n\nEach runs as it stands, on the sample data or on the public data in `$GAMMAPY_DATA`.\n"
    write(folder / "index.md", f"{text}\n```{{toctree}}\n:maxdepth: 1\n\n{listing}\n```\n")


write_api()
write_notebooks()
