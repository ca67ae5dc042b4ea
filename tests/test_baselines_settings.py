"""Every setting of a method reaches what it is for."""

import math

import pytest
import torch

from distok.baselines import agswap, baseline, bass, concept_lab, cretok
from distok.baselines.base import Ask
from distok.distribution import Distribution
from tests.test_baselines_tokens import Reader
from tests.tiny import NAMES


def test_each_column_of_bass_comes_from_a_class_by_its_weight(backend):
    given = Ask(backend, None, Distribution(("cat", "dog"), (0.9, 0.1)), (1,), NAMES)
    method = baseline("bass")
    conditions = method.prepare(given).parts["conditions"]
    owners = torch.cat([method._owners(given, conditions, 1, i)["prompt_embeds"] for i in range(60)])
    assert owners.double().mean().item() == pytest.approx(0.1, abs=0.03)


def test_bass_looks_for_the_balance_of_the_weights(backend, monkeypatch):
    seen = []
    alike = torch.eye(2)[:1].expand(9, -1)
    monkeypatch.setattr(bass, "looks", lambda _, pictures, __: torch.cat([torch.eye(2), alike])[: len(pictures)])
    monkeypatch.setattr(bass, "balance_region", lambda away, between, even, *_: seen.append(even) or (1, [0]))
    for weights in ((0.9, 0.1), (0.1, 0.9)):
        given = Ask(backend, Reader(), Distribution(("cat", "dog"), weights), (1,), NAMES, options={"steps": 1, "size": 16})
        method = baseline("bass", pool=1)
        method.draw(given, method.prepare(given))
    assert seen[0][0] < seen[1][0]
    assert seen[0][1] > seen[1][1]


def test_a_group_is_halved_when_the_balance_tips_over_and_only_then(backend, monkeypatch):
    # Three pictures lean to the first class, then to the second, then to the second again.
    leans = iter([torch.eye(2), *(torch.tensor([[a, 1 - a]]) for a in (0.8, 0.3, 0.3, 0.7))])
    monkeypatch.setattr(agswap, "looks", lambda *_: next(leans))
    shares = []
    monkeypatch.setattr(agswap, "hand_over", lambda owners, strong, weak, share, random: shares.append(share) or owners)
    given = Ask(backend, Reader(), Distribution(("cat", "dog"), (0.5, 0.5)), (1,), NAMES, options={"steps": 1, "size": 16})
    method = baseline("agswap", tolerance=0.0, rounds=4, group=0.5)
    method.draw(given, method.prepare(given))
    assert shares == [0.5, 0.25, 0.25, 0.125]


def test_concept_lab_asks_with_its_own_seed_and_decays_as_told(backend, monkeypatch):
    drawn = []
    render = type(backend).render
    monkeypatch.setattr(type(backend), "render", lambda *a, **o: drawn.append(o["seeds"]) or render(*a, **o))
    given = Ask(backend, Reader(), Distribution(("pig",), (1.0,)), (1,), NAMES, options={"steps": 1, "size": 16})
    how = {"steps_of_training": 1, "query_prompt": "a photo of a {}", "templates": ("a photo of a {}",)}
    plain, decayed = (
        baseline("concept-lab", query_seed=7, weight_decay=decay, learning_rate=1e-3, **how).prepare(given).tokens
        for decay in (0.0, 9.0)
    )
    assert drawn == [[7], [7]]
    start = backend.name_tokens(["pig"]).cpu().float()
    assert torch.allclose(plain - decayed, 1e-3 * 9.0 * start, atol=1e-6)


def test_the_prior_meets_fresh_noise_at_every_step(backend, monkeypatch):
    given_seeds, of_token = [], concept_lab._Space.of_token
    monkeypatch.setattr(
        concept_lab._Space,
        "of_token",
        lambda space, template, token, seed: given_seeds.append(seed) or of_token(space, template, token, seed),
    )
    given = Ask(backend, None, Distribution(("cat", "dog"), (0.5, 0.5)), (1,), NAMES, options={"steps": 1, "size": 16})
    baseline("concept-lab", steps_of_training=4, templates=("a photo of a {}",)).prepare(given)
    assert len(set(given_seeds)) == 4


def test_cretok_comes_to_rest(backend, monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *a: rates.append(self.param_groups[0]["lr"]) or step(self, *a))
    how = baseline("cretok", steps_of_training=4, start="pet", adaptive="a photo of a {}").settings
    cretok.train(Ask(backend, None, Distribution(("cat", "dog"), (0.5, 0.5)), (1,), NAMES), how)
    assert rates == pytest.approx([0.01 * 0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])
