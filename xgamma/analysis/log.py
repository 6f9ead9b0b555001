"""Logging as the configuration asks for it, for the time of an analysis."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from xgamma.analysis.config import Log
from xgamma.io.fits_file import expand_path

__all__ = ["logging_to"]


@contextmanager
def logging_to(section: Log) -> Iterator[None]:
    r"""Log as the section says inside the ``with`` block; afterwards all is as it was.

    Parameters
    ----------
    section
        ``level`` is that of the logger ``xgamma``, unless that is at ``debug`` already. ``filename`` adds a file
        to what is there (``filemode`` ``a`` or ``w``); ``format`` and ``datefmt`` are for the file, or for the
        handlers of the logger where there is none.

    Raises
    ------
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> with logging_to(Log(level="error", filename="run.log")):
    ...     logging.getLogger("xgamma").error("lost")
    >>> expand_path("run.log").read_text()
    'lost\n'
    """
    logger = logging.getLogger("xgamma")
    level = logger.level
    if level != logging.DEBUG:
        logger.setLevel(section.level.upper())
    handlers = list(logger.handlers)
    old = {handler: handler.formatter for handler in handlers}
    file = None
    if section.filename is not None:
        file = logging.FileHandler(expand_path(section.filename), section.filemode or "a", encoding="utf-8")
        logger.addHandler(file)
        handlers = [file]
    if section.format is not None or section.datefmt is not None:
        for handler in handlers:
            handler.setFormatter(logging.Formatter(section.format, section.datefmt))
    try:
        yield
    finally:
        logger.setLevel(level)
        if file is not None:
            logger.removeHandler(file)
            file.close()
        for handler, formatter in old.items():
            handler.setFormatter(formatter)
