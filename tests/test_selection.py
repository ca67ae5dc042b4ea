"""The closed loop: the choice among pictures, and weights corrected by what was read."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from distok.baselines import baseline, search
from distok.distribution import Distribution, js
from distok.errors import DistokError
from distok.selection import candidates, choose, closest, preview_steps, refine, visible
from tests.tiny import NAMES

pytest_plugins = ("tests.evaluation_parts",)


def test_candidates_belong_to_their_picture_alone():
    assert candidates(5, 3) == [5, 1005, 2005]
    assert not set(candidates(5, 8)) & set(candidates(6, 8))
    with pytest.raises(DistokError, match="cannot choose the best of 65 pictures; give a number from 1 to 64"):
        candidates(0, 65)
    assert candidates(2**63 - 1001, 2)[-1] == 2**63 - 1
    with pytest.raises(DistokError, match=r"the seed \d+ is too large to choose the best of 2: their seeds are 1000 apart"):
        candidates(2**63 - 1000, 2)


def test_a_black_picture_is_neither_chosen_nor_read():
    black, white = Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2), (0, 0, 1))
    assert visible([black, white, black, white]) == [1, 3]
    assert visible([black, black]) == [0, 1]
    asked, seen = Distribution(("pig", "owl"), (0.5, 0.5)), []

    def read(pictures):
        seen.extend(pictures)
        return [Distribution(("pig", "owl"), (0.9, 0.1))] * len(pictures)

    seeds, kept = choose(asked, [7], 3, lambda *_: [black, white, black], read)
    assert (seeds, kept, seen) == ([1007], [white], [white])


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
    assert odds(found.tried[1]) == pytest.approx(first**0.7, rel=1e-6)
    assert odds(found.tried[2]) == pytest.approx(first**0.35, rel=1e-6), "again from the first round, by less"
    assert found.given == found.tried[2]
    for number, power in enumerate((0.7, 0.35, 1.0, 0.17, 0.7 * 0.8), 3):
        assert odds(found.tried[number]) == pytest.approx(odds(found.tried[2]) * second**power, rel=1e-6)


def test_a_weight_grows_or_shrinks_at_most_threefold_in_a_round():
    asked = Distribution(("cat", "dog", "pig"), (0.6, 0.3, 0.1))
    shown = Distribution(("dog", "pig"), (0.28, 0.72))  # no cat at all, and far too much pig
    given = refine(asked, lambda given, seeds: [shown] * len(seeds), rounds=2, pictures=1).tried[1].as_dict()
    dog = (
        0.32 / 0.30
    ) ** 0.7  # within the bound; the others would be (0.62 / 0.02) ** 0.7 = 11.1 and (0.12 / 0.74) ** 0.7 = 0.28
    assert given["cat"] / given["dog"] == pytest.approx(0.6 * 3 / (0.3 * dog), rel=1e-6)
    assert given["pig"] / given["dog"] == pytest.approx(0.1 / 3 / (0.3 * dog), rel=1e-6)


def test_another_seed_draws_other_pictures_of_the_same_search():
    asked = Distribution(("cat", "dog"), (0.7, 0.3))

    def drawn(seed):
        seen = []
        refine(asked, lambda given, seeds: seen.extend(seeds) or [asked] * len(seeds), rounds=2, pictures=3, seed=seed)
        return seen

    assert len(drawn(0)) == 6
    assert drawn(0) == drawn(0)
    assert not set(drawn(0)) & set(drawn(1))


@pytest.mark.parametrize(("steps", "preview"), [(50, 25), (51, 25), (12, 6), (8, 6), (6, 6), (4, 4), (1, 1)])
def test_a_preview_takes_half_of_the_steps_but_never_too_few(steps, preview):
    assert preview_steps(steps) == preview


@pytest.mark.parametrize(("name", "plain"), [("distok-refined", "distok"), ("weighting-refined", "prompt-weighting")])
def test_a_refined_method_draws_what_the_method_makes_of_its_best_round(bench, labeler, name, plain, monkeypatch):
    asked = Distribution.from_mapping({"cat": 0.7, "dog": 0.3})
    given = {"names": NAMES, "model": bench.model, "steps": 1}
    searched = []

    def last_is_best(*args):
        found = refine(*args)
        searched.append(replace(found, kl=tuple(sorted(found.kl, reverse=True))))
        return searched[0]

    monkeypatch.setattr(search, "refine", last_is_best)
    made = baseline(name, rounds=3, pictures=2).make(bench.backend, labeler, asked, [3], **given)
    best = searched[0].tried[2]
    assert best != asked, "or it would be the method without a loop"
    assert made.details["given"] == str(best)
    assert made.details["kl of each round"] == list(searched[0].kl)
    wanted, first = (baseline(plain).make(bench.backend, labeler, mix, [3], **given) for mix in (best, asked))
    assert made.pictures[0].tobytes() == wanted.pictures[0].tobytes()
    if plain == "prompt-weighting":
        assert made.details["prompt"] == wanted.details["prompt"] != first.details["prompt"]
        return
    assert torch.equal(made.concept.vectors["text_encoder"], wanted.concept.vectors["text_encoder"])
    assert not torch.equal(made.concept.vectors["text_encoder"], first.concept.vectors["text_encoder"])
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


def test_the_first_that_is_not_black_is_kept_where_none_can_be_read():
    black, white = Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2), (0, 0, 1))

    def unreadable(pictures):
        raise DistokError("no numbers")

    asked = Distribution(("pig", "owl"), (0.5, 0.5))
    assert choose(asked, [7], 3, lambda *_: [black, white, black], unreadable) == ([1007], [white])
