"""What a training step does: settings, tasks, gradients, and the switches that remove a part."""

from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest
import torch
from benchmarks.naive_loop import accumulate
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from distok.errors import DistokError
from distok.menagerie.species import NAMES as WORLD
from distok.menagerie.splits import splits
from distok.training import (
    PRESETS,
    Trainer,
    TrainSettings,
    preset,
)
from distok.training.parallel import Processes
from distok.training.tasks import Allowed, draw, heard, random_mixtures
from tests.tiny import NAMES
from tests.tiny import run_settings as short


def trainer(backend, labeler, **changes):
    built = Trainer(short(**changes), backend, labeler, NAMES)
    built.estimate()
    return built


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "the training setting steps is 0, but it must be a whole number of at least 1; correct it"),
        ({"sub_steps": 1}, "sub_steps is 1, but it must be at least 2 where gamma is above 0"),
        ({"alpha": -1}, "alpha is -1, but it must be a number of at least 0"),
        ({"alpha": 0, "beta": 0}, "alpha is 0, but it must be above 0 where beta is 0"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"epsilon_restrictive": 1.5}, "epsilon_restrictive is 1.5, but it must be a cosine, or none to calibrate"),
        ({"estimate_from": "noise"}, "estimate_from is 'noise', but it must be one of prior, mixtures, both"),
        ({"start": "zero"}, "start is 'zero', but it must be random or linear"),
        ({"render_threads": 0}, "render_threads is 0, but it must be a whole number of at least 1"),
        ({"restrictive_prompt": "a {}"}, "restrictive_prompt is 'a {}', but it must be a prompt with two {}"),
        ({"held_out": [("cat", "cat")]}, r"the held-out \('cat', 'cat'\) must be two or more different class names"),
        ({"held_out": ["cat"]}, r"the held-out \('cat',\) must be two or more different class names"),
        ({"held_out": [1]}, r"the held-out \(1,\) must be two or more different class names"),
        ({"held_out": [["cat", 1]]}, r"the held-out \('cat', 1\) must be two or more different class names"),
        ({"held_out": 5}, "held_out is 5, but it must be a list of lists of class names"),
        ({"held_out": "off"}, "held_out is 'off', but it must be a list of lists of class names"),
        ({"held_out": None}, "held_out is None, but it must be a list of lists of class names"),
        ({"held_out": {"cat": "dog"}}, "held_out is {'cat': 'dog'}, but it must be a list of lists of class names"),
        ({"adaptive_prompt": 5}, "adaptive_prompt is 5, but it must be a prompt with one {}"),
        ({"restrictive_prompt": [1]}, r"restrictive_prompt is \[1\], but it must be a prompt with two {}"),
        ({"aesthetic_prompt": 5}, "aesthetic_prompt is 5, but it must be a prompt"),
        ({"activation": [1]}, r"activation is \[1\], but it must be one of gelu, silu, relu, leaky_relu"),
        ({"seed": "x"}, "seed is 'x', but it must be a whole number"),
        ({"estimate_steps": -5}, "estimate_steps is -5, but it must be a whole number of at least 1, or none"),
        ({"estimate_size": 0}, "estimate_size is 0, but it must be a whole number of at least 1, or none"),
        ({"foresight_dropout": 1}, "foresight_dropout is 1, but it must be from 0 to below 1"),
        ({"ema_decay": 1}, "ema_decay is 1, but it must be from 0 to below 1"),
        ({"name": 1}, "there is no training setting 'name'"),
        ({"foresight_blocks": -1}, "foresight_blocks is -1, but it must be a whole number, 0 for none"),
        ({"foreseen_count": 0}, "foreseen_count is 0, but it must be a whole number of at least 1"),
        ({"learning": 1}, "there is no training setting 'learning'; the settings are seed, steps"),
    ],
)
def test_settings_are_validated(change, message):
    with pytest.raises(DistokError, match=message):
        preset("paper", **change)


