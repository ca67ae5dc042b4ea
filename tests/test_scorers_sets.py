"""Measures of sets, fidelity, novelty, counts of parts: definitions, limiting cases, parity with other implementations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distok.distribution import Distribution, js, kl, spearman
from distok.errors import DistokError
from distok.scorers import MissingWeightsError, NotFiniteError, ScorerSettings, open_features, sets
from distok.scorers.features import Features
from distok.scorers.fidelity import MEASURES, Fidelity
from distok.scorers.lpips import _LAYERS, Lpips
from distok.scorers.novelty import Unnamed, Unseen
from distok.scorers.parts import PartFaithfulness, PartNovelty, faithfulness, novelty, zone_accuracy
from tests import tiny, tiny_scorers
from tests.tiny_scorers import pictures

MIX = "cat=0.5, dog=0.3, pig=0.2"


def cloud(count, seed=0, width=6, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (count, width))


class TestSets:
    def test_duplicates_are_pictures_that_have_a_twin(self):
        x = np.eye(5)
        assert sets.duplicates(x) == 0
        assert sets.duplicates(np.vstack([x, 2 * x[:1]])) == pytest.approx(2 / 6)
        assert sets.duplicates(np.ones((4, 3))) == 1
        assert sets.duplicates(x[:1]) == 0
        near = np.array([[1, 0.0], [np.cos(0.3), np.sin(0.3)]])  # a cosine of 0.955
        assert (sets.duplicates(near), sets.duplicates(near, 0.96)) == (1, 0)

    def test_total_variance_is_the_trace_of_the_covariance(self):
        x = cloud(30)
        assert sets.total_variance(x) == pytest.approx(np.trace(np.cov(x.T)))
        assert sets.total_variance(x[:1]) == 0

    def test_kernel_distance_grows_with_the_distance_and_is_near_0_within_one_kind(self):
        a = cloud(200)
        near, far = (sets.kernel_distance(a, cloud(200, 1, shift=shift)) for shift in (0.0, 1.0))
        assert abs(near) < 0.1 * far
        assert sets.kernel_distance(a, cloud(200, 1, shift=2.0)) > far

    def test_kernel_distance_by_its_sums(self):
        a, b = cloud(4), cloud(5, 1)

        def kernel(x, y):
            return (x @ y / 6 + 1) ** 3

        within = [np.mean([kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j]) for side in (a, b)]
        between = np.mean([kernel(x, y) for x in a for y in b])
        assert sets.kernel_distance(a, b) == pytest.approx(sum(within) - 2 * between)

    def test_tables_that_do_not_fit_are_refused(self):
        with pytest.raises(DistokError, match="kernel distance needs two sets of at least 2 pictures of equal width"):
            sets.kernel_distance(cloud(4), cloud(4, width=5))
        for measure in (sets.duplicates, sets.total_variance):
            with pytest.raises(DistokError, match="needs a table of features, one row a picture"):
                measure(np.zeros(3))
        with pytest.raises(DistokError, match="threshold of a duplicate is 2; give a cosine between -1 and 1"):
            sets.duplicates(cloud(3), 2)


class TestParity:
    """The same numbers from other people's code; those that are not installed are skipped."""

    def test_frechet_distance_by_scipys_matrix_root(self):
        linalg = pytest.importorskip("scipy.linalg")
        a, b = cloud(60), cloud(50, 1, shift=0.4) * 1.3
        first, second = np.cov(a.T), np.cov(b.T)
        root = linalg.sqrtm(first @ second)
        wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * np.real(root))
        assert sets.frechet(a, b) == pytest.approx(wanted, rel=1e-9)

    def test_frechet_and_kernel_distance_by_torchmetrics(self):
        fid = pytest.importorskip("torchmetrics.image.fid")
        kid = pytest.importorskip("torchmetrics.image.kid")
        a, b = cloud(40), cloud(40, 1, shift=0.4) * 1.3

        class Same(torch.nn.Module):
            num_features = 6

            def forward(self, x):
                return x.double()

        values = {}
        for name, metric in (
            ("frechet", fid.FrechetInceptionDistance(feature=Same(), normalize=True, input_img_size=(1, 6, 1))),
            ("kid", kid.KernelInceptionDistance(feature=Same(), subsets=1, subset_size=40, normalize=True)),
        ):
            metric.set_dtype(torch.float64)
            metric.used_custom_model = True
            metric.normalize = False
            metric.update(torch.from_numpy(a), real=True)
            metric.update(torch.from_numpy(b), real=False)
            found = metric.compute()
            values[name] = float(found[0] if isinstance(found, tuple) else found)
        assert sets.frechet(a, b) == pytest.approx(values["frechet"], rel=1e-4)
        assert sets.kernel_distance(a, b) == pytest.approx(values["kid"], rel=1e-4)

    def test_vendi_score_by_its_authors(self):
        theirs = pytest.importorskip("vendi_score.vendi")
        x = cloud(25, width=9)
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        assert sets.vendi(x) == pytest.approx(theirs.score_K(unit @ unit.T), rel=1e-6)

    def test_spearman_and_divergences_by_scipy(self):
        stats = pytest.importorskip("scipy.stats")
        distance = pytest.importorskip("scipy.spatial.distance")
        p, q = (np.random.default_rng(seed).dirichlet(np.ones(12)) for seed in (0, 1))
        assert spearman(p, q) == pytest.approx(stats.spearmanr(p, q).statistic)
        assert js(p, q) == pytest.approx(distance.jensenshannon(p, q) ** 2)
        assert kl(p, q, 1e-12) == pytest.approx(stats.entropy(p, q), rel=1e-6)

    def test_lpips_by_its_authors(self):
        lpips = pytest.importorskip("lpips", reason="lpips is not among the extras; pip install lpips")
        theirs = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
        convolutions = [each for each in theirs.net.modules() if isinstance(each, torch.nn.Conv2d)]
        state = {f"weights.{i}": getattr(theirs, f"lin{i}").model[1].weight for i in range(5)}
        for key, each in zip(_LAYERS, convolutions, strict=True):
            state |= {f"features.{key}.weight": each.weight, f"features.{key}.bias": each.bias}
        ours = Lpips()
        ours.load_state_dict(state)
        a, b = (torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in (0, 1))
        with torch.no_grad():
            torch.testing.assert_close(ours(a, b), theirs(a, b).flatten())


