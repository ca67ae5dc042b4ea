"""Every pipeline family at tiny size with random weights: saved, loaded, spliced, trained through, rendered; never changed."""

import copy
import hashlib
import json
import shutil
from itertools import pairwise

import pytest
import torch

from distok.backends import FAMILIES, fill, open_backend
from distok.errors import DistokError
from tests import tiny_families
from tests.tiny import NAMES

SIZES = {"sd1": 16, "sd2": 16, "kandinsky21": 64, "kandinsky22": 64}
PROMPTS = ["a photo of a <tcrt_0>", "a <tcrt_1> <tcrt_0> in the snow", "a red <tcrt_1>", "a cat"]


@pytest.fixture(scope="module", params=list(tiny_families.BUILD))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return tiny_families.save(family, tmp_path_factory.mktemp("family") / family)


@pytest.fixture(scope="module")
def backend(folder):
    torch.set_num_threads(1)
    return open_backend(folder)


def render(backend, family, prompts, tokens=None, **options):
    options = {"steps": 2, "size": SIZES.get(family, 32), **options}
    return backend.render_pixels(prompts, tokens, **options)


def noise(backend, count=2):
    spread = backend.name_tokens(NAMES).std(0)
    return backend.name_tokens(NAMES[:count]) + spread * torch.randn(
        count, backend.token_dim, generator=torch.Generator().manual_seed(1)
    )


def fingerprint(pipe):
    """Everything of a pipeline that a backend could have changed."""
    digest = hashlib.sha256()
    for name, part in sorted(pipe.components.items()):
        if isinstance(part, torch.nn.Module):
            digest.update(
                f"{name}{[(key, m.training, type(m), len(m._forward_hooks)) for key, m in part.named_modules()]}".encode()
            )
            for key, tensor in sorted(part.state_dict().items()):
                digest.update(f"{key}{tensor.dtype}".encode() + tensor.contiguous().numpy().tobytes())
            digest.update(str([(p.requires_grad, p.grad) for p in part.parameters()]).encode())
        elif hasattr(part, "backend_tokenizer"):
            digest.update(part.backend_tokenizer.to_str().encode())
        elif name.endswith("scheduler"):
            digest.update(f"{dict(part.config)}{getattr(part, 'num_inference_steps', None)}".encode())
    return digest.hexdigest()


def test_the_table_says_what_the_backend_is(backend, family):
    entry = FAMILIES[backend.family]
    assert type(backend).__name__ == entry.backend
    expected = [name for name in entry.enters if family != "sd3-without-t5" or name != "text_encoder_3"]
    assert list(backend.widths) == expected
    assert sum(backend.widths.values()) == backend.token_dim == backend.name_tokens(["cat"]).shape[1]


def test_a_token_with_a_words_vectors_is_that_word(backend, family):
    row = backend.name_tokens(["dog", "cat"])
    words, slots = ["a photo of a cat", "a dog cat in the snow"], ["a photo of a <tcrt_1>", "a <tcrt_0> <tcrt_1> in the snow"]
    assert torch.allclose(backend.encode(words), backend.encode(slots, row), atol=1e-6)
    for key, value in backend.condition(words).items():
        assert torch.allclose(value, backend.condition(slots, row)[key], atol=1e-6), key
    assert torch.allclose(
        render(backend, family, words, seeds=[1, 2]), render(backend, family, slots, row, seeds=[1, 2]), atol=1e-4
    )


def test_features_are_of_unit_length_and_know_no_batch(backend):
    tokens = noise(backend)
    together = backend.encode(PROMPTS, tokens)
    alone = torch.cat([backend.encode([prompt], tokens) for prompt in PROMPTS])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(4), atol=1e-5)


def test_every_encoders_part_of_a_token_matters(backend):
    tokens = noise(backend)
    for key, part in backend.split(tokens).items():
        moved = part + part.std() * torch.randn(part.shape, generator=torch.Generator().manual_seed(2))
        other = backend.join({**backend.split(tokens), key: moved})
        assert (backend.encode(PROMPTS[:1], tokens) - backend.encode(PROMPTS[:1], other)).abs().max() > 1e-4, key
        changed = [
            not torch.equal(value, backend.condition(PROMPTS[:1], other)[name])
            for name, value in backend.condition(PROMPTS[:1], tokens).items()
        ]
        assert any(changed), key


