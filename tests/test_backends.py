"""The Stable Diffusion backend: features, splicing, rendering, and how broken checkpoints are refused."""

import copy
import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from distok.backends import fill, open_backend
from distok.backends.offload import Placement
from distok.backends.splice import splice
from distok.errors import DistokError
from tests.tiny import NAMES, WIDTH

PROMPT = "a photo of a {}"


def tokens(count=2, seed=0):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)) * 0.1


def embeds(backend, prompts, given=None):
    return backend.condition(prompts, given)["prompt_embeds"]


def fingerprint(pipe):
    """Everything of a pipeline that a backend could have changed."""
    digest = hashlib.sha256(pipe.tokenizer.backend_tokenizer.to_str().encode())
    for name, part in sorted(pipe.components.items()):
        if isinstance(part, torch.nn.Module):
            digest.update(f"{name}{[(key, m.training, type(m)) for key, m in part.named_modules()]}".encode())
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{key}{tensor.dtype}".encode() + tensor.contiguous().numpy().tobytes())
            digest.update(str([(p.requires_grad, p.grad) for p in part.parameters()]).encode())
    digest.update(
        f"{dict(pipe.scheduler.config)}{pipe.scheduler.num_inference_steps}{getattr(pipe, '_progress_bar_config', None)}".encode()
    )
    return digest.hexdigest()


@pytest.fixture
def broken(pipeline_folder, tmp_path):
    return shutil.copytree(pipeline_folder, tmp_path / "pipeline")


def test_fill_puts_the_slot_in():
    assert fill("a {} in the snow", 3) == "a <tcrt_3> in the snow"
    with pytest.raises(DistokError, match=r"the prompt 'a cat' has no \{\}; write \{\} where the concept goes"):
        fill("a cat")


def test_name_tokens_are_the_mean_of_the_pieces(backend):
    table = backend.pipe.text_encoder.get_input_embeddings().weight
    tokenizer = backend.pipe.tokenizer
    ids = tokenizer("red zebra", add_special_tokens=False).input_ids
    assert len(ids) > 3
    read = backend.name_tokens(["cat", "red zebra"])
    assert torch.equal(read[0], table[tokenizer.convert_tokens_to_ids("cat</w>")])
    assert torch.allclose(read[1], table[ids].mean(0))
    with pytest.raises(DistokError, match="the class name '' has no letters"):
        backend.name_tokens([""])


