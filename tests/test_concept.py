import json

import pytest
import torch
from safetensors.torch import save_file

from distok.concept import Concept, digest
from distok.distribution import Distribution
from distok.errors import DistokError


@pytest.fixture
def concept():
    return Concept(
        "pig60-sheep40",
        {"text_encoder": torch.linspace(-1, 1, 32)[None]},
        Distribution.parse("pig=0.6, sheep=0.4"),
        (0.1, -2.5, 1e-9),
        {"backend": "tiny", "seed": "3"},
    )


def test_a_saved_concept_is_the_same_concept(concept, tmp_path):
    again = Concept.load(concept.save(tmp_path / "deep" / "concept.safetensors"))
    assert torch.equal(again.vectors["text_encoder"], concept.vectors["text_encoder"])
    assert (again.name, again.distribution, again.z, again.provenance) == (
        concept.name,
        concept.distribution,
        concept.z,
        concept.provenance,
    )
    assert again.hash == concept.hash


def test_the_same_concept_is_the_same_file(concept, tmp_path):
    first, second = concept.save(tmp_path / "a.safetensors"), concept.save(tmp_path / "b.safetensors")
    assert first.read_bytes() == second.read_bytes()


def test_an_explored_concept_has_no_mix(tmp_path):
    made = Concept("surprise", {"clip_l": torch.ones(2, 4), "clip_g": torch.ones(2, 6)}, z=(1.0,))
    again = Concept.load(made.save(tmp_path / "c.safetensors"))
    assert again.distribution is None
    assert set(again.vectors) == {"clip_l", "clip_g"}


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -1])
def test_a_truncated_file_is_refused(concept, tmp_path, kept):
    path = concept.save(tmp_path / "concept.safetensors")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DistokError, match="is not a readable safetensors file"):
        Concept.load(path)


def test_foreign_files_are_refused(concept, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(2, 2)}, path)
    with pytest.raises(DistokError, match="is a safetensors file but not a DisTok concept"):
        Concept.load(path)
    save_file({"weight": torch.ones(2, 2)}, path, {"distok": json.dumps({"kind": "distok", "settings": {}})})
    with pytest.raises(DistokError, match="not a DisTok concept that can be read"):
        Concept.load(path)
    save_file({"weight": torch.ones(2, 2)}, path, {"distok": json.dumps(concept.describe() | {"format": 99})})
    with pytest.raises(DistokError, match="is of a newer format than this version reads"):
        Concept.load(path)
    save_file({"weight": torch.ones(2, 2)}, path, {"distok": json.dumps(concept.describe() | {"z": ["a"]})})
    with pytest.raises(DistokError, match="not a DisTok concept that can be read"):
        Concept.load(path)
    with pytest.raises(DistokError, match="does not exist or is not a file"):
        Concept.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("bad", [torch.full((1, 4), float("nan")), torch.ones(4), torch.ones(0, 4)])
def test_vectors_must_be_finite_and_of_two_dimensions(bad):
    with pytest.raises(DistokError, match="are not finite numbers of shape"):
        Concept("c", {"text_encoder": bad})


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 101])
def test_names_can_be_file_names(name):
    with pytest.raises(DistokError, match="cannot name a concept"):
        Concept(name, {"text_encoder": torch.ones(1, 4)})


def test_the_hash_is_of_the_vectors(concept):
    same = Concept("other", dict(concept.vectors))
    moved = Concept("other", {"text_encoder": concept.vectors["text_encoder"] + 1e-6})
    assert same.hash == concept.hash != moved.hash
    assert digest("ab", "c") != digest("a", "bc")


def test_a_concept_says_which_backend_it_is_for(concept):
    assert list(concept.for_backend({"text_encoder": 32})) == ["text_encoder"]
    pair = Concept("pair", {"text_encoder_2": torch.ones(2, 6), "text_encoder": torch.ones(2, 4)})
    assert [(key, value.shape) for key, value in pair.for_backend({"text_encoder": 4, "text_encoder_2": 6}).items()] == [
        ("text_encoder", (2, 4)),
        ("text_encoder_2", (2, 6)),
    ]
    assert list(pair.for_backend({"text_encoder": 4})) == ["text_encoder"]  # a pipeline without the optional encoder
    wanted = "concept 'pig60-sheep40' is for text_encoder 32, and sdxl takes text_encoder 768 and text_encoder_2 1280; open the"
    with pytest.raises(DistokError, match=wanted):
        concept.for_backend({"text_encoder": 768, "text_encoder_2": 1280}, "sdxl")
    with pytest.raises(DistokError, match="is for text_encoder 32, and this backend takes prior_text_encoder 32"):
        concept.for_backend({"prior_text_encoder": 32})
    with pytest.raises(DistokError, match="is for text_encoder 32, and this backend takes text_encoder 48"):
        concept.for_backend({"text_encoder": 48})
    uneven = Concept("uneven", {"text_encoder": torch.ones(1, 4), "text_encoder_2": torch.ones(2, 6)})
    with pytest.raises(DistokError, match=r"vectors of different numbers \(1 for text_encoder and 2 for text_encoder_2\)"):
        uneven.for_backend({"text_encoder": 4, "text_encoder_2": 6})
