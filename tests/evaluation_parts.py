"""Fixtures of the evaluation's tests: a bench of real classes at tiny size."""

import pytest

from distok.evaluation.cases import Bench
from distok.evaluation.pictures import Darkroom
from distok.evaluation.readings import Rulers
from distok.model import DisTok
from tests import tiny
from tests.edge import save_model
from tests.tiny import NAMES


@pytest.fixture(scope="module")
def model_file(backend, tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("evaluation") / "distok.safetensors", backend)


@pytest.fixture(scope="module")
def evaluator():
    return tiny.evaluator()


@pytest.fixture(scope="module")
def rulers(labeler, evaluator):
    return Rulers(NAMES, labeler, evaluator)


@pytest.fixture(scope="module")
def darkroom(backend, tmp_path_factory):
    return Darkroom(backend, tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def bench(backend, model_file, rulers, darkroom):
    return Bench(backend, DisTok.load(model_file), rulers, darkroom)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """A world folder, by its parts, whose text encoder takes long prompts: the tiny tokenizer spells most words out."""
    folder = tmp_path_factory.mktemp("world")
    tiny.save_pipeline(folder / "pipeline", length=77)
    return folder
