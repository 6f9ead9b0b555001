"""What the tests of surveys compare with."""

from __future__ import annotations

import numpy as np
import zarr


def assert_same_store(path, expected) -> None:
    """All arrays of two stores have the same bits, but for the group with markers and times."""
    ours, theirs = (zarr.open_group(str(p), mode="r", use_consolidated=False) for p in (path, expected))
    assert sorted(ours.array_keys()) == sorted(theirs.array_keys())
    for name in theirs.array_keys():
        one, two = ours[name][...], theirs[name][...]
        assert one.dtype == two.dtype, name
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes(), name
