"""YAML text to plain values, with words that name the line."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["parse"]


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice: the second would silently take the place of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is given twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def parse(text: str, name: str = "the text") -> Any:
    """Return the plain values of YAML text.

    Parameters
    ----------
    text
        YAML.
    name
        Where it is from, for messages.

    Raises
    ------
    ValueError
        If the text is empty or not YAML, holds a key twice, or asks for objects.

    Examples
    --------
    >>> parse("value: 1.0")
    {'value': 1.0}
    """
    if not isinstance(text, str):
        msg = f"YAML is a text, not {type(text).__name__}; a file is read by read_models"
        raise TypeError(msg)
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1} of {name}" if mark is not None else name
        raise ValueError(f"{place}: {_words(error)}") from error  # noqa: EM102
    if data is None:
        msg = f"{name} is empty: it needs the key 'components' with a list of models"
        raise ValueError(msg)
    return data


def _words(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or error).strip()
    if "could not determine a constructor for the tag" in problem:
        return f"objects are not made from files: {problem.split('tag ')[-1]} is refused"
    return problem
