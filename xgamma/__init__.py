"""xgamma: gamma-ray astronomy on labelled, lazy xarray objects.

Runs come in with `open_store`, a lazy cube goes out of `reduce`, and everything after that hangs on the cube
as ``cube.gamma``. Importing the package loads neither matplotlib nor a compiler nor a scheduler: a public name is
imported when it is first asked for. The names and their modules stand in ``__init__.pyi``.
"""

import lazy_loader

from xgamma import accessor as accessor

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