def test_presets():
    paper = PRESETS["paper"]
    assert (paper.latent_dim, paper.hidden_dim, paper.steps, paper.sub_steps) == (20, 768, 20_000, 8)
    assert (paper.alpha, paper.beta, paper.gamma, paper.tau) == (1, 1, 0.001, 0.85)
    assert (paper.epsilon_restrictive, paper.epsilon_aesthetic, paper.input_scale) == (0.85, 0.80, "sum")
    assert (PRESETS["menagerie"].epsilon_restrictive, PRESETS["menagerie"].input_scale) == (None, "mean")
    for name in ("menagerie-gpu", "menagerie-long"):
        changed = dict(asdict(PRESETS["menagerie"]).items() ^ asdict(PRESETS[name]).items())
        assert all(each.startswith(("fores", "estimate_")) or each in ("steps", "delta", "render_threads") for each in changed)
    with pytest.raises(
        DistokError, match="no training preset 'big'; choose one of paper, calibrated, menagerie, menagerie-gpu, "
    ):
        preset("big")


def test_settings_survive_json():
    chosen = short(held_out=[("pig", "cat"), ("cat", "pig"), ("dog", "lion")])
    assert chosen.held_out == {("cat", "pig"), ("dog", "lion")}
    assert TrainSettings.from_json(chosen.to_json()) == chosen
    with pytest.raises(DistokError, match="not a JSON object"):
        TrainSettings.from_json("[1]")


def concepts(admitted):
    """The pool's distributions: six classes, then mixes of them, of which some show one class alone."""
    drawn = np.random.default_rng(admitted).dirichlet(np.full(6, 0.3), admitted).astype(np.float32)
    return torch.cat([torch.eye(6), torch.from_numpy(drawn).reshape(-1, 6)])


@given(
    st.sets(st.lists(st.integers(0, 5), min_size=2, max_size=3, unique=True).map(tuple), max_size=10),
    st.integers(0, 9),
)
@budget(max_examples=25, deadline=None)
def test_what_is_held_out_is_never_mixed(held, seed):
    chosen = short(seed=seed, held_out=[tuple(NAMES[i] for i in each) for each in held])
    allowed = Allowed.among(NAMES, chosen.held_out)
    fused = set()
    for step in range(60):
        pool = concepts(step % 4)
        tasks = draw(step, chosen, allowed, pool)
        assert len(tasks) == 8
        assert (np.stack([tasks.left, tasks.right]) < 6 + step % 4).all()
        assert (tasks.left != tasks.right).all()
        for i, j in zip(tasks.left, tasks.right, strict=True):
            fused.add(frozenset(NAMES[k] for k in range(6) if max(pool[i, k], pool[j, k]) >= 0.1))
    assert not fused & {frozenset(each) for each in chosen.held_out}
    mixtures = random_mixtures(np.random.default_rng(seed), 200, 6, 3, allowed)
    drawn = {frozenset(NAMES[i] for i in np.flatnonzero(row)) for row in mixtures}
    assert not drawn & {frozenset(each) for each in chosen.held_out}
    assert {len(each) for each in drawn} == {2, 3}
    named = {frozenset(NAMES[i] for i in heard(row)) for row in mixtures}
    assert not named & {frozenset(each) for each in chosen.held_out}, (
        "a third class of next to no weight does not make it another"
    )


def test_a_reading_of_what_is_held_out_is_not_learned_from(backend, labeler, monkeypatch):
    """L_cst would ask for just that mixture: its picture came out of another one, but the reading is what is taught."""
    pig_cat, others = torch.zeros(6), torch.zeros(6)
    pig_cat[[NAMES.index("pig"), NAMES.index("cat"), NAMES.index("dog")]] = torch.tensor([0.5, 0.45, 0.05])
    others[[NAMES.index("pig"), NAMES.index("dog")]] = 0.5
    monkeypatch.setattr("distok.training.estimation.read_back", lambda *_, **__: torch.stack([pig_cat, others, pig_cat]))
    for held_out, admitted in (([("cat", "pig")], [others]), ((), [pig_cat, others, pig_cat])):
        built = Trainer(short(estimate_count=3, tau=0.9, delta=0.0, held_out=held_out), backend, labeler, NAMES)
        assert built.estimate() == len(admitted)
        assert torch.allclose(built.pool.distributions[6:], torch.stack(admitted))


