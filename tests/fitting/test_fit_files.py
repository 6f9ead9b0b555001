"""Joint datasets as YAML and FITS: maps of runs, names of datasets in models, versions, checksums, fits again."""

import numpy as np
import pytest
import xarray as xr
import yaml
from astropy.coordinates import SkyCoord
from simulated_maps import background, map_cube, point
from simulated_spectra import cube as spectrum_cube

import xgamma as xg
from xgamma.coords.bins import energy_axis
from xgamma.fitting.compile import compile_likelihood
from xgamma.fitting.file_runs import join_runs, run_of


def points():
    data = xr.Dataset(coords=energy_axis("1 TeV", "30 TeV", nbin=3).coords, attrs={"sed_type": "dnde"})
    unit = {"units": "TeV-1 s-1 cm-2"}
    data["dnde"] = "energy", [2e-12, 2e-13, 6e-14], unit
    data["dnde_err"] = "energy", [4e-13, 4e-14, 1e-14], unit
    return data


def counted(cube, models, seed, name="map"):
    expected = cube.assign_attrs(name=name).gamma.npred(models).values
    return cube.assign(counts=cube.counts.copy(data=np.random.default_rng(seed).poisson(expected).astype(float)))


@pytest.fixture
def models():
    return xg.Models([point(), background()])


@pytest.fixture
def runs(models):
    """Maps of three runs that share their point spread function, with intervals of different number."""
    parts = [counted(map_cube(background=2.0 + i), models, i) for i in range(3)]
    for part in parts:
        part.attrs = {}
    one = [n for n in parts[0].data_vars if n not in ("psf", "edisp", "irf_exposure")]
    cube = xr.concat([p[one] for p in parts], xr.Variable("obs", [7, 8, 19])).assign(
        {n: parts[0][n] for n in ("psf", "edisp", "irf_exposure")}
    )
    start = np.array([[0.0, 100.0], [200.0, np.nan], [400.0, 600.0]])
    cube["gti_start"] = ("obs", "gti"), start, {"units": "s"}
    cube["gti_stop"] = ("obs", "gti"), start + 50.0, {"units": "s"}
    cube["livetime"] = "obs", [90.0, 45.0, 80.0], {"units": "s"}
    return cube


def stats(tree, models):
    return compile_likelihood(tree, models).stat_per_dataset(models.parameters.values)


def test_maps_of_runs_are_datasets_of_their_own(runs, models, tmp_path):
    tree = xr.DataTree.from_dict({"map": runs, "hawc": points()})
    target = tree.gamma.write(tmp_path / "joint", models=models)
    entries = yaml.safe_load(target.read_text())["datasets"]
    assert [(e["name"], e["type"]) for e in entries] == [
        *[(f"map-{n}", "MapDataset") for n in (7, 8, 19)],
        ("hawc", "FluxPointsDataset"),
    ]
    again, read = xg.read_datasets(tmp_path / "joint")
    assert list(again.children) == ["map", "hawc"]
    joined = again["map"].to_dataset()
    assert joined.counts.chunks is not None
    assert joined.counts.dims == ("obs", "energy", "y", "x")
    assert joined.psf.dims == runs.psf.dims
    for name, variable in runs.data_vars.items():
        np.testing.assert_allclose(joined[name].values, variable.values, rtol=1e-12, err_msg=name)
        assert joined[name].attrs.get("units", "") == variable.attrs.get("units", "")
    assert joined.mask_safe.dtype == bool
    assert joined.attrs["name"] == "map"
    assert read.to_yaml() == models.to_yaml()
    assert stats(again, read) == pytest.approx(stats(tree, models), rel=1e-12)
    assert list(stats(again, read)) == ["map/7", "map/8", "map/19", "hawc"]


def test_a_background_of_many_runs_is_written_as_linked_ones(runs, models, tmp_path):
    """gammapy assigns one to one dataset; for the source and others names of groups become names of runs."""
    models["bkg"].parameters["norm"].error = 0.02
    models["point"].datasets_names = ["map/8", "hawc"]
    xg.write_datasets({"map": runs, "hawc": points()}, tmp_path, models)
    written = yaml.safe_load((tmp_path / "models.yaml").read_text())["components"]
    assert [(m["name"], m.get("datasets_names")) for m in written] == [
        ("point", ["map-8", "hawc"]),
        ("bkg", ["map-7"]),
        ("bkg-map-8", ["map-8"]),
        ("bkg-map-19", ["map-19"]),
    ]
    labels = {p["link"] for m in written[1:] for p in m["spectral"]["parameters"] if p["name"] == "norm"}
    assert len(labels) == 1
    _, read = xg.read_datasets(tmp_path)
    assert [(m.name, m.datasets_names) for m in read] == [("point", ["map/8", "hawc"]), ("bkg", ["map"])]
    assert read.to_yaml() == models.to_yaml()
    # what was given stays as it was
    assert models["bkg"].datasets_names == ["map"]


