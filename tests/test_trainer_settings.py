"""Every setting of a training reaches what it is for."""

from dataclasses import replace

import pytest
import torch

from distok.training import Trainer, calibrate, estimation
from distok.training.tasks import Allowed, draw
from tests.tiny import NAMES
from tests.tiny import run_settings as short


def test_the_running_mean_moves_by_what_the_decay_leaves(backend):
    built = Trainer(short(ema_decay=0.9, estimate_count=0), backend, None, NAMES)
    before = {name: value.clone() for name, value in built.average.items()}
    built.advance()
    for name, parameter in built.model.named_parameters():
        assert torch.allclose(built.average[name], 0.9 * before[name] + 0.1 * parameter.detach(), atol=1e-7), name


def test_the_gradient_is_clipped_as_asked(backend, monkeypatch):
    norms = []
    for clip in (1e9, 1e-3):
        built = Trainer(short(grad_clip=clip, estimate_count=0), backend, None, NAMES)
        built.advance()
        norms.append(torch.stack([p.grad.norm() for p in built.model.parameters()]).norm().item())
    assert norms[0] > 2e-3
    assert norms[1] == pytest.approx(1e-3, rel=1e-2)


def test_weight_decay_and_learning_rate_reach_the_optimiser(backend):
    group = Trainer(short(weight_decay=0.3, estimate_count=0), backend, None, NAMES).optimizer.param_groups[0]
    assert group["weight_decay"] == 0.3


def test_the_latent_law_covers_fused_pairs(backend):
    built = Trainer(short(estimate_count=0, input_scale="sum"), backend, None, NAMES)
    seen, fit = [], built.model.fit_latents
    built.model.fit_latents = lambda latents: seen.append(latents) or fit(latents)
    built.measure_latents()
    known = built.pool.known_tokens
    pairs = built.model.encode(torch.stack([known[i] + known[j] for i, j in built.allowed.pairs]))
    assert all((seen[0] - row).abs().amax(1).min() < 1e-5 for row in pairs)


def test_estimation_draws_as_the_settings_say(backend, labeler, monkeypatch):
    asked = []
    monkeypatch.setattr(estimation, "read_back", lambda *_, **how: asked.append(how) or torch.full((4, 6), 1 / 6))
    Trainer(short(estimate_steps=7, estimate_size=24, adaptive_prompt="a red {}"), backend, labeler, NAMES).estimate()
    assert {key: asked[0][key] for key in ("steps", "size", "prompt")} == {"steps": 7, "size": 24, "prompt": "a red {}"}


def test_told_losses_are_means_over_their_own_tasks(backend, labeler):
    built = Trainer(short(tau=1.0, gamma=0.0), backend, labeler, NAMES)
    built.estimate()
    tasks = next(
        t
        for t in (draw(s, built.settings, built.allowed, built.pool.distributions) for s in range(50))
        if t.fused and len(t.targets)
    )
    losses, s = built.losses(tasks), built.settings
    total = (s.alpha * losses.fusion * tasks.fused + s.beta * losses.consistency * len(tasks.targets)) / len(tasks)
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-5)


def test_what_is_foreseen_is_asked_of_jittered_tokens(backend, labeler):
    built = Trainer(short(delta=1.0, estimate_jitter=0.5), backend, labeler, NAMES)
    seen = []
    built.foreseen(lambda tokens: seen.append(tokens) or torch.zeros(1, len(tokens), 6))
    built.settings = replace(built.settings, estimate_jitter=0.0)
    built.foreseen(lambda tokens: seen.append(tokens) or torch.zeros(1, len(tokens), 6))
    moved = (seen[0] - seen[1]) / built.model.token_scale
    assert moved.std().item() == pytest.approx(0.5, rel=0.05)


def test_thresholds_are_of_the_words_that_the_run_says(backend):
    allowed, words = Allowed.among(NAMES, ()), {"restrictive_prompt": "a {} {}", "mixture_share": 0.0}
    found = calibrate(backend, NAMES, short(adaptive_prompt="a red {} in snow", **words), allowed)
    worded = backend.encode([f"a red {NAMES[i]} {NAMES[j]} in snow" for i, j in allowed.pairs])
    meant = backend.encode([f"a {NAMES[i]} {NAMES[j]}" for i, j in allowed.pairs])
    assert found.epsilon_restrictive == pytest.approx((worded * meant).sum(1).double().quantile(0.9).item(), abs=1e-4)


def test_its_networks_slow_down_with_the_run(backend, labeler):
    built = Trainer(short(delta=1.0), backend, labeler, NAMES)
    built.step = 11
    built.foresight.remember(torch.randn(4, built.model.settings.token_dim), torch.full((4, 6), 1 / 6))
    rate = built.learning_rate() / built.settings.learning_rate
    built.advance()
    assert built.foresight.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * rate)
    assert rate < 0.5
