"""The three losses against their formulas, and where their gradients vanish."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from distok.objectives import consistency_loss, fusion_loss, latent_loss


def at_angle(*cosines):
    """Unit vectors in the plane with these cosines to (1, 0)."""
    return torch.tensor([[c, math.sqrt(1 - c * c)] for c in cosines], requires_grad=True)


def test_fusion_is_the_formula_with_caps_per_sample():
    adaptive = at_angle(0.5, 0.9)
    restrictive, aesthetic = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, 1.0])
    loss = fusion_loss(adaptive, restrictive, aesthetic, 0.85, 0.80)
    to_style = [math.sqrt(1 - 0.25), math.sqrt(1 - 0.81)]
    assert loss.tolist() == pytest.approx([(1 - 0.5) + (1 - 0.80), (1 - 0.85) + (1 - to_style[1])])
    loss.sum().backward()
    # Sample 0 is past the cap of the style, sample 1 past that of the pair: each keeps the other term's gradient alone.
    assert adaptive.grad.tolist() == [[-1.0, 0.0], [0.0, -1.0]]


def test_fusion_past_both_caps_gives_exactly_no_gradient():
    adaptive = at_angle(0.7)
    fusion_loss(adaptive, torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, 1.0]), 0.6, 0.6).sum().backward()
    assert (adaptive.grad == 0).all()


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_consistency_is_one_minus_cosine(seed):
    left, right = F.normalize(torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(seed)), dim=-1)
    assert torch.allclose(consistency_loss(left, right), 1 - F.cosine_similarity(left, right), atol=1e-6)
    assert torch.allclose(consistency_loss(left, left), torch.zeros(4), atol=1e-6)


def test_latent_loss_is_squared_mean_over_variance():
    z = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert latent_loss(z).item() == pytest.approx((2**2 + 2**2) / (2.0 + 0.0))


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_latent_loss_ignores_scale_and_rewards_zero_mean(scale, seed):
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)) + 1
    assert latent_loss(z * scale).item() == pytest.approx(latent_loss(z).item(), rel=1e-3)
    assert latent_loss(z - z.mean(0)).item() == pytest.approx(0, abs=1e-6)
