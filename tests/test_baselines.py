"""Every method on its families: the one signature, determinism, errors; and the controls' limiting cases."""

import functools
import json
from dataclasses import fields

import numpy as np
import pytest
import torch

from distok.backends import FAMILIES, open_backend
from distok.baselines import BASELINES, baseline, baseline_class
from distok.baselines.base import Ask
from distok.baselines.prior_interpolation import interpolate
from distok.distribution import Distribution
from distok.errors import DistokError, UnavailableError
from distok.model import DisTok
from tests import edge, tiny_families
from tests.test_families import fingerprint
from tests.tiny import NAMES

MIX = Distribution(("cat", "dog"), (0.6, 0.4))
EVEN = Distribution(("cat", "dog"), (0.5, 0.5))
FEW = {
    "concept-lab": {"steps_of_training": 3, "query_every": 2, "live_negatives": True, "query_prompt": "a photo of a {}"},
    "cretok": {"steps_of_training": 3},
    "bass": {"pool": 3},
    "agswap": {"rounds": 3},
    "distok-best": {"pool": 2},
    "names-best": {"pool": 2},
    "distok-refined": {"rounds": 2, "pictures": 2},
    "weighting-refined": {"rounds": 2, "pictures": 2},
    "diff-morpher": {"fit_steps": 2, "frames": 3},
}
SIZES = {"sd1": 16, "kandinsky21": 64, "kandinsky22": 64}
FAMILY_OF = {
    "sd1": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "kandinsky21": "KandinskyCombinedPipeline",
    "kandinsky22": "KandinskyV22CombinedPipeline",
}
HAS_PRIOR = ("kandinsky21", "kandinsky22")


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Tiny pipelines by family, opened when first asked for."""
    opened = {}

    def open_once(family):
        if family not in opened:
            opened[family] = open_backend(tiny_families.save(family, tmp_path_factory.mktemp("family") / family))
        return opened[family]

    return open_once


@pytest.fixture(scope="module")
def models(families, tmp_path_factory):
    """An untrained DisTok of each family, made when first asked for."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def open_once(family):
        return DisTok.load(edge.save_model(folder / f"{family}.safetensors", families(family)))

    return open_once


@pytest.fixture(scope="module")
def model(backend, tmp_path_factory):
    return DisTok.load(edge.save_model(tmp_path_factory.mktemp("model") / "distok.safetensors", backend))


def runnable(name):
    if name == "diff-morpher":
        pytest.importorskip("peft")
    return baseline(name, **FEW.get(name, {}))


def pixels(pictures):
    return np.stack([np.asarray(picture, dtype=int) for picture in pictures])


def cases():
    return [(name, family) for name in BASELINES for family, cls in FAMILY_OF.items() if cls in baseline_class(name).families]


