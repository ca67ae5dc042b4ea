"""Adaptive negatives, MagicMix and DiffMorpher against facts of their papers and code."""

import importlib.util
import json
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from distok.backends import open_backend
from distok.baselines import baseline
from distok.baselines.base import Ask
from distok.baselines.diff_morpher import DiffMorpherSettings, Morph, between, lora_weights, retimed, set_lora, slerp, with_lora
from distok.baselines.latents import Easel
from distok.baselines.magic_mix import MagicMixSettings, mix
from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers.base import Labeler
from distok.seeds import derive
from tests import tiny_families
from tests.test_families import fingerprint
from tests.tiny import NAMES

PAIR = Distribution(("cat", "dog"), (0.5, 0.5))
SIZES = {"sd1": 16, "sd2": 16, "sdxl": 32, "sd3": 32}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    opened = {}

    def open_once(family):
        if family not in opened:
            opened[family] = open_backend(tiny_families.save(family, tmp_path_factory.mktemp("family") / family))
        return opened[family]

    return open_once


@pytest.fixture
def stable(families):
    return families("sd1")


def pixels(pictures):
    return np.stack([np.asarray(picture, dtype=int) for picture in pictures])


def ask(backend, seeds=(1,), size=16, steps=10, guidance_scale=3.0, **more):
    options = {"steps": steps, "size": size, "guidance_scale": guidance_scale}
    return Ask(backend, more.pop("labeler", None), PAIR, tuple(seeds), NAMES, options=options, **more)


class Answers(Labeler):
    """Says a fixed series of names, one a question, whatever it is shown; and remembers what it was shown."""

    hash = "answers"

    def __init__(self, *said):
        self.said, self.shown, self.offered = list(said), [], []

    def probabilities(self, pictures, names):
        self.shown += [np.asarray(picture, dtype=int) for picture in pictures]
        self.offered.append(tuple(names))
        rows = torch.full((len(pictures), len(names)), 0.1 / len(names))
        rows[:, names.index(self.said[min(len(self.shown), len(self.said)) - 1])] += 0.9
        return rows


