"""ConceptLab, BASS, AGSwap and CreTok against facts of their papers and code."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from distok import seeds
from distok.backends import open_backend
from distok.baselines import baseline
from distok.baselines.agswap import hand_over, start
from distok.baselines.base import Ask
from distok.baselines.bass import balance_region, part_score, segments
from distok.baselines.concept_lab import concept_lab_loss
from distok.baselines.cretok import calibrated, cretok_loss, train
from distok.baselines.looks import looks, straight_mix
from distok.baselines.swap import swap, widths
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers.base import Labeler
from tests import tiny_families
from tests.tiny import NAMES

CAT = Distribution(("cat",), (1.0,))
PAIR = Distribution(("cat", "dog"), (0.5, 0.5))


@pytest.fixture(scope="module")
def long_backend(tmp_path_factory):
    """A tiny Stable Diffusion that takes long prompts."""
    return open_backend(tiny_families.save("sd1", tmp_path_factory.mktemp("sd1") / "sd1"))


@pytest.fixture(scope="module")
def kandinsky(tmp_path_factory):
    return open_backend(tiny_families.save("kandinsky21", tmp_path_factory.mktemp("k") / "k"))


class Reader(Labeler):
    """Reads how red, green and blue a picture is, as shares of the first three names."""

    hash = "colours"

    def probabilities(self, pictures, names):
        rows = torch.zeros(len(pictures), len(names))
        for row, picture in zip(rows, pictures, strict=True):
            colour = torch.tensor(np.asarray(picture.convert("RGB"), dtype=np.float32).mean((0, 1))) + 1
            row[:3] = colour[: len(names)] / colour[: len(names)].sum()
        return rows


def pixels(pictures):
    return np.stack([np.asarray(picture, dtype=int) for picture in pictures])


def ask(backend, labeler=None, mix=PAIR, seeds=(1,), **options):
    return Ask(backend, labeler, mix, seeds, NAMES, options={"steps": 2, "size": 16, **options})


class TestConceptLab:
    def test_the_loss_is_that_of_the_code(self):
        """0.5 · (mean_neg + max_neg) + Σ w (1 − pos), positives held at 0.28 from above and negatives at 0.2 from below."""
        positive, weights = torch.tensor([0.25, 0.40]), torch.tensor([0.5, 0.5])
        negative = torch.tensor([0.10, 0.22, 0.30])
        wanted = 0.5 * ((0.20 + 0.22 + 0.30) / 3 + 0.30) + 0.5 * (1 - 0.25) + 0.5 * (1 - 0.28)
        assert concept_lab_loss(positive, weights, negative, 0.28, 0.20).item() == pytest.approx(wanted, abs=1e-6)
        assert concept_lab_loss(positive, weights, negative[:0], 0.28, 0.2, 2.0).item() == pytest.approx(2 * 0.735, abs=1e-6)

    def test_past_both_constraints_there_is_no_gradient(self):
        positive, negative = torch.tensor([0.5], requires_grad=True), torch.tensor([0.1], requires_grad=True)
        concept_lab_loss(positive, torch.ones(1), negative, 0.28, 0.2).backward()
        assert positive.grad.item() == 0
        assert negative.grad.item() == 0

    def test_without_negatives_it_goes_to_its_classes(self, long_backend):
        how = {"steps_of_training": 60, "learning_rate": 0.01, "weight_decay": 0.0, "templates": ("a photo of a {}",)}
        ready = baseline("concept-lab", **how).prepare(ask(long_backend))
        words = long_backend.encode(["a photo of a cat", "a photo of a dog"])
        with torch.no_grad():
            found = (long_backend.encode(["a photo of a <tcrt_0>"], ready.tokens) @ words.T)[0]
        before = (words @ words.T)[0]  # it starts as the first class
        assert found.mean() > before.mean() + 0.05
        assert found[1] > before[1] + 0.1
        assert ready.details["negatives"] == []

    def test_a_constraint_that_is_met_leaves_the_token_where_it_starts(self, long_backend):
        how = {"steps_of_training": 5, "max_cosine": -1.0, "weight_decay": 0.0}
        ready = baseline("concept-lab", **how).prepare(ask(long_backend, mix=Distribution(("dog", "cat"), (0.6, 0.4))))
        assert torch.equal(ready.tokens, long_backend.name_tokens(["dog"]).cpu())
        for mix, word in ((PAIR, "pet"), (CAT, "cat")):
            how |= {"start": "pet", "live_negatives": False}
            ready = baseline("concept-lab", **how).prepare(ask(long_backend, mix=mix))
            assert torch.equal(ready.tokens, long_backend.name_tokens([word]).cpu())

    def test_negatives_come_from_the_labeler_at_every_question_and_push_away(self, long_backend, labeler):
        how = {"steps_of_training": 40, "query_every": 10, "learning_rate": 0.02, "templates": ("a photo of a {}",)}
        how |= {"query_prompt": "a photo of a {}", "min_cosine": -1.0}
        with_them = baseline("concept-lab", **how).prepare(ask(long_backend, labeler, CAT))
        without = baseline("concept-lab", **how, live_negatives=False).prepare(ask(long_backend, labeler, CAT))
        said = with_them.details["negatives"]
        assert len(said) == 4
        assert not set(said) & {"cat"}
        start = long_backend.render(["a photo of a cat"], seeds=[42], steps=2, size=16)
        choices = [name for name in NAMES if name != "cat"]
        assert said[0] == choices[int(labeler.probabilities(start, choices).argmax())]
        words = long_backend.encode([f"a photo of a {name}" for name in said])
        with torch.no_grad():
            near = [
                (long_backend.encode(["a photo of a <tcrt_0>"], each.tokens) @ words.T).mean() for each in (with_them, without)
            ]
        assert near[0] < near[1] - 0.05

    def test_where_there_is_a_prior_the_token_learns_through_it_and_only_there(self, kandinsky):
        how = {"steps_of_training": 3, "learning_rate": 0.1, "max_cosine": 1.0}
        ready = baseline("concept-lab", **how).prepare(ask(kandinsky))
        assert (ready.details["path"], ready.details["max_cosine"], ready.details["min_cosine"]) == ("prior", 1.0, 0.2)
        before, after = kandinsky.split(kandinsky.name_tokens(["cat"])), kandinsky.split(ready.tokens)
        assert (before["prior_text_encoder"] - after["prior_text_encoder"]).abs().max() > 0.01
        assert torch.equal(before["text_encoder"].float(), after["text_encoder"])

    def test_the_decoder_of_a_pipeline_with_a_prior_is_told_nothing(self, kandinsky, monkeypatch):
        """Its half of the token is the start word, toward which every picture would lean."""
        drawn, render = [], kandinsky.render
        monkeypatch.setattr(kandinsky, "render", lambda *given, **more: drawn.append(more["condition"]) or render(*given, **more))
        how = {"steps_of_training": 1, "live_negatives": True}
        made = baseline("concept-lab", **how).make(kandinsky, Reader(), CAT, [1], names=NAMES, steps=1, size=64)
        assert (len(drawn), len(made.pictures)) == (2, 1), "a question, and the picture"
        empty = kandinsky.condition([""])
        for condition in drawn:
            said = [key for key in condition if key.startswith("text_")]
            assert len(said) == 3
            assert all(torch.equal(condition[key], empty[key]) for key in said)
            assert any(not torch.equal(condition[key], empty[key]) for key in condition if key not in said)

    def test_published_thresholds_are_used_through_the_prior_alone(self, kandinsky, long_backend):
        short = {"steps_of_training": 1}
        assert baseline("concept-lab", **short).prepare(ask(kandinsky)).details["max_cosine"] == 0.28
        details = baseline("concept-lab", **short).prepare(ask(long_backend)).details
        words = long_backend.encode([f"a photo of a {name}" for name in NAMES])
        between = (words @ words.T)[~torch.eye(len(NAMES), dtype=bool)].mean()
        assert (details["path"], details["max_cosine"]) == ("text", 1.0)
        assert details["min_cosine"] == pytest.approx(between.item(), abs=1e-5)
        with pytest.raises(DistokError, match="has no prior; set path to text or auto"):
            baseline("concept-lab", path="prior").prepare(ask(long_backend))


class TestSwapping:
    @pytest.mark.parametrize("which", [0, 1])
    def test_a_swap_vector_of_all_one_class_is_that_classs_picture(self, long_backend, which):
        conditions = long_backend.condition(["a photo of a cat", "a photo of a dog"])
        owners = {key: torch.full((width,), which) for key, width in widths(conditions).items()}
        mixed = long_backend.render(None, seeds=[3], condition=swap(conditions, owners), steps=2, size=16)
        plain = long_backend.render([f"a photo of a {PAIR.names[which]}"], seeds=[3], steps=2, size=16)
        assert np.abs(pixels(mixed) - pixels(plain)).max() <= 1

    def test_a_swap_is_the_papers_product_with_diagonals(self, kandinsky):
        conditions = kandinsky.condition(["a photo of a cat", "a photo of a red dog"])
        random = np.random.default_rng(0)
        owners = {key: torch.from_numpy(random.integers(2, size=width)) for key, width in widths(conditions).items()}
        made = swap(conditions, owners)
        assert set(made) == set(conditions)
        for key, owner in owners.items():
            first, second = conditions[key]
            f = torch.diag((owner == 0).to(first))
            wanted = first @ f + second @ (torch.eye(len(owner)).to(first) - f)
            assert torch.allclose(made[key][0], wanted, atol=1e-6), key
        for key in set(conditions) - set(owners):
            assert torch.equal(made[key][0], torch.maximum(*conditions[key])), "a mask covers the longer prompt"

    def test_a_picture_that_reads_as_asked_is_in_balance(self):
        """Even-handed is what reads as the weights say, so such a picture is the straight mix itself."""
        weights = torch.tensor([0.7, 0.2, 0.1])
        alone = torch.eye(3)  # each class's own picture reads as that class alone
        even = straight_mix(Reader(), alone, weights)
        assert torch.allclose(even.square(), weights, atol=1e-6)
        count, inside = balance_region(1 - even[None], 1 - alone, 1 - even @ alone.T, 1e-4, 1.0)
        assert (count, inside) == (1, [0])
        linear = torch.tensor([[0.3, 0.8, 0.9]])  # 1 - p is not how far it lies
        assert balance_region(linear, 1 - alone, 1 - even @ alone.T, 1e-4, 1.0)[0] == 0

    def test_a_straight_mix_of_clip_is_the_mean_feature_and_that_of_a_pair_is_as_near_to_both(self, labeler):
        alone = torch.nn.functional.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), dim=1)
        weights = torch.tensor([0.8, 0.2])
        mean = 0.8 * alone[0] + 0.2 * alone[1]
        assert torch.allclose(straight_mix(labeler, alone, weights), mean / mean.norm(), atol=1e-6)
        for reader, own in ((labeler, alone), (Reader(), alone.abs())):
            near = (straight_mix(reader, own, torch.tensor([0.5, 0.5])) @ own.T).tolist()
            assert near[0] == pytest.approx(near[1], abs=1e-6)

    def test_likeness_is_that_of_clips_features_or_of_readings(self, labeler):
        pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "purple")]
        seen = looks(labeler, pictures, NAMES)
        inputs = labeler.processor.image_processor(images=pictures, return_tensors="pt")
        with torch.no_grad():
            raw = labeler.model.get_image_features(**inputs)
        raw = getattr(raw, "pooler_output", raw)
        assert torch.allclose(seen, raw / raw.norm(dim=1, keepdim=True), atol=1e-6)
        read = looks(Reader(), pictures, NAMES)
        p = Reader().probabilities(pictures, NAMES)
        assert torch.allclose(read @ read.T, (p[:, None] * p[None]).sqrt().sum(-1), atol=1e-5)


class TestBass:
    @given(st.floats(0, 2), st.floats(0, 2), st.floats(0.01, 2), st.floats(0.01, 1), st.floats(0.01, 2))
    def test_the_region_of_a_pair_is_the_papers(self, d1, d2, apart, alpha, beta):
        """|d(I_f, I_1) − d(I_f, I_2)| ≤ α and d(I_f, I_1) + d(I_f, I_2) ≤ 2β, here in units of d(I_1, I_2)."""
        tilt, far = abs(d1 - d2) - alpha * apart, d1 + d2 - 2 * beta * apart
        if min(abs(tilt), abs(far)) < 1e-6:
            return
        between = torch.tensor([[0.0, apart], [apart, 0.0]], dtype=torch.float64)
        distances = torch.tensor([[d1, d2]], dtype=torch.float64)
        count, chosen = balance_region(distances, between, torch.full((2,), apart / 3), alpha, beta)
        assert count == int(tilt <= 0 and far <= 0)
        assert chosen == [0], "where none is inside, the nearest one is taken"

    def test_unequal_weights_move_the_region(self):
        between = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        distances = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
        for even, inside in (((0.25, 0.75), [0]), ((0.5, 0.5), [1]), ((0.75, 0.25), [2])):
            assert balance_region(distances, between, torch.tensor(even), 0.1, 0.6) == (1, inside)

    def test_parts_cover_the_picture_and_the_class_shown_least_decides(self):
        picture = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
        parts = pixels(segments(picture))
        assert parts.shape == (5, 8, 8, 3)
        whole = np.concatenate([np.concatenate([parts[0], parts[1]], 1), np.concatenate([parts[2], parts[3]], 1)])
        assert np.array_equal(whole, np.asarray(picture, dtype=int))
        assert part_score(torch.tensor([[0.9, 0.1], [0.2, 0.6]])) == pytest.approx(0.6)
        assert part_score(torch.tensor([[0.9, 0.1], [0.9, 0.2]])) == pytest.approx(0.2)

    def test_the_search_picks_the_best_of_the_balanced(self, long_backend):
        reader, method = Reader(), baseline("bass", pool=6, alpha=10.0, beta=10.0)
        given = ask(long_backend, reader)
        (best,), details = method.draw(given, method.prepare(given))
        conditions = method.prepare(given).parts["conditions"]
        alone = looks(reader, given.render(None, seeds=[1, 1], condition=conditions), NAMES)
        pool = []
        for i in range(6):
            owners = method._owners(given, conditions, 1, i)
            assert 0 < sum(int(owner.sum()) for owner in owners.values()) < sum(widths(conditions).values())
            pool += given.render(None, seeds=[1], condition=swap(conditions, owners))
        away, between = 1 - looks(reader, pool, NAMES) @ alone.T, 1 - alone @ alone.T
        even = straight_mix(reader, alone, torch.tensor(given.mix.weights))
        count, inside = balance_region(away, between, 1 - even @ alone.T, 10.0, 10.0)
        assert details["accepted"] == [count]
        assert count > 1, "nothing to choose from"
        scores = [part_score(looks(reader, segments(pool[i]), NAMES) @ alone.T) for i in inside]
        found = part_score(looks(reader, segments(best), NAMES) @ alone.T)
        assert found == pytest.approx(max(scores), abs=1e-4)


class TestAgSwap:
    @given(st.integers(2, 400), st.lists(st.integers(1, 9), min_size=2, max_size=4))
    def test_the_start_is_a_random_share_of_the_columns_each(self, width, parts):
        weights = tuple(part / sum(parts) for part in parts)
        owners = start(weights, width, np.random.default_rng(0))
        counts = torch.bincount(owners, minlength=len(parts)).numpy()
        assert np.abs(counts - np.array(weights) * width).max() <= 1

    def test_the_start_of_a_pair_is_half(self):
        assert start((0.5, 0.5), 64, np.random.default_rng(1)).sum() == 32

    @given(st.integers(1, 200), st.floats(0.001, 1), st.integers(0, 10))
    def test_a_group_goes_from_one_class_to_the_other(self, width, share, seed):
        random = np.random.default_rng(seed)
        owners = torch.from_numpy(random.integers(3, size=width))
        after = hand_over(owners, 0, 2, share, random)
        moved = (after != owners).nonzero()[:, 0]
        assert len(moved) == min(int((owners == 0).sum()), max(1, round(share * width)))
        assert (owners[moved] == 0).all()
        assert (after[moved] == 2).all()

    def test_a_picture_in_balance_ends_the_search(self, long_backend):
        method = baseline("agswap", tolerance=2.0)
        given = ask(long_backend, Reader())
        assert method.draw(given, method.prepare(given))[1]["rounds"] == [1]

    def test_more_rounds_never_end_less_balanced(self, long_backend):
        found = []
        for rounds in (1, 3, 8):
            method = baseline("agswap", tolerance=0.0, rounds=rounds)
            given = ask(long_backend, Reader(), seeds=(1, 2))
            details = method.draw(given, method.prepare(given))[1]
            assert details["rounds"] == [rounds] * 2
            found.append(np.array(details["balance"]))
        assert (found[0] >= found[1]).all()
        assert (found[1] >= found[2]).all()
        assert (found[2] < found[0]).any(), "the groups moved nothing"

    def test_columns_go_to_the_class_that_is_shown_too_little(self, long_backend, monkeypatch):
        moves = []

        def watched(owners, giver, taker, share, random):
            moves.append((giver, taker))
            return hand_over(owners, giver, taker, share, random)

        monkeypatch.setattr("distok.baselines.agswap.hand_over", watched)
        method = baseline("agswap", tolerance=0.0, rounds=2)
        given = ask(long_backend, Reader())
        conditions = method.prepare(given).parts["conditions"]
        method.draw(given, method.prepare(given))
        alone = looks(Reader(), given.render(None, seeds=[1, 1], condition=conditions), NAMES)
        random = seeds.rng(0, "agswap", 1)
        owners = {key: start(PAIR.weights, width, random) for key, width in widths(conditions).items()}
        first = looks(Reader(), given.render(None, seeds=[1], condition=swap(conditions, owners)), NAMES) @ alone.T
        balance = float(first[0, 0] - first[0, 1])  # s = d_1 − d_2 of the paper
        assert moves[0] == ((0, 1) if balance > 0 else (1, 0))


class TestCreTok:
    def test_the_loss_is_one_minus_the_capped_cosine(self):
        adaptive = torch.tensor([[1.0, 0.0]], requires_grad=True)
        restrictive = torch.tensor([[0.8, 0.6], [0.3, 0.9539392]])
        loss = cretok_loss(adaptive, restrictive, 0.5)
        assert loss.item() == pytest.approx((0.5 + 0.7) / 2, abs=1e-6)
        loss.backward()
        assert torch.allclose(adaptive.grad, restrictive[1:] * -0.5), "the pair past θ gave a gradient"

    def test_a_pair_past_the_threshold_teaches_nothing(self, long_backend):
        how = baseline("cretok", theta=-1.0, steps_of_training=5, start="pet").settings
        assert torch.equal(train(ask(long_backend), how), long_backend.name_tokens(["pet"])[0].cpu())

    def test_training_brings_the_token_near_to_pairs_in_both_orders(self, long_backend):
        how = baseline("cretok", theta=1.0, steps_of_training=80, adaptive="a photo of a {}", start="pet").settings
        token = train(ask(long_backend), how)
        for pairs in ([(a, b) for a in NAMES for b in NAMES if a < b], [(a, b) for a in NAMES for b in NAMES if a > b]):
            meant = long_backend.encode([f"a {a} {b}" for a, b in pairs])
            with torch.no_grad():
                after = (meant @ long_backend.encode(["a photo of a <tcrt_0>"], token[None])[0]).mean()
            assert after > (meant @ long_backend.encode(["a photo of a pet"])[0]).mean() + 0.02

    def test_no_feature_is_nearer_to_all_pairs_than_the_calibrated_threshold(self, long_backend):
        how = baseline("cretok").settings
        pairs = [(a, b) for a in NAMES for b in NAMES if a != b]
        meant = long_backend.encode([f"a {a} {b}" for a, b in pairs])
        theta = calibrated(ask(long_backend), how, pairs)
        random = torch.nn.functional.normalize(
            torch.randn(200, meant.shape[1], generator=torch.Generator().manual_seed(0)), dim=1
        )
        others = torch.cat([meant, random, torch.nn.functional.normalize(meant.mean(0, keepdim=True), dim=1)])
        assert (others @ meant.T).mean(1).max().item() == pytest.approx(theta, abs=1e-5)

    def test_the_token_is_learned_once_and_serves_every_mix(self, long_backend):
        method = baseline("cretok", steps_of_training=3)
        options = {"names": NAMES, "steps": 2, "size": 16}
        first = method.make(long_backend, None, PAIR, [1], **options)
        second = method.make(long_backend, None, Distribution(("pig", "sheep", "lion"), (0.2, 0.5, 0.3)), [1], **options)
        assert first.concept.hash == second.concept.hash
        assert first.once_seconds > 10 * second.once_seconds
        assert second.details["prompt"] == "a photo of a <tcrt_0> mixture that looks like a sheep and a lion and a pig"