@pytest.mark.parametrize(("name", "family"), cases())
def test_every_method_runs_on_its_families_and_leaves_the_pipeline_alone(name, family, families, models, labeler):
    method, backend = runnable(name), families(family)
    model = models(family) if method.needs_model else None
    before = fingerprint(backend.pipe)
    made = method.make(backend, labeler, MIX, [3, 4], names=NAMES, model=model, steps=2, size=SIZES.get(family, 32))
    assert fingerprint(backend.pipe) == before
    assert len(made.pictures) == 2
    assert made.pictures[0].size == (SIZES.get(family, 32),) * 2
    assert (pixels(made.pictures[:1]) != pixels(made.pictures[1:])).any(), "the seed changed nothing"
    assert made.seconds > 0
    json.dumps(made.details)
    if made.concept is not None:
        assert made.concept.widths == dict(backend.widths)


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_picture_is_a_function_of_its_own_seed(name, backend, families, labeler, model):
    if "StableDiffusionPipeline" not in baseline_class(name).families:
        backend = families("kandinsky22")
    options = {"names": NAMES, "model": model, "steps": 3, "size": 64 if backend.family.startswith("Kandinsky") else 16}
    both = runnable(name).make(backend, labeler, MIX, [5, 6], **options)
    alone = runnable(name).make(backend, labeler, MIX, [6], **options)
    assert np.abs(pixels(both.pictures[1:]) - pixels(alone.pictures)).max() <= 1
    assert (both.concept and both.concept.hash) == (alone.concept and alone.concept.hash)


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_class_of_weight_zero_takes_no_part(name, backend, families, labeler, model):
    if "StableDiffusionPipeline" not in baseline_class(name).families:
        backend = families("kandinsky22")
    options = {"names": NAMES, "model": model, "steps": 3, "size": 64 if backend.family.startswith("Kandinsky") else 16}
    found = []
    for weights in ({"cat": 1.0, "dog": 0.0}, {"cat": 1.0}):
        try:
            made = runnable(name).make(backend, labeler, Distribution.from_mapping(weights), [5], **options)
            found.append(pixels(made.pictures).tolist())
        except UnavailableError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_the_table_of_methods():
    for name in BASELINES:
        cls = baseline_class(name)
        assert cls.name == name
        assert set(cls.families) <= set(FAMILIES)
        assert all((cls.title, cls.source, cls.summary))
        assert type(cls.preset("menagerie").settings) is cls.Settings
        assert cls.preset("published").settings == cls.Settings()
    with pytest.raises(DistokError, match="did you mean 'agswap'"):
        baseline("agswop")
    with pytest.raises(DistokError, match="no preset 'fast'; choose published or menagerie"):
        baseline("bass", "fast")
    with pytest.raises(DistokError, match="bass has no setting 'pol'; its settings are pool"):
        baseline("bass", pol=3)
    with pytest.raises(DistokError, match="sentence has no setting 'x'; it has none"):
        baseline("sentence", x=1)


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("bass", {"pool": 0}, "pool is 0, but it must be a whole number of at least 1"),
        ("agswap", {"group": 0}, "group is 0, but it must be above 0"),
        ("cretok", {"adaptive": "a photo"}, "adaptive is 'a photo', but it must be a prompt with one {}"),
        ("concept-lab", {"path": "image"}, "path is 'image', but it must be one of auto, prior, text"),
        ("concept-lab", {"max_cosine": 2}, "max_cosine is 2, but it must be a number from -1 to 1"),
        ("magic-mix", {"k_min": 0.7}, "k_min is 0.7, but it must be at most k_max, which is 0.6"),
        ("adaptive-negatives", {"first": 0.5, "last": 0.2}, "first is 0.5, but it must be at most last, which is 0.2"),
        ("diff-morpher", {"frames": 1}, "frames is 1, but it must be 0, or at least 2"),
        ("random-z", {"index": -1}, "index is -1, but it must be a whole number of at least 0"),
        ("cretok", {"spoken": 3}, "spoken is 3, but it must be words with two {}"),
        ("cretok", {"restrictive": None}, "restrictive is None, but it must be words with two {}"),
        ("cretok", {"start": 5}, "start is 5, but it must be a word"),
        ("cretok", {"joint": 5}, "joint is 5, but it must be text"),
        ("concept-lab", {"start": 5}, "start is 5, but it must be text"),
        ("concept-lab", {"templates": 5}, "templates is 5, but it must be prompts with one {}"),
        ("concept-lab", {"templates": (1,)}, r"templates is \(1,\), but it must be prompts with one {}"),
        ("concept-lab", {"templates": {"a {}": 1}}, "templates is {'a {}': 1}, but it must be prompts with one {}"),
    ],
)
def test_settings_out_of_range_are_refused(name, changes, text):
    with pytest.raises(DistokError, match=text.replace("{", r"\{").replace("}", r"\}")):
        baseline(name, **changes)


def flags():
    return [(name, each.name) for name in BASELINES for each in fields(baseline_class(name).Settings) if "bool" in str(each.type)]


@pytest.mark.parametrize(("name", "flag"), flags())
def test_a_flag_is_true_or_false_and_no_word(name, flag):
    for value in ("off", "false", "", 0, 1, ()):
        with pytest.raises(DistokError, match=f"{flag} is .*, but it must be true or false; correct it"):
            baseline(name, **{flag: value})
    for value in (True, False):
        assert getattr(baseline(name, **{flag: value}).settings, flag) is value


