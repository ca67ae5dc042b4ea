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
from distok.seeds import derive
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


def test_emphasis_falls_on_its_own_words_behind_a_comma(backend):
    for encoder in backend.encoders.values():
        ids, strengths = encoder._read("a (cat:1.5), (dog:2), (snow:0.5)")
        said = dict(zip(encoder.tokenizer.convert_ids_to_tokens(ids), strengths, strict=True))
        words = {piece.removesuffix("</w>").strip("▁"): strength for piece, strength in said.items()}
        assert (words["cat"], words["dog"], words["snow"]) == (1.5, 2.0, 0.5), said
        assert all(strength == 1 for piece, strength in said.items() if "," in piece or piece.strip("▁") == "a")


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
def test_a_kandinsky_decoder_finds_the_prior_beside_it(tmp_path, version, monkeypatch, distok_command):
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

    def random(seed):
        return [torch.Generator().manual_seed(seed)]

    for pipe in (prior, decoder):
        pipe.set_progress_bar_config(disable=True)
    embeds = prior(["a cute cat"], generator=random(derive(7, "prior")), num_inference_steps=25, guidance_scale=4.0)
    said = {"prompt": ["a cute cat"]} if version == "2.1" else {}
    options = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 64, "width": 64, "output_type": "pt"}
    expected = decoder(
        **said,
        image_embeds=embeds.image_embeds,
        negative_image_embeds=embeds.negative_image_embeds,
        generator=random(7),
        **options,
    ).images
    assert torch.allclose(mine, (expected * 0.5 + 0.5).clamp(0, 1), atol=1e-3)
    sizes = type(backend).weight_bytes(tmp_path / name, decoder.__class__.__name__, None)
    assert sizes == loading.weight_bytes(tmp_path / name) | {
        f"prior_{each}": size for each, size in loading.weight_bytes(tmp_path / beside).items()
    }
    assert sizes.keys() >= {"unet", "movq", "prior_prior", "prior_text_encoder", "prior_image_encoder"}
    status, out, _ = distok_command("doctor", tmp_path / name, "--json")
    said = json.loads(out)
    assert status == 0
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
