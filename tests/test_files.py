"""Durable writes, where the system does not give all of them."""

import os
import stat

import pytest

from distok.files import write_text


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