def test_a_concept_that_shows_a_class_is_not_fused_to_a_held_out_pair():
    """{pig 0.8, crumbs} with a cat is a pig and a cat, whatever the crumbs."""
    pig, cat, dog = (NAMES.index(name) for name in ("pig", "cat", "dog"))
    piggish = torch.full((1, 6), 0.04)
    piggish[0, pig] = 0.8
    pool, chosen = torch.cat([torch.eye(6), piggish]), short(novel_share=1.0, mixture_share=0.0, held_out=[("pig", "cat")])
    allowed = Allowed.among(NAMES, chosen.held_out)
    tasks = [draw(step, chosen, allowed, pool) for step in range(200)]
    fused = {frozenset(pair) for each in tasks for pair in zip(each.left.tolist(), each.right.tolist(), strict=True)}
    assert frozenset((6, dog)) in fused
    assert frozenset((6, cat)) not in fused
    both = torch.zeros(2, 6)
    both[:, [pig, dog]] = 0.5
    none = Allowed.among(NAMES, [("pig", "dog"), *(("pig", "dog", name) for name in NAMES if name not in ("pig", "dog"))])
    tasks = draw(0, chosen, none, torch.cat([torch.eye(6), both]))
    assert len(tasks.left) > 0
    assert (np.stack([tasks.left, tasks.right]) < 6).all(), "where no concept may be fused, known classes are"


def trios(names):
    return list(combinations(names, 3))


@pytest.mark.parametrize(
    ("names", "held_out"),
    [
        (("cat", "elephant", "ladybug"), splits().held_out),
        (NAMES[:3], trios(NAMES[:3])),
        (NAMES[:4], trios(NAMES[:4])),
        (NAMES[:4], [*trios(NAMES[:4]), NAMES[:4]]),
    ],
)
def test_a_size_of_which_every_set_is_held_out_is_not_drawn(names, held_out):
    allowed = Allowed.among(names, [each for each in held_out if set(each) <= set(names)])
    sizes = {2} | ({4} if len(names) == 4 and names not in held_out else set())
    assert allowed.lost_sizes(len(names)) == {2, 3, len(names)} - sizes
    mixtures = random_mixtures(np.random.default_rng(0), 200, len(names), 4, allowed)
    assert {int(count) for count in (mixtures > 0).sum(1)} == sizes


@pytest.mark.parametrize(
    ("names", "held_out", "most"),
    [(WORLD, splits().held_out, 4), (NAMES, (), 3), (NAMES[:4], trios(NAMES[:4])[1:], 3), (NAMES[:2], (), 4), (NAMES, (), 1)],
)
def test_mixtures_are_the_plain_draws_but_those_that_name_what_is_held_out(names, held_out, most):
    allowed, random, plain = Allowed.among(names, held_out), np.random.default_rng(3), np.random.default_rng(3)
    banned = {frozenset(names.index(name) for name in each) for each in held_out}
    wanted, refused = [], 0
    while len(wanted) < 400:
        active = int(plain.integers(min(2, most), min(most, len(names)) + 1))
        members = allowed.members(plain, len(names), active)
        row = np.zeros(len(names), dtype=np.float32)
        row[members] = plain.dirichlet(np.full(active, 16.0 ** plain.random()))
        first, second, *rest = np.argsort(-row, kind="stable")
        if frozenset([first, second, *(i for i in rest if row[i] >= 0.1)]) in banned:
            refused += 1
        else:
            wanted.append(row)
    assert np.array_equal(random_mixtures(random, 400, len(names), most, allowed), wanted)
    assert random.bit_generator.state == plain.bit_generator.state
    assert (refused > 0) == (names is WORLD)