def test_gradients_agree_with_finite_differences(folder, double):
    backend = open_backend(folder, dtype=torch.float64)
    tokens = noise(backend).double().requires_grad_()
    check = {"eps": 1e-6, "atol": 1e-3, "rtol": 1e-3, "fast_mode": True}
    assert torch.autograd.gradcheck(lambda given: backend.encode(PROMPTS, given), tokens, **check)
    assert torch.autograd.gradcheck(lambda given: tuple(backend.condition(PROMPTS[:2], given).values())[:1], tokens, **check)


def test_a_picture_depends_on_its_own_seed_prompt_and_token_alone(folder, backend, family, request):
    if family.startswith("kandinsky"):  # random weights there blow single precision's last bits up to 2e-4
        request.getfixturevalue("double")
        backend = open_backend(folder, dtype=torch.float64)
    tokens, seeds = noise(backend).to(backend.name_tokens(["cat"])), [3, 4, 5, 6]
    together = render(backend, family, PROMPTS, tokens, seeds=seeds)
    alone = torch.cat([render(backend, family, [p], tokens, seeds=[s]) for p, s in zip(PROMPTS, seeds, strict=True)])
    assert (together - alone).abs().max() < 1e-4
    other = render(backend, family, PROMPTS, tokens.flip(0), seeds=seeds)
    assert (together[0] - other[0]).abs().max() > 1e-5, "the token changed nothing"
    assert torch.allclose(together[3], other[3], atol=1e-4), "a prompt without a token changed"
    reseeded = render(backend, family, PROMPTS, tokens, seeds=[9, 4, 5, 6])
    assert (together[0] - reseeded[0]).abs().max() > 1e-3, "the seed changed nothing"


def test_negative_prompts_and_emphasis_change_the_picture(backend, family):
    tokens = noise(backend)
    plain = render(backend, family, PROMPTS[:1], tokens, seeds=[0])
    for changed in (
        render(backend, family, PROMPTS[:1], tokens, seeds=[0], negative_prompt="a red dog"),
        render(backend, family, ["a photo of a (<tcrt_0>:1.9)"], tokens, seeds=[0]),
    ):
        assert (plain - changed).abs().max() > 1e-5
    assert torch.allclose(plain, render(backend, family, ["a photo of a (<tcrt_0>:1)"], tokens, seeds=[0]), atol=1e-6)
    none = render(backend, family, PROMPTS[:1], tokens, seeds=[0], negative_prompt="")
    assert torch.equal(plain, none), "a recipe says no negative prompt as an empty one"