def test_the_flags_are_all_found():
    assert {("magic-mix", "step_from_mixed"), ("diff-morpher", "adain"), ("concept-lab", "live_negatives")} <= set(flags())
    assert baseline("concept-lab", live_negatives=None).settings.live_negatives is None


def test_what_a_method_cannot_do_is_said(backend, labeler):
    single = Distribution(("cat",), (1.0,))
    for name, mix, seeds, options, text in (
        ("prior-interpolation", MIX, [1], {}, "prior interpolation does not run on a StableDiffusionPipeline; it runs on Kand"),
        ("bass", single, [1], {}, "BASS mixes at least 2 classes and got 'cat=1.00'"),
        ("sentence", MIX, [], {}, "got no seed"),
        ("sentence", MIX, [1], {"eta": 1}, "no rendering option 'eta'; the options are steps, guidance_scale, size"),
        ("bass", MIX, [1], {"prompt": "a cat"}, "the prompt 'a cat' has no {}"),
        ("random-z", MIX, [1], {}, "random latent needs the DisTok that was trained for this backend; give the model"),
        ("adaptive-negatives", MIX, [1], {"guidance_scale": 1}, "acts through guidance, and the guidance scale is 1"),
    ):
        with pytest.raises(DistokError, match=text.replace("{", r"\{").replace("}", r"\}")):
            baseline(name).make(backend, labeler, mix, seeds, **options)
    for name in ("bass", "agswap", "adaptive-negatives"):
        with pytest.raises(DistokError, match="reads pictures as it goes; give a labeler"):
            baseline(name).make(backend, None, MIX, [1])
    with pytest.raises(DistokError, match="ConceptLab asks a labeler for its negatives"):
        baseline("concept-lab").make(backend, None, single, [1])
    for name, names in (("concept-lab", None), ("adaptive-negatives", None), ("adaptive-negatives", ["cat"])):
        text = rf"{baseline_class(name).title}'s labeler has nothing to answer but the mix itself; .*\(--concepts\)"
        with pytest.raises(DistokError, match=text):
            baseline(name).make(backend, labeler, single, [1], names=names, steps=2)