def test_every_allowed_pair_is_fused_in_both_orders():
    chosen = short(beta=0.0, held_out=[("cat", "dog")])
    allowed = Allowed.among(NAMES, chosen.held_out)
    steps = [draw(step, chosen, allowed, concepts(0)) for step in range(200)]
    fused = {(int(i), int(j)) for tasks in steps for i, j in zip(tasks.left, tasks.right, strict=True)}
    assert fused == {(i, j) for i in range(6) for j in range(6) if i != j and {i, j} != {0, 1}}


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ([("cat", "unicorn")], "names 'unicorn', which is not a known class"),
        ([(a, b) for a in NAMES for b in NAMES if a < b], "6 classes and 15 held-out pairs leave no pair to fuse"),
        ([*combinations(NAMES, 2), *combinations(NAMES, 3)], "6 classes and 15 held-out pairs leave no pair to fuse"),
    ],
)
def test_impossible_held_out_pairs_are_refused(backend, held_out, message):
    with pytest.raises(DistokError, match=message):
        Trainer(short(estimate_count=0, held_out=held_out), backend, None, NAMES)


def test_tasks_are_a_function_of_seed_and_step():
    allowed = Allowed.among(NAMES, ())
    first, again, other = (draw(step, short(), allowed, concepts(5)) for step in (3, 3, 4))
    assert (first.left.tolist(), first.targets.tolist()) == (again.left.tolist(), again.targets.tolist())
    assert (first.left.tolist(), first.targets.tolist()) != (other.left.tolist(), other.targets.tolist())


def test_the_pool_is_drawn_as_asked():
    allowed = Allowed.among(NAMES, ())

    def novel(chosen, admitted):
        tasks = [draw(step, chosen, allowed, concepts(admitted)) for step in range(300)]
        fused = np.concatenate([np.concatenate([one.left, one.right]) for one in tasks]) >= 6
        return fused.mean(), (np.concatenate([one.targets for one in tasks]) >= 6).mean()

    assert novel(short(novel_share=0.25, known_share=0.1), 50) == pytest.approx((0.25, 0.9), abs=0.04)
    assert novel(short(novel_share=None, known_share=0.0), 18) == pytest.approx((0.75, 1.0), abs=0.04)


@given(st.integers(1, 8), st.integers(2, 10), st.integers(0, 99))
@budget(max_examples=25, deadline=None)
def test_random_mixtures_are_distributions(most, classes, seed):
    mixtures = random_mixtures(np.random.default_rng(seed), 40, classes, most)
    assert mixtures.sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    active = (mixtures > 0).sum(1)
    assert active.max() <= min(most, classes)
    assert active.min() >= min(2, most)


def test_random_mixtures_are_lopsided_and_nearly_equal():
    mixtures = random_mixtures(np.random.default_rng(0), 2000, 8, 2)
    heavier = mixtures.max(1)
    assert (heavier > 0.9).mean() > 0.02
    assert (heavier < 0.6).mean() > 0.3  # uniform weights alone: 0.2


@pytest.mark.parametrize("scale", ["mean", "sum"])
def test_gradients_equal_the_papers_loop(backend, labeler, scale):
    built = trainer(backend, labeler, input_scale=scale, gamma=0.1, epsilon_restrictive=0.95, epsilon_aesthetic=0.95)
    assert built.pool.admitted > 0
    for step in range(5):
        tasks = draw(step, built.settings, built.allowed, built.pool.distributions)
        built.model.zero_grad()
        batched = built.losses(tasks).total
        batched.backward()
        ours = [p.grad.clone() for p in built.model.parameters()]
        built.model.zero_grad()
        assert accumulate(built, tasks) == pytest.approx(batched.item(), rel=1e-5)
        for mine, parameter in zip(ours, built.model.parameters(), strict=True):
            # Single precision, summed in another order: 1.5e-5 on some CPUs.
            assert (mine - parameter.grad).norm() <= 1e-4 * parameter.grad.norm()


