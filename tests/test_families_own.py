"""Checkpoints as they come: without a size of ours, with words of several vectors, with programs in them, with parts left out."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from distok.backends import loading, open_backend
from distok.backends.kandinsky2_2 import find_prior
from distok.backends.pipeline import counter
from distok.errors import DistokError
from distok.training import preset, train
from tests import tiny_families
from tests.tiny import NAMES


def change_index(folder, **parts):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


@pytest.mark.parametrize("family", [name for name in tiny_families.BUILD if not name.startswith("kandinsky")])  # those have 512
def test_where_no_size_is_asked_for_it_is_the_checkpoints_own(family, tmp_path):
    """A published checkpoint says nothing to us, but in its networks' own files."""
    backend = open_backend(tiny_families.save(family, tmp_path / family))
    (picture,) = backend.render(["a photo of a cat"], seeds=[1], steps=1)
    assert backend.defaults.size is None
    assert picture.size == (backend.own_size,) * 2


def test_a_checkpoint_without_a_size_is_trained_for(labeler, tmp_path):
    backend = open_backend(tiny_families.save("sd1", tmp_path / "sd1"))
    settings = preset("calibrated", steps=2, sub_steps=2, hidden_dim=8, estimate_every=1, estimate_steps=1)
    assert settings.estimate_size is None
    assert train(settings, backend, labeler, NAMES, tmp_path / "run").is_file()


@pytest.mark.parametrize(("family", "step_of"), [("flux", 16), ("kandinsky22", 64)])
def test_a_size_that_this_family_would_round_is_refused(family, step_of, tmp_path):
    backend = open_backend(tiny_families.save(family, tmp_path / family))
    step = 8 * backend.size_step
    assert backend.render(["a cat"], seeds=[1], steps=1, size=step)[0].size == (step, step)
    backend.pipe.vae_scale_factor = 8  # that of the published ones
    if "movq" in backend.pipe.components:
        backend.pipe.movq.register_to_config(block_out_channels=(1, 1, 1, 1))
    with pytest.raises(DistokError, match=f"size is 520, but this pipeline draws multiples of {step_of} pixels; correct it"):
        backend.render(["a cat"], seeds=[1], steps=1, size=520)


def test_a_pipelines_name_does_not_hang_on_the_process(tmp_path):
    folder = tiny_families.save("sd1", tmp_path / "sd1")
    path = folder / "scheduler" / "scheduler_config.json"
    stored = json.loads(path.read_text())
    for key in [key for key in stored if key in ("trained_betas", "thresholding", "timestep_spacing")]:
        del stored[key]  # as in a checkpoint of an older release
    path.write_text(json.dumps(stored))
    one, other = open_backend(folder), open_backend(folder)
    left_out = one.pipe.scheduler.config["_use_default_values"]
    assert len(left_out) > 1
    other.pipe.scheduler.register_to_config(_use_default_values=left_out[::-1])  # a set's order, and so another in each process
    assert (one.fingerprint, one.pipeline_hash) == (other.fingerprint, other.pipeline_hash)
    other.pipe.scheduler.register_to_config(beta_start=0.5)
    del other.fingerprint
    assert one.fingerprint != other.fingerprint


def test_a_scheduler_that_calls_once_more_than_there_are_steps_ends_at_the_last():
    told = []
    step = counter(lambda *done: told.append(done), start=2, part=2, count=6, steps=3)
    for done in range(1, 5):
        step(done)
    assert told == [(8, 18), (10, 18), (12, 18), (12, 18)]


def test_a_size_that_only_this_family_refuses_is_refused_in_our_words(tmp_path):
    backend = open_backend(tiny_families.save("sd3", tmp_path / "sd3"))
    backend.pipe.patch_size = 8  # with the tiny VAE's factor the 16 pixels of the real one
    with pytest.raises(DistokError, match="size is 24, but this pipeline draws multiples of 16 pixels; correct it"):
        backend.render(["a cat"], seeds=[1], steps=1, size=24)


def test_a_program_in_a_checkpoint_is_not_run(tmp_path):
    folder = tiny_families.save("sd1", tmp_path / "sd1")
    (folder / "unet" / "own.py").write_text("raise SystemExit('it was run')")
    change_index(folder, unet=["own", "Net"])
    with pytest.raises(DistokError, match=r"unet brings a program of its own, own\.py, which is never run"):
        open_backend(folder)
    change_index(folder, _class_name=["pipeline", "Mine"])
    with pytest.raises(DistokError, match=r"is a \['pipeline', 'Mine'\], which is not supported; supported families: "):
        open_backend(folder)


