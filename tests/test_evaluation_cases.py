"""Pictures kept by recipe, the cases, the methods, and what is written."""

import numpy as np
import pytest
import torch
from PIL import Image

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.evaluation.cases import STRIDE, Bench, shoot
from distok.evaluation.pictures import Darkroom, Shot
from distok.evaluation.readings import Rulers
from distok.evaluation.report import csv_text, grid, plain
from tests.tiny import NAMES

pytest_plugins = ("tests.evaluation_parts",)


def test_a_picture_is_rendered_once_and_is_the_same_in_any_company(backend, tmp_path):
    told = []
    room = Darkroom(backend, tmp_path, lambda *report: told.append(report))
    token = torch.linspace(-1, 1, backend.token_dim)
    shots = [Shot("a photo of a {}", 3, token), Shot("a photo of a pig", 4), Shot("a photo of a {}", 5, token * 2)]
    first = room.develop("a stage", shots)
    assert room.rendered == 3
    assert told == [("a stage", 0, 3), ("a stage", 3, 3)]
    again = room.develop("a stage", [*shots[::-1], Shot("a photo of a pig", 6)])
    assert room.rendered == 4, "only the new one"
    for one, other in zip(first, again[2::-1], strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    alone = backend.render(["a photo of a <tcrt_0>"], token[None], seeds=[3])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(first[0], int)).max() <= 1
    other = Darkroom(backend, tmp_path)
    other.develop("a stage", [Shot("a photo of a {}", 3, token + 0.01)])
    assert other.rendered == 1, "another token is another picture"


def test_a_damaged_picture_is_rendered_again_and_another_pipeline_shares_none(backend, tmp_path):
    from distok.backends.stable_diffusion import RenderDefaults, StableDiffusionBackend

    shot = [Shot("a photo of a pig", 0)]
    room = Darkroom(backend, tmp_path)
    (picture,) = room.develop("x", shot)
    (path,) = tmp_path.glob("*/*.png")
    path.write_bytes(path.read_bytes()[:40])
    assert np.array_equal(np.asarray(room.develop("x", shot)[0]), np.asarray(picture))
    assert room.rendered == 2
    slower = Darkroom(StableDiffusionBackend(backend.pipe, RenderDefaults(3, 3.0, 16)), tmp_path)
    slower.develop("x", shot)
    assert slower.rendered == 1, "other steps are other pictures"


def test_shots_whose_prompt_and_token_do_not_fit_are_refused():
    with pytest.raises(DistokError, match="do not fit"):
        Shot("a photo of a pig", 0, torch.zeros(4))
    with pytest.raises(DistokError, match="do not fit"):
        Shot("a photo of a {}", 0)


def test_cases_of_other_classes_are_drawn_and_those_of_the_menagerie_are_shipped(bench, evaluator):
    from distok.menagerie.species import NAMES as SPECIES
    from distok.menagerie.splits import splits

    assert {case.kind for case in bench.cases} == {"pair", "weighted"}
    for case in bench.cases:
        assert set(case.asked.names) <= set(NAMES)
        assert min(case.asked.weights) >= 0.15 - 1e-9
    shipped = Bench(bench.backend, bench.model, Rulers(SPECIES, None, evaluator), bench.darkroom).cases
    assert [case.asked.names for case in shipped[:30]] == list(splits().evaluation_pairs)
    assert [case.asked.as_dict() for case in shipped[30:]] == [pytest.approx(each) for each in splits().evaluation_distributions]


def test_the_reading_of_a_case_comes_from_its_own_pictures(bench):
    cases = bench.spread(3)
    pictures = shoot(bench, bench.token, cases, 2, "x")
    last = cases[-1]
    alone = bench.backend.render(["a photo of a <tcrt_0>"], bench.token(last.asked)[None], seeds=[STRIDE * last.index + 1])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(pictures[-1][1], int)).max() <= 1


def test_figures_become_json_and_records_csv():
    assert plain({"a": np.float64(0.5), "b": [np.array([1, 2])], "c": float("nan"), 3: True}) == {
        "a": 0.5, "b": [[1, 2]], "c": None, "3": True,
    }  # fmt: skip
    assert csv_text([{"x": 0.123456789, "y": "a, b"}]) == 'x,y\n0.123457,"a, b"\n'
    assert grid({"row": [Image.new("RGB", (8, 8))] * 2}, ["one", "two"], cell=16)[:4] == b"\x89PNG"
    assert Distribution.parse("pig, owl").names == ("pig", "owl")
