"""Every notebook runs from its first cell to its last, on the sample data and on the real data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").glob("*") if p.suffix in (".md", ".py", ".ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS, f"no notebook in {ROOT / 'notebooks'}"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of jupyter's own machinery; the kernel is a process of its own
@pytest.mark.parametrize("data", ["sample", pytest.param("real", marks=pytest.mark.real_data)])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_notebook_runs(path, data, tmp_path, monkeypatch, request):
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    if data == "real":
        monkeypatch.setenv("GAMMAPY_DATA", str(request.getfixturevalue("gammapy_data")))
    else:
        monkeypatch.delenv("GAMMAPY_DATA", raising=False)
    # the kernel takes the inline backend, as a reader's does
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    notebook = jupytext.read(path)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()

    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert any("image/png" in o.get("data", {}) for o in outputs), "a notebook without a picture"
    # a library may deprecate what another one calls; every other warning is one that a reader would see
    text = [o["text"] for o in outputs if o.get("name") == "stderr"]
    warned = [t for t in text if re.search(r"(?<!Deprecation)Warning\b", t)]
    assert not warned, "\n".join(warned)
