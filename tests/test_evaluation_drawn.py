"""What suites draw and count, where the law of random latents is not that of the prior itself."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distok.distribution import Distribution, sample_prior
from distok.evaluation import instrument
from distok.evaluation import series as series_of
from distok.evaluation.cases import Case
from distok.evaluation.contest import Contest, Item
from distok.evaluation.latent_map import _law, latent_map
from distok.evaluation.methods import set_measures
from distok.evaluation.origin import Origin
from distok.evaluation.sensitivity import settings
from distok.model import DisTok
from tests.tiny import run_settings as short

pytest_plugins = ("tests.evaluation_parts",)


def moved(bench):
    """The bench with a model whose latents have a law of their own: that of the fixture is N(0, I)."""
    model = copy.deepcopy(bench.model)
    model.latent_mean.add_(1.0)
    model.latent_factor.mul_(2.0)
    return replace(bench, model=model)


@torch.no_grad()
def test_random_tokens_go_through_the_law_unless_they_are_raw(bench):
    bench = moved(bench)
    prior = torch.from_numpy(sample_prior("normal", 3, bench.model.settings.latent_dim, 2))
    law = bench.model.decode(bench.model.sample_latents(prior))
    plain = bench.model.decode(prior)
    assert (law - plain).abs().max() > 0.01
    assert torch.allclose(bench.random_tokens("normal", 3, 2), law, atol=1e-5)
    assert torch.allclose(bench.random_tokens("normal", 3, 2, raw=True), plain, atol=1e-5)


def test_a_spread_of_cases_goes_from_the_first_to_the_last(bench):
    last = len(bench.cases) - 1
    assert [case.index for case in bench.spread(3)] == [0, round(last / 2), last]


def test_sensitivity_halves_and_doubles(bench):
    own = bench.backend.defaults
    assert list(settings(bench).values()) == [
        {},
        {"guidance_scale": own.guidance_scale / 2},
        {"guidance_scale": own.guidance_scale * 2},
        {"steps": own.steps // 2},
        {"steps": own.steps * 2},
    ]


def test_the_map_draws_priors_through_the_law(bench):
    bench = moved(bench)
    prior = torch.from_numpy(sample_prior("laplace", 200, bench.model.settings.latent_dim, 0))
    with torch.no_grad():
        known = bench.model.encode(torch.stack([bench.name_token(name) for name in bench.names])).double().numpy()
    assert latent_map(bench).figures["laplace"] == pytest.approx(_law(bench.model.sample_latents(prior).double().numpy(), known))


def test_other_libraries_make_other_figures():
    one = Origin("x", {"seeds": 1}, "", "abc", {"torch": "2.6"})
    assert one.fingerprint != replace(one, versions={"torch": "2.7"}).fingerprint


def test_a_picture_of_a_share_between_tau_and_one_is_not_novel(bench):
    shares = np.zeros((2, 60))
    shares[0, :2], shares[1, :2] = (0.84, 0.16), (0.86, 0.14)
    looks = {"features": np.eye(2), "owners": np.zeros((2, 12), int), "creature": np.ones(2)}
    asked = Distribution(("pig", "owl"), (0.5, 0.5))
    assert (
        set_measures(bench, [Item(Case(0, "pair", asked), (0, 1), {"evaluator": shares}, looks, ())], None)["novel"].mean == 0.5
    )


def test_the_series_trains_as_published_on_a_seed_of_its_own(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(series_of, "settings_of", lambda *_: short(delta=0.5, sub_steps=16, seed=0))
    series_of._trained(bench, tmp_path, (2,))
    told = json.loads(DisTok.load(tmp_path / "at-2.safetensors").provenance["settings"])
    assert (told["seed"], told["delta"], told["sub_steps"], told["estimate_count"]) == (1, 0, 8, 4)


def test_the_singles_of_a_check_by_hand(monkeypatch):
    names = ("pig", "owl")
    mix = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])  # two of two pigs, one of two owls
    drawn = {0: np.zeros((4, 2)), 10_000: np.eye(2)[[0, 0, 1, 1]], 20_000: np.eye(2)[[0, 1, 1, 1]]}

    def look(pictures):
        return SimpleNamespace(mix=mix, creature=np.ones(4), features=drawn[pictures[0]])

    monkeypatch.setattr(instrument, "artist_pictures", lambda asked, numbers, size: [min(numbers)] * len(numbers))
    monkeypatch.setattr(instrument, "frechet", lambda a, b: float(np.abs(a - b).sum()))
    pictures = [type("P", (int,), {"width": 64})(0)] * 4
    room = SimpleNamespace(develop=lambda stage, shots: pictures)
    figures = instrument._check_singles(SimpleNamespace(names=names, look=look), room, instrument.Sizes(seeds=2))[1]
    assert figures["checkpoint: top-1, single species"] == 0.75
    assert figures["checkpoint: worst species, share of top-1"] == 0.5
    assert figures["checkpoint: Fréchet distance to the artist"] == 4
    assert figures["the artist: Fréchet distance to himself"] == 2


def test_other_readers_are_other_items(bench, tmp_path):
    asked = bench.cases[0]
    one = Contest(bench, tmp_path)
    other = Contest(replace(bench, rulers=replace(bench.rulers, labeler=bench.rulers.labeler.tempered(2.0))), tmp_path)
    assert one._key((), asked) != other._key((), asked)
