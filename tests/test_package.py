"""The package as a whole: what it declares, what it imports, and in which direction."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xgamma"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Name of the distribution where it differs from the name that one imports.
DISTRIBUTION = {"lazy_loader": "lazy-loader", "netCDF4": "netcdf4", "yaml": "pyyaml"}


def distribution_name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower()


def third_party_imports() -> dict[str, set[str]]:
    """Every imported distribution of others, with the modules that import it."""
    found: dict[str, set[str]] = {}
    for path in set(PACKAGE.rglob("*.py")) - {PACKAGE / "conftest.py"}:  # which is not installed
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"relative import in {path}"
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top != "xgamma":
                    distribution = DISTRIBUTION.get(top, top).lower()
                    found.setdefault(distribution, set()).add(str(path.relative_to(ROOT)))
    return found


def distribution():
    try:
        return importlib.metadata.distribution("xgamma")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("xgamma is on the path but not installed, so it has no metadata")


def test_import_loads_no_heavy_library():
    code = "import json, sys; import xgamma; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    loaded = {name.split(".")[0] for name in json.loads(output)}
    assert "xgamma" in loaded
    assert not loaded & {"matplotlib", "numba", "distributed", "regions", "iminuit", "pooch", "rich", "typer"}


def test_every_imported_library_is_declared():
    declared = {distribution_name(r) for r in PROJECT["dependencies"]}
    for extra, requirements in PROJECT["optional-dependencies"].items():
        if extra not in ("test", "docs", "dev"):
            declared |= {distribution_name(r) for r in requirements}
    undeclared = {name: sorted(where) for name, where in third_party_imports().items() if name not in declared}
    assert not undeclared


def test_dependencies_have_lower_bounds_and_no_caps():
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(r for extra in extras for r in extra)]:
        if not requirement.startswith("xgamma["):
            assert re.fullmatch(r"[A-Za-z0-9_.-]+>=[0-9.]+", requirement), requirement


def test_no_private_names_of_other_libraries_are_imported():
    for path in PACKAGE.rglob("*.py"):
        where = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.module.startswith("xgamma"):
                names = [alias.name for alias in node.names]
                # what an index returns from `sel`, and the lazy array of a transform, have no public name in xarray
                known = {"CoordinateTransformIndexingAdapter", "IndexSelResult"}
                in_index = where.startswith("xgamma/coords/") and node.module == "xarray.core.indexing"
                if in_index and set(names) <= known:
                    continue
                parts = [part for part in (*node.module.split("."), *names) if part != "__future__"]
                private = any(part.startswith("_") for part in parts) or node.module.startswith("xarray.core")
                assert not private, f"{where} imports {names} from {node.module}"


def test_import_contracts_hold():
    script = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([script, "--no-cache"], check=False, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_folder_is_a_package():
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    assert all((f / "__init__.py").is_file() for f in folders)


def test_installed_metadata_is_that_of_pyproject():
    metadata = distribution().metadata
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"


def test_entry_points_load():
    points = {(p.group, p.name): p for p in distribution().entry_points}
    assert callable(points["console_scripts", "xgamma"].load())
    backend = points["xarray.backends", "xgamma"].load()

    import xarray as xr

    assert issubclass(backend, xr.backends.BackendEntrypoint)
    assert "xgamma" in xr.backends.list_engines()


def test_version_is_known_at_run_time():
    distribution()
    import xgamma

    assert xgamma.__version__ == PROJECT["version"]


def test_citation_names_the_same_version():
    import yaml

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
