"""The names that users import first are documented in full."""

from __future__ import annotations

import inspect
import re

import pytest

import xgamma


def sections(text: str) -> dict[str, str]:
    """Split a numpydoc docstring at its underlined headings."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.cleandoc(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_parameters(section: str) -> list[str]:
    """Names of a Parameters section; several may share a line."""
    lines = [line.split(" : ")[0] for line in section.splitlines() if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for line in lines for name in line.split(",")]


def test_sections_and_names_are_read_from_a_docstring():
    text = "Do it.\n\nParameters\n----------\na, b : int\n    Two.\n*args\n    More.\n\nReturns\n-------\nint\n"
    found = sections(text)
    assert list(found) == ["Parameters", "Returns"]
    assert documented_parameters(found["Parameters"]) == ["a", "b", "args"]


@pytest.mark.parametrize("name", xgamma.__all__)
def test_public_function_is_documented_in_full(name):
    function = getattr(xgamma, name)
    if not inspect.isfunction(function):
        return
    assert function.__doc__, f"{name} has no docstring"
    found = sections(function.__doc__)
    signature = inspect.signature(function)
    assert documented_parameters(found.get("Parameters", "")) == list(signature.parameters)
    assert "Examples" in found
    if signature.return_annotation not in ("None", None):
        assert "Returns" in found


@pytest.mark.parametrize("name", xgamma.__all__)
def test_public_name_is_defined_and_belongs_to_the_package(name):
    found = getattr(xgamma, name)
    assert name in dir(xgamma)
    if inspect.isfunction(found) or inspect.isclass(found):
        assert found.__module__.startswith("xgamma.")
        assert found.__doc__
