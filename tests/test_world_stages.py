"""What the stages of a world learn from, and how: a stage that learns something else ends all the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from distok.menagerie.evaluator import Evaluator, EvaluatorSettings
from distok.menagerie.language import make_clip, make_tokenizer
from distok.menagerie.latents import _Chunks
from distok.menagerie.stage import Runner, Schedule
from distok.menagerie.stage_denoiser import DenoiserStage, make_unet
from distok.menagerie.stage_labeler import LabelerStage
from distok.menagerie.world import World
from tests import tiny
from tests.test_world import TINY, Line


def test_the_denoiser_hides_words_and_nothing_else():
    pipe = tiny.pipeline()
    unet = make_unet(4, tiny.WIDTH, (16, 16), 8)
    tokens = pipe.tokenizer
    ids = torch.tensor(tokens(["a photo of a cat", "a dog"], padding="max_length").input_ids)
    bank = (np.zeros((2, 4, 8, 8), np.float16), ids.numpy())
    stage = DenoiserStage(
        unet, pipe.text_encoder, bank, 0.5, tokens.eos_token_id, np.array(tokens([""], padding="max_length").input_ids[0])
    )
    whole = pipe.text_encoder(ids).last_hidden_state
    states = stage.states(ids, torch.tensor([True, False]))
    end = ids[0].tolist().index(tokens.eos_token_id)
    assert (states[0, :end] == 0).all()
    assert torch.equal(states[0, end:], whole[0, end:])
    assert torch.equal(states[1], whole[1])


def test_min_snr_weights():
    stage = DenoiserStage(
        make_unet(4, tiny.WIDTH, (16, 16), 8),
        tiny.pipeline().text_encoder,
        (np.zeros((1, 4, 8, 8)), np.zeros((1, 16))),
        1.0,
        0,
        np.zeros(16),
    )
    alphas = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    snr = alphas / (1 - alphas)
    assert torch.allclose(stage.weights.double(), 2 * snr.clamp(max=5) / (snr + 1), rtol=1e-3)
    many = DenoiserStage(
        stage.model, stage.text, (np.zeros((64, 4, 8, 8)), np.ones((64, 16), np.int16)), 1.0, 0, np.full(16, 9), batch_size=64
    )
    dropped = np.mean([(many.batch(step)["ids"] == 9).all(1).mean() for step in range(40)])
    assert dropped == pytest.approx(0.1, abs=0.03)


def test_the_rate_of_a_stage():
    schedule = Schedule(100, 0.5, warmup=10, cooldown=0.5)
    assert [schedule.rate(step) for step in (0, 9, 49, 75, 99)] == pytest.approx([0.05, 0.5, 0.5, 0.25, 0.01])


def test_a_stage_ends_with_its_average(tmp_path):
    runner = Runner(Line(), Schedule(30, 1e-2, warmup=1, ema=0.9), tmp_path, workers=0)
    model = runner.run()
    for name, value in model.named_parameters():
        assert torch.equal(value, runner.average[name])


def test_a_named_half_of_a_chimera_is_a_whole_target():
    stage = object.__new__(LabelerStage)
    stage.model = SimpleNamespace(config=SimpleNamespace(vision_config=SimpleNamespace(image_size=4)))
    stage.seed, stage.batch_size, stage.words = 1, 200, {"pig": 0, "owl": 1}
    stage.source = SimpleNamespace(item=lambda i: (np.zeros((4, 4, 3), np.uint8), "a photo of a pig owl"))
    target = stage.batch(0)["target"]
    assert np.allclose(target.sum(1), 1)
    assert (target.max(1) == 1).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("stage", ["labeler", "denoiser"])
def test_a_stage_gets_its_networks_on_the_device_it_runs_on(stage, tmp_path, monkeypatch):
    """Of a dual encoder whose text tower moved alone, in the stage before."""
    world, seen = World(tmp_path, TINY, device="meta"), {}
    tokenizer = make_tokenizer(("a", "cat", "photo", "of"))
    world.made = {"text": (make_clip(tokenizer), tokenizer), "vae": SimpleNamespace(config=SimpleNamespace(scaling_factor=1.0))}
    monkeypatch.setattr("distok.menagerie.world.read_bank", lambda folder: ())
    for name in ("LabelerStage", "DenoiserStage"):
        monkeypatch.setattr(
            f"distok.menagerie.world.{name}", lambda model, *_, **__: seen.update(on={p.device.type for p in model.parameters()})
        )
    monkeypatch.setattr(World, "_run", lambda *_, **__: "trained")
    assert getattr(world, stage)() == "trained"
    assert seen["on"] == {"meta"}


def test_words_may_be_more_than_a_short_number_counts(tmp_path):
    """Captions of a large set have more different words than 16 bits."""
    source = SimpleNamespace(item=lambda index: (np.zeros((8, 8, 3), np.uint8), "a cat"))
    chunks = _Chunks(source, lambda texts, **_: SimpleNamespace(input_ids=[[40_000, 3]] * len(texts)), 2, 2)
    assert chunks[0][1].tolist() == [[40_000, 3]] * 2


def test_pictures_of_two_sizes_are_each_seen_as_alone():
    model = Evaluator(EvaluatorSettings(side=16, fold=1, widths=(8, 8), pyramid=8, looks=1, features=16))
    pictures = [Image.new("RGB", size, colour) for size, colour in (((20, 30), "red"), ((16, 16), "blue"))]
    assert torch.equal(model.pixels(pictures), torch.cat([model.pixels([each]) for each in pictures]))


def test_pictures_are_reduced_by_area():
    model = Evaluator(EvaluatorSettings(side=16, fold=1, widths=(8, 8), pyramid=8, looks=1, features=16))
    fine = np.zeros((32, 32, 3), np.uint8)
    fine[::2] = 255
    assert torch.allclose(model.pixels([Image.fromarray(fine)]), torch.tensor(0.5), atol=1e-2)
