"""Durable writes, where the system does not give all of them."""

import os
import stat

import pytest

from distok.files import new_folder, write_text


@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_folder_that_cannot_be_synced_is_no_failed_write(tmp_path, monkeypatch, refused):
    inner = getattr(os, refused)

    def fail(what, *rest, **options):
        if what == tmp_path if refused == "open" else stat.S_ISDIR(os.fstat(what).st_mode):
            raise OSError(22, "Invalid argument")
        return inner(what, *rest, **options)

    monkeypatch.setattr(os, refused, fail)
    assert write_text(tmp_path / "a.txt", "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_may_be_as_long_as_the_system_has_it(tmp_path):
    assert write_text(tmp_path / ("ä" * 120 + ".txt"), "mine").read_text() == "mine"


def test_a_new_folder_takes_the_place_of_the_former_one_only_when_it_is_whole(tmp_path):
    place = tmp_path / "pipeline"
    with new_folder(place) as made:
        write_text(made / "inner" / "weights", "first")
        assert not place.exists()
    with pytest.raises(ZeroDivisionError), new_folder(place) as made:
        write_text(made / "inner" / "weights", str(1 / 0))
    assert (place / "inner" / "weights").read_text() == "first"
    with new_folder(place) as made:
        write_text(made / "other", "third")
    assert [path.name for path in place.iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


def test_a_new_folder_that_cannot_take_its_place_leaves_the_former_one(tmp_path, monkeypatch):
    place = tmp_path / "pipeline"
    write_text(place / "weights", "first")
    inner = type(place).rename

    def fail(self, target):
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return inner(self, target)

    monkeypatch.setattr(type(place), "rename", fail)
    with pytest.raises(OSError, match="Input/output error"), new_folder(place) as made:
        write_text(made / "weights", "second")
    assert (place / "weights").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