class TestLpips:
    @pytest.fixture
    def folder(self, tmp_path):
        from safetensors.torch import save_file

        torch.manual_seed(0)
        net = Lpips()
        save_file({key: value for key, value in net.state_dict().items() if key[0] == "f"}, tmp_path / "alexnet.safetensors")
        save_file(
            {f"lin{i}.model.1.weight": torch.rand(1, row[0], 1, 1) for i, row in enumerate(_LAYERS.values())},
            tmp_path / "lin.safetensors",
        )
        return tmp_path

    def test_the_mean_over_pairs_of_pictures_in_any_size(self, folder):
        metric = Lpips.load(folder, ScorerSettings(batch=2))
        first, second, third, _ = pictures()
        pairs = [metric.mean_distance([a, b]) for a, b in ((first, second), (first, third), (second, third))]
        assert min(pairs) > 0
        assert metric.mean_distance([first, second, third]) == pytest.approx(np.mean(pairs), rel=1e-5)
        assert metric.mean_distance([first, first]) == 0
        assert metric.mean_distance([first]) == 0
        assert metric.mean_distance([first, second.resize((50, 30))]) > 0
        with pytest.raises(DistokError, match="LPIPS of no picture"):
            metric.mean_distance([])

    def test_one_place_of_one_layer_by_hand(self, folder):
        """Only the last layer weighed, on one channel: the squared difference of that channel's normalised map, on average."""
        metric = Lpips.load(folder)
        with torch.no_grad():
            for i, weight in enumerate(metric.weights):
                weight.zero_()
                if i == 4:
                    weight[0, 3] = 2.0
            a, b = (torch.rand(1, 3, 64, 64) * 2 - 1 for _ in range(2))
            net = torch.nn.Sequential(
                metric.features["0"], torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2), metric.features["3"], torch.nn.ReLU(),
                torch.nn.MaxPool2d(3, 2), metric.features["6"], torch.nn.ReLU(), metric.features["8"], torch.nn.ReLU(),
                metric.features["10"], torch.nn.ReLU(),
            )  # fmt: skip
            shift, spread = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
            x, y = (torch.nn.functional.normalize(net((z - shift[:, None, None]) / spread[:, None, None])) for z in (a, b))
            torch.testing.assert_close(metric(a, b), (2 * (x[:, 3] - y[:, 3]) ** 2).mean((1, 2)), atol=1e-6, rtol=1e-4)

    def test_a_distance_that_is_no_number_is_refused(self, folder):
        metric = Lpips.load(folder)
        with torch.no_grad():
            metric.weights[0].fill_(float("nan"))
        with pytest.raises(NotFiniteError, match="LPIPS is not finite"):
            metric.mean_distance(pictures())

    def test_missing_weights_say_so(self, folder):
        (folder / "lin.safetensors").unlink()
        with pytest.raises(MissingWeightsError, match=r"lacks LPIPS weights \(lin0.model.1.weight\); convert torchvision's"):
            Lpips.load(folder)


