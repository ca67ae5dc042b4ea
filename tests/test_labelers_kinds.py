"""Every kind of labeler at tiny size: loaded from disk, its numbers against the model's own forward pass."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from distok.errors import DistokError
from distok.labelers import KINDS, open_labeler, save_settings
from tests import tiny_labelers
from tests.tiny import NAMES

ONE_MODEL = tuple(tiny_labelers.SAVERS)
ASKED = ("blip-vqa", "qwen2_5_vl")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("labelers")
    return {kind: save(home / kind) for kind, save in tiny_labelers.SAVERS.items()}


@pytest.fixture(scope="module")
def labelers(folders):
    torch.set_num_threads(1)
    return {kind: open_labeler(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def pictures():
    noise = torch.Generator().manual_seed(0)
    sizes = [(20, 24), (24, 24), (30, 20), (16, 40)]
    return [Image.fromarray(torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=noise).numpy()) for size in sizes]


def parts(folder):
    """Tokenizer and image processor as transformers loads them."""
    return AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)


def test_the_table_names_every_kind_and_class(labelers):
    import transformers

    assert {*ONE_MODEL, "vision-text-dual-encoder", "ensemble"} == set(KINDS)
    for kind, row in KINDS.items():
        assert kind == "ensemble" or hasattr(transformers, row.model_class)
        assert row.settings.of(kind, {}).as_dict().keys() == set(row.settings.names())
    for kind, labeler in labelers.items():
        assert type(labeler) is KINDS[kind].labeler_class()
        assert type(labeler.model).__name__ == KINDS[kind].model_class


@pytest.mark.parametrize("kind", ONE_MODEL)
def test_a_reading_is_a_picture_and_a_set_of_names(labelers, pictures, kind):
    together = labelers[kind].probabilities(pictures, NAMES)
    alone = torch.cat([labelers[kind].probabilities([picture], NAMES) for picture in pictures])
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together.sum(1), torch.ones(4), atol=1e-5)
    assert together.std(0).max() > 1e-2  # pictures are told apart
    turned = labelers[kind].probabilities(pictures, NAMES[::-1])
    assert torch.allclose(together, turned.flip(1), atol=1e-5)
    assert labelers[kind].read(pictures[:1], NAMES)[0].over(NAMES) == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert labelers[kind].probabilities([Image.new("L", (16, 16)), Image.new("RGBA", (9, 30))], NAMES).shape == (2, 6)


@pytest.mark.parametrize("kind", ONE_MODEL)
def test_nothing_to_read_is_refused(labelers, pictures, kind):
    with pytest.raises(DistokError, match="0 pictures and 6 names; give at least one of each"):
        labelers[kind].probabilities([], NAMES)
    with pytest.raises(DistokError, match="4 pictures and 0 names"):
        labelers[kind].probabilities(pictures, [])


@pytest.mark.parametrize("kind", ["blip-vqa", "blip-itm", "qwen2_5_vl"])
def test_how_many_are_scored_together_changes_nothing(labelers, pictures, kind, monkeypatch):
    expected = labelers[kind].scores(pictures, NAMES)
    monkeypatch.setattr("distok.labelers.model.BATCH", 3)
    monkeypatch.setattr("distok.labelers.model.PAIRS", 5)
    monkeypatch.setattr("distok.labelers.qwen.ANSWERS", 4)
    assert torch.allclose(labelers[kind].scores(pictures, NAMES), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "tower"), [("blip-vqa", "vision_model"), ("blip-itm", "vision_model"), ("qwen2_5_vl", "visual")]
)
def test_a_picture_is_encoded_once_for_all_names(labelers, pictures, kind, tower):
    model = labelers[kind].model
    calls = []
    module = getattr(getattr(model, "model", model), tower)
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    labelers[kind].probabilities(pictures[:1], NAMES)
    handle.remove()
    assert len(calls) == 1


def vqa_scores(labeler, folder, pictures, question, answers):
    """-loss · tokens of ``BlipForQuestionAnswering`` itself, and the number of tokens."""
    tokenizer, images = parts(folder)
    asked = tokenizer([question], return_tensors="pt")
    asked["input_ids"][:, 0] = tokenizer.convert_tokens_to_ids("[ENC]")  # as in BLIP's own blip_vqa.py
    scores, counts = torch.zeros(len(pictures), len(answers)), torch.zeros(len(answers))
    for row, picture in enumerate(pictures):
        pixels = images(images=[picture], return_tensors="pt")["pixel_values"]
        for column, answer in enumerate(answers):
            labels = tokenizer([answer], return_tensors="pt")["input_ids"]
            labels[:, 0] = labeler.model.config.text_config.bos_token_id
            output = labeler.model(
                input_ids=asked["input_ids"], attention_mask=asked["attention_mask"], pixel_values=pixels, labels=labels
            )
            counts[column] = labels.shape[1] - 1
            scores[row, column] = -output.loss * counts[column]
    return scores, counts


@torch.no_grad()
def test_blip_vqa_is_the_models_own_loss(labelers, folders, pictures):
    answers = [*NAMES[:4], "red pig", "lion in the snow"]
    expected, counts = vqa_scores(labelers["blip-vqa"], folders["blip-vqa"], pictures, "What animal is in the photo?", answers)
    assert counts.tolist() == [2, 2, 2, 2, 3, 5]
    assert torch.allclose(labelers["blip-vqa"].scores(pictures, answers), expected, atol=1e-4)
    assert torch.allclose(labelers["blip-vqa"].probabilities(pictures, answers), expected.softmax(-1), atol=1e-5)
    mean = open_labeler(folders["blip-vqa"], likelihood="mean", question="is the photo cute ?", template="a {}", temperature=0.5)
    expected, counts = vqa_scores(mean, folders["blip-vqa"], pictures, "is the photo cute ?", [f"a {name}" for name in answers])
    assert torch.allclose(mean.probabilities(pictures, answers), (expected / counts / 0.5).softmax(-1), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("reading", ["match", "cosine"])
def test_blip_matching_is_the_models_own_score(folders, pictures, reading):
    labeler = open_labeler(folders["blip-itm"], reading=reading)
    tokenizer, images = parts(folders["blip-itm"])
    names = [*NAMES, "cute red pet"]
    captions = tokenizer([f"a photo of a {name}" for name in names], padding=True, return_tensors="pt")
    inputs = {"input_ids": captions["input_ids"], "attention_mask": captions["attention_mask"]}
    rows = []
    for picture in pictures:
        pixels = images(images=[picture] * len(names), return_tensors="pt")["pixel_values"]
        score = labeler.model(**inputs, pixel_values=pixels, use_itm_head=reading == "match").itm_score
        rows.append(score.softmax(-1)[:, 1].logit() if reading == "match" else score[0])
    expected = torch.stack(rows)
    assert torch.allclose(labeler.scores(pictures, names), expected, atol=1e-3)
    temperature = 1.0 if reading == "match" else 0.07
    assert torch.allclose(labeler.probabilities(pictures, names), (expected / temperature).softmax(-1), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_is_the_models_own_logits(labelers, folders, pictures, kind):
    tokenizer, images = parts(folders[kind])
    captions = [f"a photo of a {name}" for name in NAMES]
    tokens = tokenizer(captions, padding="max_length", max_length=40, return_tensors="pt")["input_ids"]
    logits = labelers[kind].model(input_ids=tokens, **images(images=pictures, return_tensors="pt")).logits_per_image
    assert torch.allclose(labelers[kind].scores(pictures, NAMES), logits, atol=1e-3)
    assert torch.allclose(labelers[kind].probabilities(pictures, NAMES), logits.softmax(-1), atol=1e-4)
    assert torch.equal(labelers[kind].scores(pictures, ["Cat"]), labelers[kind].scores(pictures, ["cat"]))


@torch.no_grad()
def test_qwen_is_the_models_own_full_forward(folders, pictures):
    """The cached prompt and every name's continuation equal one forward pass of picture, question and name."""
    labeler = open_labeler(folders["qwen2_5_vl"], question="which pet?", template="a {}")
    tokenizer, images = parts(folders["qwen2_5_vl"])
    image_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    scores, counts = torch.zeros(4, 6), torch.zeros(6)
    for row, picture in enumerate(pictures):
        seen = images(images=[picture], return_tensors="pt")
        place = "<|vision_start|>" + "<|image_pad|>" * int(seen["image_grid_thw"].prod() // 4) + "<|vision_end|>"
        prompt = tokenizer(f"<|im_start|>user\n{place}which pet?<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
        for column, name in enumerate(NAMES):
            answer = tokenizer(f"a {name}<|im_end|>")["input_ids"]
            ids = torch.tensor([prompt + answer])
            labels = torch.tensor([[-100] * len(prompt) + answer])
            kinds = {"mm_token_type_ids": (ids == image_id).int()}
            counts[column] = len(answer)
            scores[row, column] = -labeler.model(input_ids=ids, labels=labels, **kinds, **seen).loss * len(answer)
    assert len(set(counts.tolist())) > 1
    assert torch.allclose(labeler.scores(pictures, NAMES), scores, atol=1e-3)
    mean = open_labeler(folders["qwen2_5_vl"], question="which pet?", template="a {}", likelihood="mean", temperature=2.0)
    assert torch.allclose(mean.probabilities(pictures, NAMES), (scores / counts / 2).softmax(-1), atol=1e-4)


@pytest.mark.parametrize("kind", ONE_MODEL)
def test_settings_are_kept_beside_the_weights(folders, pictures, tmp_path, kind):
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    change = {"question": "is the cat red ?"} if kind in ASKED else {"template": "the {}"}
    plain, changed = open_labeler(folder), open_labeler(folder, temperature=0.6, **change)
    assert changed.hash != plain.hash == open_labeler(folder).hash
    assert not torch.allclose(plain.probabilities(pictures, NAMES), changed.probabilities(pictures, NAMES), atol=1e-3)
    with pytest.raises(DistokError, match=r"holds no config.json; the settings of a single labeler go beside its weights"):
        save_settings(changed, tmp_path)
    save_settings(changed, folder)
    assert json.loads((folder / "labeler.json").read_text()).items() >= {"kind": kind, "temperature": 0.6, **change}.items()
    again = open_labeler(folder)
    assert again.hash == changed.hash
    assert torch.allclose(again.probabilities(pictures, NAMES), changed.probabilities(pictures, NAMES), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("clip", {"question": "what?"}, "kind 'clip' has no setting 'question'; it has temperature, template, reading"),
        ("siglip", {"question": "what?"}, "kind 'siglip' has no setting 'question'; it has temperature, template"),
        ("blip-itm", {"likelihood": "sum"}, "kind 'blip-itm' has no setting 'likelihood'"),
        ("blip-itm", {"reading": "places"}, "reading is 'places'; choose one of match, cosine"),
        ("blip-vqa", {"reading": "match"}, "no setting 'reading'; it has temperature, question, template, likelihood"),
        ("blip-vqa", {"question": " "}, "question is ' '; ask one, as in 'What animal is in the photo"),
        ("blip-vqa", {"likelihood": "max"}, "likelihood is 'max'; choose one of sum, mean"),
        ("blip-vqa", {"template": "animal"}, "template is 'animal'; write {} where the name goes, as in '{}'"),
        ("siglip2", {"template": 3}, "template is 3; write {} where the name goes"),
        ("siglip2", {"temperature": None}, "temperature is None; give a finite number above 0"),
        ("qwen2_5_vl", {"temperature": 0}, "temperature is 0; give a finite number above 0"),
        ("qwen2_5_vl", {"temperature": float("nan")}, "temperature is nan; give a finite number above 0"),
        ("qwen2_5_vl", {"temperature": True}, "temperature is True; give a finite number above 0"),
        (
            "blip-vqa",
            {"question": "is it a cat " * 9},
            "'is it a cat is it a cat .*'… is 38 tokens long, but this labeler reads at most 32",
        ),
        ("siglip", {"template": "{}" * 30}, "tokens long, but this labeler reads at most 40; shorten it"),
        ("qwen2_5_vl", {"question": "<|image_pad|>?"}, "2 places for the picture, expected one"),
    ],
)
def test_bad_settings_are_refused(folders, pictures, kind, settings, message):
    with pytest.raises(DistokError, match=message.replace("|", r"\|").replace("{}", r"\{\}")) as caught:
        open_labeler(folders[kind], **settings).probabilities(pictures[:1], NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "message"), [("int8", "choose one of float32, float16"), ("bfloat16", "on the CPU labelers read")]
)
def test_precision_is_for_gpus(folders, dtype, message):
    with pytest.raises(DistokError, match=message):
        open_labeler(folders["siglip"], dtype=dtype)
    assert open_labeler(folders["siglip"], dtype=torch.float32).model.dtype is torch.float32