class TestAdaptiveNegatives:
    @pytest.mark.parametrize("family", list(SIZES))
    @pytest.mark.parametrize("silent", [{"least": 1.0}, {"last": 0.0}])
    def test_without_an_answer_it_is_the_plain_picture(self, family, silent, families, labeler):
        backend = families(family)
        how = {"steps": 3, "guidance_scale": 3.0, "size": SIZES[family]}
        made = baseline("adaptive-negatives", **silent).make(backend, labeler, PAIR, [4, 5], names=NAMES, **how)
        plain = backend.render(["a photo of a cat dog"] * 2, seeds=[4, 5], **how)
        assert made.details["negatives"] == [[], []]
        assert np.abs(pixels(made.pictures) - pixels(plain)).max() <= 1

    def test_from_the_answer_on_it_is_a_plain_negative_prompt(self, stable):
        """With one answer after step 1 of 3, steps 2 and 3 are guided away from it: step by step as the library does it."""
        how = {"steps": 3, "guidance_scale": 3.0, "size": 16}
        made = baseline("adaptive-negatives").make(stable, Answers("pig"), PAIR, [4], names=NAMES, **how)
        assert made.details["negatives"] == [["pig"]]
        given = ask(stable, [4], steps=3)
        easel = Easel(given)
        text, empty, pig = stable.condition(["a photo of a cat dog", "", "pig"])["prompt_embeds"].split(1)
        latents = easel.noise((4, 8, 8), [4])
        for t, negative in zip(easel.scheduler.timesteps, (empty, pig, pig), strict=True):
            latents = easel.step(easel.predict(latents, t, text, negative), t, latents)
        assert np.abs(pixels(made.pictures) - pixels(easel.decode(latents, [4]))).max() <= 1

    @pytest.mark.parametrize("name", ["EulerAncestralDiscreteScheduler", "LCMScheduler", "TCDScheduler", "DDPMScheduler"])
    def test_the_noise_of_every_step_is_the_seeds_own(self, name, families, labeler, tmp_path):
        """Schedulers that draw noise as they go get the pipeline's generator, as they do without the method."""
        backend = open_backend(tiny_families.save("sd1", tmp_path / "sd1"))
        backend.pipe.scheduler = getattr(diffusers, name).from_config(backend.pipe.scheduler.config)
        how, silent = {"steps": 3, "guidance_scale": 3.0, "size": 16}, baseline("adaptive-negatives", least=1.0)
        both = silent.make(backend, labeler, PAIR, [4, 5], names=NAMES, **how)
        alone = silent.make(backend, labeler, PAIR, [5], names=NAMES, **how)
        assert np.abs(pixels(both.pictures[1:]) - pixels(alone.pictures)).max() <= 1
        plain = backend.render(["a photo of a cat dog"] * 2, seeds=[4, 5], **how)
        assert np.abs(pixels(both.pictures) - pixels(plain)).max() <= 1

    @pytest.mark.parametrize("family", list(SIZES))
    def test_answers_gather_once_each_and_change_the_picture(self, family, families):
        backend, reader = families(family), Answers("pig", "snake", "pig")
        how = {"steps": 5, "guidance_scale": 5.0, "size": SIZES[family]}
        made = baseline("adaptive-negatives").make(backend, reader, PAIR, [4], names=NAMES, **how)
        assert made.details["negatives"] == [["pig", "snake"]]
        assert len(reader.shown) == 4, "after the last step there is nothing left to guide"
        assert all(set(offered) == set(NAMES) for offered in reader.offered)
        plain = backend.render(["a photo of a cat dog"], seeds=[4], **how)
        assert (pixels(made.pictures) != pixels(plain)).any()

    @pytest.mark.parametrize(("share", "negatives"), [(0.3, ["pig"]), (0.05, [])])
    def test_a_stranger_counts_by_its_share_of_all_that_is_seen(self, stable, share, negatives):
        """A picture of the mix alone has no strangers, however the rest of the reading is shared out among them."""

        class Mostly(Answers):
            def probabilities(self, pictures, names):
                super().probabilities(pictures, names)
                seen = {"cat": 1 - share, "pig": share}
                return torch.tensor([[seen.get(name, 0.0) for name in names]] * len(pictures))

        how = {"steps": 3, "guidance_scale": 3.0, "size": 16}
        made = baseline("adaptive-negatives", least=0.1).make(stable, Mostly("cat"), PAIR, [4], names=NAMES, **how)
        assert made.details["negatives"] == [negatives]

    def test_what_the_labeler_sees_nears_the_picture(self, stable):
        reader = Answers("pig")
        made = baseline("adaptive-negatives", every=2).make(
            stable, reader, PAIR, [4], names=NAMES, steps=9, guidance_scale=3.0, size=16
        )
        assert len(reader.shown) == 4
        away = [np.abs(shown - pixels(made.pictures)[0]).mean() for shown in reader.shown]
        assert away[-1] < away[0]

    def test_a_single_class_is_asked_for_as_a_new_type(self, stable):
        made = baseline("adaptive-negatives").make(
            stable, Answers("pig"), Distribution(("pet",), (1.0,)), [4], names=NAMES, steps=2, size=16
        )
        assert made.details["prompt"] == "a photo of a new type of pet"