class TestControls:
    def test_one_class_alone_is_its_own_picture_by_every_weighted_control(self, families):
        backend = families("sd1")
        (plain,) = backend.render(["a photo of a cat"], seeds=[7], steps=3, size=16)
        nearly = Distribution(("cat", "dog"), (1 - 1e-9, 1e-9))
        for name in ("dominant", "mean-of-embeddings", "mean-of-tokens"):
            made = baseline(name).make(backend, None, nearly, [7], steps=3, size=16)
            assert np.abs(pixels(made.pictures) - pixels([plain])).max() <= 1, name

    def test_equal_emphasis_is_the_plain_prompt(self, families):
        backend = families("sd1")
        (plain,) = backend.render(["a photo of a cat dog"], seeds=[7], steps=3, size=16)
        even = baseline("prompt-weighting").make(backend, None, EVEN, [7], steps=3, size=16)
        assert np.abs(pixels(even.pictures) - pixels([plain])).max() <= 1
        tilted = baseline("prompt-weighting").make(backend, None, Distribution(("cat", "dog"), (0.9, 0.1)), [7], steps=3, size=16)
        assert tilted.details["prompt"] == "a photo of a (cat:1.8000) (dog:0.2000)"
        assert np.abs(pixels(tilted.pictures) - pixels([plain])).max() > 1
        owl = baseline("prompt-weighting").make(backend, None, Distribution(("owl",), (1.0,)), [7], steps=1, size=16)
        assert owl.details["prompt"] == "a photo of an (owl:1.0000)"

    def test_emphasis_of_names_with_brackets_is_refused(self, backend):
        bird = Distribution(("crane (bird)", "owl"), (0.7, 0.3))
        with pytest.raises(UnavailableError, match=r"writes emphasis in brackets, and 'crane \(bird\)' has some"):
            baseline("prompt-weighting").make(backend, None, bird, [7])

    def test_emphasis_is_cut_at_the_strongest(self, backend):
        many = Distribution(("cat", *"abcdefg"), (0.93, *(0.01,) * 7))
        ready = baseline("prompt-weighting").prepare(Ask(backend, None, many, (7,), many.names))
        assert ready.prompt.startswith("a photo of a (cat:5.0000) (a:0.0800)")

    def test_the_concept_of_the_mean_of_tokens_draws_the_same_picture_again(self, backend):
        made = baseline("mean-of-tokens").make(backend, None, MIX, [7])
        token = backend.join(made.concept.for_backend(backend.widths))
        wanted = 0.6 * backend.name_tokens(["cat"]) + 0.4 * backend.name_tokens(["dog"])
        assert torch.allclose(token, wanted, atol=1e-6)
        again = backend.render(["a photo of a <tcrt_0>"], token, seeds=[7])
        assert np.array_equal(pixels(again), pixels(made.pictures))

    def test_a_random_latent_knows_the_mix_as_a_name_alone_and_an_index_not_even_that(self, backend, model):
        other = Distribution(("pig",), (1.0,))
        first, again, elsewhere = (baseline("random-z").make(backend, None, mix, [7], model=model) for mix in (MIX, MIX, other))
        assert first.concept.hash == again.concept.hash != elsewhere.concept.hash
        numbered = [
            baseline("random-z", index=i).make(backend, None, m, [7], model=model) for i, m in ((0, MIX), (0, other), (1, MIX))
        ]
        assert numbered[0].concept.hash == numbered[1].concept.hash != numbered[2].concept.hash
        assert first.concept.distribution is None

    def test_the_controls_ask_for_what_they_say(self, backend, model):
        names, weights = NAMES[:3], (0.2, 0.5, 0.3)
        mix = Distribution(names, weights)

        def made(name):
            method = baseline(name)
            return method.prepare(Ask(backend, None, mix, (7,), names, model=model))

        mean = torch.tensor(weights) @ backend.name_tokens(names)
        assert torch.allclose(made("mean-of-tokens").tokens[0], mean, atol=1e-6)
        assert torch.allclose(made("distok").tokens[0], model(mean[None])[0], atol=1e-6)
        third, first, second = names
        assert made("dominant").prompt == f"a photo of a {first}"
        assert made("names-by-weight").prompt == f"a photo of a {first} {second} {third}"
        assert made("sentence").prompt == f"a photo of a creature that is 50 % {first}, 30 % {second}, 20 % {third}"
        states = backend.condition([f"a photo of a {name}" for name in names])["prompt_embeds"]
        wanted = (torch.tensor(weights)[:, None, None] * states).sum(0)
        assert torch.allclose(made("mean-of-embeddings").condition["prompt_embeds"][0], wanted, atol=1e-5)

    @pytest.mark.parametrize("family", HAS_PRIOR)
    def test_prior_interpolation_is_the_weighted_sum_of_what_the_library_makes_of_each_class(self, family, families):
        import diffusers

        backend = families(family)
        cls = diffusers.KandinskyPriorPipeline if family == "kandinsky21" else diffusers.KandinskyV22PriorPipeline
        parts = {key.removeprefix("prior_"): part for key, part in backend.pipe.components.items() if key.startswith("prior_")}
        parts["scheduler"] = type(parts["scheduler"]).from_config(parts["scheduler"].config)
        library = cls(**parts)
        library.set_progress_bar_config(disable=True)
        wanted = torch.zeros(())
        for name, weight in MIX.as_dict().items():
            random = torch.Generator("cpu").manual_seed(5)
            embeds = library.interpolate([f"a photo of a {name}"], [1.0], num_inference_steps=25, generator=random)
            wanted = wanted + weight * embeds.image_embeds
        conditions = backend.condition([f"a photo of a {name}" for name in MIX.names])
        assert torch.allclose(interpolate(backend, conditions, MIX.weights, [5]), wanted, atol=1e-4)

    def test_prior_interpolation_of_one_class_is_its_plain_picture(self, families):
        backend = families("kandinsky22")
        made = baseline("prior-interpolation").make(backend, None, Distribution(("cat",), (1.0,)), [5], steps=2, size=64)
        plain = backend.render(["a photo of a cat"], seeds=[5], steps=2, size=64)
        assert np.abs(pixels(made.pictures) - pixels(plain)).max() <= 1