def test_features_are_the_encoders_own_pooled_state_projected(backend, pipeline_folder):
    prompts = ["a photo of a cat", "a cute pet in the snow", "a dog"]
    inputs = backend.pipe.tokenizer(prompts, padding="max_length", max_length=16, return_tensors="pt").input_ids
    with torch.no_grad():
        pooled = backend.pipe.text_encoder(inputs).pooler_output
    weight = torch.randn(WIDTH // 2, WIDTH, generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.normalize(pooled @ weight.T, dim=-1)
    assert torch.allclose(backend.encode(prompts), expected, atol=1e-5)


def test_without_a_projection_the_feature_is_the_pooled_state(broken):
    (broken / "text_encoder" / "projection.safetensors").unlink()
    backend = open_backend(broken)
    assert backend.feature_dim == WIDTH
    assert backend.encode(["a cat"]).norm().item() == pytest.approx(1, abs=1e-5)


def test_a_features_batch_does_not_matter(backend):
    prompts = ["a <tcrt_0>", "a photo of a cute cat in the snow", "a photo of a <tcrt_1>"]
    together = backend.encode(prompts, tokens())
    alone = torch.cat([backend.encode([prompt], tokens()) for prompt in prompts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_creative_token_with_a_words_vector_is_that_word(backend):
    """Splicing puts the vector exactly where the word's own embedding goes: in features, conditions and pictures."""
    row = backend.name_tokens(["dog", "cat"])
    words, slots = ["a photo of a cat", "a dog cat"], ["a photo of a <tcrt_1>", "a <tcrt_0> <tcrt_1>"]
    assert torch.allclose(backend.encode(words), backend.encode(slots, row), atol=1e-6)
    assert torch.allclose(embeds(backend, words), embeds(backend, slots, row), atol=1e-6)
    pictures = [backend.render_pixels(prompts, given, seeds=[1, 2]) for prompts, given in ((words, None), (slots, row))]
    assert torch.allclose(*pictures, atol=1e-4)


def test_the_condition_is_the_pipelines_own(backend):
    prompts = ["a photo of a cat", "a cute dog in the snow"]
    with torch.no_grad():
        expected, _ = copy.copy(backend.pipe).encode_prompt(prompts, "cpu", 1, False)
    assert torch.allclose(embeds(backend, prompts), expected, atol=1e-6)


def test_punctuation_stands_apart_from_a_creative_token(backend):
    ids = backend.encoders["text_encoder"].token_ids("the <tcrt_0>, a <tcrt_12>!")
    rows = backend.pipe.text_encoder.get_input_embeddings().num_embeddings
    assert [i - rows for i in ids if i >= rows] == [0, 12]


def test_gradients_agree_with_finite_differences(pipeline_folder, double):
    backend = open_backend(pipeline_folder, dtype=torch.float64)
    prompts = [fill(PROMPT, 0), "a <tcrt_1> <tcrt_0>", "a cat"]
    row = tokens().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: backend.encode(prompts, given), row)
    assert torch.autograd.gradcheck(lambda given: embeds(backend, prompts[:1], given), row, fast_mode=True)


def test_half_precision_weights_take_and_give_full_precision(backend, pipeline_folder):
    half, row = open_backend(pipeline_folder, dtype=torch.bfloat16), tokens().requires_grad_()
    features = half.encode([fill(PROMPT, 1)], row)
    assert features.dtype == half.name_tokens(["cat"]).dtype == torch.float32
    assert (features * backend.encode([fill(PROMPT, 1)], row)).sum().item() > 0.98
    features.square().sum().backward()
    assert half.render([fill(PROMPT)], row, seeds=[0])[0].size == (16, 16)


def test_a_legacy_end_of_text_id_changes_no_feature(backend, broken):
    """Old checkpoints say eos_token_id 2, and their own pooling would then read the creative token's position."""
    config = json.loads((broken / "text_encoder" / "config.json").read_text())
    (broken / "text_encoder" / "config.json").write_text(json.dumps({**config, "eos_token_id": 2}))
    legacy = open_backend(broken)
    assert legacy.pipe.text_encoder.config.eos_token_id == 2
    prompts = ["a photo of a <tcrt_0>", "a <tcrt_1> cat"]
    assert torch.allclose(legacy.encode(prompts, tokens()), backend.encode(prompts, tokens()), atol=1e-6)


def test_the_pipeline_is_never_changed(pipeline_folder):
    backend = open_backend(pipeline_folder)
    backend.pipe.text_encoder.train().requires_grad_(True)  # a user's own flags are theirs
    before = fingerprint(backend.pipe)
    row = tokens().requires_grad_()
    backend.encode([fill(PROMPT)], row).square().sum().backward()
    backend.render([fill(PROMPT)], row, seeds=[0], steps=3)
    for failing in (["a <tcrt_7>"], ["a <tcrt_0> " * 9]):
        with pytest.raises(DistokError):
            backend.encode(failing, row)
    with pytest.raises(ZeroDivisionError):
        backend.render([fill(PROMPT)], row, seeds=[0], callback=lambda done, total: 1 / 0)
    assert fingerprint(backend.pipe) == before


def test_splice_puts_the_table_back_after_an_exception(backend):
    encoder = backend.pipe.text_encoder
    table = encoder.get_input_embeddings()

    def fail_inside():
        with splice(encoder, tokens()):
            assert encoder.get_input_embeddings() is not table
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert encoder.get_input_embeddings() is table


def test_a_picture_depends_on_its_own_seed_prompt_and_token_alone(backend):
    prompts, seeds = [fill(PROMPT, 0), fill(PROMPT, 1), "a cat", fill(PROMPT, 0)], [3, 4, 5, 6]
    together = backend.render_pixels(prompts, tokens(), seeds=seeds)
    alone = torch.cat([backend.render_pixels([p], tokens(), seeds=[s]) for p, s in zip(prompts, seeds, strict=True)])
    assert (together - alone).abs().max() < 1e-4
    assert torch.equal(together, backend.render_pixels(prompts, tokens(), seeds=seeds))
    assert (together[0] - together[3]).abs().max() > 1e-3, "two seeds gave one picture"
    other = backend.render_pixels(prompts, tokens(seed=9) * 20, seeds=seeds)
    assert (together[0] - other[0]).abs().max() > 1e-4, "the token changed nothing"
    assert torch.allclose(together[2], other[2], atol=1e-5)


def test_many_pictures_are_made_in_parts(backend, monkeypatch):
    whole = backend.render_pixels([PROMPT.format(name) for name in NAMES], seeds=range(6), steps=1)
    monkeypatch.setattr("distok.backends.base.BATCH", 4)
    told = []
    parts = backend.render_pixels(
        [PROMPT.format(name) for name in NAMES], seeds=range(6), steps=2, callback=lambda *count: told.append(count)
    )
    assert told == [(4, 12), (8, 12), (10, 12), (12, 12)]
    assert parts.shape == whole.shape == (6, 3, 16, 16)


def test_render_is_what_the_pipeline_makes(backend, pipeline_folder):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "height": 16, "width": 16, "negative_prompt": "red"}
    expected = pipe("a cute cat", generator=torch.Generator().manual_seed(7), **options).images[0]
    picture = backend.render(["a cute cat"], seeds=[7], steps=3, guidance_scale=4.0, size=16, negative_prompt="red")[0]
    assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).max() <= 1