def test_progress_counts_every_step(backend, family):
    told = []
    render(backend, family, PROMPTS[:2], noise(backend), seeds=[0, 1], callback=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_pipeline_is_never_changed(folder, family):
    backend = open_backend(folder)
    before = fingerprint(backend.pipe)
    tokens = noise(backend).requires_grad_()
    backend.encode(PROMPTS, tokens).square().sum().backward()
    render(backend, family, PROMPTS[:1], tokens.detach(), seeds=[0], negative_prompt="red")
    with pytest.raises(DistokError):
        backend.encode(["a <tcrt_7>"], tokens)
    with pytest.raises(ZeroDivisionError):
        render(backend, family, PROMPTS[:1], tokens.detach(), seeds=[0], callback=lambda done, total: 1 / 0)
    assert fingerprint(backend.pipe) == before


def test_a_fixed_batch_is_learned(backend):
    """Twenty steps of DisTok through the frozen encoders lower the loss of one batch."""
    from distok.model import DisTok, DisTokSettings
    from distok.objectives import consistency_loss

    known = backend.name_tokens(NAMES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DisTok(DisTokSettings(backend.token_dim, latent_dim=8, hidden_dim=32))
    model.fit_tokens(known)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    mixtures = (known[:4] + known[1:5]) / 2
    with torch.no_grad():
        wanted = backend.encode([f"a {a} {b}" for a, b in pairwise(NAMES[:5])])
    losses = []
    for _ in range(20):
        loss = consistency_loss(backend.encode([fill("a photo of a {}", i) for i in range(4)], model(mixtures)), wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_tokens_of_another_width_are_refused_with_every_width(backend):
    with pytest.raises(DistokError, match="creative tokens of width 7 do not fit this pipeline's") as caught:
        backend.encode(["a <tcrt_0>"], torch.zeros(1, 7))
    assert all(f"{width} ({key})" in str(caught.value) for key, width in backend.widths.items())


def test_long_prompts_are_cut_as_the_pipeline_cuts(backend):
    encoder = next(iter(backend.encoders.values()))
    assert len(encoder.token_ids("the cute red pet " * 40)) == encoder.length
    with pytest.raises(DistokError, match="is too long: its concept falls past"):
        backend.encode(["the cute red pet " * 200 + "<tcrt_0>"], noise(backend))


@pytest.mark.parametrize("family", ["sdxl", "sd3", "sd3-without-t5", "flux"], indirect=True, scope="module")
def test_the_condition_is_the_pipelines_own(backend, family):
    prompts = ["a photo of a cat", "a cute dog in the snow"]
    pipe = copy.copy(backend.pipe)
    with torch.no_grad():
        if family == "sdxl":
            states, _, pooled, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)
        elif family == "flux":
            states, pooled, _ = pipe.encode_prompt(prompts)
        else:
            states, _, pooled, _ = pipe.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    mine = backend.condition(prompts)
    assert torch.allclose(mine["prompt_embeds"], states, atol=1e-6)
    assert torch.allclose(mine["pooled_prompt_embeds"], pooled, atol=1e-6)


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux"], indirect=True, scope="module")
def test_render_is_what_the_pipeline_makes(backend, folder, family):
    import diffusers

    pipe = getattr(diffusers, backend.family).from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 32, "width": 32, "output_type": "pt"}
    expected = pipe("a cute cat", generator=[torch.Generator().manual_seed(7)], **options).images
    mine = render(backend, family, ["a cute cat"], seeds=[7], guidance_scale=4.0)
    assert torch.allclose(mine, expected.float(), atol=1e-3)


@pytest.mark.parametrize("version", ["2.1", "2.2"])
def test_a_kandinsky_decoder_finds_the_prior_beside_it(tmp_path, version, monkeypatch, capsys):
    from distok.backends import loading

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder, prior = tiny_families.kandinsky_parts(version)
    name = {"2.1": "kandinsky", "2.2": "kandinsky-2-2-decoder"}[version]  # as they are published
    beside = name.removesuffix("-decoder") + "-prior"
    for pipe, name_of in ((decoder, name), (prior, beside)):
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        pipe.save_pretrained(tmp_path / name_of)
    backend = open_backend(tmp_path / name)
    mine = backend.render_pixels(["a cute cat"], seeds=[7], steps=2, size=64)

    def random():
        return [torch.Generator().manual_seed(7)]

    for pipe in (prior, decoder):
        pipe.set_progress_bar_config(disable=True)
    embeds = prior(["a cute cat"], generator=random(), num_inference_steps=25, guidance_scale=4.0)
    said = {"prompt": ["a cute cat"]} if version == "2.1" else {}
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 64, "width": 64, "output_type": "pt"}
    expected = decoder(
        **said,
        image_embeds=embeds.image_embeds,
        negative_image_embeds=embeds.negative_image_embeds,
        generator=random(),
        **options,
    ).images
    assert torch.allclose(mine, (expected * 0.5 + 0.5).clamp(0, 1), atol=1e-3)
    sizes = type(backend).weight_bytes(tmp_path / name, decoder.__class__.__name__, None)
    assert sizes == loading.weight_bytes(tmp_path / name) | {
        f"prior_{each}": size for each, size in loading.weight_bytes(tmp_path / beside).items()
    }
    assert sizes.keys() >= {"unet", "movq", "prior_prior", "prior_text_encoder", "prior_image_encoder"}
    assert _run(["doctor", str(tmp_path / name), "--json"], monkeypatch) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: part["bytes"] for name, part in said["parts"].items() if part["bytes"]} == sizes
    monkeypatch.setattr(loading, "free_bytes", lambda device: int(1.2 * sum(sizes.values())) - 1)
    with pytest.raises(DistokError, match=r"takes about .* are free"):
        open_backend(tmp_path / name)
    shutil.rmtree(tmp_path / beside)
    with pytest.raises(DistokError, match=f"is a decoder without its prior; put the prior beside it, in .*/{beside}"):
        open_backend(tmp_path / name)