class TestFeatures:
    def test_of_clip_in_both_layouts(self, tmp_path):
        for save in (tiny_scorers.save_clip, tiny_scorers.save_open_clip):
            features = open_features(save(tmp_path / save.__name__), ScorerSettings(batch=3))
            x = features(pictures())
            assert (x.shape, x.dtype) == ((4, 16), np.float64)
            np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
            np.testing.assert_allclose(x[1], features(pictures()[1:2])[0], atol=1e-5)

    @pytest.mark.parametrize("family", ["ViT", "Dinov2"])
    def test_of_an_image_model_its_pooled_output(self, family, tmp_path):
        import transformers

        model, images = self.save(family, tmp_path)
        assert isinstance(model, getattr(transformers, f"{family}Model"))
        features = open_features(tmp_path)
        with torch.no_grad():
            wanted = model(**images(images=pictures(), return_tensors="pt")).pooler_output
        np.testing.assert_allclose(features(pictures()), wanted.numpy(), atol=1e-5)
        with pytest.raises(DistokError, match="features of no picture"):
            features([])

    def test_models_without_a_pooled_output_and_empty_folders_are_refused(self, tmp_path):
        with pytest.raises(DistokError, match=r"is not a feature extractor \(it holds no config\.json\)"):
            open_features(tmp_path)
        self.save("Segformer", tmp_path)
        with pytest.raises(DistokError, match="a SegformerModel has no pooled output to take as features; give a CLIP, ViT"):
            open_features(tmp_path)(pictures())

    @staticmethod
    def save(family, folder):
        import transformers

        small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
        if family == "Segformer":
            small = {
                "hidden_sizes": [8, 8, 8, 8],
                "depths": [1, 1, 1, 1],
                "sr_ratios": [1, 1, 1, 1],
                "num_attention_heads": [1, 1, 1, 1],
                "patch_sizes": [3, 3, 1, 1],
            }
        config = getattr(transformers, f"{family}Config")(**small)
        model = tiny_scorers.seeded(lambda: getattr(transformers, f"{family}Model")(config), spread=2.0)
        model.save_pretrained(folder)
        images = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
        images.save_pretrained(folder)
        return model, images


class Lost(Features):
    """Features of which those of the third picture are no numbers."""

    hash = "lost"

    def _features(self, pictures):
        return torch.tensor([[1.0, 2.0], [0.0, 1.0], [float("nan"), 0.0], [1.0, 0.0]])[: len(pictures)]


def test_features_that_are_no_numbers_are_refused():
    assert Lost()(pictures()[:2]).shape == (2, 2)
    with pytest.raises(NotFiniteError, match="a feature of picture 3 of 4 is not finite; use dtype float32, or copy the weights"):
        Lost()(pictures())


