"""DiffMorpher in half precision: its LoRAs stay in float32, and latents that are no numbers are no black picture."""

import pytest
import torch

from distok.backends import open_backend
from distok.baselines.diff_morpher import DiffMorpherSettings, Morph
from distok.errors import DistokError
from tests import tiny_families
from tests.test_baselines_denoising import PROMPTS, ask, patches


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def morphs(request, tmp_path_factory):
    """One way between two pictures, in float32 and in float16."""
    pytest.importorskip("peft")
    folder = tiny_families.save(request.param, tmp_path_factory.mktemp("family") / request.param)
    how = DiffMorpherSettings(fit_steps=30, learning_rate=1e-2)
    kinds = (torch.float32, torch.float16)
    return [Morph(ask(open_backend(folder, dtype=kind)), how, patches(), PROMPTS) for kind in kinds]


def test_in_half_precision_it_is_nearly_the_same_picture(morphs):
    whole, half = (each.latents_at(0.5) for each in morphs)
    assert (whole.dtype, half.dtype) == (torch.float32, torch.float16)
    assert (half.float() - whole).norm() < 0.2 * whole.norm()
    for name, value in morphs[1].loras[0].items():
        assert value.dtype == torch.float32
        assert not name.endswith("lora_B.default.weight") or value.abs().max() > 0, "the LoRA learned nothing"


def test_latents_that_are_no_numbers_are_refused(morphs, monkeypatch):
    for each, kind in zip(morphs, ("float32", "float16"), strict=True):
        monkeypatch.setattr(each, "noises", [noise * float("nan") for noise in each.noises])
        with pytest.raises(DistokError, match=f"latents left the range of {kind} numbers; open the backend in float32, or lower"):
            each.at(0.5)
