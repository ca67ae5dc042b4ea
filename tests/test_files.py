"""Durable writes, where the system does not give all of them."""

import os
import stat

import pytest

from distok.files import rewritten, write_text


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


def test_a_folder_is_rewritten_whole_or_not_at_all(tmp_path):
    place = tmp_path / "pipeline"
    with rewritten(place) as made:
        write_text(made / "inner" / "weights", "first")
        assert not place.exists()
    with pytest.raises(ZeroDivisionError), rewritten(place) as made:
        write_text(made / "inner" / "weights", str(1 / 0))
    assert (place / "inner" / "weights").read_text() == "first"
    with rewritten(place) as made:
        write_text(made / "other", "third")
    assert sorted(path.name for path in place.iterdir()) == ["inner", "other"], "what else is there stays"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]


def test_a_folder_that_cannot_take_its_place_leaves_the_former_one(tmp_path, monkeypatch):
    place = tmp_path / "pipeline"
    write_text(place / "weights", "first")
    inner = type(place).rename

    def fail(self, target):
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return inner(self, target)

    monkeypatch.setattr(type(place), "rename", fail)
    with pytest.raises(OSError, match="Input/output error"), rewritten(place) as made:
        write_text(made / "weights", "second")
    assert (place / "weights").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    with pytest.raises(OSError, match="Input/output error"), rewritten(tmp_path / "fresh") as made:
        write_text(made / "weights", "second")
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
