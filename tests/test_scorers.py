"""Scorers as a user meets them: opening, the one signature, and what is said where weights are missing."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from distok.errors import DistokError
from distok.scorers import KINDS, Missing, MissingWeightsError, NotFiniteError, ScorerSettings, open_scorer, open_scorers
from distok.scorers.aesthetic import Aesthetic
from distok.scorers.base import Scale
from distok.scorers.clip import load_tower, typicality
from distok.scorers.vqa import VqaScore, VqaSettings
from tests import tiny_scorers
from tests.tiny_scorers import PROMPTS, pictures

SAVE = {
    "vqascore": tiny_scorers.save_blip_vqa,
    "clipscore": tiny_scorers.save_clip,
    "pickscore": tiny_scorers.save_clip,
    "hpsv2": tiny_scorers.save_open_clip,
    "imagereward": tiny_scorers.save_image_reward,
    "aesthetic": tiny_scorers.save_aesthetic,
    "qwen": tiny_scorers.save_qwen,
    "llava": tiny_scorers.save_llava,
    "gemma": tiny_scorers.save_gemma,
}


def kind(name):
    return name if name in KINDS else "vqascore"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("scorers")
    return {name: save(home / name) for name, save in SAVE.items()}


@pytest.fixture(scope="module")
def opened(folders):
    return {name: open_scorer(kind(name), folder) for name, folder in folders.items()}


@pytest.mark.parametrize("name", SAVE)
class TestEveryScorer:
    def test_a_score_depends_on_its_own_picture_and_prompt_alone(self, name, opened):
        scorer = opened[name]
        together = scorer(pictures(), PROMPTS)
        alone = torch.cat([scorer([picture], [prompt]) for picture, prompt in zip(pictures(), PROMPTS, strict=True)])
        assert together.shape == (4,)
        assert together.dtype == torch.float32
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
        assert len(set(together.tolist())) == 4

    def test_small_batches_change_nothing(self, name, opened, folders):
        small = open_scorer(kind(name), folders[name], ScorerSettings(batch=3))
        torch.testing.assert_close(small(pictures(), PROMPTS), opened[name](pictures(), PROMPTS), atol=1e-4, rtol=1e-4)

    def test_picture_and_prompt_both_tell(self, name, opened):
        scorer, (first, second, *_) = opened[name], pictures()
        assert scorer([first], PROMPTS[0]) != scorer([second], PROMPTS[0])
        assert (scorer([first], PROMPTS[0]) != scorer([first], PROMPTS[1])) == scorer.needs_prompt

    def test_scores_lie_in_their_range(self, name, opened):
        scores, scale = opened[name](pictures(), PROMPTS), opened[name].scale
        if name != "aesthetic":  # a regression, which can leave it
            assert bool(((scores >= scale.low) & (scores <= scale.high)).all())

    def test_transparent_and_grey_pictures_are_read_as_colour(self, name, opened):
        grey = pictures()[0].convert("L")
        torch.testing.assert_close(opened[name]([grey], "a cat"), opened[name]([grey.convert("RGB")], "a cat"))

    def test_the_hash_tells_weights_apart_and_not_two_readings(self, name, opened, folders, tmp_path):
        again = open_scorer(kind(name), folders[name])
        assert again.hash == opened[name].hash
        assert len(again.hash) == 16
        if name != "aesthetic":
            other = open_scorer(kind(name), SAVE[name](tmp_path / "other", seed=1))
            assert other.hash != again.hash

    def test_half_precision_is_near(self, name, opened, folders):
        half = open_scorer(kind(name), folders[name], ScorerSettings(dtype="float16"))
        exact = opened[name](pictures(), PROMPTS)
        assert half.hash != opened[name].hash
        assert (half(pictures(), PROMPTS) - exact).abs().max() < 0.1 * exact.abs().max()

    def test_no_picture_is_refused(self, name, opened):
        with pytest.raises(DistokError, match=f"{opened[name].name} got no picture; give at least one"):
            opened[name]([], [])

    def test_prompts_that_do_not_fit_are_refused(self, name, opened):
        scorer = opened[name]
        if not scorer.needs_prompt:
            assert scorer(pictures()).shape == (4,)
            return
        with pytest.raises(DistokError, match="got 4 pictures and 2 prompts; give one for all or one each"):
            scorer(pictures(), PROMPTS[:2])
        with pytest.raises(DistokError, match="compares a picture with a prompt; give one"):
            scorer(pictures())
        with pytest.raises(DistokError, match="got the prompt ' '; give a text that is not empty"):
            scorer(pictures(), " ")

    def test_pickled_weights_alone_are_missing_weights(self, name, folders, tmp_path):
        copy = shutil.copytree(folders[name], tmp_path / "copy")
        for path in copy.glob("*.safetensors"):
            path.rename(path.with_suffix(".bin"))
        with pytest.raises(
            MissingWeightsError, match=r"only pickled weights, which are never read; get .* converted to \.safetensors"
        ):
            open_scorer(kind(name), copy)

    def test_truncated_weights_are_named(self, name, folders, tmp_path):
        copy = shutil.copytree(folders[name], tmp_path / "copy")
        for path in copy.glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DistokError, match=r"\.safetensors is (corrupt or truncated|not a readable)"):
            open_scorer(kind(name), copy)

    def test_a_folder_without_tokenizer_does_not_load_an_empty_one(self, name, folders, tmp_path):
        copy = shutil.copytree(folders[name], tmp_path / "copy")
        for path in [*copy.glob("tokenizer*"), *copy.glob("vocab*")]:
            path.unlink()
        with pytest.raises(DistokError, match="holds no"):
            open_scorer(kind(name), copy)


@pytest.mark.parametrize("name", SAVE)
def test_a_score_that_is_no_number_is_refused(name, folders):
    scorer = open_scorer(kind(name), folders[name])
    parts = [*vars(scorer).values(), getattr(getattr(scorer, "tower", None), "model", None)]
    with torch.no_grad():
        for parameter in (p for part in parts if isinstance(part, torch.nn.Module) for p in part.parameters()):
            parameter.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="is not finite; use dtype float32, or copy the weights again"):
        scorer(pictures(), PROMPTS)


class TestOpening:
    def test_weights_that_are_nowhere_are_missing_with_the_remedy(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        for name, source in KINDS.items():
            with pytest.raises(
                MissingWeightsError, match=f"the weights of {name} are not here; get {source.hub_id} with 'hf download"
            ):
                open_scorer(name)
        with pytest.raises(MissingWeightsError, match="the weights of pickscore are not at no/where; get yuvalkirstain"):
            open_scorer("pickscore", "no/where")

    def test_missing_ones_are_reported_and_never_zero(self, folders, tmp_path):
        (tmp_path / "empty").mkdir()
        found = open_scorers({"clipscore": folders["clipscore"], "imagereward": tmp_path / "empty"})
        assert float(found["clipscore"](pictures()[:1], PROMPTS[0])) > 0
        assert isinstance(found["imagereward"], Missing)
        assert str(found["imagereward"]).startswith("missing: ")
        assert "holds no med_config.json, so it is no imagereward; get THUDM/ImageReward" in str(found["imagereward"])

    def test_unknown_kinds_are_a_mistake_and_not_missing(self, folders):
        with pytest.raises(DistokError, match="unknown scorer 'clip'; choose one of vqascore, clipscore, "):
            open_scorer("clip", folders["clipscore"])
        with pytest.raises(DistokError, match="unknown scorer 'clip'"):
            open_scorers({"clip": None})

    def test_devices_and_settings_are_checked(self, folders):
        with pytest.raises(DistokError, match="unknown device 'tpux'"):
            open_scorers({"clipscore": folders["clipscore"]}, ScorerSettings(device="tpux"))
        with pytest.raises(DistokError, match="dtype is 'int8'; choose one of float32, bfloat16, float16"):
            ScorerSettings(dtype="int8")
        with pytest.raises(DistokError, match="batch is 0; give a whole number of at least 1"):
            ScorerSettings(batch=0)

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "x.pt").write_bytes(b"")
        with pytest.raises(DistokError, match="is a file, but the weights of pickscore are a folder; give the folder"):
            open_scorer("pickscore", tmp_path / "x.pt")

    @pytest.mark.parametrize(
        ("name", "folder", "text"),
        [
            ("clipscore", "vqascore", "is a model of type 'blip', but a CLIP model is expected"),
            ("hpsv2", "qwen", "is a model of type 'qwen2_5_vl', but a CLIP model is expected"),
            ("vqascore", "clipscore", "is a model of type 'clip', which answers no question; give BLIP VQA"),
            ("imagereward", "clipscore", "holds no med_config.json, so it is no imagereward"),
            ("aesthetic", "clipscore", "aesthetic.safetensors is not there; convert the published head"),
        ],
    )
    def test_another_class_is_refused(self, name, folder, text, folders):
        with pytest.raises(DistokError, match=text):
            open_scorer(name, folders[folder])

    def test_a_blip_that_captions_answers_no_question(self, tmp_path):
        folder = tiny_scorers.save_blip_vqa(tmp_path / "blip", cls="BlipForConditionalGeneration")
        with pytest.raises(DistokError, match="is a BlipForConditionalGeneration, which answers no question"):
            open_scorer("vqascore", folder)

    def test_a_weight_that_is_not_there_is_no_random_number(self, folders, tmp_path):
        from safetensors.torch import load_file, save_file

        copy = shutil.copytree(folders["pickscore"], tmp_path / "copy")
        tensors = load_file(copy / "model.safetensors")
        del tensors["visual_projection.weight"]
        save_file(tensors, copy / "model.safetensors", {"format": "pt"})
        with pytest.raises(DistokError, match=r"lacks 1 weights of a CLIPModel, visual_projection\.weight"):
            open_scorer("pickscore", copy)

    @pytest.mark.parametrize(
        ("name", "lost"), [("hpsv2", "visual.ln_post.bias"), ("imagereward", "blip.visual_encoder.norm.bias")]
    )
    def test_published_layouts_must_be_whole(self, name, lost, folders, tmp_path):
        from safetensors.torch import load_file, save_file

        copy = shutil.copytree(folders[name], tmp_path / "copy")
        (path,) = copy.glob("*.safetensors")
        tensors = load_file(path)
        del tensors[lost]
        save_file(tensors, path)
        with pytest.raises(DistokError, match="not make a whole"):
            open_scorer(name, copy)

    def test_an_aesthetic_head_of_another_width_is_refused(self, tmp_path):
        from safetensors.torch import save_file

        folder = tiny_scorers.save_clip(tmp_path / "clip")
        save_file(tiny_scorers.aesthetic_head("mlp", width=24), folder / "aesthetic.safetensors")
        with pytest.raises(DistokError, match=r"rates features of width 24, but .* gives 16; use the head of that CLIP model"):
            open_scorer("aesthetic", folder)
        save_file({"bias.extra": torch.zeros(1)}, folder / "aesthetic.safetensors")
        with pytest.raises(DistokError, match="is not LAION's aesthetic head"):
            open_scorer("aesthetic", folder)

    def test_the_shipped_labeler_serves_for_clipscore(self):
        from distok.menagerie import home

        scorer = open_scorer("clipscore", Path(home()) / "labeler")
        blank = Image.new("RGB", (64, 64), "white")
        assert 0 <= float(scorer([blank], "a photo of a pig")) <= 100


class TestSettings:
    def test_the_question_needs_a_place_for_the_prompt(self):
        with pytest.raises(DistokError, match=r"question is 'Is it\?'; write {} where the prompt goes"):
            VqaSettings(question="Is it?")
        with pytest.raises(DistokError, match="answer is empty; give a word such as 'Yes'"):
            VqaSettings(answer=" ")

    def test_question_and_answer_decide_the_score(self, folders, opened):
        asked = open_scorer("vqascore", folders["vqascore"], vqa=VqaSettings(answer="no"))
        assert asked.hash != opened["vqascore"].hash
        assert asked(pictures(), PROMPTS).tolist() != opened["vqascore"](pictures(), PROMPTS).tolist()

    def test_an_answer_the_model_cannot_spell_is_refused(self, folders):
        with pytest.raises(DistokError, match="tokenizer does not know the answer 'Jawohl'; choose another word"):
            open_scorer("vqascore", folders["vqascore"], vqa=VqaSettings(answer="Jawohl"))

    def test_a_chat_model_without_a_template_cannot_be_asked(self, folders, tmp_path):
        copy = shutil.copytree(folders["qwen"], tmp_path / "copy")
        (copy / "chat_template.jinja").unlink()
        with pytest.raises(DistokError, match=r"how to ask it; .* \(Qwen2.5-VL, LLaVA, Gemma 3, …\), copy chat_temp"):
            open_scorer("vqascore", copy)

    def test_scales_say_which_way_is_better(self):
        assert (Scale(0, 1).arrow, Scale(0, 1, higher_is_better=False).arrow) == ("↑", "↓")
        assert (Aesthetic.needs_prompt, VqaScore.needs_prompt) == (False, True)


def test_typicality_falls_with_likeness_to_a_known_kind(folders):
    tower = load_tower(folders["clipscore"], ScorerSettings())
    found = typicality(tower, pictures(), "pet", ["cat", "dog"])
    images, texts = tower.image_features(pictures()), tower.text_features([f"a photo of a {x}" for x in ("pet", "cat", "dog")])
    cosines = (images @ texts.T).detach()
    torch.testing.assert_close(found, 100 * (cosines[:, 0] - torch.maximum(cosines[:, 1], cosines[:, 2])))
    with pytest.raises(DistokError, match="typicality got 4 pictures and 0 kinds"):
        typicality(tower, pictures(), "pet", [])
