"""What is judged: manifests, folders, and pictures shown as pixels alone."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from distok.errors import DistokError
from distok.judge import items as judge_items
from tests.judge_endpoint import level, picture

MANIFEST = [{"picture": "a.png", "method": "m", "case": "1", "asked": "pig=1"}]


@pytest.mark.parametrize(
    ("asked", "wish"),
    [
        ("pig=0.55, sheep=0.45", "55 % pig, 45 % sheep"),
        ("55% pig, 45% sheep", "55 % pig, 45 % sheep"),
        ("pig 33%; owl 33%; cow 33%", "33 % pig, 33 % owl, 33 % cow"),
        ("pig=2\nowl=1", "67 % pig, 33 % owl"),
        ("55% pig, 25% sheep, 15% snake", "58 % pig, 26 % sheep, 16 % snake"),
        ("34% pig, 34% owl, 34% cow", "33 % pig, 33 % owl, 33 % cow"),
        ("100% pig", "100 % pig"),
        ("pig=0, owl=1", "100 % owl"),
    ],
)
def test_a_mix_is_told_in_per_cent_without_what_weighs_nothing(asked, wish):
    item = judge_items.Item(Path("a.png"), "m", "1", asked)
    assert (item.mix is None, item.wish) == (False, wish)


@pytest.mark.parametrize(
    "asked",
    [
        "a creature that is 55% pig and 45% sheep",
        "55% pig and 45% sheep",
        "50% off sale poster with a pig",
        "a pig, 50% sheep",
        "E=mc2 as a pig",
        "blade runner 2049",
        "2 owls",
        "1 cat, 2 dogs",
        "a clock at 10:30",
        "a poster for Star Wars: 9",
        "50% off, 20% more",
        "pig, owl",
        "two pigs, 3 owls",
    ],
)
def test_a_prompt_with_such_a_sign_is_told_as_it_is(asked):
    item = judge_items.Item(Path("a.png"), "m", "1", asked)
    assert (item.mix, item.wish) == (None, asked)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "lists no pictures"),
        ([{**MANIFEST[0], "method": " "}], "entry 1 has no method; every entry needs picture, method, case, asked"),
        ([{**MANIFEST[0], "case": 3}], "entry 1 has no case"),
        ([{**MANIFEST[0], "picture": "none.png"}], "none.png does not exist; correct the manifest"),
        (MANIFEST * 2, "a.png is listed twice for m"),
        ([MANIFEST[0], {**MANIFEST[0], "method": "n", "asked": "owl=1"}], "case '1' asks for '100 % pig' and for '100 % owl'"),
        ({}, "is not a JSON list of objects"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(rows, message, tmp_path):
    picture(100).save(tmp_path / "a.png")
    (tmp_path / "m.json").write_text(json.dumps(rows))
    with pytest.raises(DistokError, match=re.escape(message)) as caught:
        judge_items.read_items(tmp_path / "m.json")
    assert "\n" not in str(caught.value)


def test_a_folder_says_method_and_case(tmp_path):
    from distok.concept import Recipe, write_picture

    mix = {"pig": 0.5, "owl": 0.5}
    fixed = dict.fromkeys(("concept", "concept_hash", "names_hash", "backend", "backend_hash", "model_hash", "version"), "x")
    recipe = Recipe(prompt="a {}", seed=0, steps=1, guidance_scale=1.0, size=8, distribution=mix, z=None, **fixed)
    write_picture(tmp_path / "ours" / "one.png", picture(10), recipe)
    picture(20).save(tmp_path / "lost.png")
    (tmp_path / "theirs").mkdir()
    picture(20).save(tmp_path / "theirs" / "one.png")
    with pytest.raises(DistokError, match=r"theirs/one.png does not say what was asked for; write it into one.txt beside it"):
        judge_items.read_items(tmp_path)
    (tmp_path / "theirs" / "one.txt").write_text("owl=0.5, pig=0.5\n")
    with pytest.raises(DistokError, match="case 'one' asks for"):
        judge_items.read_items(tmp_path)
    (tmp_path / "theirs" / "one.txt").write_text("pig=0.5, owl=0.5\n")
    listed = judge_items.read_items(tmp_path)
    assert [(i.method, i.case, i.wish) for i in listed] == [(m, "one", "50 % pig, 50 % owl") for m in ("ours", "theirs")]
    assert judge_items.Item(Path(), "m", "c", "a pig in the snow, 100% cute").mix is None


def test_folders_as_distok_leaves_them_are_judged_without_their_sheets(tmp_path):
    from distok.gallery import SHEET

    for method in ("ours", "theirs"):
        (tmp_path / method).mkdir()
        picture(20).save(tmp_path / method / "one.png")
        (tmp_path / method / "one.txt").write_text("pig=0.5, owl=0.5")
        picture(20).save(tmp_path / method / SHEET)
    assert [(item.method, item.case) for item in judge_items.read_items(tmp_path)] == [("ours", "one"), ("theirs", "one")]
    (tmp_path / "theirs" / SHEET).with_suffix(".txt").write_text("a sheet of paper")
    assert [item.case for item in judge_items.read_items(tmp_path)] == ["one", "one", "sheet"]


def test_a_blind_picture_has_the_pixels_of_the_original(tmp_path):
    original = picture(90, size=40, seed=3)
    original.save(tmp_path / "a.png", icc_profile=b"profile")
    shown = judge_items.show(tmp_path / "a.png")
    with Image.open(io.BytesIO(shown.data)) as again:
        assert again.tobytes() == original.tobytes()
    assert judge_items.show(original).digest == shown.digest
    assert judge_items.show(original, size=20).size == (20, 20)
    assert judge_items.show(original, kind="image/jpeg").url.startswith("data:image/jpeg;base64,")
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert level(judge_items.show(tmp_path / "clear.png").data) == 10
