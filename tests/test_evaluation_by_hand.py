"""Published numbers of ``reuse``, ``map`` and ``series``, worked out a second time: made directly, or by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from distok import seeds as randomness
from distok.backends.prompts import PROMPT
from distok.evaluation import series as fusion
from distok.evaluation.latent_map import _law, latent_map
from distok.evaluation.reuse import read_all

pytest_plugins = ("tests.evaluation_parts",)

SNOW = "a photo of a {} in the snow"


def taken(prompt: str, seed: int, token: torch.Tensor) -> Image.Image:
    """A picture that only this prompt, seed and token give."""
    told = f"{prompt} {seed} {(token * 1e3).round().int().tolist()}"
    return Image.fromarray(randomness.rng(0, told).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def test_a_look_s_reading_is_the_mean_over_its_own_pictures(bench, monkeypatch):
    monkeypatch.setattr("distok.evaluation.reuse.prompts", lambda bench: {"snow": SNOW})
    room = SimpleNamespace(develop=lambda stage, shots: [taken(shot.prompt, shot.seed, shot.token) for shot in shots])
    cases = bench.spread(2)
    readings, rows = read_all(replace(bench, darkroom=room), cases, 2)
    looks = {"plain": (PROMPT, (0, 1)), "repeat": (PROMPT, (2, 3)), "snow": (SNOW, (0, 1))}
    assert list(readings) == ["labeler", "evaluator"]
    for who, found in readings.items():
        assert list(found) == list(looks)
        for look, (prompt, numbers) in looks.items():
            for case, reading in zip(cases, found[look], strict=True):
                token = bench.token(case.asked)
                pictures = [taken(prompt, 100 * case.index + number, token) for number in numbers]
                assert reading == pytest.approx(bench.rulers.read(who, pictures).mean(0), abs=1e-6), (who, look)
        for one, other in (("plain", "snow"), ("plain", "repeat"), ("repeat", "snow")):
            assert np.abs(found[one] - found[other]).max(1).min() > 1e-4, "a wrong prompt or seed would not show"
    firsts = {look: [taken(looks[look][0], 100 * case.index, bench.token(case.asked)) for case in cases] for look in rows}
    assert {look: [each.tobytes() for each in row] for look, row in rows.items()} == {
        look: [each.tobytes() for each in row] for look, row in firsts.items()
    }
    assert list(rows) == ["plain", "snow"]


def test_the_law_of_latents_by_hand():
    known = np.array([[1.0, 1.0], [3.0, 3.0]])  # radii 1 and 3, so 2 on average; 2 apart
    assert _law(known, known) == {"radius": 2, "nearest": 1}, "a class is not its own neighbour"
    same = _law(known.copy(), known)
    assert same == {"radius": 2, "nearest": 0}
    found = _law(np.array([[1.0, 2.0], [6.0, 2.0]]), known)
    assert found["radius"] == pytest.approx((2.5**0.5 + 20**0.5) / 2)
    assert found["nearest"] == pytest.approx((0.5**0.5 + 5**0.5) / 2 / 2)


@torch.no_grad()
def test_the_map_s_numbers_are_of_the_classes_and_of_the_cases_own_means(bench):
    figures = latent_map(bench).figures
    known = bench.model.encode(torch.stack([bench.name_token(name) for name in bench.names])).double().numpy()
    pairs = [case.asked for case in bench.cases if case.kind == "pair"]
    tokens = torch.stack([(bench.name_token(a) + bench.name_token(b)) / 2 for a, b in (pair.names for pair in pairs)])
    mixed = bench.model.encode(tokens).double().numpy()
    radius = np.mean([np.sqrt(np.mean(row**2)) for row in known])
    nearest = [min(np.sqrt(np.mean((row - each) ** 2)) for each in known) for row in mixed]
    assert figures["classes"]["radius"] == pytest.approx(radius)
    assert figures["pair"]["nearest"] == pytest.approx(np.mean(nearest) / radius, rel=1e-4)
    spread = np.sort(np.linalg.eigvalsh(np.cov(known.T)))[::-1]
    assert figures["explained by two axes"] == pytest.approx(spread[:2].sum() / spread.sum())


MEANS = {  # of two chains, by how many classes are fused: the mean shares of a chain's classes; the next two have the rest
    2: ((0.5, 0.25), (0.5, 0.0625)),
    3: ((0.5, 0.25, 0.1), (0.25, 0.25, 0.0625)),
    4: ((0.5, 0.125, 0.125, 0.0625), (0.25, 0.25, 0.25, 0.25)),
}
SEEN = {2: (2, 1), 3: (3, 2), 4: (3, 4)}  # a share of 0.1 is seen


def test_a_row_of_the_series_by_hand(monkeypatch):
    names = tuple("abcdefgh")
    random = randomness.rng(0, "series")
    chains = [random.choice(len(names), 4, replace=False) for _ in range(2)]
    monkeypatch.setattr(fusion, "_trained", lambda bench, folder, marks: dict.fromkeys(marks, "model"))
    monkeypatch.setattr(fusion, "fused", lambda bench, model, names: tuple(names))
    shown = []

    def develop(stage, shots):
        assert [(shot.prompt, shot.seed) for shot in shots] == [(PROMPT, seed) for _ in chains for seed in (0, 1)]
        shown[:] = [(shot.token, shot.seed) for shot in shots]
        return [Image.new("RGB", (8, 8), (seed, 0, 0)) for _, seed in shown]

    def mean_reading(depth: int, number: int) -> np.ndarray:
        reading = np.zeros(len(names))
        reading[chains[number][:depth]] = MEANS[depth][number]
        others = [*chains[number][depth:], *(i for i in range(len(names)) if i not in chains[number])][:2]
        reading[others] = (1 - reading.sum()) / 2
        return reading

    def read(who, pictures):
        assert who == "evaluator", "the last reader there is"
        readings = []
        for i, (token, seed) in enumerate(shown):
            chain = chains[i // 2]
            assert token == tuple(names[each] for each in chain[: len(token)])
            reading = mean_reading(len(token), i // 2)
            moved = reading[chain[0]] / 2 * (1 if seed == 0 else -1)  # single pictures differ, and their mean is as it is
            reading[chain[0]] += moved
            reading[chain[1]] -= moved
            readings.append(reading)
        return np.array(readings)

    rulers = SimpleNamespace(who=("labeler", "evaluator"), read=read)
    bench = SimpleNamespace(names=names, rulers=rulers, darkroom=SimpleNamespace(develop=develop))
    figures = fusion.series(bench, folder=None, seeds=2, chains=2, marks=(7,)).figures
    assert list(figures) == ["7/2", "7/3", "7/4"]
    for depth in MEANS:
        row, readings = figures[f"7/{depth}"], [mean_reading(depth, number) for number in range(2)]
        assert row["seen"].mean == np.mean(SEEN[depth])
        assert row["elsewhere"].mean == pytest.approx(np.mean([1 - sum(MEANS[depth][number]) for number in range(2)]))
        entropies = [-sum(share * np.log(share) for share in reading if share) for reading in readings]
        assert row["entropy"].mean == pytest.approx(np.mean(entropies))
    assert figures["7/2"]["entropy"].mean == pytest.approx(np.mean([1.2130076, 1.1847842]))
