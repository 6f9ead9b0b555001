"""Every example of the user guide and of the README runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in p.parts and "generated" not in p.parts]
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def cells(path: Path) -> list[str]:
    """Code of the cells of a page; options of a cell (lines of ':tags:') are left out."""
    return [re.sub(r"\A(:[a-z-]+:.*\n)+", "", code) for code in CELL.findall(path.read_text(encoding="utf-8"))]


def run(codes: list[str], name: str) -> None:
    """Run pieces of code one after the other in one namespace."""
    import matplotlib.pyplot as plt

    namespace: dict[str, object] = {"__name__": "__main__"}
    try:
        for number, code in enumerate(codes):
            exec(compile(code, f"{name}, cell {number}", "exec"), namespace)
    finally:
        plt.close("all")


WITH_CELLS = [p for p in PAGES if cells(p)]


def test_the_guide_has_examples():
    assert len(WITH_CELLS) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_CELLS, ids=[p.stem for p in WITH_CELLS])
def test_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(cells(path), path.name)


def test_readme_example_runs_and_finds_the_source(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert codes, "the README has no example"
    run(codes, "README.md")
    printed = re.search(r"(\d+\.\d) sigma at RA (\d+\.\d+), Dec (-?\d+\.\d+)", capsys.readouterr().out)
    assert printed is not None
    significance, ra, dec = map(float, printed.groups())
    # the brightest source of the sample survey stands at (150.0, -25.0)
    assert significance > 15
    assert abs(ra - 150.0) < 0.05
    assert abs(dec + 25.0) < 0.05


FILE = re.compile(r"`([\w.]+\.(?:zarr|fits|fits\.gz|png|json|yaml|ecsv|dat))`")
MODELS = """
components:
- name: bright
  type: SkyModel
  spectral:
    type: PowerLawSpectralModel
    parameters:
    - {name: index, value: 2}
    - {name: amplitude, value: 1.0e-12, unit: TeV-1 s-1 cm-2}
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:energy_edges moved")
def test_configurations_of_the_guide_run(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from xgamma.cli import app

    text = (ROOT / "docs" / "guide" / "command_line.md").read_text(encoding="utf-8")
    configurations = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    tables = [part.split("\n\n")[0] for part in text.split("| product |")[1:]]
    assert len(configurations) == len(tables) == 2
    (tmp_path / "models.yaml").write_text(MODELS, encoding="utf-8")
    monkeypatch.chdir(ROOT)  # the configurations name data/survey
    for number, (configuration, table) in enumerate(zip(configurations, tables, strict=True)):
        file, folder = tmp_path / f"{number}.yaml", tmp_path / f"out{number}"
        models = f"models_file: {tmp_path / 'models.yaml'}"
        file.write_text(configuration.replace("models_file: models.yaml", models), encoding="utf-8")
        result = CliRunner().invoke(app, ["run", str(file), "--output", str(folder)])
        assert result.exit_code == 0, result.output
        # the table of the page lists what is written
        products = {p.name for p in folder.iterdir() if p.name != "ogip"}
        assert products == set(FILE.findall(table))


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            target = page.parent / link
            if not (target.exists() or target.with_suffix(".md").exists() or "notebooks" in link):
                broken.append((page.name, link))
    assert not broken
