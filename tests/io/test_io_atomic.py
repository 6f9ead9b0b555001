"""Names hold whole files, old ones, or nothing."""

from __future__ import annotations

import os
import stat

import pytest

from xgamma.io import atomic
from xgamma.io.atomic import atomic_path, check_target


def test_file_and_folder_appear_whole(tmp_path):
    for name in ("a.txt", "a.tar.gz"):
        with atomic_path(tmp_path / name) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.endswith(name[1:])
            temporary.write_text("new")
            assert not (tmp_path / name).exists()
        assert (tmp_path / name).read_text() == "new"
    with atomic_path(tmp_path / "b") as temporary:
        temporary.mkdir()
        (temporary / "inside").write_text("new")
    assert (tmp_path / "b" / "inside").read_text() == "new"
    # the rights are those of any new file, not those of a temporary one
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(os.stat(tmp_path / "a.txt").st_mode) == stat.S_IMODE(os.stat(plain).st_mode)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.tar.gz", "a.txt", "b", "plain"]


@pytest.mark.parametrize("folder", [True, False])
def test_replacing(folder, tmp_path):
    def write(path, text):
        if folder:
            path.mkdir()
            path /= "inside"
        path.write_text(text)

    write(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a", overwrite=True) as temporary:  # noqa: PT012
        write(temporary, "half")
        raise RuntimeError
    read = tmp_path / "a" / "inside" if folder else tmp_path / "a"
    assert read.read_text() == "old"
    with atomic_path(tmp_path / "a", overwrite=True) as temporary:
        write(temporary, "new")
    assert read.read_text() == "new"
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("folder", [True, False])
def test_what_came_in_the_meantime_is_not_replaced(folder, tmp_path):
    with pytest.raises(FileExistsError, match="overwrite=True"), atomic_path(tmp_path / "a") as temporary:  # noqa: PT012
        temporary.mkdir() if folder else temporary.write_text("mine")
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError, match="by hand"), atomic_path(tmp_path / "a", overwrite=True) as temporary:
        temporary.write_text("file")
    assert (tmp_path / "a").is_dir()


def test_a_failed_exchange_of_folders_is_undone(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    rename = atomic.Path.rename

    def fail(self, target):
        if ".tmp-" in self.name:
            msg = "no"
            raise OSError(msg)
        return rename(self, target)

    monkeypatch.setattr(atomic.Path, "rename", fail)
    with pytest.raises(OSError, match="no"), atomic_path(tmp_path / "a", overwrite=True) as temporary:
        temporary.mkdir()
    assert (tmp_path / "a" / "old").exists()
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_targets_are_checked_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_target("a") == tmp_path / "a"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_target("folder/a")
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError):
        check_target("a")
    assert check_target("a", overwrite=True) == tmp_path / "a"