@pytest.mark.parametrize("kind", ONE_MODEL)
def test_half_precision_reads_nearly_the_same(folders, labelers, pictures, kind):
    """What a GPU would be told; the classes are loaded directly, as open_labeler keeps the CPU at single precision."""
    labeler_class, how = KINDS[kind].labeler_class(), labelers[kind].settings
    half = labeler_class.load(kind, folders[kind], how, "cpu", torch.bfloat16)
    assert half.model.dtype is torch.bfloat16
    read = half.probabilities(pictures, NAMES)
    assert read.dtype is torch.float32
    assert (read - labelers[kind].probabilities(pictures, NAMES)).abs().mean() < 0.05


@pytest.mark.parametrize("kind", [kind for kind in ONE_MODEL if kind != "clip"])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("model.safetensors", "holds no weights; a .safetensors file is expected"),
        ("tokenizer.json", r"holds no tokenizer \(tokenizer.json or vocab.txt or spiece.model or vocab.json with merges.txt\)"),
        ("processor", r"holds no image processor \(preprocessor_config.json or processor_config.json\)"),
    ],
)
def test_a_missing_part_is_named(folders, tmp_path, kind, part, message):
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    for path in folder.glob("*processor_config.json" if part == "processor" else part):
        path.unlink()
    with pytest.raises(DistokError, match=message) as caught:
        open_labeler(folder)
    assert "\n" not in str(caught.value)


