"""Where a store lies: a folder, or a URL with the options that open it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xgamma.io.fits_file import expand_path

__all__ = ["Location", "is_url"]


def is_url(path: str | os.PathLike[str]) -> bool:
    """True for what fsspec has to open, such as ``"s3://bucket/cube.zarr"``."""
    return "://" in os.fspath(path)


@dataclass(frozen=True)
class Location:
    """A Zarr store; small, so that it travels to workers.

    Parameters
    ----------
    text
        Absolute path of a folder, or a URL.
    options
        What fsspec needs to open the URL: endpoint, keys. They are sent to workers and shown nowhere.

    Examples
    --------
    >>> Location.of("memory://cube.zarr", {"secret": "x"})
    Location(text='memory://cube.zarr')
    """

    text: str
    options: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None) -> Location:
        """Return the location of a path or URL; ``$VARIABLES`` and ``~`` of a path are expanded.

        Raises
        ------
        TypeError
            If it is no path.
        ValueError
            If there are options for a folder.
        """
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            msg = f"{path!r} is no place for a store; give a folder or a URL, for example 'survey.zarr'"
            raise TypeError(msg)
        text = os.fspath(path)
        if is_url(text):
            return cls(text.rstrip("/"), dict(options) if options else None)
        if options:
            msg = f"storage_options are for URLs, {text} is a folder; leave them out"
            raise ValueError(msg)
        return cls(os.path.abspath(expand_path(text)))

    @property
    def is_url(self) -> bool:
        """True for a URL."""
        return is_url(self.text)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments by which xarray and zarr open the store."""
        return {"storage_options": dict(self.options)} if self.options else {}

    def filesystem(self) -> tuple[Any, str]:
        """Return the fsspec file system, and the path of the store in it."""
        import fsspec

        fs, path = fsspec.core.url_to_fs(self.text, **(self.options or {}))
        # what others have written since is there, too
        fs.invalidate_cache()
        return fs, path.rstrip("/")

    def group(self, mode: Any) -> Any:
        """Open the Zarr group of the store, with the metadata as they are now."""
        import zarr

        return zarr.open_group(self.text, mode=mode, use_consolidated=False, **self.arguments)

    def exists(self) -> bool:
        """True if something lies there."""
        if not self.is_url:
            return os.path.lexists(self.text)
        fs, path = self.filesystem()
        return bool(fs.exists(path))

    def __fspath__(self) -> str:
        return self.text
