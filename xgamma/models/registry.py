"""Which class a type in a file stands for: by kind and tag."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable

__all__ = ["find_class", "nearest", "register", "tags"]

#: Modules of this package that hold models; they are imported when a type is first looked up.
MODULES: dict[str, tuple[str, ...]] = {
    "spectral": (
        *("power_law", "broken", "cutoff", "log_parabola", "norm", "gaussian", "template", "ebl", "naima", "reference"),
        "compound",
    ),
    "spatial": ("spatial_shapes", "spatial_disk", "spatial_template", "spatial_template_nd", "spatial_norm"),
    "temporal": ("temporal_shapes", "temporal_template", "temporal_phase"),
    "nuisance": ("systematics",),
    "prior": ("prior",),
    "model": ("sky_model", "background_model", "systematics"),
}

_classes: dict[str, dict[str, type]] = {kind: {} for kind in MODULES}
_loaded: set[str] = set()


def register(kind: str, cls: type) -> None:
    """Make a class known under all its tags; classes with a tag do so by themselves.

    Parameters
    ----------
    kind
        ``"spectral"``, ``"spatial"``, ``"temporal"``, ``"prior"`` or ``"model"``.
    cls
        Class with an attribute ``tag``: its name in files, then abbreviations.

    Raises
    ------
    ValueError
        If a tag is that of another class.
    """
    for tag in cls.tag:  # type: ignore[attr-defined]
        known = _classes[kind].get(tag)
        # a class that is defined again, as in a notebook, takes the place of its earlier self
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            msg = f"tag {tag!r} of {cls.__qualname__} is that of {known.__module__}.{known.__qualname__}; take another"
            raise ValueError(msg)
    _classes[kind] |= dict.fromkeys(cls.tag, cls)  # type: ignore[attr-defined]


def tags(kind: str) -> dict[str, type]:
    """Return all tags of a kind with their classes, names and abbreviations.

    Examples
    --------
    >>> tags("prior")["GaussianPrior"].__name__
    'GaussianPrior'
    """
    if kind not in _loaded:
        for module in MODULES[kind]:
            importlib.import_module(f"xgamma.models.{module}")
        _loaded.add(kind)
    return dict(_classes[kind])


def find_class(kind: str, tag: object, where: str = "") -> type:
    """Return the class that a type in a file stands for.

    Parameters
    ----------
    kind
        ``"spectral"``, ``"spatial"``, ``"temporal"``, ``"prior"`` or ``"model"``.
    tag
        Name or abbreviation.
    where
        What the type belongs to, for the message.

    Raises
    ------
    ValueError
        If there is no such class: the message says which there are.

    Examples
    --------
    >>> find_class("spectral", "pl").__name__
    'PowerLawSpectralModel'
    """
    known = tags(kind)
    if isinstance(tag, str) and tag in known:
        return known[tag]
    place = f" of {where}" if where else ""
    names = sorted({cls.tag[0] for cls in known.values()})  # type: ignore[attr-defined]
    if not names:
        msg = f"{kind} type {tag!r}{place} is not known: there are no {kind} models yet"
    else:
        msg = f"{kind} type {tag!r}{place} is not known{nearest(str(tag), names)}"
    raise ValueError(msg)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message on a name that is not known: the nearest one, and all there are.

    Examples
    --------
    >>> nearest("indx", ["index", "amplitude"])
    "; did you mean 'index'? There are ['index', 'amplitude']"
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1) or [n for n in names if name and name.lower() in n.lower()]
    return f"; did you mean {close[0]!r}? There are {names}" if close else f"; there are {names}"
