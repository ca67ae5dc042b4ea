"""The folder that a command writes into: whose it is, and when it is given back."""

import json
from pathlib import Path

import pytest

import distok
from distok.errors import DistokError
from tests import edge, tiny

MIX = "pig=0.55, sheep=0.25, snake=0.2"


def test_making_the_same_again_changes_no_byte(distok_command, parts, tmp_path):
    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    distok_command("create", MIX, "-n", 2, *parts)
    first = contents()
    distok_command("create", MIX, "-n", 2, *parts)
    assert len(first) == 6
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


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("create", "pig, cat", "-n", 2), "pig50-cat50-1.png"),
        (("create", "pig, cat", "-n", 1, "--best-of", 2), "pig50-cat50-1000.png"),
        (("explore", "-n", 2), "normal-0-001.png"),
        (("explore", "-n", 2), "normal-0-001.safetensors"),
        (("baseline", "sentence", "pig, cat", "-n", 2), "sentence-1.png"),
    ],
)
def test_earlier_pictures_and_tokens_are_not_written_over(distok_command, parts, words, name):
    Path("keep").mkdir()
    Path("keep", name).write_bytes(b"mine")
    status, _, err = distok_command(*words, "--out", "keep", *parts)
    assert (status, f"keep already holds a {name}, and no made.json that says where it is from" in err) == (2, True), err
    assert edge.stamps(Path("keep")).keys() == {Path(name)}
    assert Path("keep", name).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["sheet.png", "explored/normal-0-000.png"])
def test_a_demo_writes_over_no_page_but_its_own(distok_command, name):
    Path("keep", name).parent.mkdir(parents=True)
    Path("keep", name).write_bytes(b"mine")
    status, _, err = distok_command("demo", "--out", "keep")
    place = Path("keep", name if name == "sheet.png" else "explored")
    assert (status, err) == (2, f"distok: {place} is there already, and not of a demo; choose another --out\n")
    assert edge.stamps(Path("keep")).keys() == {Path(name)}


TOO_LONG = ("--prompt", "a cute red photo " * 9 + "{}")  # found out when it is drawn


def test_what_failed_after_force_leaves_the_record_of_what_is_there(distok_command, parts):
    assert distok_command("create", MIX, "-n", 1, "--out", "x", *parts)[0] == 0
    before = {path.name: path.read_bytes() for path in Path("x").iterdir()}
    assert distok_command("create", "cat", *TOO_LONG, "--out", "x", "--force", *parts)[0] == 2
    assert {path.name: path.read_bytes() for path in Path("x").iterdir()} == before
    assert distok_command("create", MIX, "-n", 1, "--out", "x", *parts)[0] == 0, "the same again"


def test_what_failed_leaves_no_record_among_the_files_of_others(distok_command, parts):
    Path("notes").mkdir()
    Path("notes", "mine.txt").write_text("mine")
    assert distok_command("create", "cat", *TOO_LONG, "--out", "notes", *parts)[0] == 2
    assert [path.name for path in Path("notes").iterdir()] == ["mine.txt"]


def test_what_failed_halfway_keeps_its_record(distok_command, parts, monkeypatch):
    def full(*_):
        raise DistokError("the disk is full")

    monkeypatch.setattr("distok.gallery.save_sheet", full)
    assert distok_command("create", "cat", "-n", 1, "--out", "x", *parts)[0] == 2
    assert {path.name for path in Path("x").iterdir()} == {"made.json", "cat100-0.png", "concept.safetensors"}


@pytest.fixture
def unreadable(monkeypatch):
    """A labeler that fails at its first reading, or at each."""

    def fail(once: bool = False) -> None:
        read = distok.api.Creator.readings

        def readings(self, pictures, asked=None):
            if once:
                monkeypatch.setattr("distok.api.Creator.readings", read)
            raise DistokError("the answer is no list")

        monkeypatch.setattr("distok.api.Creator.readings", readings)

    return fail


def test_no_picture_is_lost_when_it_cannot_be_read(distok_command, parts, unreadable):
    unreadable()
    status, out, err = distok_command("create", "cat", "-n", 2, "--out", "x", "--json", *parts)
    assert (status, out) == (2, "")
    assert err == "distok: the answer is no list; the pictures are in x, not measured\n"
    assert {path.name for path in Path("x").iterdir()} == {
        "made.json", "cat100-0.png", "cat100-1.png", "concept.safetensors", "sheet.png", "creation.json",
    }  # fmt: skip
    assert distok.read_recipe("x/cat100-1.png").seed == 1


def test_drawings_that_cannot_be_compared_are_not_lost(distok_command, parts, unreadable, caplog):
    unreadable(once=True)
    status, out, _ = distok_command("create", "cat", "-n", 2, "--best-of", 2, "--json", *parts)
    assert (status, json.loads(out)["seeds"][0], len(json.loads(out)["readings"])) == (0, 0, 2)
    assert caplog.messages == ["the 2 drawings from seed 0 cannot be compared (the answer is no list); the first is kept"]


def test_an_exploration_that_is_read_in_part_is_kept_whole(distok_command, parts, unreadable, monkeypatch):
    from distok.backends.base import Backend

    monkeypatch.setattr(Backend, "at_once", 1)
    unreadable(once=True)
    status, _, err = distok_command("explore", "-n", 2, "--out", "x", *parts)
    assert (status, err) == (2, "distok: the answer is no list; the pictures are in x, not all of them measured\n")
    lines = [json.loads(line) for line in Path("x/concepts.jsonl").read_text().splitlines()]
    assert [line["measured"] is None for line in lines] == [True, False]
    assert all(Path(line["picture"]).is_file() and Path(line["concept"]).is_file() for line in lines)
    assert Path("x/sheet.png").is_file()


def test_a_token_of_another_text_encoder_is_drawn_and_said_to_be(distok_command, parts, tmp_path):
    from distok.backends import open_backend

    _, out, _ = distok_command("create", "cat", "-n", 1, "--json", *parts)
    concept = json.loads(out)["concept"]
    folder = tiny.save_pipeline(tmp_path / "other", seed=1)
    other = open_backend(folder)
    model = edge.save_model(tmp_path / "run" / "distok.safetensors", other)
    status, _, err = distok_command("create", "--concept", concept, "-n", 1, "--json", "--backend", folder, "--model", model)
    made = distok.Concept.load(concept).provenance["backend_hash"]
    assert (status, err.count("\n")) == (0, 1)
    assert err.startswith(f"the concept was made with text encoder {made}, and this pipeline's is {other.hash}: unless one is a")
    assert distok_command("create", "--concept", concept, "-n", 1, "--json", *parts)[2] == "", "of the same, nothing is said"