def test_other_broken_checkpoints_are_refused(folders, tmp_path):
    pickled = shutil.copytree(folders["siglip"], tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(DistokError, match="holds only pickled weights, which are never read"):
        open_labeler(pickled)
    silent = shutil.copytree(folders["qwen2_5_vl"], tmp_path / "silent")
    (silent / "chat_template.jinja").rename(tmp_path / "template")
    with pytest.raises(DistokError, match="holds no chat template"):
        open_labeler(silent)
    (silent / "chat_template.json").write_text(json.dumps({"chat_template": (tmp_path / "template").read_text()}))
    assert open_labeler(silent).hash == open_labeler(folders["qwen2_5_vl"]).hash
    other = shutil.copytree(folders["blip-itm"], tmp_path / "other")
    tiny_labelers.write_settings(other, kind="blip-vqa")
    with pytest.raises(DistokError, match=r"lacks [0-9]+ weights of a BlipForQuestionAnswering, text_decoder.* among them"):
        open_labeler(other)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"model_type": "git", "architectures": ["GitModel"]}, "GitModel"),
        ({"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}, "BlipForConditionalGeneration"),
        ({"model_type": "blip", "architectures": None}, "blip"),
    ],
)
def test_an_unsupported_kind_is_told_the_supported_ones(folders, tmp_path, change, kind):
    folder = shutil.copytree(folders["blip-vqa"], tmp_path / "blip")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DistokError) as caught:
        open_labeler(folder)
    assert f"of kind '{kind}', which is not supported; supported kinds: {', '.join(KINDS)}" in str(caught.value)
    tiny_labelers.write_settings(folder, kind="blip-vqa")
    assert open_labeler(folder).kind == "blip-vqa"


def test_an_id_that_is_not_cached(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DistokError, match="nobody/blip-vqa does not exist here and is not in the local hub cache"):
        open_labeler("nobody/blip-vqa")


def test_the_page_on_labelers_lists_every_kind_and_setting():
    page = (Path(__file__).parents[1] / "docs" / "labelers.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert rows.keys() == KINDS.keys()
    for kind, row in KINDS.items():
        assert row.model_class in rows[kind]
        for name in row.settings.names():
            assert f"`{name}`" in rows[kind] or "the same |" in rows[kind] or "those of" in rows[kind]
