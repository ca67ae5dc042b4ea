"""Files that are not what they say: each loader refuses them in a line, whatever is wrong."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from distok import checkpoints, files
from distok.concept import Concept, import_concept
from distok.errors import DistokError
from distok.menagerie.evaluator import Evaluator, EvaluatorSettings
from distok.model import DisTok, DisTokSettings
from distok.training import Bank, checkpoint

TOLD = {"format": 1, "name": "x", "distribution": {"pig": 1}, "z": [1.0], "provenance": {}}
DEEP = "[" * 200_000


def refused(load, path):
    with pytest.raises(DistokError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("change", [{"z": [10**400]}, {"distribution": {"pig": 10**400}}, {"z": 5}, {"format": [1]}, {"name": 5}])
def test_a_concept_with_a_foreign_value_is_refused(change, tmp_path):
    save_file({"text_encoder": torch.ones(1, 4)}, tmp_path / "c", {"distok": json.dumps(TOLD | change)})
    assert "make it again" in refused(Concept.load, tmp_path / "c")


@pytest.mark.parametrize("told", [DEEP, "[]", "null", "{"])
@pytest.mark.parametrize(
    "load",
    [Concept.load, import_concept, Bank.load, DisTok.load, checkpoints.known_names, checkpoint.read],
    ids=lambda f: f.__qualname__,
)
def test_what_says_nothing_of_itself_is_refused(load, told, tmp_path):
    path = tmp_path / "checkpoint-3.safetensors"
    save_file({"text_encoder": torch.ones(1, 4)}, path, {"distok": told})
    assert str(path) in refused(load, path)


@pytest.mark.parametrize(("kind", "size"), [("F4", 2), ("C64", 32), ("BOOL", 4)])
def test_vectors_that_are_no_real_numbers_are_refused(kind, size, tmp_path):
    entry = {"dtype": kind, "shape": [1, 4], "data_offsets": [0, size]}
    header = json.dumps({"text_encoder": entry, "__metadata__": {"distok": json.dumps(TOLD)}}).encode()
    (tmp_path / "c").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    said = refused(Concept.load, tmp_path / "c")
    assert "but real numbers are expected; give float32" in said or "not a readable safetensors file" in said


def test_a_foreign_checkpoint_in_half_precision_is_passed_over(tmp_path, caplog):
    save_file({"w": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "checkpoint-500.safetensors")
    assert "does not hold what was written to it" in refused(Bank.load, tmp_path / "checkpoint-500.safetensors")
    checkpoint.save(tmp_path, 4, {"w": torch.ones(3, dtype=torch.bfloat16), "n": torch.tensor(2)}, {})
    step, tensors = checkpoint.latest(tmp_path, {})
    assert (step, tensors["n"].item()) == (4, 2)
    assert "skipping a corrupt checkpoint" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"settings": []}, {"settings": {"token_dim": "wide"}}, {"provenance": {"names": "{"}}, {"provenance": {"names": "5"}}],
)
def test_a_model_with_a_foreign_record_is_refused(change, tmp_path):
    DisTok(DisTokSettings(8, 2, 4)).save(tmp_path / "m", {"names": '["a"]'})
    tensors, told = files.read_tensors(tmp_path / "m")
    files.write_tensors(tmp_path / "m", tensors, {"distok": json.dumps(json.loads(told["distok"]) | change)})
    load = DisTok.load if "settings" in change else checkpoints.known_names
    assert str(tmp_path / "m") in refused(load, tmp_path / "m")


@pytest.mark.parametrize("lost", ["names", "settings", "weights", "json"])
def test_an_evaluator_that_is_not_whole_is_refused(lost, tmp_path):
    Evaluator(EvaluatorSettings(side=16, fold=1, widths=(8, 8), pyramid=8, looks=1, features=16)).save(tmp_path / "e")
    tensors, told = files.read_tensors(tmp_path / "e")
    changed = {
        "names": {"evaluator": told["evaluator"]},
        "settings": told | {"evaluator": "{}"},
        "weights": told,
        "json": told | {"evaluator": DEEP},
    }[lost]
    kept = dict(list(tensors.items())[1:]) if lost == "weights" else tensors
    files.write_tensors(tmp_path / "e", kept, changed)
    assert "is not an evaluator that can be read" in refused(Evaluator.load, tmp_path / "e")
