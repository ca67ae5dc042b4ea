import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distok.distribution import MAX_CLASSES, Distribution, compare, dirichlet, js, kl, mean, random_mixes, sample_prior, spearman
from distok.distribution.priors import CAUCHY_CLIP, CAUCHY_SCALE
from distok.errors import DistokError
from distok.seeds import rng

KNOWN = ("pig", "sheep", "snake", "guinea pig")
NAMES = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=8).filter(lambda name: not name[0].isnumeric())
WEIGHTS = st.floats(0, 1e308, allow_subnormal=True)
VECTORS = st.lists(st.floats(0, 1e6), min_size=2, max_size=12).filter(lambda weights: max(weights) > 1e-3)


@st.composite
def distributions(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=12, unique_by=str.casefold))
    weights = draw(st.lists(WEIGHTS, min_size=len(names), max_size=len(names)).filter(any))
    return Distribution(tuple(names), tuple(weights))


@st.composite
def pairs(draw):
    first = draw(VECTORS)
    second = draw(st.lists(st.floats(0, 1e6), min_size=len(first), max_size=len(first)).filter(lambda w: max(w) > 1e-3))
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pig=0.55, sheep=0.25, snake=0.2", {"pig": 0.55, "sheep": 0.25, "snake": 0.2}),
        ("55% pig, 45% sheep", {"pig": 0.55, "sheep": 0.45}),
        ("55%pig; 45 % sheep", {"pig": 0.55, "sheep": 0.45}),
        ("pig 20%, sheep 80%", {"pig": 0.2, "sheep": 0.8}),
        ("0.3 guinea pig, 0.7 pig", {"guinea pig": 0.3, "pig": 0.7}),
        ("pig: 1\nsheep: 3", {"pig": 0.25, "sheep": 0.75}),
        ("pig, sheep,", {"pig": 0.5, "sheep": 0.5}),
        ("PIG=2,  Guinea   Pig=2", {"pig": 0.5, "guinea pig": 0.5}),
        ("pig=1e0", {"pig": 1.0}),
        ("pig=0, sheep=1", {"pig": 0.0, "sheep": 1.0}),
    ],
)
def test_parse(text, expected):
    parsed = Distribution.parse(text, KNOWN)
    assert parsed.names == tuple(expected)
    assert parsed.as_dict() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the mix is empty; name at least one class"),
        (" , ;", "the mix is empty"),
        ("pigg=1", "unknown class 'pigg'; did you mean 'pig'?"),
        ("zebra", "unknown class 'zebra'; the model knows guinea pig, pig, sheep, snake"),
        ("pig=-0.1, sheep=1", "the weight of 'pig' is -0.1, below zero"),
        ("pig=nan", "the weight of 'pig' is nan; use a finite number"),
        ("pig=1, sheep=inf", "the weight of 'sheep' is inf"),
        ("pig=0, sheep=0", "all weights are zero; give at least one class a weight above zero"),
        ("pig=1, PIG=2", "class 'pig' is named twice; add its weights up"),
        ("pig=lots", "the weight of 'pig' is 'lots', not a number"),
        ("=1", "'=1' has a weight but no class"),
        ("pig=0,55", "'55' is a number without a class; write decimals with a point"),
        ("55% pig, 45 sheep", "the weight of 'sheep' is 45, and others are in per cent; write '45%'"),
        ("pig=55%, sheep=45", "the weight of 'sheep' is 45, and others are in per cent"),
        ("1. pig\n2. sheep", "'1. pig' looks like a line of a numbered list; leave the numbers out"),
        ("pig=1, sheep", "class 'sheep' has no weight; give every class one, or none to any"),
        (",".join(f"class{i}" for i in range(10_000)), "10000 classes are more than a mix can hold; name at most 1000"),
    ],
)
def test_parse_refuses_with_a_remedy(text, message):
    with pytest.raises(DistokError) as caught:
        Distribution.parse(text, KNOWN)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strangers_are_accepted_beside_known_classes_which_keep_their_spelling():
    names = ("pig", "guinea pig", "Dodo")
    assert Distribution.parse("PIG=1, guinea   Pig=1, Dodo=2", KNOWN, strangers=True).names == names
    assert Distribution.from_mapping({"Pig": 1, "Guinea  pig": 1, "Dodo": 2}, KNOWN, strangers=True).names == names
    assert Distribution.parse("Guinea pig", ["guinea  pig"]).names == ("guinea  pig",), "known classes may have wide spaces"
    with pytest.raises(DistokError, match="class 'pig' is named twice"):
        Distribution.parse("pig=1, PIG=2", KNOWN, strangers=True)
    with pytest.raises(DistokError, match="unknown class 'Dodo'"):
        Distribution.parse("Dodo=2", KNOWN)


def test_error_lines_stay_short_and_printable():
    with pytest.raises(DistokError) as caught:
        Distribution.parse("pi\x1b[31m" + "g" * 5000, KNOWN)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@given(distributions())
def test_weights_are_a_distribution_and_normalising_again_changes_nothing(mix):
    assert math.fsum(mix.weights) == pytest.approx(1)
    assert min(mix.weights) >= 0
    assert Distribution.from_mapping(mix.as_dict()) == mix


