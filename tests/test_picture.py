import io
import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from distok.concept import Concept, contact_sheet, load_picture, make_recipe, read_recipe, write_picture
from distok.distribution import Distribution
from distok.errors import DistokError


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8))


@pytest.fixture
def recipe():
    concept = Concept("pig60-sheep40", {"text_encoder": torch.ones(1, 4)}, Distribution.parse("pig=0.6, sheep=0.4"), (0.25, -1.5))
    return make_recipe(
        concept,
        prompt="a 水彩 of a {}",
        seed=7,
        steps=12,
        guidance_scale=3.0,
        size=16,
        names_hash="n",
        backend="menagerie",
        backend_hash="b",
        model_hash="m",
        version="0.1.0",
        sampler="DDIM",
        negative_prompt="blurry",
    )


def test_the_recipe_comes_back_and_the_pixels_are_untouched(picture, recipe, tmp_path):
    path = write_picture(tmp_path / "p.png", picture, recipe)
    assert read_recipe(path) == recipe
    assert np.array_equal(np.asarray(load_picture(path)), np.asarray(picture))


def test_other_tools_find_what_they_look_for(picture, recipe, tmp_path):
    with Image.open(write_picture(tmp_path / "p.png", picture, recipe)) as opened:
        text = opened.text
    assert text["parameters"] == (
        "a 水彩 of a pig60-sheep40\nNegative prompt: blurry\n"
        "Steps: 12, Sampler: DDIM, CFG scale: 3, Seed: 7, Size: 16x16, Model hash: b, Model: menagerie, "
        f'TI hashes: "pig60-sheep40: {recipe.concept_hash}", Version: DisTok 0.1.0'
    )
    told = json.loads(text["distok"])
    assert (told["distribution"], told["z"], told["seed"]) == ({"pig": 0.6, "sheep": 0.4}, [0.25, -1.5], 7)


def test_a_name_with_commas_ends_no_value_of_the_line(recipe):
    told = replace(recipe, backend='mine, "v2": big').parameters()
    assert r'Model: "mine, \"v2\": big", TI hashes: "pig60-sheep40: ' in told


@pytest.mark.parametrize(("kind", "place", "damage"), [("avif", -30, bytes(30)), ("dds", 80, b"\4\0\0\0ZZZZ")])
def test_whatever_a_format_raises_on_damage_is_said_in_one_line(kind, place, damage, tmp_path):
    if kind == "avif":
        pytest.importorskip("PIL._avif", reason="this Pillow reads none")
    path = tmp_path / f"p.{kind}"
    Image.new("RGB", (32, 32), "red").save(path)
    data = bytearray(path.read_bytes())
    data[place : place + len(damage) or None] = damage
    path.write_bytes(data)
    with pytest.raises(DistokError, match=r"is not a picture that can be read \(.+\); give a PNG or JPEG"):
        load_picture(path)


def test_the_same_picture_is_the_same_file(picture, recipe, tmp_path):
    files = [write_picture(tmp_path / name, picture, recipe).read_bytes() for name in ("a.png", "b.png")]
    assert files[0] == files[1]


def test_pictures_of_other_programs_have_no_recipe(picture, recipe, tmp_path):
    picture.save(tmp_path / "p.jpg")
    with pytest.raises(DistokError, match="has no recipe inside; give a PNG that distok wrote"):
        read_recipe(tmp_path / "p.jpg")
    from PIL.PngImagePlugin import PngInfo

    whole = recipe.as_dict()
    wrong = [whole | change for change in ({"distribution": ["pig"]}, {"z": "0"}, {"z": ["0"]}, {"seed": 1.5}, {"prompt": None})]
    for text in ("[]", "{", '{"prompt": "a {}"}', *map(json.dumps, wrong)):
        chunks = PngInfo()
        chunks.add_text("distok", text)
        picture.save(tmp_path / "p.png", pnginfo=chunks)
        with pytest.raises(DistokError, match=r"the recipe inside .* cannot be read"):
            read_recipe(tmp_path / "p.png")


def test_files_that_are_no_pictures(picture, tmp_path):
    path = tmp_path / "p.png"
    path.write_text("a poem")
    with pytest.raises(DistokError, match="is not a picture that can be read"):
        load_picture(path)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:200])
    with pytest.raises(DistokError, match="is not a picture that can be read"):
        load_picture(path)
    with pytest.raises(DistokError, match="does not exist or is not a file"):
        load_picture(tmp_path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(DistokError, match="is not a picture that can be read"):
        load_picture(path)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    assert load_picture(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert load_picture(tmp_path / "grey.png").getpixel((0, 0)) == (7, 7, 7)


def test_a_sheet_holds_every_picture_in_order():
    colours = [(40 * index, 0, 255 - 40 * index) for index in range(5)]
    page = contact_sheet(
        [Image.new("RGB", (8, 8), colour) for colour in colours], ["a caption far too long for its cell"] * 5, cell=64
    )
    found = [page.getpixel((8 + (index % 3) * 72 + 32, 8 + index // 3 * 94 + 32)) for index in range(5)]
    assert found == colours
    assert page.size == (3 * 72 + 8, 2 * 94 + 8)
    wide = contact_sheet([Image.new("RGB", (20, 10), "red")], cell=40)
    assert (wide.getpixel((28, 28)), wide.getpixel((28, 10))) == ((255, 0, 0), (250, 249, 246))


def test_a_sheet_of_very_many_pictures_stays_a_picture():
    page = contact_sheet([Image.new("RGB", (2, 2))] * 1000)
    assert max(page.size) <= 8192 + 8


def test_a_picture_of_sixteen_bits_is_not_all_white(tmp_path):
    levels = np.array([[0, 300], [30_000, 65_535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "scan.png")
    assert np.asarray(load_picture(tmp_path / "scan.png"))[..., 0].tolist() == [[0, 1], [116, 255]]