@pytest.mark.parametrize("family", ["kandinsky21", "kandinsky22"], indirect=True, scope="module")
def test_the_priors_path_takes_gradients(backend):
    tokens = noise(backend).requires_grad_()
    backend.image_embeds(backend.condition(PROMPTS[:2], tokens), [0, 1], steps=2).square().sum().backward()
    prior_part = backend.split(tokens.grad)["prior_text_encoder"]
    assert (prior_part.abs().amax(1) > 0).all()


@pytest.mark.parametrize("family", ["sdxl"], indirect=True, scope="module")
def test_too_little_memory_is_said_before_loading(folder, monkeypatch):
    from distok.backends import loading

    sizes = loading.weight_bytes(folder)
    stored = sum(path.stat().st_size for path in folder.glob("*/*.safetensors"))
    assert 0.8 * stored < sum(sizes.values()) <= stored
    assert sum(loading.weight_bytes(folder, torch.float16).values()) * 2 == sum(
        loading.weight_bytes(folder, torch.float32).values()
    )
    monkeypatch.setattr(loading, "free_bytes", lambda device: 1000)
    monkeypatch.setattr("distok.backends.pipeline.load_pipeline", lambda *given: pytest.fail("it was loaded all the same"))
    with pytest.raises(DistokError, match=r"takes about 0\.0 GiB on cpu, and 0\.0 GiB are free; give --dtype bfloat16"):
        open_backend(folder)


@pytest.mark.parametrize("family", ["sdxl"], indirect=True, scope="module")
def test_offload_is_chosen_by_what_fits(folder):
    from distok.backends.loading import choose_offload, weight_bytes

    sizes = weight_bytes(folder)
    text = sizes["text_encoder"] + sizes["text_encoder_2"]
    needed = {"fast": sum(sizes.values()), "balanced": text + max(sizes["unet"], sizes["vae"]), "low": text}
    for mode, size in needed.items():
        assert choose_offload(folder, sizes, "cuda", None, "auto", int(1.2 * size) + 1) == mode
        with pytest.raises(DistokError, match=r"takes about .* or --offload auto"):
            choose_offload(folder, sizes, "cuda", None, mode, size)
    with pytest.raises(DistokError, match="offload 'low' moves weights between a GPU and memory, and the device is cpu"):
        open_backend(folder, offload="low")
    with pytest.raises(DistokError, match="offload is 'some'; choose one of auto, fast, balanced, low"):
        open_backend(folder, offload="some")


