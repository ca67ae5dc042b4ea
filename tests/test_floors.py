"""What the supported range of versions rests on: floors that pip can pin, files that every release reads, and no network."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from packaging.version import Version

from distok.errors import DistokError
from distok.files import read_tensors, write_tensors
from tests.floors import floors
from tests.offline import sitecustomize
from tests.offline.sitecustomize import local

ROOT = Path(__file__).parents[1]
# A worker that pytest starts has the guard from its own start, under the plain name, and that one speaks first.
NetworkRefused = getattr(sys.modules.get("sitecustomize"), "NetworkRefused", sitecustomize.NetworkRefused)
ELSEWHERE = "192.0.2.1"  # kept for documentation by RFC 5737: no machine has it


def test_every_requirement_has_a_floor_that_pip_can_pin():
    pins = dict(pin.split("==") for pin in floors())
    assert {"torch", "diffusers", "transformers", "accelerate", "matplotlib", "pytest"} <= pins.keys()
    assert all(Version(version) for version in pins.values())
    assert "distok" not in pins


def test_packages_are_left_out_of_the_floors_by_name():
    script = [sys.executable, str(ROOT / "tests" / "floors.py")]
    shown = subprocess.run([*script, "torch"], capture_output=True, text=True, check=True).stdout.split()
    assert shown == [pin for pin in floors() if not pin.startswith("torch==")]
    refused = subprocess.run([*script, "tirch"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "pyproject.toml does not name tirch; it names torch, diffusers" in refused.stderr


def test_a_requirement_without_a_floor_is_refused(tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\ndependencies = ["numpy>=1.26,<3", "pillow"]\n')
    with pytest.raises(SystemExit, match="'pillow' has no floor; write it as 'name>=version'"):
        floors(file)
    file.write_text(
        '[project]\nname = "x"\ndependencies = ["numpy[all] >= 1.26, <3"]\n[project.optional-dependencies]\na = ["x[b]"]\n'
    )
    assert floors(file) == ["numpy==1.26"]


def test_the_installed_versions_are_not_below_the_floors():
    from importlib.metadata import distributions

    installed = {each.name.lower().replace("_", "-"): each.version for each in distributions()}
    floor_of = {name.lower().replace("_", "-"): floor for name, floor in (pin.split("==") for pin in floors())}
    there = floor_of.keys() & installed.keys()
    assert {"torch", "diffusers", "transformers", "huggingface-hub"} <= there
    assert [name for name in there if Version(installed[name]) < Version(floor_of[name])] == []


def test_the_shipped_world_is_named_as_published():
    """Every supported release, and other tools, read these names; under others transformers 4 goes on with random weights."""
    world = ROOT / "src" / "distok" / "assets" / "menagerie"
    encoder, _ = read_tensors(world / "pipeline" / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in encoder)
    labeler, _ = read_tensors(world / "labeler" / "model.safetensors")
    text = [name for name in labeler if name.startswith("text_model.")]
    assert all(name.startswith("text_model.text_model.") for name in text)
    assert len(text) == len(encoder)
    for folder in (world / "pipeline" / "tokenizer", world / "labeler"):
        assert {"tokenizer.json", "vocab.json", "merges.txt"} <= {path.name for path in folder.iterdir()}


def test_a_world_that_is_trained_here_is_saved_so_too(tmp_path):
    from distok.menagerie.language import make_clip, make_tokenizer, name_as_published, save_labeler

    tokens = make_tokenizer(("pig", "owl"))
    clip = make_clip(tokens, width=48, layers=1, side=64)
    save_labeler(clip, tokens, tmp_path / "labeler", temperature=0.05)
    labeler, metadata = read_tensors(tmp_path / "labeler" / "model.safetensors")
    inner = sorted(name for name in labeler if name.startswith("text_model."))
    assert all(name.startswith("text_model.text_model.") for name in inner)
    assert {"logit_scale", "text_projection.weight", "visual_projection.weight"} < labeler.keys()
    assert metadata["format"] == "pt", "transformers 4 refuses a file without it"
    assert {"vocab.json", "merges.txt"} <= {path.name for path in (tmp_path / "labeler").iterdir()}
    clip.text_model.save_pretrained(tmp_path / "encoder")
    weights = tmp_path / "encoder" / "model.safetensors"
    name_as_published(weights)
    assert sorted(f"text_model.{name}" for name in read_tensors(weights)[0]) == inner
    before = weights.read_bytes()
    name_as_published(weights)
    assert weights.read_bytes() == before, "done twice, it is done once"


def test_a_text_encoder_saved_by_transformers_5_is_read_or_refused_but_never_random(pipeline_folder, backend, tmp_path):
    import shutil

    from distok.backends import open_backend

    folder = shutil.copytree(pipeline_folder, tmp_path / "pipeline")
    weights = folder / "text_encoder" / "model.safetensors"
    tensors, metadata = read_tensors(weights)
    write_tensors(weights, {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}, metadata)
    if Version(transformers.__version__) >= Version("5"):
        assert open_backend(folder).hash == backend.hash
    else:
        with pytest.raises(
            DistokError, match=r"text_encoder was saved by transformers 5, .* would leave it random; upgrade: pip"
        ):
            open_backend(folder)


def test_a_connection_that_leaves_the_machine_is_refused():
    with (
        socket.socket() as outward,
        pytest.raises(NetworkRefused, match=r"reached for '192.0.2.1' .socket.connect.; tests run"),
    ):
        outward.connect((ELSEWHERE, 80))
    with socket.socket(type=socket.SOCK_DGRAM) as outward, pytest.raises(NetworkRefused, match=r"socket\.sendto"):
        outward.sendto(b"", (ELSEWHERE, 53))
    with pytest.raises(NetworkRefused, match=r"a test reached for 'example.invalid' .socket.getaddrinfo."):
        socket.create_connection(("example.invalid", 443))


def test_so_it_is_in_every_python_that_a_test_starts():
    code = f"import socket\ntry: socket.create_connection(('{ELSEWHERE}', 80))\nexcept Exception: print('hidden')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "NetworkRefused: a test reached for '192.0.2.1'" in ended.stderr
    assert ended.stdout == ""


def test_loopback_and_unix_sockets_stay_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(("localhost", server.getsockname()[1])):
        pass
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
    assert local("::1")
    assert local(b"127.9.9.9")
    assert not local("10.0.0.1")