class TestMagicMix:
    def layouts(self, count=2):
        random = np.random.default_rng(0)
        return [Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]

    @pytest.mark.parametrize("family", ["sd1", "sd2"])
    @pytest.mark.parametrize("how", [{"nu": 1.0}, {"nu": 0.3, "k_min": 0.6}])
    def test_without_a_layouts_share_it_is_the_librarys_picture_to_picture(self, how, family, families):
        """ν = 1, or no layout phase: StableDiffusionImg2ImgPipeline at a strength of k_max."""
        from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

        backend = families(family)
        layouts = self.layouts()
        made = mix(ask(backend, [7, 8]), layouts, "a photo of a cat", MagicMixSettings(k_max=0.6, **how))
        parts = backend.renderer().components
        parts["scheduler"] = DDIMScheduler.from_config(parts["scheduler"].config, clip_sample=False)
        library = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        library.set_progress_bar_config(disable=True)
        random = [torch.Generator("cpu").manual_seed(derive(seed, "magic-mix")) for seed in (7, 8)]
        options = {"strength": 0.6, "num_inference_steps": 10, "guidance_scale": 3.0, "generator": random}
        wanted = library(["a photo of a cat"] * 2, image=layouts, **options).images
        assert np.abs(pixels(made) - pixels(wanted)).max() <= 1

    def test_a_layout_that_is_mixed_in_wholly_and_to_the_end_is_the_layout(self, stable):
        layouts = self.layouts()
        kept = mix(ask(stable, [7, 8], steps=50), layouts, "a photo of a cat", MagicMixSettings(nu=0.0, k_min=0.0))
        easel = Easel(ask(stable))
        again = easel.decode(easel.encode(layouts), [7, 8])
        free = mix(ask(stable, [7, 8], steps=50), layouts, "a photo of a cat", MagicMixSettings(nu=1.0))
        near, far = (np.abs(pixels(each) - pixels(again)).mean() for each in (kept, free))
        assert near < 0.2 * far

    def test_the_layout_fades_as_nu_grows(self, stable):
        layouts = self.layouts()
        ends = [mix(ask(stable, [7, 8]), layouts, "a photo of a cat", MagicMixSettings(nu=nu)) for nu in (0.0, 0.5, 1.0)]
        first, half, last = (pixels(each) for each in ends)
        assert np.abs(half - last).mean() < np.abs(first - last).mean()

    def test_the_codes_step_from_the_unmixed_latent_is_another_method(self, stable):
        layouts = self.layouts()
        paper, code = (
            mix(ask(stable, [7, 8]), layouts, "a photo of a cat", MagicMixSettings(step_from_mixed=each))
            for each in (True, False)
        )
        assert (pixels(paper) != pixels(code)).any()
        same = [
            mix(ask(stable, [7, 8]), layouts, "a photo of a cat", MagicMixSettings(nu=1.0, step_from_mixed=each))
            for each in (True, False)
        ]
        assert np.array_equal(*map(pixels, same))

    def test_the_heaviest_class_is_the_layout(self, stable):
        three = Distribution(("cat", "dog", "pig"), (0.2, 0.5, 0.3))
        made = baseline("magic-mix").make(stable, None, three, [1], steps=4, size=16)
        assert made.details == {"layout": "dog", "content": "a photo of a pig cat"}


class TestSlerp:
    def noises(self):
        random = torch.Generator().manual_seed(0)
        return torch.randn(2, 1, 4, 8, 8, generator=random).unbind(0)

    @pytest.mark.parametrize("adain", [True, False])
    def test_its_ends_are_the_two_noises(self, adain):
        first, second = self.noises()
        assert torch.allclose(slerp(first, second, 0.0, adain), first, atol=1e-5)
        assert torch.allclose(slerp(first, second, 1.0, adain), second, atol=1e-5)

    def test_half_way_it_is_as_long_as_noise_and_as_near_to_both(self):
        first, second = self.noises()
        second = second / second.norm() * first.norm()
        middle = slerp(first, second, 0.5, adain=False)
        assert middle.norm().item() == pytest.approx(first.norm().item(), rel=1e-5)
        assert ((first + second) / 2).norm() < 0.8 * first.norm(), "the straight mean is shorter: that is why"
        assert (middle * first).sum().item() == pytest.approx((middle * second).sum().item(), rel=1e-3)

    def test_adain_gives_each_channel_the_mixed_statistics(self):
        first, second = self.noises()
        middle = slerp(first, second * 3 + 1, 0.25)
        for statistic in (torch.mean, torch.std):
            wanted = 0.75 * statistic(first, (2, 3)) + 0.25 * statistic(second * 3 + 1, (2, 3))
            assert torch.allclose(statistic(middle, (2, 3)), wanted, atol=1e-5)


def test_the_path_is_retimed_by_what_changes():
    def greys(*levels):
        return [Image.new("RGB", (4, 4), (level,) * 3) for level in levels]

    assert retimed(greys(0, 10, 20, 30, 40), 0.3) == pytest.approx(0.3)
    assert retimed(greys(0, 0, 0, 0, 40), 0.5) == pytest.approx(0.875)
    assert retimed(greys(5, 5, 5), 0.4) == 0.4
    assert [retimed(greys(0, 30, 40), end) for end in (0.0, 1.0)] == [0, 1]