@pytest.mark.parametrize(("family", "part"), [("sdxl", "text_encoder"), ("flux", "text_encoder_2"), ("sd1", "tokenizer")])
def test_a_checkpoint_that_lacks_an_encoder_is_told(family, part, tmp_path):
    folder = tiny_families.save(family, tmp_path / family)
    change_index(folder, **{part: [None, None]})
    with pytest.raises(DistokError, match="was saved without one of its text encoders or tokenizers; copy the whole checkpoint"):
        open_backend(folder)


def test_moving_weights_without_accelerate_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    sizes = {"text_encoder": 10, "unet": 100, "vae": 20}
    given = (tmp_path, sizes, "cuda", None)
    assert loading.choose_offload(*given, free=1000) == "fast"
    for offload in ("auto", "balanced"):
        with pytest.raises(DistokError, match="offload 'balanced' moves weights with accelerate, which is not installed; pip"):
            loading.choose_offload(*given, offload, free=140)


def test_the_prior_of_a_decoder_is_found_from_inside_its_folder(tmp_path, monkeypatch):
    for name in ("k-decoder", "k-prior"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "k-decoder")
    assert os.path.samefile(find_prior(Path(".")), tmp_path / "k-prior")
    assert os.path.samefile(find_prior(Path("../k-decoder")), tmp_path / "k-prior")


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_a_word_of_several_vectors_is_heard_as_the_pipeline_hears_it(family, tmp_path):
    from diffusers import DiffusionPipeline

    if family == "flux" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 puts a lone space before a token that diffusers adds to T5's tokenizer; we put none")
    pipe = DiffusionPipeline.from_pretrained(tiny_families.save(family, tmp_path / "plain"))
    widths = open_backend(tmp_path / "plain").widths
    random = torch.Generator().manual_seed(0)
    for key, width in widths.items():
        held = {"chimera": 0.1 * torch.randn(2, width, generator=random)}
        tokenizer = getattr(pipe, key.replace("text_encoder", "tokenizer"))
        pipe.load_textual_inversion(held["chimera"], "<chimera>", text_encoder=getattr(pipe, key), tokenizer=tokenizer)
    pipe.save_pretrained(tmp_path / "taught")
    pipe.set_progress_bar_config(disable=True)
    backend, prompt = open_backend(tmp_path / "taught"), "a red <chimera> in snow"
    how = {"num_inference_steps": 2, "guidance_scale": 3.0, "height": 32, "width": 32, "output_type": "pt"}
    wanted = pipe(prompt, generator=[torch.Generator().manual_seed(4)], **how).images
    mine = backend.render_pixels([prompt], seeds=[4], steps=2, guidance_scale=3.0, size=32)
    assert torch.allclose(mine, wanted.float().clamp(0, 1), atol=1e-3)
    one = {key: encoder.encode([prompt]).pooled for key, encoder in backend.encoders.items()}
    assert not torch.allclose(
        backend.encode([prompt]), torch.cat([backend.feature(k, v) for k, v in one.items()], -1) / len(one) ** 0.5
    )


def test_a_negative_prompt_that_would_do_nothing_is_refused_where_no_prior_heeds_it(tmp_path):
    plain = open_backend(tiny_families.save("sdxl", tmp_path / "sdxl"))
    with pytest.raises(DistokError, match=r"acts through guidance, and the guidance scale is 0\.5; give one above 1"):
        plain.render(["a cat"], seeds=[0], steps=1, guidance_scale=0.5, negative_prompt="red")
    plain.pipe.unet.register_to_config(time_cond_proj_dim=8)  # as LCM's networks have it
    with pytest.raises(
        DistokError, match="acts through guidance, and this checkpoint has its own distilled into it; give no negative prompt"
    ):
        plain.render(["a cat"], seeds=[0], steps=1, guidance_scale=5, negative_prompt="red")
    prior = open_backend(tiny_families.save("kandinsky22", tmp_path / "kandinsky22"))
    how = {"seeds": [0], "steps": 2, "guidance_scale": 1.0, "size": 32}
    assert not torch.equal(prior.render_pixels(["a cat"], **how), prior.render_pixels(["a cat"], **how, negative_prompt="red"))
    prior.defaults = replace(prior.defaults, prior_guidance_scale=1.0)
    with pytest.raises(DistokError, match="acts through guidance, and the guidance scale is 1; give one above 1"):
        prior.render(["a cat"], **how, negative_prompt="red")