def test_fit_again_is_identical(runs, models, tmp_path):
    models.freeze("spatial")
    spectra = spectrum_cube(n_obs=2).assign(livetime=("obs", [1800.0, 1700.0], {"units": "s"}))
    tree = xr.DataTree.from_dict({"map": runs, "runs": spectra, "hawc": points()})
    first = tree.gamma.fit(models)
    assert first.success
    tree.gamma.write(tmp_path / "joint", models=first)
    again, read = xg.read_datasets(tmp_path / "joint", checksum=True)
    # with covariance, to its last digit
    np.testing.assert_array_equal(read.covariance, first.models.covariance)
    assert read.to_yaml() == first.models.to_yaml()
    # from the same values on
    tree.gamma.write(tmp_path / "start", models=models)
    again, read = xg.read_datasets(tmp_path / "start")
    second = again.gamma.fit(read)
    assert second.total_stat == pytest.approx(first.total_stat, abs=1e-8)
    np.testing.assert_allclose([p.value for p in second.free], [p.value for p in first.free], rtol=1e-7)
    np.testing.assert_allclose(second.covariance, first.covariance, rtol=1e-4, atol=1e-12 * abs(first.covariance).max())


def test_runs_that_do_not_fit_together(runs, tmp_path):
    pieces = [run_of(runs, i) for i in range(2)]
    with pytest.raises(ValueError, match="run 8 of 'map' and run 7 lie on other pixels"):
        join_runs([pieces[0], shifted(pieces[1])], [7, 8], "map")
    with pytest.raises(ValueError, match="have other 'energy'"):
        join_runs([pieces[0], pieces[1].isel(energy=[0])], [7, 8], "map")
    with pytest.raises(ValueError, match=r"only one of them has \['exposure'\]"):
        join_runs([pieces[0], pieces[1].drop_vars("exposure")], [7, 8], "map")
    with pytest.raises(ValueError, match="the same label"):
        xg.write_datasets({"map": runs.assign_coords(obs=[1, 1, 2])}, tmp_path)


def shifted(cube):
    other = map_cube(center=SkyCoord(30.5, 0.0, unit="deg"))
    return cube.drop_vars(["lon", "lat", "wcs"]).assign_coords(other.coords)


def test_words_for_files_of_a_newer_version(models, tmp_path):
    xg.write_datasets({"map": map_cube(), "hawc": points()}, tmp_path, models)
    for file, old, new in (
        ("datasets.yaml", "FluxPointsDataset", "NeutrinoDataset"),
        ("models.yaml", "PowerLawSpectralModel", "QuantumSpectralModel"),
    ):
        whole = (tmp_path / file).read_text()
        data = yaml.safe_load(whole)
        for creator in ("xgamma 99.0", "Gammapy 7.3"):
            data["metadata"]["creator"] = creator
            (tmp_path / file).write_text(yaml.safe_dump(data, sort_keys=False))
            with pytest.warns(UserWarning, match=f"{file} was written by {creator}, which is newer"):
                xg.read_datasets(tmp_path)
            (tmp_path / file).write_text(yaml.safe_dump(data, sort_keys=False).replace(old, new))
            with pytest.raises(ValueError, match=f"{new}.*was written by {creator}, which is newer"):
                xg.read_datasets(tmp_path)
        (tmp_path / file).write_text(whole)


def test_checksums(models, tmp_path):
    xg.write_datasets({"hawc": points()}, tmp_path, xg.Models([models["point"]]))
    xg.read_datasets(tmp_path, checksum=True)
    for file in ("datasets.yaml", "models.yaml"):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text.replace("point" if "models" in file else "hawc.fits", "./hawc.fits"))
        with pytest.raises(ValueError, match=f"checksum of .*{file}"):
            xg.read_datasets(tmp_path, checksum=True)
        (tmp_path / file).write_text(text)


def test_names_of_datasets_that_are_not_there(models, tmp_path):
    models["point"].datasets_names = ["hawc", "veritas"]
    xg.write_datasets({"hawc": points()}, tmp_path, xg.Models([models["point"]]))
    words = r"'point' belongs to \['veritas'\], none of the datasets \['hawc'\]; it takes part in the others"
    with pytest.warns(UserWarning, match=words):
        xg.read_datasets(tmp_path)


def test_dims_that_files_have_no_place_for(tmp_path):
    spectrum = spectrum_cube()
    regions = xr.concat([spectrum, spectrum], xr.Variable("region", ["icrs;circle(1,1,1)", "icrs;circle(2,1,1)"]))
    with pytest.raises(ValueError, match=r"has the dim 'region'.*to_zarr"):
        xg.write_datasets({"spectra": regions}, tmp_path)