def test_without_peft_diffmorpher_says_how_to_get_it(stable, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else found(name, *more))
    with pytest.raises(DistokError, match="peft, which is not installed; install it with: pip install peft"):
        baseline("diff-morpher").make(stable, None, PAIR, [1], size=16)


def test_a_checkpoint_whose_sampler_spaces_time_as_ddim_backwards_cannot_is_morphed_all_the_same(tmp_path):
    """ "linspace" is what Euler, DPM++ and most others are saved with."""
    pytest.importorskip("peft")
    folder = tiny_families.save("sd1", tmp_path / "sd1")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"timestep_spacing": "linspace"}))
    few = {"fit_steps": 1, "frames": 0}
    backend = open_backend(folder)
    made = baseline("diff-morpher", **few).make(backend, None, PAIR, [4], steps=3, size=16)
    assert made.details == {"from": "cat", "to": "dog", "alpha": [0.5]}
    assert Easel(ask(backend)).scheduler.config.timestep_spacing == "leading"
    for kept in ("leading", "trailing"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"timestep_spacing": kept}))
        assert Easel(ask(open_backend(folder))).scheduler.config.timestep_spacing == kept


@pytest.mark.parametrize("name", ["adaptive-negatives", "cretok", "concept-lab", "sentence"])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"size": 100}, "size is 100, but a multiple of 8 pixels is expected"),
        ({"steps": 0}, "steps is 0, but denoising takes a whole number of at least 1"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan, but a number from 0 to 100"),
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_learned(name, option, said, stable, labeler, monkeypatch):
    method = baseline(name)
    monkeypatch.setattr(method, "learn", lambda ask: pytest.fail("it learned first"))
    with pytest.raises(DistokError, match=said):
        method.make(stable, labeler, PAIR, [1], **option)


PROMPTS = ["a photo of a cat", "a photo of a dog"]


def patches():
    """Two pictures that differ: the tiny pipeline's own are nearly alike."""
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (4, 4, 3), dtype=np.uint8)).resize((16, 16)) for _ in range(2)]


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def morph(request, families):
    pytest.importorskip("peft")
    backend = families(request.param)
    before = fingerprint(backend.pipe)
    made = Morph(ask(backend, steps=10), DiffMorpherSettings(fit_steps=30, learning_rate=1e-2, frames=4), patches(), PROMPTS)
    assert fingerprint(backend.pipe) == before, "the pipeline's own U-Net was changed"
    return made