@given(distributions())
def test_text_can_be_pasted_back(mix):
    again = Distribution.parse(str(mix))
    assert again.names == mix.names
    assert again.weights == pytest.approx(mix.weights, abs=2e-3)


@given(distributions(), st.floats(1e-3, 1e3))
def test_only_proportions_count(mix, factor):
    scaled = Distribution(mix.names, tuple(weight * factor for weight in mix.weights))
    assert scaled.weights == pytest.approx(mix.weights)


def test_text_is_as_short_as_it_can_be():
    assert str(Distribution.parse("pig=0.55, sheep=0.25, snake=0.2")) == "pig=0.55, sheep=0.25, snake=0.20"
    assert str(Distribution.parse("pig=11, sheep=5")) == "pig=0.6875, sheep=0.3125"


def test_extreme_weights():
    assert Distribution(("a", "b"), (1e308, 1e308)).weights == (0.5, 0.5)
    assert Distribution(("a",), (5e-324,)).weights == (1.0,)
    assert len(Distribution.parse(",".join(f"c{i}" for i in range(MAX_CLASSES))).names) == MAX_CLASSES


def test_vectors_and_orders():
    mix = Distribution.from_vector(("pig", "sheep", "snake"), np.array([0.6, 0.3, 0.1]), floor=0.1)
    assert mix.as_dict() == pytest.approx({"pig": 2 / 3, "sheep": 1 / 3})
    assert mix.over(["snake", "sheep", "pig"]) == pytest.approx([0, 1 / 3, 2 / 3])
    assert mix.top(1) == [("pig", pytest.approx(2 / 3))]
    with pytest.raises(DistokError, match="class 'sheep' is not among the 1 classes asked for"):
        mix.over(["pig"])
    with pytest.raises(DistokError, match=r"no weight is above the floor 0\.9; lower it"):
        Distribution.from_vector(("pig",), [0.5], floor=0.9)
    with pytest.raises(DistokError, match="the weight of 'pig' is nan"):
        Distribution.from_vector(("pig", "sheep"), [float("nan"), 1.0])
    with pytest.raises(DistokError, match="2 classes but 1 weights"):
        Distribution(("a", "b"), (1.0,))
    with pytest.raises(DistokError, match="'a=b' cannot name a class"):
        Distribution(("a=b",), (1.0,))


@given(pairs())
def test_divergences_are_never_negative_and_zero_for_the_same(pair):
    p, q = pair
    assert kl(p, p) == 0
    assert js(p, p) == pytest.approx(0, abs=1e-12)
    assert 0 <= kl(p, q) < math.inf
    assert 0 <= js(p, q) <= math.log(2)
    assert js(p, q) == pytest.approx(js(q, p), abs=1e-12)
    assert -1 <= spearman(p, q) <= 1