@pytest.mark.parametrize(
    ("name", "share", "change"),
    [
        # Both prompts of a fusion cannot be met at once, so its loss has a floor; a class's own feature can be reached.
        ("fusion", 0.85, {"beta": 0.0, "novel_share": 0.0, "epsilon_restrictive": 1.0, "epsilon_aesthetic": 1.0}),
        ("consistency", 0.15, {"alpha": 0.0, "known_share": 1.0}),
    ],
)
def test_training_lowers_the_loss(backend, name, share, change):
    settings = short(steps=150, estimate_count=0, learning_rate=3e-3, hidden_dim=64, start="random", **change)
    built = Trainer(settings, backend, None, NAMES)
    values = [getattr(built.advance(), name).item() for _ in range(150)]
    assert np.mean(values[-20:]) < share * np.mean(values[:20])


class Counting:
    """Counts what passes through a real backend."""

    def __init__(self, backend):
        self.backend, self.encoded, self.rendered = backend, [], 0

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def encode(self, prompts, tokens=None):
        self.encoded.append(list(prompts))
        return self.backend.encode(prompts, tokens)

    def render(self, prompts, *args, **options):
        self.rendered += len(prompts)
        return self.backend.render(prompts, *args, **options)


def test_a_step_is_one_call_of_the_text_encoder(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(novel_share=0.0, mixture_share=0.0, estimate_every=1000), counting, labeler, NAMES)
    built.advance()
    counting.encoded.clear()
    built.advance()
    assert counting.encoded == [[f"a photo of a <tcrt_{i}>" for i in range(8)]]


def test_without_fusion_no_pair_is_ever_encoded(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(alpha=0.0, epsilon_restrictive=0.9, epsilon_aesthetic=0.9), counting, labeler, NAMES)
    losses = [built.advance() for _ in range(4)]
    prompts = {prompt for batch in counting.encoded for prompt in batch}
    slots = {f"a photo of a <tcrt_{i}>" for i in range(built.settings.sub_steps)}
    assert prompts == {f"a photo of a {name}" for name in NAMES} | slots, "classes and creative tokens, each by itself"
    assert all(loss.fusion == 0 and loss.consistency > 0 for loss in losses)


def test_without_consistency_every_task_is_a_fusion(backend, labeler):
    counting = Counting(backend)
    built = Trainer(short(beta=0.0, novel_share=0.0), counting, labeler, NAMES)
    losses = [built.advance() for _ in range(6)]
    assert counting.rendered == 0, "pictures were rendered that nothing uses"
    assert all(loss.consistency == 0 and loss.fusion > 0 for loss in losses)
    drawn = draw(3, built.settings, built.allowed, concepts(9))
    assert drawn.fused == 8
    assert len(drawn.mixtures) > 0


def test_without_gamma_the_latents_are_not_regularised(backend, labeler):
    built = trainer(backend, labeler, gamma=0.0)
    losses = built.losses(draw(0, built.settings, built.allowed, built.pool.distributions))
    assert losses.latent == 0
    with_it = replace(built.settings, gamma=1.0)
    built.settings = with_it
    assert built.losses(draw(0, with_it, built.allowed, built.pool.distributions)).total > losses.total


def test_no_concept_and_no_fusion_is_a_step_without_effect(backend):
    built = Trainer(short(alpha=0.0, known_share=0.0, estimate_count=0), backend, None, NAMES)
    before = [p.clone() for p in built.model.parameters()]
    assert built.advance() is None
    assert built.step == 1
    assert all(torch.equal(*pair) for pair in zip(before, built.model.parameters(), strict=True))


def test_a_process_without_a_task_takes_part_in_the_step(backend, labeler):
    built = trainer(backend, labeler, sub_steps=1, gamma=0.0, delta=0.0)
    tasks = draw(0, built.settings, built.allowed, built.pool.distributions)
    assert len(tasks) == 1

    class Second(Processes):
        def total(self, part):
            return part

    built.processes = Second(1, 2)
    losses = built.losses(tasks)
    losses.total.backward()
    assert losses.total.item() == 0
    assert all((parameter.grad == 0).all() for parameter in built.model.encoder.parameters())
