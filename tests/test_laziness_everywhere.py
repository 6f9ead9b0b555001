"""Every function on maps keeps Dask arrays lazy, computes nothing while it builds, and gives what memory gives."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import xarray as xr
from public_calls import ON_MAPS, World, arrays_of


def raising(*args, **kwargs):
    msg = "something was computed while the graph was built"
    raise AssertionError(msg)


@pytest.fixture(scope="module")
def worlds():
    lazy, loaded = World(lazy=True), World(lazy=False)
    with dask.config.set(scheduler=raising):  # the inputs, too, are built without being computed
        _ = lazy.runs, lazy.cube, lazy.onoff, lazy.maps, lazy.offset
    return lazy, loaded


def data_of(result):
    """Arrays that hold values of the maps: the data, no coordinates."""
    if isinstance(result, xr.DataArray):
        return {str(result.name): result}
    return {str(n): result[n] for n in result.data_vars}


@pytest.mark.parametrize("call", ON_MAPS)
def test_dask_in_dask_out_and_nothing_is_computed(call, worlds):
    with dask.config.set(scheduler=raising):
        result = ON_MAPS[call](worlds[0])
    eager = [name for name, array in data_of(result).items() if not dask.is_dask_collection(array.data)]
    # the number of bins is known without looking at them, norms of a profile and fluxes of a model without data
    known = {"n_bins", "norm_scan", "ref_dnde", "ref_flux", "ref_eflux", "ref_e2dnde"}
    # good times tell the bins of a light curve
    assert set(eager) <= known | {"gti_start", "gti_stop"}


@pytest.mark.parametrize("call", ON_MAPS)
def test_chunked_equals_unchunked(call, worlds):
    chunked, whole = (ON_MAPS[call](world) for world in worlds)
    with dask.config.set(scheduler="synchronous"):
        chunked, whole = chunked.compute(), whole.compute()
    mine, others = arrays_of(chunked), arrays_of(whole)
    assert mine.keys() == others.keys()
    for name, array in mine.items():
        other = others[name]
        assert array.dims == other.dims, name
        assert array.dtype == other.dtype, name
        assert array.attrs == other.attrs or name == "wcs", name
        if array.dtype.kind == "f":
            scale = float(np.nanmax(np.abs(other.values), initial=0.0))
            np.testing.assert_allclose(array.values, other.values, rtol=1e-12, atol=1e-12 * scale, err_msg=name)
        else:
            np.testing.assert_array_equal(array.values, other.values, err_msg=name)
    assert list(chunked.xindexes) == list(whole.xindexes)
