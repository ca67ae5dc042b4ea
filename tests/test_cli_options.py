"""Options of ``create``, ``explore``, ``read`` and ``score`` that reach what they are for."""

import json
from pathlib import Path

import pytest
from PIL import Image

import distok
from distok.scorers.clip import ClipScore
from tests import tiny, tiny_scorers


def drawn(distok_command, *words: object) -> tuple[str, bytes]:
    """What the first picture of a command was to avoid, by its recipe, and its pixels."""
    status, out, err = distok_command(*words, "-n", 1, "--json")
    assert status == 0, err
    (picture,) = json.loads(out)["pictures"]
    with Image.open(picture) as opened:
        return distok.read_recipe(picture).negative_prompt, opened.tobytes()


@pytest.mark.parametrize("command", [("create", "pig=0.5, sheep=0.5"), ("explore",)])
def test_what_to_avoid_is_avoided_and_kept_in_the_recipe(command, distok_command, parts):
    avoided = drawn(distok_command, *command, "--negative-prompt", "a red dog", "--out", "avoided", *parts)
    plain = drawn(distok_command, *command, "--out", "plain", *parts)
    assert (avoided[0], plain[0]) == ("a red dog", "")
    assert avoided[1] != plain[1]


def test_a_picture_made_again_avoids_the_same_unless_told_otherwise(distok_command, parts):
    first = drawn(distok_command, "create", "pig", "--negative-prompt", "a red dog", "--out", "first", *parts)
    assert first[0] == "a red dog"
    picture = next(path for path in Path("first").glob("*.png") if path.name != "sheet.png")
    assert drawn(distok_command, "create", "--from-picture", picture, "--out", "again", *parts) == first
    words = ("--from-picture", picture, "--negative-prompt", "", "--out", "other")
    assert drawn(distok_command, "create", *words, *parts)[0] == ""


def test_read_names_no_more_classes_than_it_is_asked_for(distok_command, parts, tmp_path):
    tiny_scorers.pictures()[0].save(tmp_path / "a.png")

    def read(*words: object) -> dict:
        status, out, err = distok_command("read", "a.png", *parts[2:], "--json", *words)
        assert status == 0, err
        return json.loads(out)

    whole = read()["measured"]
    heaviest = [name for name in sorted(whole, key=whole.get, reverse=True) if whole[name] >= 0.01]
    assert len(heaviest) == len(tiny.NAMES), "a longer list than any that is asked for"
    for words, count in (((), 5), (("--top", 1), 1), (("--top", 3), 3), (("--top", 9), len(heaviest))):
        assert set(distok.Distribution.parse(read(*words)["mix"], tiny.NAMES).names) == set(heaviest[:count])
    assert distok_command("read", "a.png", *parts[2:], "--top", 0)[0] == 2


def test_score_takes_as_many_pictures_at_a_time_as_it_is_asked_to(distok_command, tmp_path, monkeypatch):
    folder, taken, score = tiny_scorers.save_clip(tmp_path / "clip"), [], ClipScore._score
    (tmp_path / "art").mkdir()
    for number, picture in enumerate(tiny_scorers.pictures()):
        picture.save(tmp_path / "art" / f"{number}.png")
    monkeypatch.setattr(ClipScore, "_score", lambda self, *given: taken.append(len(given[0])) or score(self, *given))
    words = ["score", "art", "-m", f"clipscore={folder}", "--prompt", "a cat", "--json"]
    told = {}
    for batch, parts in ((3, [3, 1]), (1, [1, 1, 1, 1]), (None, [4])):
        taken.clear()
        status, out, err = distok_command(*words, *(() if batch is None else ("--batch", batch)))
        assert status == 0, err
        assert taken == parts
        told[batch] = [row["clipscore"] for row in json.loads(out)["pictures"]]
    assert told[3] == pytest.approx(told[None], abs=1e-4)
    assert told[1] == pytest.approx(told[None], abs=1e-4)
