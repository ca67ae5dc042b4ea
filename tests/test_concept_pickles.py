"""Tokens in the pickles that older tools left: read as tensors alone, when asked, and never run."""

from collections import OrderedDict

import pytest
import torch

from distok.concept import import_concept
from distok.errors import DistokError


def parameters(vectors):
    """A ParameterDict as torch 1.11 and older left it: today's class unpickles it without keys of its own."""
    made = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    state = {"training": True, "_parameters": OrderedDict({"*": torch.nn.Parameter(vectors)}), "_buffers": OrderedDict()}
    made.__dict__.clear()
    made.__dict__.update(state | {"_modules": OrderedDict()})
    return made


LEGACY = {
    "a1111": lambda v: {
        "string_to_token": {"*": 265}, "string_to_param": {"*": v}, "name": "my cat", "step": 9, "sd_checkpoint": None,
    },
    "a1111, oldest": lambda v: {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters(v)},
    "diffusers": lambda v: {"<my-cat>": v[0]},
    "kohya": lambda v: {"emb_params": v},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "zipped"), [*((kind, True) for kind in LEGACY), *((kind, False) for kind in LEGACY if "oldest" not in kind)]
)
def test_pickles_are_read_only_when_asked(kind, zipped, tmp_path):
    vectors, path = torch.randn(1, 768), tmp_path / "my-cat.pt"
    torch.save(LEGACY[kind](vectors), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DistokError, match=r"my-cat.pt is a pickle, which can run code when it is opened; .* add --allow-pickle"):
        import_concept(path)
    concept = import_concept(path, allow_pickle=True)
    assert torch.equal(concept.vectors["text_encoder"], vectors)
    assert not concept.vectors["text_encoder"].requires_grad
    assert (concept.name, concept.distribution) == ("my-cat", None)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_never_runs_code(tmp_path):
    path = tmp_path / "x.bin"
    torch.save({"<cat>": torch.ones(768), "bomb": Bomb(tmp_path / "ran")}, path)
    with pytest.raises(DistokError, match=r"x.bin is damaged or holds more than tensors \(.*open"):
        import_concept(path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()
    for held, message in (
        ({"string_to_param": {"a": torch.ones(4), "b": torch.ones(4)}}, "holds 2 tokens, but a concept is one"),
        ({"string_to_param": 3}, "holds 0 tokens"),
        ([torch.ones(4)], "holds a list, but a mapping of one token is expected"),
        ({"<cat>": "text"}, "'<cat>' is str, but vectors"),
    ):
        torch.save(held, path)
        with pytest.raises(DistokError, match=message):
            import_concept(path, allow_pickle=True)
    torch.save({"<cat>": torch.ones(768)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DistokError, match="is damaged or holds more than tensors") as refused:
        import_concept(path, allow_pickle=True)
    assert "\n" not in str(refused.value)
