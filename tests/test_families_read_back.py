"""Every family through the public API, from saved folders: a creative token painted, and read back by a real labeler."""

import json
import math

import numpy as np
import pytest
import torch

import distok
from distok.backends import open_backend
from distok.distribution import mean
from distok.errors import DistokError
from distok.labelers import open_labeler
from tests import edge, tiny_families, tiny_labelers
from tests.tiny import NAMES

READ_BY = {
    "sd1": "clip",
    "sd2": "blip-vqa",
    "sdxl": "blip-itm",
    "sd3": "siglip2",
    "flux": "qwen2_5_vl",
    "kandinsky21": "ensemble",
    "kandinsky22": "siglip",
}
SIZES = {"sd1": 16, "sd2": 16, "kandinsky21": 64, "kandinsky22": 64}
ASKED = {"cat": 0.7, "dog": 0.3}


def save_labeler(kind, home):
    if kind != "ensemble":
        return tiny_labelers.SAVERS[kind](home / kind)
    members = [{"labeler": str(save_labeler(each, home)), "weight": weight} for each, weight in (("clip", 1), ("blip-vqa", 2))]
    return tiny_labelers.write_settings(home / kind, kind="ensemble", members=members)


@pytest.fixture(scope="module", params=READ_BY)
def made(request, tmp_path_factory):
    """Folders of a pipeline, a DisTok for it and a labeler; what was opened from them; and what it created."""
    torch.set_num_threads(1)
    family, home = request.param, tmp_path_factory.mktemp("read-back")
    folder = tiny_families.save(family, home / family)
    (folder / "distok.json").write_text(json.dumps({"steps": 2, "size": SIZES.get(family, 32), "prior_steps": 2}))
    model = edge.save_model(home / "distok.safetensors", open_backend(folder))
    labeler = save_labeler(READ_BY[family], home)
    creator = distok.open(backend=folder, model=model, labeler=labeler)
    return folder, labeler, creator, creator.create(ASKED, n=2, seed=3)


def test_what_was_asked_and_what_was_measured(made):
    creation = made[-1]
    assert creation.asked.as_dict() == pytest.approx(ASKED)
    assert len(creation.readings) == len(creation.pictures) == 2
    for reading in (*creation.readings, creation.measured):
        assert set(reading.names) <= set(NAMES)
        assert sum(reading.weights) == pytest.approx(1)
    assert creation.measured.over(NAMES) == pytest.approx(mean(creation.readings).over(NAMES))
    assert math.isfinite(creation.kl)
    assert creation.kl > 0
    assert 0 < creation.js < math.log(2)


def test_the_readings_are_the_labelers_own_of_these_pictures(made):
    _, labeler, _, creation = made
    direct = open_labeler(labeler)
    for picture, reading in zip(creation.pictures, creation.readings, strict=True):
        assert reading.over(NAMES) == pytest.approx(direct.read([picture], NAMES)[0].over(NAMES), abs=1e-4)
    other = creation.pictures[0].point(lambda level: 255 - level)
    assert direct.read([other], NAMES)[0].over(NAMES) != pytest.approx(creation.readings[0].over(NAMES), abs=1e-4)


def apart(picture, other):
    """The largest difference of two pictures, in levels of 255."""
    return np.abs(np.asarray(picture, dtype=int) - np.asarray(other, dtype=int)).max()


def test_recipes_name_the_backend_and_bring_the_picture_and_its_reading_again(made):
    folder, _, creator, creation = made
    assert {recipe.backend_hash for recipe in creation.recipes} == {open_backend(folder).hash}
    assert [recipe.seed for recipe in creation.recipes] == [3, 4]
    again = creator.create(creator.concept_of(creation.recipes[1]), n=1, seed=4)
    assert apart(again.pictures[0], creation.pictures[1]) <= 1 < apart(*creation.pictures)
    assert again.readings[0].over(NAMES) == pytest.approx(creation.readings[1].over(NAMES), abs=1e-2)
    assert again.kl is not None


def test_the_token_is_what_was_painted(made):
    """The concept's vectors in the prompt give its picture, other vectors another; a concept of another family is refused."""
    _, _, creator, creation = made
    backend = creator.backend

    def painted(token):
        (picture,) = backend.render(["a photo of a <tcrt_0>"], token, seeds=[3])
        return picture

    assert apart(painted(backend.join(creation.concept.vectors)), creation.pictures[0]) <= 1
    assert apart(painted(backend.name_tokens(["snake"]) * 2), creation.pictures[0]) > 1
    with pytest.raises(DistokError, match="takes"):
        creation.concept.for_backend({"text_encoder": 7})