def test_a_condition_can_take_the_place_of_prompts(backend):
    given = backend.render_pixels(None, condition=backend.condition(["a cat", "a dog"]), seeds=[0, 1])
    assert torch.allclose(given, backend.render_pixels(["a cat", "a dog"], seeds=[0, 1]), atol=1e-5)


def test_the_folders_own_defaults_are_used(backend, broken):
    assert backend.render(["a cat"], seeds=[0])[0].size == (16, 16)
    explicit = backend.render_pixels(["a cat"], seeds=[0], steps=2, guidance_scale=3.0)
    assert torch.equal(backend.render_pixels(["a cat"], seeds=[0]), explicit)
    (broken / "distok.json").unlink()
    assert (open_backend(broken).defaults.steps, open_backend(broken).defaults.guidance_scale) == (50, 7.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [0, 1]}, "1 prompts and 2 seeds; give at least one prompt and one seed for each"),
        ({"seeds": [0], "steps": 0}, "steps is 0, but denoising takes a whole number of at least 1"),
        ({"seeds": [0], "size": 17}, "size is 17, but a multiple of 8 pixels"),
        ({"seeds": [0], "guidance_scale": float("nan")}, "guidance_scale is nan, but a number from 0 to 100"),
        (
            {"seeds": [0], "guidance_scale": 1, "negative_prompt": "red"},
            "a negative prompt acts through guidance, and the guidance scale is 1; give one above 1, or no negative",
        ),
    ],
)
def test_impossible_renders_are_refused(backend, options, message):
    with pytest.raises(DistokError, match=message):
        backend.render(["a cat"], **options)


def test_a_scheduler_says_how_many_steps_there_are(broken):
    from diffusers import DPMSolverMultistepScheduler, LCMScheduler

    LCMScheduler(original_inference_steps=4).save_pretrained(broken / "scheduler")
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", "LCMScheduler"]}))
    opened = open_backend(broken)
    assert opened.render(["a cat"], seeds=[0], steps=4)[0].size == (16, 16)
    with pytest.raises(DistokError, match="steps is 5, but this pipeline was trained with 4; ask for 4 at most"):
        opened.render(["a cat"], seeds=[0], steps=5)
    config = {"original_inference_steps": 4}  # as another scheduler left it
    DPMSolverMultistepScheduler.from_config(DPMSolverMultistepScheduler().config | config).save_pretrained(broken / "scheduler")
    index["scheduler"] = ["diffusers", "DPMSolverMultistepScheduler"]
    (broken / "model_index.json").write_text(json.dumps(index))
    assert open_backend(broken).pipe.scheduler.config["original_inference_steps"] == 4
    assert open_backend(broken).render(["a cat"], seeds=[0], steps=5)[0].size == (16, 16)


@pytest.mark.parametrize(
    ("prompt", "given", "message"),
    [
        ("a <tcrt_2>", tokens(2), "a prompt names <tcrt_2>, but 2 creative tokens are given; give 3"),
        ("a <tcrt_0>", None, "a prompt names <tcrt_0>, but 0 creative tokens are given"),
        ("a <tcrt_0>", torch.zeros(1, 5), "creative tokens of width 5 do not fit this pipeline's 32 \\(text_encoder\\)"),
        ("the cute red pet " * 4 + "<tcrt_0>", tokens(), "too long: its concept falls past 16 tokens; shorten it"),
    ],
)
def test_impossible_prompts_are_refused(backend, prompt, given, message):
    with pytest.raises(DistokError, match=message):
        backend.encode([prompt], given)


def test_a_long_prompt_is_cut_as_the_pipeline_cuts(backend):
    ids = backend.encoders["text_encoder"].token_ids("the cute red pet " * 9)
    assert len(ids) == 16
    assert ids[-1] == backend.pipe.tokenizer.eos_token_id