class TestFidelity:
    @pytest.mark.parametrize("measure", MEASURES)
    def test_is_the_measure_of_the_labelers_reading(self, measure, labeler):
        scorer = Fidelity(labeler, tiny.NAMES, measure, ScorerSettings(batch=2))
        others = Fidelity(labeler, tiny.NAMES[:3], measure), Fidelity(labeler, tiny.NAMES, "kl" if measure == "js" else "js")
        assert len({scorer.hash, *(other.hash for other in others)}) == 3
        scores = scorer(pictures(), MIX)
        asked = Distribution.parse(MIX).over(tiny.NAMES)
        for score, read in zip(scores.tolist(), labeler.probabilities(pictures(), tiny.NAMES).double().numpy(), strict=True):
            order = np.argsort(-read)
            wanted = {
                "kl": kl(asked, read),
                "kl_reverse": kl(read, asked),
                "js": js(asked, read),
                "top1": float(order[0] == 0),
                "topk": float(set(order[:3]) == {0, 1, 2}),
                "spearman": spearman(*(np.where(side < 0.01, 0, side) for side in (asked, read))),
            }[measure]
            assert score == pytest.approx(wanted, abs=1e-5)
            assert scorer.scale.low <= score <= scorer.scale.high + 1e-6

    @pytest.mark.parametrize("measure", MEASURES)
    def test_a_reading_that_is_no_number_is_named(self, measure, labeler, monkeypatch):
        read = labeler.probabilities(pictures(), tiny.NAMES)
        read[1] = float("nan")
        monkeypatch.setattr(type(labeler), "probabilities", lambda *given: read)
        with pytest.raises(NotFiniteError, match=f"{measure} of picture 2 of 4 is not finite"):
            Fidelity(labeler, tiny.NAMES, measure)(pictures(), MIX)

    def test_a_mix_of_strangers_and_an_unknown_measure_are_refused(self, labeler):
        with pytest.raises(DistokError, match="unknown class 'catt'; did you mean 'cat'"):
            Fidelity(labeler, tiny.NAMES)(pictures(), "catt=1")
        with pytest.raises(DistokError, match="unknown fidelity measure 'l2'; choose one of kl, kl_reverse, js"):
            Fidelity(labeler, tiny.NAMES, "l2")


class TestNovelty:
    def test_the_papers_gate(self, labeler):
        largest = labeler.probabilities(pictures(), tiny.NAMES).max(1).values
        tau = float(largest.sort().values[1:3].mean())  # two of the four below
        scorer = Unnamed(labeler, tiny.NAMES, tau)
        assert len({Unnamed(labeler, names).hash for names in (tiny.NAMES, tiny.NAMES[:3])}) == 2
        torch.testing.assert_close(scorer(pictures()), 1 - largest)
        assert scorer.gate(pictures()) == (largest < tau).tolist()
        assert sum(scorer.gate(pictures())) == 2
        assert scorer.scale.high == pytest.approx(5 / 6)
        with pytest.raises(DistokError, match="gate's tau is 0; give a share above 0"):
            Unnamed(labeler, tiny.NAMES, 0)
        with pytest.raises(DistokError, match="novelty among 1 classes says nothing"):
            Unnamed(labeler, ["cat"])

    def test_a_known_picture_is_not_new(self, tmp_path):
        features = open_features(tiny_scorers.save_clip(tmp_path / "clip"))
        first, second, third, fourth = pictures()
        scorer = Unseen(features, [first, second])
        scores = scorer([second, third, fourth])
        assert scores[0] == pytest.approx(0, abs=1e-6)
        x = features(pictures())
        np.testing.assert_allclose(scores[1:], 1 - (x[2:] @ x[:2].T).max(1), atol=1e-5)
        assert Unseen(features, [first]).hash != scorer.hash


