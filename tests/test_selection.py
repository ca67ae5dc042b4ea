"""The closed loop: the choice among pictures, and weights corrected by what was read."""

import numpy as np
import pytest

from distok.baselines import baseline
from distok.distribution import Distribution, js
from distok.errors import DistokError
from distok.selection import candidates, closest, preview_steps, refine
from tests.tiny import NAMES

pytest_plugins = ("tests.evaluation_parts",)


def test_candidates_belong_to_their_picture_alone():
    assert candidates(5, 3) == [5, 1005, 2005]
    assert not set(candidates(5, 8)) & set(candidates(6, 8))
    with pytest.raises(DistokError, match="cannot choose the best of 65 pictures; give a number from 1 to 64"):
        candidates(0, 65)


def test_the_closest_is_that_of_least_kl():
    asked = Distribution(("cat", "dog"), (0.7, 0.3))
    readings = [Distribution(("cat", "dog"), (p, 1 - p)) for p in (0.99, 0.6, 0.72, 0.1)]
    assert closest(asked, readings) == 2


def test_a_refinement_corrects_the_weights_and_keeps_the_best_round():
    asked = Distribution(("cat", "dog", "lion"), (0.5, 0.3, 0.2))
    seen = []

    def look(given, seeds):  # shows the square of what it is given: the heavier drown the lighter
        seen.append((given, tuple(seeds)))
        return [Distribution.from_mapping({name: weight**2 for name, weight in given.as_dict().items()})] * len(seeds)

    found = refine(asked, look, rounds=6, pictures=3)
    assert seen[0][0] == asked
    assert len({seed for _, numbers in seen for seed in numbers}) == 18, "every picture has noise of its own"
    assert found.kl[0] > 0.05
    assert min(found.kl) < 0.005
    assert found.after(1) == found.tried[0] == asked, "a shorter search is the beginning of a longer one"
    assert found.after(3) == refine(asked, look, rounds=3, pictures=3).given
    square = {name: weight**2 for name, weight in found.given.as_dict().items()}
    shown = Distribution.from_mapping(square)
    assert [shown.as_dict()[name] for name in asked.names] == pytest.approx(asked.weights, abs=0.03)
    worse = refine(asked, lambda given, seeds: [Distribution(("pig",), (1.0,))], rounds=3, pictures=1)
    assert worse.given == asked, "the first of equals"
    with pytest.raises(DistokError, match="cannot refine by 65 pictures a round; give a number from 1 to 64"):
        refine(asked, look, rounds=1, pictures=65)


def test_every_round_starts_from_the_best_so_far():
    asked = Distribution(("cat", "dog"), (0.5, 0.5))
    shown = iter([0.8, 0.95, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9])

    def look(given, seeds):
        share = next(shown)
        return [Distribution(("cat", "dog"), (share, 1 - share))]

    def odds(mix):
        return mix.as_dict()["cat"] / mix.as_dict()["dog"]

    found = refine(asked, look, rounds=8, pictures=1)
    first, second = 0.52 / 0.82 * 0.22 / 0.52, 0.52 / 0.62 * 0.42 / 0.52  # of the asked to the measured odds, with the floor
    assert odds(found.tried[1]) == pytest.approx(max(first, 1 / 9) ** 0.7, rel=1e-6)
    assert odds(found.tried[2]) == pytest.approx(first**0.35, rel=1e-6), "again from the first round, by less"
    assert found.given == found.tried[2]
    for number, power in enumerate((0.7, 0.35, 1.0, 0.17, 0.7 * 0.8), 3):
        assert odds(found.tried[number]) == pytest.approx(odds(found.tried[2]) * second**power, rel=1e-6)


@pytest.mark.parametrize(("steps", "preview"), [(50, 25), (12, 6), (8, 6), (6, 6), (4, 4), (1, 1)])
def test_a_preview_takes_half_of_the_steps_but_never_too_few(steps, preview):
    assert preview_steps(steps) == preview


@pytest.mark.parametrize(("name", "plain"), [("distok-refined", "distok"), ("weighting-refined", "prompt-weighting")])
def test_a_refined_method_draws_what_the_method_makes_of_its_best_round(bench, labeler, name, plain):
    asked = Distribution.from_mapping({"cat": 0.7, "dog": 0.3})
    given = {"names": NAMES, "model": bench.model, "steps": 1}
    made = baseline(name, rounds=3, pictures=2).make(bench.backend, labeler, asked, [3], **given)
    assert len(made.details["kl of each round"]) == 3
    best = Distribution.parse(made.details["given"])
    of = baseline(plain).make(bench.backend, labeler, best, [3], **given)
    assert np.abs(np.asarray(made.pictures[0], int) - np.asarray(of.pictures[0], int)).max() <= 12
    if of.concept is not None:
        assert made.concept.distribution == asked
        assert (made.concept.name, made.concept.provenance["method"]) == (name, name)


def test_the_best_of_several_is_among_them_and_no_worse_than_the_first(bench, labeler):
    asked = Distribution(NAMES[:2], (0.5, 0.5))
    given = {"names": NAMES, "model": bench.model, "steps": 1}
    made = baseline("distok-best", pool=4).make(bench.backend, labeler, asked, [3], **given)
    several = baseline("distok").make(bench.backend, labeler, asked, candidates(3, 4), **given)
    apart = [js(asked.over(NAMES), each.over(NAMES)) for each in labeler.read([*several.pictures, *made.pictures], NAMES)]
    assert made.details["chosen seeds"][0] in candidates(3, 4)
    place = candidates(3, 4).index(made.details["chosen seeds"][0])
    assert apart[4] == pytest.approx(apart[place], abs=1e-4)
    best = closest(asked, labeler.read(several.pictures, NAMES))
    assert place == best