def test_hash_names_the_text_encoder(backend, pipeline_folder, tmp_path):
    from tests import tiny

    assert open_backend(pipeline_folder).hash == backend.hash
    assert open_backend(tiny.save_pipeline(tmp_path / "other", seed=1)).hash != backend.hash


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def _pickle_only(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def _other_family(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "PixArtAlphaPipeline"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder / "vae"), "vae is missing; copy the whole checkpoint again"),
        (lambda folder: (folder / "unet" / "config.json").unlink(), "unet/config.json is missing"),
        (lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(), "text_encoder holds no weights"),
        (_pickle_only, "unet holds only pickled weights, which are never read; a .safetensors file is expected"),
        (lambda folder: _truncate(folder / "unet" / "diffusion_pytorch_model.safetensors"), "is corrupt or truncated"),
        (lambda folder: (folder / "tokenizer" / "tokenizer.json").unlink(), "holds neither tokenizer.json nor vocab.json"),
        (lambda folder: (folder / "scheduler" / "scheduler_config.json").unlink(), "cannot be loaded .*; copy the checkpoint"),
        (lambda folder: (folder / "model_index.json").unlink(), r"not a diffusers pipeline \(it holds no model_index.json\)"),
        (lambda folder: (folder / "model_index.json").write_text("no"), "model_index.json is not readable JSON"),
        (_other_family, "is a PixArtAlphaPipeline, which is not supported; supported families: StableDiffusionPipeline"),
        (lambda folder: (folder / "distok.json").write_text('{"steps": -1}'), "distok.json: steps is -1"),
        (
            lambda folder: save_file({"weight": torch.zeros(4, 3)}, folder / "text_encoder" / "projection.safetensors"),
            r"must hold one tensor 'weight' of shape \[features, 32\]",
        ),
        (lambda folder: _truncate(folder / "text_encoder" / "projection.safetensors"), "not a readable safetensors file"),
    ],
)
def test_a_broken_checkpoint_is_refused_in_one_line(broken, damage, message):
    damage(broken)
    with pytest.raises(DistokError, match=message) as caught:
        open_backend(broken)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nobody/nothing", "no such folder", "../none"])
def test_what_is_not_here_is_said_so_and_never_downloaded(name):
    with pytest.raises(DistokError, match="does not exist here and is not in the local hub cache"):
        open_backend(name)


def test_a_file_is_not_a_folder(pipeline_folder):
    with pytest.raises(DistokError, match="is a file, but a diffusers pipeline is a folder"):
        open_backend(pipeline_folder / "model_index.json")


@pytest.mark.parametrize(("free", "size", "together"), [(80, 128, 320), (300, 128, 512), (40, 512, 10), (4, 1024, 1)])
def test_a_gpu_draws_as_many_together_as_its_free_memory_holds(backend, monkeypatch, free, size, together):
    weight = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(backend, "encoders", {"text_encoder": SimpleNamespace(table=SimpleNamespace(weight=weight))})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((free - 1) * 2**30, free * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 2**30)
    assert backend.together(size) == together
    monkeypatch.setattr(backend, "placement", Placement("balanced", (torch.nn.Linear(2**14, 2**14, bias=False, device="meta"),)))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 4 * 2**30)
    assert backend.together(size) == together, "one gibibyte more, and one that is still to come"


def test_pictures_of_no_numbers_are_black_and_said_so(backend, monkeypatch, caplog):
    denoise = type(backend)._denoise

    def broken(self, pipe, batch, seeds, *rest):
        pixels = denoise(self, pipe, batch, seeds, *rest)
        pixels[1] = torch.nan
        return pixels

    monkeypatch.setattr(type(backend), "_denoise", broken)
    black, whole = (backend.render(["a cat"] * 2, size=16, steps=1, seeds=[5, 6])[i] for i in (1, 0))
    assert black.getextrema() == ((0, 0),) * 3
    assert whole.getextrema() != black.getextrema()
    assert (
        "the pictures of seeds 6 are no numbers and come out black: damaged weights, or numbers too large for float32"
        in caplog.text
    )


def test_pictures_are_drawn_as_many_together_as_it_says(backend, monkeypatch):
    together = []
    denoise = type(backend)._denoise
    monkeypatch.setattr(type(backend), "together", lambda self, size: size // 8)
    monkeypatch.setattr(
        type(backend),
        "_denoise",
        lambda self, pipe, batch, seeds, *rest: together.append(len(seeds)) or denoise(self, pipe, batch, seeds, *rest),
    )
    backend.render_pixels(["a cat"] * 5, size=16, steps=1, seeds=range(5))
    assert together == [2, 2, 1]


def test_large_pictures_are_drawn_few_at_a_time(backend, monkeypatch):
    from distok.backends import pipeline

    together = []
    denoise = type(backend)._denoise

    def counted(self, pipe, condition, seeds, *rest):
        together.append(len(seeds))
        return denoise(self, pipe, condition, seeds, *rest)

    monkeypatch.setattr(type(backend), "_denoise", counted)
    asked = {"seeds": list(range(5)), "steps": 1}
    small = backend.render_pixels(["a cat"] * 5, size=16, **asked)
    monkeypatch.setattr(pipeline, "PIXELS", 2 * 16**2)
    apart = backend.render_pixels(["a cat"] * 5, size=16, **asked)
    assert together == [5, 2, 2, 1]
    assert torch.allclose(small, apart, atol=1 / 255)
    assert backend.at_once == 16, "of the sizes that the Menagerie draws"
