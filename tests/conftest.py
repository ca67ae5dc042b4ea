"""Fixtures shared by all tests. One thread and no network, set before anything heavy is imported."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test leaves this machine: the guard acts here on import, and in every Python that a test starts by this path.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent / "offline"), os.environ.get("PYTHONPATH"))))

import pytest

from tests.offline import sitecustomize  # noqa: F401


@pytest.fixture
def double():
    """Double precision throughout: transformers 4 makes a text encoder's causal mask in the default type, whatever its own."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory):
    """A tiny Stable Diffusion pipeline with a projection, as a folder. Tests that change it copy it first."""
    from tests import tiny

    return tiny.save_pipeline(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(scope="session")
def labeler_folder(tmp_path_factory):
    """A tiny CLIP labeler, as a folder."""
    from tests import tiny

    return tiny.save_labeler(tmp_path_factory.mktemp("tiny") / "labeler")


@pytest.fixture(scope="session")
def backend(pipeline_folder):
    """The tiny pipeline, opened."""
    import torch

    from distok.backends import open_backend

    torch.set_num_threads(1)
    return open_backend(pipeline_folder)


@pytest.fixture(scope="session")
def labeler(labeler_folder):
    """The tiny labeler, opened."""
    import torch

    from distok.labelers import open_labeler

    torch.set_num_threads(1)
    return open_labeler(labeler_folder)


@pytest.fixture(scope="session")
def bank(backend, labeler, tmp_path_factory):
    """Readings of nine tokens near weighted means, two pictures each."""
    from distok.training import collect, mixture_tokens
    from distok.training.tasks import Allowed
    from tests.tiny import NAMES

    tokens = mixture_tokens(backend.name_tokens(NAMES), Allowed.among(NAMES, ()), 9, active=3)
    path = tmp_path_factory.mktemp("bank") / "bank.safetensors"
    return collect(backend, labeler, NAMES, tokens, path, steps=1, renders=2, batch=4)


@pytest.fixture(scope="module")
def parts(backend, pipeline_folder, labeler_folder, tmp_path_factory):
    """The options that name the tiny checkpoints."""
    from tests import edge

    model = edge.save_model(tmp_path_factory.mktemp("run") / "distok.safetensors", backend)
    return ["--backend", pipeline_folder, "--model", model.parent, "--labeler", labeler_folder]


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path):
    """``distok``, called in an empty folder."""
    from tests import edge

    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)
