"""The recipe of a world, at tiny size: every stage really runs, resumes, and its directories load like any checkpoint."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("skia", exc_type=ImportError)

from distok.checkpoints import native_bf16
from distok.errors import DistokError
from distok.files import read_tensors
from distok.menagerie.evaluator import Evaluator, EvaluatorSettings
from distok.menagerie.stage import Runner, Schedule
from distok.menagerie.stage_evaluator import EvaluatorStage, augment, spoil, unseen
from distok.menagerie.world import STAGES, Recipe, World, train_world
from distok.seeds import generator, rng
from tests import tiny

SHORT = Schedule(2, 1e-3, warmup=1, save_seconds=0.0)
TINY = Recipe(SHORT, SHORT, SHORT, SHORT, replace(SHORT, ema=0.9), pictures=32, shard=16, batch=8, steps=2)


class Line:
    """A stage that fits a line, with dropout-like randomness from (seed, step)."""

    name = "line"

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def batch(self, step):
        x = rng(1, step).normal(size=(16, 4)).astype(np.float32)
        return {"x": x, "y": x.sum(1, keepdims=True)}

    def loss(self, batch, step):
        noise = torch.randn(batch["x"].shape, generator=generator(2, step))
        loss = (self.model(batch["x"] + 0.01 * noise) - batch["y"]).square().mean()
        return loss, {"mse": float(loss.detach())}


def test_a_stage_learns_and_resumes_to_the_same_weights(tmp_path):
    schedule = Schedule(200, 1e-2, warmup=5, ema=0.9)
    losses = []
    whole = Runner(Line(), schedule, tmp_path / "whole", workers=0, callback=lambda *_: losses.append(_[3]["mse"])).run()
    assert losses[-1] < losses[0] / 3
    for _ in range(3):  # each call stops after its first step, as if it had been interrupted, and saves
        Runner(Line(), schedule, tmp_path / "parts", workers=0).run(stop_after=1e-9)
    parts = Runner(Line(), schedule, tmp_path / "parts", workers=0).run()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_a_state_of_another_network_is_refused(tmp_path):
    Runner(Line(), Schedule(1), tmp_path, workers=0).run()
    other = Line()
    other.model = nn.Linear(4, 1)
    with pytest.raises(DistokError, match="belongs to a network of other sizes; give another folder"):
        Runner(other, Schedule(1), tmp_path, workers=0).run()


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_used_only_where_the_processor_has_it(tmp_path, monkeypatch, native, dtype):
    """Where it has not, bfloat16 is emulated, many times slower than single precision."""
    from distok.menagerie.latents import _encode

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert native_bf16("cpu") is native
    assert native_bf16("cuda")
    stage, types = Line(), set()
    stage.model.register_forward_hook(lambda module, given, made: types.add(made.dtype))
    Runner(stage, SHORT, tmp_path, workers=0, autocast=True).run()
    vae = tiny.pipeline().vae
    vae.encoder.layers[-1].register_forward_hook(lambda module, given, made: types.add(made.dtype))
    latents, _ = _encode(vae, torch.zeros(2, 16, 16, 3, dtype=torch.uint8), torch.zeros(2, 4))
    assert types == {dtype}
    assert latents.dtype == np.float16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    seen = []
    train_world(out, callback=lambda stage, done, total: seen.append((stage, done, total)), recipe=TINY)
    return out, seen


def test_every_stage_reports_and_finishes(world):
    out, seen = world
    finished = {stage for stage, done, total in seen if done == total}
    assert finished == {"evaluator", "vae", "text", "labeler", "bank", "denoiser"}
    assert (out / "names.txt").read_text().split()[:2] == ["pig", "sheep"]
    assert Evaluator.load(out / "evaluator.safetensors").settings == EvaluatorSettings()


def test_the_pipeline_directory_loads_by_itself_and_draws(world):
    from diffusers import DiffusionPipeline, StableDiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(world[0] / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe, StableDiffusionPipeline)
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
    picture = pipe("a photo of a pig", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (128, 128)
    assert not list((world[0] / "pipeline").rglob("*.bin")), "a pickle was written"


def test_backend_and_labeler_open_the_world(world):
    from distok.backends import open_backend
    from distok.labelers import open_labeler

    backend = open_backend(world[0] / "pipeline")
    features = backend.encode(["a photo of a pig", "a photo of an owl"], None)
    assert torch.allclose(features.norm(dim=-1), torch.ones(2), atol=1e-5)
    pictures = backend.render(["a photo of a pig"], seeds=[0])
    mix = open_labeler(world[0] / "labeler").probabilities(pictures, ["pig", "owl", "snake"])
    assert mix.sum().item() == pytest.approx(1, abs=1e-5)
    assert json.loads((world[0] / "pipeline" / "distok.json").read_text())["steps"] == 2


def test_the_labelers_text_tower_is_the_pipelines(world):
    from transformers import CLIPTextModel, VisionTextDualEncoderModel

    labeler = VisionTextDualEncoderModel.from_pretrained(world[0] / "labeler").text_model.state_dict()
    encoder = CLIPTextModel.from_pretrained(world[0] / "pipeline" / "text_encoder").state_dict()
    assert labeler.keys() == encoder.keys()
    for name, value in encoder.items():  # the labeler's half is what the disk holds
        assert torch.equal(labeler[name].half(), value.half())


def test_a_finished_world_is_not_trained_again(world):
    calls, state = [], world[0] / "state" / "vae.state.safetensors"
    written = state.stat().st_mtime_ns
    train_world(world[0], stages=["vae", "bank"], callback=lambda *call: calls.append(call), recipe=TINY)
    assert calls == []
    assert state.stat().st_mtime_ns == written


def test_a_persons_own_pictures_make_a_world(tmp_path):
    from distok.menagerie import draw

    for name in ("pig", "owl"):
        (tmp_path / "art" / name).mkdir(parents=True)
        for seed in range(2):
            draw({name: 1.0}, seed).save(tmp_path / "art" / name / f"{seed}.png")
    out = train_world(tmp_path / "out", pictures=tmp_path / "art", recipe=TINY)
    assert (out / "names.txt").read_text().split() == ["owl", "pig"]
    assert not (out / "evaluator.safetensors").exists()
    with pytest.raises(DistokError, match="leave that stage out"):
        train_world(tmp_path / "out", ["evaluator"], pictures=tmp_path / "art", recipe=TINY)
    with pytest.raises(DistokError, match="no stage 'unet'; choose from evaluator, vae"):
        train_world(tmp_path / "out", ["unet"], recipe=TINY)


def test_pictures_with_captions_alone_make_a_labeler_too(tmp_path):
    from distok.menagerie import draw

    (tmp_path / "art").mkdir()
    for seed, name in enumerate(("pig", "owl", "cow", "red fox")):
        draw({name.split()[-1]: 1.0}, seed).save(tmp_path / "art" / f"{seed}.png")
        (tmp_path / "art" / f"{seed}.txt").write_text(f"my {name}")
    world = World(tmp_path / "out", TINY, pictures=tmp_path / "art")
    before = {name: value.clone() for name, value in world.text()[0].state_dict().items()}
    after = world.labeler().state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"vision_model", "visual_projection", "logit_scale"}


def test_a_world_can_go_on_from_another(world, tmp_path):
    from diffusers import AutoencoderTiny

    weight = "encoder.layers.0.weight"
    before = AutoencoderTiny.from_pretrained(world[0] / "pipeline" / "vae").state_dict()[weight]
    other = replace(TINY, seed=9)
    further = World(tmp_path, other, start=world[0]).vae().state_dict()[weight]
    fresh = World(tmp_path / "fresh", other).vae().state_dict()[weight]
    assert (further - before).abs().max() < (fresh - before).abs().max() / 4
    with pytest.raises(DistokError, match="is no part of a world like this one"):
        World(tmp_path / "none", TINY, start=tmp_path / "nowhere").vae()


def test_stages_that_are_not_chosen_are_taken_over_as_they_are(world, tmp_path):
    calls = []
    train_world(tmp_path, ["bank"], recipe=TINY, start=world[0], callback=lambda stage, *_: calls.append(stage))
    assert set(calls) == {"bank"}
    train_world(tmp_path, ["denoiser"], recipe=TINY, start=world[0], callback=lambda stage, *_: calls.append(stage))
    assert set(calls) == {"bank", "denoiser"}


def test_what_was_trained_in_an_earlier_call_is_not_taken_over(world, tmp_path):
    train_world(tmp_path, ["labeler"], recipe=TINY, start=world[0])
    train_world(tmp_path, ["assemble"], recipe=TINY, start=world[0])
    trained = read_tensors(tmp_path / "state" / "labeler.state.safetensors")[0]["model.visual_projection.weight"]
    made = read_tensors(next((tmp_path / "labeler").glob("*model*.safetensors")))[0]["visual_projection.weight"]
    assert torch.equal(made, trained.half())


def test_a_pipeline_that_is_written_in_part_is_never_there(world, tmp_path, monkeypatch):
    """Without its projection a pipeline opens as well, and has another E(q)."""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("distok.menagerie.world.save_projection", stop)
    with pytest.raises(KeyboardInterrupt):
        World(tmp_path, TINY, start=world[0], chosen=("assemble",)).assemble()
    assert not (tmp_path / "pipeline").exists()


def test_a_new_labeler_needs_no_encoded_pictures(world, tmp_path, monkeypatch):
    monkeypatch.setattr("distok.menagerie.world.measure_scale", lambda *_: 7.0)  # that of other pictures
    train_world(tmp_path, ["labeler", "assemble"], recipe=TINY, start=world[0])
    for part in ("unet", "vae", "text_encoder"):
        file = next((world[0] / "pipeline" / part).glob("*model*.safetensors")).relative_to(world[0])
        before, after = (read_tensors(folder / file)[0] for folder in (world[0], tmp_path))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before), part
    scales = [json.loads((at / "pipeline" / "vae" / "config.json").read_text())["scaling_factor"] for at in (world[0], tmp_path)]
    assert scales[0] == scales[1], "the denoiser that is kept knows its latents at this scale"
    with pytest.raises(DistokError, match="holds no encoded pictures; train the stage 'bank' first"):
        train_world(tmp_path / "other", ["denoiser"], recipe=TINY, start=world[0])


def test_the_text_encoder_is_taken_over_bit_for_bit(world, tmp_path):
    from transformers import CLIPTextModel

    clip, _ = World(tmp_path, TINY, start=world[0], chosen=("assemble",)).text()
    encoder = CLIPTextModel.from_pretrained(world[0] / "pipeline" / "text_encoder").state_dict()
    assert all(torch.equal(clip.text_model.state_dict()[name], value) for name, value in encoder.items())
    projection, _ = read_tensors(world[0] / "pipeline" / "text_encoder" / "projection.safetensors")
    assert torch.equal(clip.text_projection.weight, projection["weight"])
    assert any(not torch.equal(value, value.half().float()) for value in encoder.values()), "rounding would not show"


def test_a_stage_stops_after_its_minutes(tmp_path):
    train_world(tmp_path, ["vae"], recipe=replace(TINY, vae=Schedule(1000, save_seconds=0.0)), minutes=1e-6)
    assert int(read_tensors(tmp_path / "state" / "vae.state.safetensors")[1]["step"]) == 1
    with pytest.raises(DistokError, match="cannot train for 0 minutes; give a number above 0"):
        train_world(tmp_path, minutes=0)


def test_the_bank_stops_after_its_minutes_and_what_is_there_is_learnt_from(world, tmp_path):
    many = replace(TINY, pictures=96)
    train_world(tmp_path, ["bank"], recipe=many, start=world[0], minutes=1e-6)
    assert len(list((tmp_path / "bank").glob("*.npz"))) == 1
    train_world(tmp_path, ["bank"], recipe=many, start=world[0], minutes=1e-6)
    assert len(list((tmp_path / "bank").glob("*.npz"))) == 2, "an autoencoder that is taken over is the same again"
    train_world(tmp_path, ["denoiser"], recipe=many, start=world[0])
    assert len(list((tmp_path / "bank").glob("*.npz"))) == 2


def test_a_stage_that_others_need_is_trained_once(tmp_path):
    """Each for its minutes: a later stage that asks for the VAE gets the one whose latents the bank holds."""
    long = replace(SHORT, steps=1000)
    recipe = replace(TINY, vae=long, text=long, labeler=long, denoiser=replace(long, ema=0.9))
    chosen = [stage for stage in STAGES if stage != "evaluator"]
    train_world(tmp_path, chosen, recipe=recipe, minutes=1e-6)
    for stage in ("vae", "text", "labeler", "denoiser"):
        assert read_tensors(tmp_path / "state" / f"{stage}.state.safetensors")[1]["step"] == "1", stage
    shard = (tmp_path / "bank" / "0000.npz").read_bytes()
    train_world(tmp_path, ["bank"], recipe=recipe, minutes=1e-6)  # the VAE takes a further step, and the bank is of that one
    assert (tmp_path / "bank" / "0000.npz").read_bytes() != shard
    assert [path.name for path in sorted((tmp_path / "bank").glob("*.npz"))] == ["0000.npz"], "as many as the minutes allow"


def test_a_folder_of_another_worlds_training_is_refused(tmp_path):
    for art, names in (("a", ("cat", "dog")), ("b", ("owl", "pig"))):
        for seed, name in enumerate(names):
            (tmp_path / art / name).mkdir(parents=True)
            Image.new("RGB", (128, 128), (90 * seed, 50, 20)).save(tmp_path / art / name / "0.png")
    train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "a", recipe=TINY)
    train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "a", recipe=TINY)
    with pytest.raises(DistokError, match=r"holds the training of a world that differs in its pictures and names; give the same"):
        train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "b", recipe=TINY)
    Image.new("RGB", (128, 128)).save(tmp_path / "a" / "cat" / "1.png")
    with pytest.raises(DistokError, match=r"a world that differs in its pictures; give"):
        train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "a", recipe=TINY)


def test_a_world_goes_on_from_the_same_start_only(world, tmp_path):
    (tmp_path / "art" / "cat").mkdir(parents=True)
    Image.new("RGB", (128, 128)).save(tmp_path / "art" / "cat" / "0.png")
    start = shutil.copytree(world[0], tmp_path / "start", ignore=shutil.ignore_patterns("bank", "state"))

    def train(start):
        train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "art", recipe=TINY, start=start)

    train(world[0])
    train(start)  # the same weights, wherever they lie
    told = tmp_path / "out" / "state" / "world.json"
    whole = told.read_text()
    told.write_text(json.dumps({key: value for key, value in json.loads(whole).items() if key != "start"}))
    train(start)  # an earlier version did not say what it began with
    assert told.read_text() == whole
    (start / "evaluator.safetensors").write_bytes(b"another")
    for other in (start, None):
        with pytest.raises(DistokError, match=r"out holds the training of a world that differs in its start; give the same, or"):
            train(other)
    with pytest.raises(DistokError, match=r"nowhere is no world to go on from; give --start a folder"):
        train(tmp_path / "nowhere")


def test_a_picture_that_breaks_off_is_told_in_one_line(tmp_path):
    (tmp_path / "art" / "cat").mkdir(parents=True)
    path = tmp_path / "art" / "cat" / "0.png"
    Image.effect_noise((128, 128), 50).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DistokError, match=r"^\S*0.png is not a picture that can be read \(.*\); give a PNG or JPEG$"):
        train_world(tmp_path / "out", ["vae"], pictures=tmp_path / "art", recipe=TINY)


def test_the_evaluator_reads_what_it_has_learnt(tmp_path):
    torch.manual_seed(0)
    model = Evaluator(EvaluatorSettings(widths=(8, 8, 16, 16), pyramid=16, looks=1, features=16))
    stage = EvaluatorStage(model, batch_size=8)
    logs = []
    schedule = Schedule(12, 5e-3, warmup=1)
    fixed = stage.batch(0)
    stage.batch = lambda step: fixed
    Runner(stage, schedule, tmp_path, workers=0, callback=lambda *_: logs.append(_[3]["zone_accuracy"])).run()
    weights, pictures = unseen(3, 2)
    reading = model.read(pictures)
    assert reading.mix.shape == (3, 60)
    assert reading.zones.shape == (3, 12, 60)
    assert torch.allclose(reading.mix.sum(1), torch.ones(3), atol=1e-5)
    assert [len(mix) for mix in weights] == [2, 2, 2]
    assert logs[-1] > logs[0], "it did not learn one batch by heart"
    model.save(tmp_path / "e.safetensors")
    again = Evaluator.load(tmp_path / "e.safetensors").read(pictures)
    assert torch.allclose(again.mix, reading.mix, atol=1e-2)
    with pytest.raises(DistokError, match="got no picture"):
        model.read([])


def test_spoilt_pictures_are_changed_and_augmented_ones_stay_pictures():
    pixels = torch.from_numpy(unseen(8, 1)[1]).permute(0, 3, 1, 2).float()[:, :, ::2, ::2] / 255
    spoilt = spoil(pixels, generator(0))
    assert ((spoilt - pixels).abs().mean((1, 2, 3)) > 0.02).all()
    soft = augment(pixels, generator(0))
    assert soft.min() >= 0
    assert soft.max() <= 1
    assert (soft - pixels).abs().mean() < 0.15


def test_stages_of_a_world_can_be_stopped_and_go_on(tmp_path):
    short = World(tmp_path, TINY, seconds=1e-9)
    short.vae()
    assert read_tensors(tmp_path / "state" / "vae.state.safetensors")[1]["step"] == "1"
    finished = []
    World(tmp_path, TINY, callback=lambda stage, done, total: finished.append(done)).vae()
    assert finished == [2]