def test_divergences_by_hand():
    assert kl([0.5, 0.5], [0.9, 0.1]) == pytest.approx(0.5 * math.log(25 / 9), abs=1e-4)
    assert kl([1, 0], [0, 1]) == pytest.approx(math.log(1e6), rel=1e-3)
    assert kl([1, 0], [0, 1], epsilon=1e-3) == pytest.approx(math.log(1e3), rel=1e-2)
    assert js([1, 0], [0, 1]) == pytest.approx(math.log(2))
    assert spearman([1, 2, 3], [1, 4, 9]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert spearman([1, 1], [1, 2]) == 0


@pytest.mark.parametrize(
    ("asked", "measured", "top1", "topk"),
    [
        ((0.5, 0.3, 0.2, 0, 0), (0.6, 0.2, 0.1, 0.06, 0.04), 1, 1),
        ((0.5, 0.3, 0.2, 0, 0), (0.2, 0.6, 0.1, 0.06, 0.04), 0, 1),
        ((0.5, 0.3, 0.2, 0, 0), (1, 0, 0, 0, 0), 1, 0),  # the others asked are not seen at all
        ((0.5, 0.3, 0.2, 0, 0), (0.4, 0.2, 0.15, 0.15, 0.1), 1, 0),
        ((0.5, 0.3, 0.2, 0, 0), (0.4, 0.4, 0.2, 0, 0), 0, 1),
        ((0.4, 0.4, 0.2, 0, 0), (0.4, 0.4, 0.2, 0, 0), 1, 1),
        ((0.2, 0.2, 0.2, 0.2, 0.2), (0.3, 0.3, 0.2, 0.1, 0.1), 1, 1),
        ((0.2, 0.2, 0.2, 0.2, 0.2), (0.5, 0.5, 0, 0, 0), 1, 0),
    ],
)
def test_hits_do_not_depend_on_the_order_of_the_classes(asked, measured, top1, topk):
    for order in (range(5), range(4, -1, -1), (2, 4, 0, 3, 1)):
        found = compare(np.array(asked)[list(order)], np.array(measured)[list(order)])
        assert (found["top1"], found["topk"]) == (top1, topk)


def test_a_perfect_reading_of_small_shares_ranks_as_asked():
    asked = np.array([0.9, 0.092, 0.008, 0, 0])
    assert compare(asked, asked)["spearman"] == pytest.approx(1)
    many = np.full(200, 0.005)  # no share is above the noise: ranks say nothing
    assert compare(many, many)["spearman"] == 0


def test_distributions_are_compared_by_name_not_by_order():
    p, q = Distribution.parse("pig=0.6, sheep=0.4"), Distribution.parse("sheep=0.4, pig=0.6")
    assert kl(p, q) == 0
    assert kl(p, Distribution.parse("pig=0.6, snake=0.4")) > 1
    with pytest.raises(DistokError, match="cannot compare a Distribution with a bare vector"):
        kl(p, [0.5, 0.5])
    with pytest.raises(DistokError, match="cannot compare 2 weights with 3"):
        js([1, 1], [1, 1, 1])
    with pytest.raises(DistokError, match="finite, not negative and not all zero"):
        js([0, 0], [1, 1])
    with pytest.raises(DistokError, match="epsilon is 0"):
        kl([1, 1], [1, 1], epsilon=0)


def test_mean_is_over_the_union_of_names():
    both = mean([Distribution.parse("pig"), Distribution.parse("pig, sheep")])
    assert both.as_dict() == pytest.approx({"pig": 0.75, "sheep": 0.25})


@pytest.mark.parametrize("kind", ["normal", "laplace", "cauchy"])
def test_priors_have_zero_mean_and_unit_variance(kind):
    drawn = sample_prior(kind, 3000, 20, seed=1)
    assert drawn.dtype == np.float32
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert drawn.var() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", ["normal", "laplace", "cauchy"])
def test_a_draw_does_not_depend_on_how_many_there_are(kind):
    many = sample_prior(kind, 7, 5, seed=3)
    assert np.array_equal(many[:2], sample_prior(kind, 2, 5, seed=3))
    assert not np.array_equal(many, sample_prior(kind, 7, 5, seed=4))
    assert len({row.tobytes() for row in many}) == 7


def test_the_clipped_cauchy_law_has_unit_variance_exactly():
    ratio = CAUCHY_CLIP / CAUCHY_SCALE
    inside = 2 / math.pi * (ratio - math.atan(ratio))
    beyond = ratio**2 * (1 - 2 / math.pi * math.atan(ratio))
    assert CAUCHY_SCALE**2 * (inside + beyond) == pytest.approx(1, abs=1e-12)
    assert np.abs(sample_prior("cauchy", 500, 20, seed=0)).max() == pytest.approx(CAUCHY_CLIP)


def test_unknown_prior():
    with pytest.raises(DistokError, match="unknown prior 'uniform'; choose normal, laplace or cauchy"):
        sample_prior("uniform", 1, 1, 0)
    with pytest.raises(DistokError, match="cannot draw 0 latents of dimension 3"):
        sample_prior("normal", 0, 3, 0)


def test_random_mixes_are_dealt_and_have_two_or_three_parents_in_sight():
    names = [f"class {i}" for i in range(60)]
    mixes = random_mixes(names, 300, 5)
    assert mixes[:40] == random_mixes(names, 40, 5)
    assert mixes[7] != random_mixes(names, 8, 6)[7]
    assert {len(mix.names) for mix in mixes} == {2, 3}
    assert len({mix.names for mix in mixes}) > 290
    assert np.mean([min(mix.weights) > 0.05 for mix in mixes]) > 0.9


@given(st.integers(0, 1000), st.integers(1, 40))
def test_random_mixes_of_one_shuffle_share_no_name(seed, classes):
    names = [f"class {i}" for i in range(classes)]
    deck: set[str] = set()
    for mix in random_mixes(names, 60, seed):
        assert min(2, classes) <= len(set(mix.names)) == len(mix.names) <= 3
        if len(deck) + len(mix.names) > classes:
            deck = set()
        assert not deck & set(mix.names)
        deck |= set(mix.names)


def test_random_mixes_of_few_names():
    assert {frozenset(mix.names) for mix in random_mixes(("cat", "dog"), 5, 0)} == {frozenset(("cat", "dog"))}
    assert [mix.names for mix in random_mixes(("cat",), 2, 0)] == [("cat",)] * 2


def test_dirichlet_draws_valid_mixes_of_the_size_asked_for():
    random = rng(0, "test")
    mixes = [dirichlet(KNOWN, random, classes=3) for _ in range(50)]
    assert all(len(mix.names) == 3 and set(mix.names) <= set(KNOWN) for mix in mixes)
    assert len({mix.names for mix in mixes}) > 4
    assert dirichlet(KNOWN, rng(0, "a")) == dirichlet(KNOWN, rng(0, "a"))
    sharp = np.mean([max(dirichlet(KNOWN, random, concentration=0.1).weights) for _ in range(100)])
    flat = np.mean([max(dirichlet(KNOWN, random, concentration=50).weights) for _ in range(100)])
    assert sharp > 0.75 > 0.4 > flat
    with pytest.raises(DistokError, match="cannot draw 5 of 4 classes"):
        dirichlet(KNOWN, random, classes=5)
    with pytest.raises(DistokError, match="concentration is 0"):
        dirichlet(KNOWN, random, concentration=0)
