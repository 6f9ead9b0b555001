"""The README's commands are those that the continuous integration runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def readme_commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def ci_commands() -> list[str]:
    lines = (line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines())
    return [line.removeprefix("readme ") for line in lines if line.startswith("readme ")]


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="a source distribution has no .ci")
def test_commands_of_the_readme_are_run_by_ci_in_their_order():
    assert readme_commands() == ci_commands()


def test_readme_begins_with_installation_and_demo_then_tests():
    assert readme_commands()[:4] == [
        "python -m pip install .",
        "xgamma demo",
        "python -m pip install -e '.[test]'",
        "pytest",
    ]


def test_ci_script_can_be_run():
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("a source distribution has no .ci")
    assert os.access(script, os.X_OK)


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