class TestDiffMorpher:
    @pytest.mark.parametrize("end", [0, 1])
    def test_its_ends_are_each_source_drawn_alone(self, morph, end):
        """There, LoRA, noise, text and attention are those of one source: plain DDIM, nothing mixed."""
        set_lora(morph.unet, morph.loras[end])
        morph.unet.set_attn_processor(dict(morph.plain))
        with torch.no_grad():
            alone = morph.easel.decode(morph._sample(morph.noises[end], morph.texts[end]), [1])
        assert np.abs(pixels(alone) - pixels([morph.at(float(end))])).max() <= 1

    def test_inversion_leads_back_to_the_source_the_finer_the_nearer(self, families):
        pytest.importorskip("peft")
        missed = []
        for steps in (10, 30, 90):
            # Velocity: random weights that predict noise miss by a hundred times the source, whatever the steps.
            one = Morph(ask(families("sd2"), steps=steps), DiffMorpherSettings(fit_steps=0), patches(), PROMPTS)
            clean = one.easel.encode(patches()).split(1)
            with torch.no_grad():
                back = [one._sample(noise, text) for noise, text in zip(one.noises, one.texts, strict=True)]
            missed.append(sum(float((a - b).norm() / b.norm()) for a, b in zip(back, clean, strict=True)))
        assert missed[2] < missed[1] < missed[0]
        assert missed[2] < 0.4 * missed[0]

    def test_the_way_back_is_the_way_there(self, morph, families):
        family = "sd1" if morph.easel.scheduler.config.prediction_type == "epsilon" else "sd2"
        other = Morph(ask(families(family), steps=10), morph.how, patches()[::-1], PROMPTS[::-1])
        assert np.abs(pixels([morph.at(0.3)]) - pixels([other.at(0.7)])).max() <= 1

    def test_half_way_is_neither_end(self, morph):
        picture, alpha = morph.blend(0.5)
        assert 0 < alpha < 1
        for end in (0.0, 1.0):
            assert (pixels([picture]) != pixels([morph.at(end)])).any()

    def test_mixed_attention_acts_where_it_should(self, morph):
        with_it, how = morph.latents_at(0.5), morph.how
        morph.how = replace(how, attention_share=0.0)
        without, morph.how = morph.latents_at(0.5), how
        assert (with_it - without).abs().max() > 1e-4
        assert all(name.startswith("up_blocks") and "attn1" in name for name in morph.kept[0])
        assert all(len(kept) == 10 for kept in morph.kept[0].values())

    def test_a_lora_learns_its_own_picture(self, morph):
        clean = morph.easel.encode(patches())[:1]
        schedule, random = morph.easel.scheduler, torch.Generator().manual_seed(9)
        noise, t = torch.randn(16, *clean.shape[1:], generator=random), torch.randint(1000, (16,), generator=random)
        noisy = schedule.add_noise(clean.expand(16, -1, -1, -1), noise, t)
        kind = schedule.config.prediction_type
        wanted = noise if kind == "epsilon" else schedule.get_velocity(clean.expand(16, -1, -1, -1), noise, t)
        errors = []
        fresh = lora_weights(with_lora(morph.easel.pipe.unet, morph.how.rank, 0))
        morph.unet.set_attn_processor(dict(morph.plain))
        for weights in (fresh, morph.loras[0]):
            set_lora(morph.unet, weights)
            with torch.no_grad():
                found = morph.unet(noisy, t, encoder_hidden_states=morph.texts[0].expand(16, -1, -1)).sample
            errors.append(float((found - wanted).square().mean()))
        assert errors[1] < errors[0]

    def test_a_fresh_lora_changes_nothing_and_the_way_between_two_is_straight(self, morph):
        unet = morph.easel.pipe.unet
        x, t, text = torch.linspace(-2, 2, 256).reshape(1, 4, 8, 8), torch.tensor(10), morph.texts[0]
        with torch.no_grad():
            plain = unet(x, t, encoder_hidden_states=text).sample
            fresh = with_lora(unet, 4, 0)(x, t, encoder_hidden_states=text).sample
        assert torch.allclose(plain, fresh, atol=1e-6)
        first, second = morph.loras
        for name, value in between(first, second, 0.25).items():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6)

    @pytest.mark.parametrize(
        ("mix", "way", "alpha"),
        [
            ({"cat": 0.7, "dog": 0.3}, ("cat", "dog"), 0.3),
            ({"cat": 0.3, "dog": 0.7}, ("dog", "cat"), 0.3),
            ({"cat": 0.15, "dog": 0.6, "pig": 0.25}, ("dog", "pig"), 0.25 / 0.85),
        ],
    )
    def test_it_goes_from_the_heavier_class_by_the_lighters_share_of_both(self, mix, way, alpha, stable):
        pytest.importorskip("peft")
        few, how = {"fit_steps": 1, "frames": 0, "learning_rate": 1e-2}, {"steps": 3, "size": 16, "guidance_scale": 3.0}
        made = baseline("diff-morpher", **few).make(stable, None, Distribution.from_mapping(mix), [4], **how)
        assert made.details == {"from": way[0], "to": way[1], "alpha": [pytest.approx(alpha)]}
        prompts = [f"a photo of a {name}" for name in way]
        given = ask(stable, [4], steps=3)
        morph = Morph(given, DiffMorpherSettings(**few), given.render(prompts, seeds=[4, 4]), prompts)
        assert np.abs(pixels(made.pictures) - pixels([morph.at(alpha)])).max() <= 1
        assert np.abs(pixels(made.pictures) - pixels([morph.at(1 - alpha)])).max() > 1, "the other way round"
