"""The folder that a command writes into: whose it is, and when it is given back."""

from pathlib import Path

import pytest

MIX = "pig=0.55, sheep=0.25, snake=0.2"


def test_making_the_same_again_changes_no_byte(distok_command, parts, tmp_path):
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    distok_command("create", MIX, "-n", 2, *parts)
    first = contents()
    distok_command("create", MIX, "-n", 2, *parts)
    assert len(first) == 5
    assert contents() == first


def test_another_creation_is_not_written_over_unasked(distok_command, parts):
    assert distok_command("create", MIX, "-n", 1, "--out", "here", *parts)[0] == 0
    status, _, err = distok_command("create", "cat", "-n", 1, "--out", "here", *parts)
    assert (status, err) == (
        2,
        "distok: here already holds something else made by distok; choose another --out, or add --force\n",
    )
    assert distok_command("create", "cat", "-n", 1, "--out", "here", "--force", *parts)[0] == 0


def test_a_longer_or_unread_exploration_is_not_written_over_unasked(distok_command, parts):
    assert distok_command("explore", "-n", 2, "--out", "here", *parts)[0] == 0
    lines = Path("here/concepts.jsonl").read_bytes()
    for words in (("-n", 1, *parts), ("-n", 2, *parts[:4])):
        status, _, err = distok_command("explore", "--out", "here", *words)
        assert (status, "here already holds something else made by distok" in err) == (2, True), err
    assert distok_command("explore", "-n", 2, "--out", "here", *parts)[0] == 0
    assert Path("here/concepts.jsonl").read_bytes() == lines


def test_settings_of_the_same_values_have_folders_of_their_own(distok_command, parts):
    for words in (("--best-of", 8), ("--refine", 8), ("--steps", 8), ("--size", 8)):
        assert distok_command("create", MIX, "-n", 1, *words, *parts)[0] == 0
    assert len(list(Path("creations").iterdir())) == 4


@pytest.mark.parametrize("name", ["concept.safetensors", "sheet.png"])
def test_a_file_that_says_not_where_it_is_from_is_not_written_over(distok_command, parts, name):
    Path("keep").mkdir()
    Path("keep", name).write_bytes(b"mine")
    status, _, err = distok_command("create", "cat", "-n", 1, "--out", "keep", *parts)
    assert (status, f"keep already holds a {name}, and no made.json that says where it is from" in err) == (2, True)
    assert [path.name for path in Path("keep").iterdir()] == [name]
    assert Path("keep", name).read_bytes() == b"mine"
    assert distok_command("create", "cat", "-n", 1, "--out", "keep", "--force", *parts)[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ("create", MIX, "--steps", 0),
        ("create", MIX, "--refine", 2, "--steps", 0),
        ("explore", "--seed", -1),
        ("explore", "--size", 3),
        ("baseline", "sentence", "cat, dog", "--steps", 0),
    ],
)
def test_a_command_that_failed_leaves_no_folder_claimed(distok_command, parts, words):
    for place in ("a/b", "there"):
        Path("there").mkdir(exist_ok=True)
        status, _, err = distok_command(*words, "--out", place, *parts)
        assert (status, err.count("\n")) == (2, 1)
    assert [path.name for path in Path().iterdir()] == ["there"]
    assert not list(Path("there").iterdir())


def test_what_is_out_of_range_is_said_before_any_preview(distok_command, parts, monkeypatch):
    monkeypatch.setattr("distok.api.Creator.refine", lambda *_, **__: pytest.fail("an hour of previews"))
    for words, message in ((("--seed", -1), "the seed is -1"), (("--best-of", 65), "cannot choose the best of 65 pictures")):
        status, _, err = distok_command("create", MIX, "--refine", 2, *words, *parts)
        assert (status, message in err) == (2, True)