@pytest.mark.parametrize("family", ["sdxl"], indirect=True, scope="module")
def test_half_precision_files_are_found_by_their_variant(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "half")
    for path in copied.glob("*/*model*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert open_backend(copied).hash == open_backend(folder).hash


@pytest.mark.parametrize("family", ["sd3"], indirect=True, scope="module")
def test_half_precision_of_some_parts_and_in_shards(folder, tmp_path):
    """As published: both precisions of the text encoders, T5 in shards, and the transformer in one alone."""
    from distok.backends import loading

    copied = shutil.copytree(folder, tmp_path / "both")
    plain = loading.weight_bytes(folder)
    big = open_backend(folder).pipe.text_encoder_3
    big.save_pretrained(copied / "text_encoder_3", variant="fp16", max_shard_size="40KB")
    assert list((copied / "text_encoder_3").glob("model.fp16-00001-of-*.safetensors")), "not in shards"
    (copied / "vae_1_0").mkdir()
    shutil.copy(next((folder / "vae").glob("*.safetensors")), copied / "vae_1_0" / "diffusion_pytorch_model.safetensors")
    shutil.copy(next((folder / "vae").glob("*.safetensors")), copied / "vae" / "diffusion_pytorch_model.non_ema.safetensors")
    assert loading.weight_bytes(copied) == plain, "nothing is counted twice"
    (copied / "text_encoder_3" / "model.safetensors").unlink()
    assert open_backend(copied).hash == open_backend(folder).hash


@pytest.mark.parametrize("family", ["sd1", "flux"], indirect=True, scope="module")
def test_a_checkpoint_in_half_precision_is_opened_in_single(folder, tmp_path):
    """Left to itself each library takes another type, and parts of two types do not work together."""
    half = open_backend(folder, dtype=torch.bfloat16)
    half.pipe.save_pretrained(tmp_path / "half")
    backend = open_backend(tmp_path / "half")
    parts = [part for part in backend.pipe.components.values() if isinstance(part, torch.nn.Module)]
    assert {weight.dtype for part in parts for weight in part.parameters()} == {torch.float32}
    assert torch.isfinite(backend.render_pixels(["a cat"], seeds=[1], steps=1, size=32)).all()


@pytest.mark.parametrize("family", ["flux"], indirect=True, scope="module")
def test_an_unsupported_family_names_the_supported(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((copied / "model_index.json").read_text())
    (copied / "model_index.json").write_text(json.dumps({**index, "_class_name": "SanaPipeline"}))
    with pytest.raises(DistokError, match="is a SanaPipeline, which is not supported; supported families: StableDiff"):
        open_backend(copied)


def test_distok_backends_shows_every_family(capsys, monkeypatch):
    assert _run(["backends"], monkeypatch) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, family in FAMILIES.items():
        assert name in shown
        assert all(key in shown for key in family.enters)
    assert _run(["backends", "--json"], monkeypatch) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(FAMILIES)


@pytest.mark.parametrize("family", ["sdxl"], indirect=True, scope="module")
def test_doctor_lists_what_a_checkpoint_lacks(folder, tmp_path, capsys, monkeypatch):
    assert _run(["doctor", str(folder), "--json"], monkeypatch) == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["problems"] == []
    assert whole["needs"]["float32"] == pytest.approx(2 * whole["needs"]["float16"], abs=2)
    copied = shutil.copytree(folder, tmp_path / "broken")
    shutil.rmtree(copied / "text_encoder_2")
    (copied / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no")
    assert _run(["doctor", str(copied)], monkeypatch) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "text_encoder_2 is missing; copy the whole checkpoint again" in shown
    assert "diffusion_pytorch_model.safetensors is corrupt or truncated" in shown


@pytest.mark.parametrize("family", ["kandinsky21", "flux"], indirect=True, scope="module")
def test_training_and_creating_from_the_command_line(folder, family, tmp_path, capsys, monkeypatch):
    """The family's own preset trains; the model makes a picture; another family's concept is refused."""
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (folder / "distok.json").write_text(json.dumps({"steps": 1, "size": SIZES.get(family, 32), "prior_steps": 2}))
    train = ["train", "--backend", str(folder), "--concepts", str(tmp_path / "names.txt"), "--out", str(tmp_path / "run")]
    assert _run([*train, "--steps", "3", "--set", "hidden_dim=16", "--set", "estimate_count=0"], monkeypatch) == 0
    from distok.model import DisTok

    settings = json.loads(DisTok.load(tmp_path / "run" / "distok.safetensors").provenance["settings"])
    assert (settings["epsilon_restrictive"] == 0.85) == (family == "kandinsky21"), "the paper's thresholds are its own base's"
    create = ["create", "cat=0.7, dog=0.3", "--backend", str(folder), "--model", str(tmp_path / "run"), "-n", "1"]
    assert _run([*create, "--out", str(tmp_path / "made"), "--json"], monkeypatch) == 0
    made = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert len(made["pictures"]) == 1
    from distok.concept import Concept

    assert {k: v.shape[1] for k, v in Concept.load(made["concept"]).vectors.items()} == open_backend(folder).widths
    with pytest.raises(DistokError, match=r"is for .* and .* takes text_encoder 7"):
        Concept.load(made["concept"]).for_backend({"text_encoder": 7})


def _run(arguments, monkeypatch):
    from distok.cli import main

    monkeypatch.setattr("sys.argv", ["distok", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code
