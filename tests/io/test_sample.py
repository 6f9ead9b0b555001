from __future__ import annotations

import pytest

from xgamma.io import sample


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_sample_root_of_a_wheel_is_inside_the_package(tmp_path):
    make(tmp_path, "xgamma/_data/obs-index.fits.gz", "data/foreign.txt")
    assert sample._sample_root(tmp_path / "xgamma") == tmp_path / "xgamma/_data"


def test_sample_root_of_a_checkout_is_the_data_folder(tmp_path):
    make(tmp_path, "pyproject.toml", "xgamma/__init__.py", "data/obs-index.fits.gz")
    assert sample._sample_root(tmp_path / "xgamma") == tmp_path / "data"


def test_foreign_data_folder_beside_an_installed_package_is_not_taken(tmp_path):
    make(tmp_path, "xgamma/__init__.py", "data/foreign.txt")
    with pytest.raises(FileNotFoundError, match="sample data are missing"):
        sample._sample_root(tmp_path / "xgamma")


def test_sample_path_names_what_there_is(tmp_path, monkeypatch):
    make(tmp_path, "_data/b.fits", "_data/a/c.fits")
    monkeypatch.setattr(sample, "PACKAGE", tmp_path)
    assert sample.sample_path() == tmp_path / "_data"
    assert sample.sample_path("a", "c.fits").is_file()
    with pytest.raises(FileNotFoundError, match=r"no 'none.fits'; .* holds a, b.fits"):
        sample.sample_path("none.fits")
    with pytest.raises(ValueError, match="leads out of the sample data"):
        sample.sample_path("..", "pyproject.toml")