class TestParts:
    def test_by_hand(self):
        owners = ("pig",) * 6 + ("owl",) * 4 + ("fox",) * 2
        assert faithfulness(owners, {"pig": 0.5, "owl": 0.5}) == pytest.approx(10 / 12)
        assert faithfulness(owners, {"pig": 1.0}) == pytest.approx(6 / 12)
        assert faithfulness(owners, {"cat": 1.0}) == 0
        assert novelty(owners) == pytest.approx(1 - 6 / 12)
        assert novelty(owners, [("pig", "owl"), ("pig", "fox")]) == pytest.approx(1 - 10 / 12)
        assert novelty(("pig",) * 12, [("pig", "owl")]) == 0
        assert novelty(tuple("abcdefghijkl")) == pytest.approx(11 / 12)
        assert zone_accuracy(owners, ("pig",) * 12) == pytest.approx(0.5)

    @given(st.lists(st.sampled_from("abcde"), min_size=12, max_size=12), st.lists(st.integers(1, 9), min_size=5, max_size=5))
    @settings(max_examples=60, deadline=None)
    def test_faithfulness_never_exceeds_the_overlap_with_rounding_up(self, owners, weights):
        mix = dict(zip("abcde", weights, strict=True))
        found = faithfulness(owners, mix)
        up = sum(min(owners.count(name), np.ceil(12 * weight / sum(weights) + 1e-9)) for name, weight in mix.items()) / 12
        assert 0 <= found <= up <= 1
        assert novelty(owners) == pytest.approx(1 - max(owners.count(name) for name in set(owners)) / 12)

    def test_empty_creatures_are_refused(self):
        for call in (lambda: faithfulness((), {"pig": 1.0}), lambda: novelty(())):
            with pytest.raises(DistokError, match="creature without zones cannot be counted"):
                call()
        with pytest.raises(DistokError, match="2 zones were read and 1 are known"):
            zone_accuracy(("a", "b"), ("a",))


MIXES = ({"pig": 0.55, "sheep": 0.25, "snake": 0.2}, {"pig": 0.5, "owl": 0.5}, {"cat": 0.4, "bee": 0.3, "fox": 0.3})


@pytest.fixture(scope="module")
def drawn():
    """Recipes of the artist's, two of each mix, and their pictures."""
    pytest.importorskip("skia", exc_type=ImportError)
    from distok.menagerie.artist import draw, recipe

    recipes = [recipe(mix, seed) for mix in MIXES for seed in (3, 4)]
    return recipes, [Image.fromarray(draw(each, 128)) for each in recipes]


@pytest.fixture(scope="module")
def ruler():
    """The shipped evaluator."""
    from distok.menagerie import home
    from distok.menagerie.evaluator import Evaluator

    return Evaluator.load(home() / "evaluator.safetensors")


class TestPartsOfTheArtist:
    """The artist knows the parts: its own allotment is faithful by definition, and the ruler reads most of it."""

    @pytest.mark.parametrize("seed", range(20))
    def test_every_allotment_of_the_artists_is_faithful(self, seed):
        pytest.importorskip("skia", exc_type=ImportError)
        from distok.menagerie.artist import recipe

        # Equal remainders: the artist draws lots, and each lot counts as faithful.
        for mix in (*MIXES, {"pig": 0.125, "owl": 0.125, "cat": 0.75}):
            assert faithfulness(recipe(mix, seed).owners, mix) == 1

    def test_the_ruler_reads_faithfulness_near_the_truth(self, drawn, ruler):
        recipes, images = drawn
        scorer = PartFaithfulness(ruler)
        scores = scorer(images, [", ".join(f"{k}={v}" for k, v in each.weights) for each in recipes])
        assert scores.mean() > 0.8
        read = scorer.owners(images)
        assert np.mean([zone_accuracy(a, b.owners) for a, b in zip(read, recipes, strict=True)]) > 0.7
        wrong = scorer(images[:2], "whale=0.5, crab=0.5")
        assert wrong.max() < 0.2

    def test_the_ruler_reads_novelty_near_the_truth(self, drawn, ruler):
        recipes, images = drawn
        scores = PartNovelty(ruler)(images)
        true = [novelty(each.owners) for each in recipes]
        assert np.abs(scores.numpy() - true).mean() < 0.15
        pairs = PartNovelty(ruler, [("pig", "owl")])(images)
        assert (pairs <= scores + 1e-6).all()
        assert pairs[2:4].mean() < 0.15
        assert scores[2:4].mean() > 0.4
