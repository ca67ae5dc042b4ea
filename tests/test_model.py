"""DisTok the model: standardised inputs, bounded tokens, a measured latent law, one file."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distok import files
from distok.distribution import sample_prior
from distok.errors import DistokError
from distok.model import ACTIVATIONS, DisTok, DisTokSettings


def make(seed=0, **changes):
    torch.manual_seed(seed)
    model = DisTok(DisTokSettings(**{"token_dim": 16, "latent_dim": 4, "hidden_dim": 32, **changes}))
    model.fit_tokens(torch.randn(10, 16) * 0.02 + 0.01)
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0, but a width is a whole number of at least 1"),
        ({"hidden_dim": 2.5}, "hidden_dim is 2.5"),
        ({"activation": "step"}, "activation is 'step'; choose one of gelu"),
        ({"parts": (8, 9)}, r"parts are \(8, 9\), but have to add up to token_dim, 16"),
        ({"input_scale": "max"}, "input_scale is 'max'; choose 'mean' or 'sum'"),
    ],
)
def test_settings_are_validated(change, message):
    with pytest.raises(DistokError, match=message):
        DisTokSettings(**{"token_dim": 16, **change})


def test_shapes_and_composition():
    model, mixture = make(), torch.randn(5, 16) * 0.02
    z = model.encode(mixture)
    assert z.shape == (5, 4)
    assert torch.equal(model(mixture), model.decode(z))


def test_inputs_are_standardised():
    """The same tokens in other units and around another origin encode to the same latents."""
    tokens = torch.randn(10, 16)
    left, right = make(), make()
    left.fit_tokens(tokens)
    right.fit_tokens(tokens * 7 + 3)
    assert torch.allclose(left.encode(tokens), right.encode(tokens * 7 + 3), atol=1e-4)
    assert torch.allclose(left.decode(left.encode(tokens)) * 7 + 3, right.decode(left.encode(tokens)), atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_linear_start_is_the_mean_of_tokens(activation):
    """With as many latents as tokens span, exactly; with fewer, their projection on the leading directions."""
    tokens = torch.randn(6, 16) * 0.02 + 0.01
    mixtures = torch.tensor([[0.5, 0.25, 0.25, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1 / 6] * 6]) @ tokens
    model = make(latent_dim=5, activation=activation)
    model.fit_tokens(tokens)
    assert not torch.allclose(model(mixtures), mixtures, atol=1e-3)
    model.start_linear(tokens)
    assert torch.allclose(model(mixtures), mixtures, atol=1e-6)
    assert model.encode(tokens).square().mean().item() == pytest.approx(1, abs=1e-4)
    model(mixtures).sum().backward()
    assert model.encoder[2].weight.grad[:, 10:].abs().max() > 0, "the other hidden units learn too"
    few = make(latent_dim=2, activation=activation)
    few.fit_tokens(tokens)
    few.start_linear(tokens)
    standard = (tokens - few.token_mean) / few.token_scale
    _, _, directions = torch.linalg.svd(standard)
    projected = standard @ directions[:2].T @ directions[:2]
    assert torch.allclose((few(tokens) - few.token_mean) / few.token_scale, projected, atol=1e-4)


def test_a_linear_start_that_does_not_fit_is_refused():
    with pytest.raises(DistokError, match="hidden_dim must be at least 40, not 32"):
        make(latent_dim=20).start_linear(torch.randn(30, 16))
    with pytest.raises(DistokError, match="at most 16 latent dimensions here, not 20; lower latent_dim"):
        make(latent_dim=20, hidden_dim=64).start_linear(torch.randn(30, 16))


@given(scale=st.floats(0, 1e4), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_tokens_stay_within_the_radius_of_real_ones(scale, seed):
    model = make(seed)
    tokens = model.decode(torch.randn(8, 4) * scale)
    radius = ((tokens - model.token_mean) / model.token_scale).square().mean(1).sqrt()
    assert torch.isfinite(tokens).all()
    assert (radius <= model.token_radius * 1.001).all()


def test_each_encoders_part_keeps_to_its_own_radius_and_spread():
    tokens = torch.cat([0.01 * torch.randn(50, 4), 10 * torch.randn(50, 12)], 1)
    model = make(parts=(4, 12))
    model.fit_tokens(tokens)
    assert torch.equal(model.token_scale, tokens.std(0)), "a quiet encoder is not raised to the floor of a loud one"
    drawn = model.decode(1e4 * torch.randn(200, 4))
    standard = ((each - model.token_mean) / model.token_scale for each in (tokens, drawn))
    for real, made in zip(*(each.split([4, 12], 1) for each in standard), strict=True):
        longest = [each.square().mean(1).sqrt().max().item() for each in (real, made)]
        assert longest[1] == pytest.approx(longest[0], rel=1e-3)
    assert model.token_radius.shape == (2,)
    whole = make()
    whole.fit_tokens(tokens)
    assert whole.token_radius.shape == ()
    assert (whole.token_scale[:4] > 2 * tokens.std(0)[:4]).all(), "which is what happened to both as one"


def test_a_dimension_no_name_uses_does_not_explode():
    model, tokens = make(), torch.randn(10, 16)
    tokens[:, 3] = 0.5
    model.fit_tokens(tokens)
    assert torch.isfinite(model.encode(tokens)).all()
    assert model.token_scale[3] > 0


def test_one_class_has_no_spread():
    with pytest.raises(DistokError, match="at least 2 known classes, got 1"):
        make().fit_tokens(torch.randn(1, 16))


def test_pair_is_mean_or_sum():
    left, right = torch.randn(2, 3, 16)
    assert torch.allclose(make().pair(left, right), (left + right) / 2)
    assert torch.allclose(make(input_scale="sum").pair(left, right), left + right)


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_sampled_latents_follow_the_measured_law(kind):
    model = make()
    latents = torch.randn(4000, 4) @ torch.randn(4, 4) * 3 + torch.tensor([1.0, -2.0, 0.0, 5.0])
    model.fit_latents(latents)
    sampled = model.sample_latents(torch.from_numpy(sample_prior(kind, 40_000, 4, 0)))
    scale = latents.T.cov().diagonal().max()
    assert (sampled.mean(0) - latents.mean(0)).abs().max() < 0.05 * scale.sqrt()
    assert (sampled.T.cov() - latents.T.cov()).abs().max() < 0.05 * scale


def test_latents_on_a_line_still_have_a_factor():
    model = make()
    model.fit_latents(torch.linspace(-1, 1, 50)[:, None] * torch.ones(4))
    assert torch.isfinite(model.latent_factor).all()


def test_saved_and_loaded_is_the_same_function(tmp_path):
    model, mixture = make(), torch.randn(5, 16)
    model.fit_latents(torch.randn(50, 4))
    path = model.save(tmp_path / "distok.safetensors", {"backend": "abc"})
    loaded = DisTok.load(path)
    assert torch.equal(loaded(mixture), model(mixture))
    assert torch.equal(loaded.sample_latents(torch.ones(1, 4)), model.sample_latents(torch.ones(1, 4)))
    assert (loaded.settings, loaded.provenance) == (model.settings, {"backend": "abc"})
    assert loaded.save(tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_model_for_two_encoders_is_loaded_as_it_was(tmp_path):
    model = make(parts=(4, 12))
    loaded = DisTok.load(model.save(tmp_path / "distok.safetensors"))
    assert loaded.settings == model.settings
    z = 100 * torch.randn(3, 4)
    assert torch.equal(loaded.decode(z), model.eval().decode(z))


def test_load_refuses_what_is_not_a_model(tmp_path):
    path = make().save(tmp_path / "distok.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-100])
    files.write_tensors(tmp_path / "foreign.safetensors", {"x": torch.zeros(2)}, {"distok": json.dumps({"kind": "concept"})})
    with pytest.raises(DistokError, match="not a readable safetensors file"):
        DisTok.load(tmp_path / "cut.safetensors")
    with pytest.raises(DistokError, match=r"is not a DisTok model; give a distok.safetensors"):
        DisTok.load(tmp_path / "foreign.safetensors")
    with pytest.raises(DistokError, match="does not exist"):
        DisTok.load(tmp_path / "none.safetensors")


def test_no_part_of_it_meets_another_device():
    """On the device "meta" nothing is computed, but a tensor that was left on the CPU is refused as on a GPU."""
    model = make().to("meta")
    tokens, latents = torch.empty(5, 16, device="meta"), torch.empty(7, 4, device="meta")
    model.fit_tokens(tokens)
    model.fit_latents(latents)
    made = model(tokens), model.decode(model.sample_latents(latents)), model.pair(tokens, tokens)
    assert all(each.is_meta for each in (*made, model.latent_factor))
