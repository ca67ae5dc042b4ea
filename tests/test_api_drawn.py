"""What the verbs draw on the way: previews, sizes, batches."""

import re

import numpy as np
import pytest
from PIL import Image

from distok.api import Creator
from distok.concept import read_recipe, write_picture
from distok.errors import DistokError
from distok.gallery import save_exploration
from tests.tiny import NAMES

pytest_plugins = ("tests.evaluation_parts",)


@pytest.fixture
def creator(bench, labeler):
    return Creator(bench.backend, bench.model, labeler, NAMES, "tiny")


def test_a_refinement_draws_previews_of_its_own_seed_over_every_name_and_reads_none_that_is_black(creator, monkeypatch):
    drawn, read = [], []
    black, white = Image.new("RGB", (16, 16)), Image.new("RGB", (16, 16), "white")
    monkeypatch.setattr(
        Creator, "_render", lambda self, concepts, prompt, seeds, told, how: drawn.append((tuple(seeds), how)) or [black, white]
    )
    labeler_read = type(creator.labeler).read
    monkeypatch.setattr(
        type(creator.labeler), "read", lambda self, p, names: read.append((len(p), names)) or labeler_read(self, p, names)
    )
    for seed in (0, 5):
        creator.refine({"cat": 0.5, "zebra": 0.5}, rounds=1, pictures=2, seed=seed, any_words=True, steps=30, guidance_scale=2.0)
    assert [how for _, how in drawn] == [{"steps": 15, "guidance_scale": 2.0}] * 2
    assert not set(drawn[0][0]) & set(drawn[1][0])
    assert read == [(1, (*NAMES, "zebra"))] * 2


def test_a_recipe_says_the_size_that_was_drawn(creator):
    made = creator.create("cat, dog", n=1, steps=1, size=24)
    assert (made.pictures[0].width, made.recipes[0].size) == (24, 24)


def test_an_exploration_draws_its_seed_batch_by_batch_and_counts_on(creator, tmp_path, monkeypatch):
    asked, told = [], []

    def render_each(self, concepts, prompt, seed, callback, **settings):
        asked.append((len(concepts), seed))
        callback(1, 1)
        return [Image.new("RGB", (16, 16))] * len(concepts)

    monkeypatch.setattr(Creator, "render_each", render_each)
    monkeypatch.setattr(type(creator.backend), "at_once", 2)
    save_exploration(creator, creator.explore(3), tmp_path, "a {}", 9, lambda *step: told.append(step))
    assert asked == [(2, 9), (1, 9)]
    assert told == [(1, 1), (3, 3)]


def test_numbers_of_numpy_are_numbers_and_recipes_hold_them(creator, tmp_path):
    drawing = {"steps": np.int64(1), "guidance_scale": np.float32(3.5), "size": np.int64(24)}
    made = creator.create("cat, dog", n=np.int64(1), seed=np.int64(3), **drawing)
    again = creator.create("cat, dog", n=1, seed=3, steps=1, guidance_scale=3.5, size=24)
    assert made.recipes[0].as_dict() == again.recipes[0].as_dict()
    assert np.array_equal(np.asarray(made.pictures[0]), np.asarray(again.pictures[0]))
    write_picture(tmp_path / "a.png", made.pictures[0], made.recipes[0])
    assert read_recipe(tmp_path / "a.png").guidance_scale == 3.5
    assert [each.name for each in creator.explore(1, seed=2.0)] == ["normal-2-000"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.create(["pig", "cat"]), "a mix is text like pig=0.55, sheep=0.25, snake=0.2, a mapping of weights or a"),
        (lambda c: c.create({"pig": "x"}), "the weight of 'pig' is 'x'; use a number, like"),
        (lambda c: c.create("cat", prompt=3), "the prompt is 3, but text is expected"),
        (lambda c: c.create("cat", negative_prompt=3), "the negative prompt is 3, but text is expected"),
        (lambda c: c.create(None), "or a Distribution, not a NoneType"),
        (lambda c: c.create("cat", seed="3"), "the seed is '3'; use a whole number"),
        (lambda c: c.create("cat", n=2.0), "the number of pictures is 2.0; give a whole number"),
        (lambda c: c.create("cat", foo=3), "there is no setting 'foo' of a drawing; there are steps, guidance_scale, size"),
        (lambda c: c.render(c.concept("cat"), steps="3"), "steps is '3', but denoising takes a whole number"),
        (lambda c: c.read([], names="pig"), "the class names are the text 'pig'; give a list of names"),
    ],
)
def test_what_is_of_a_wrong_type_is_refused_in_a_line(creator, call, said):
    with pytest.raises(DistokError, match=re.escape(said)):
        call(creator)
