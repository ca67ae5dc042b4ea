"""The CLIP labeler: what it reads, and how broken folders are refused."""

import json
import shutil

import pytest
import torch
from PIL import Image

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers import open_labeler
from distok.menagerie.language import make_clip, make_tokenizer, save_labeler
from tests.tiny import NAMES


@pytest.fixture(scope="module")
def pictures():
    pixels = torch.randint(0, 256, (5, 20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in pixels]


@pytest.fixture
def broken(labeler_folder, tmp_path):
    return shutil.copytree(labeler_folder, tmp_path / "labeler")


def test_it_is_the_softmax_of_the_models_cosines(labeler, pictures):
    inputs = labeler.processor(
        text=[f"a photo of a {name}" for name in NAMES], images=pictures, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        output = labeler.model(**inputs)
    expected = (output.image_embeds @ output.text_embeds.T / 0.05).softmax(-1)
    assert torch.allclose(labeler.probabilities(pictures, NAMES), expected, atol=1e-5)


def test_a_reading_depends_on_its_own_picture_alone(labeler, pictures):
    together = labeler.probabilities(pictures, NAMES)
    alone = torch.cat([labeler.probabilities([picture], NAMES) for picture in pictures])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together.sum(1), torch.ones(5), atol=1e-5)
    assert together.std(0).max() > 0  # pictures are told apart


def test_the_order_of_names_only_orders_the_columns(labeler, pictures):
    turned = labeler.probabilities(pictures, NAMES[::-1])
    assert torch.allclose(labeler.probabilities(pictures, NAMES), turned.flip(1), atol=1e-6)


def test_read_gives_distributions(labeler, pictures):
    read = labeler.read(pictures, NAMES)
    assert [type(one) for one in read] == [Distribution] * 5
    assert read[2].over(NAMES) == pytest.approx(labeler.probabilities(pictures, NAMES)[2].numpy(), abs=1e-6)


def test_other_picture_modes_are_read(labeler):
    assert labeler.probabilities([Image.new("L", (16, 16), 128), Image.new("RGBA", (9, 30))], NAMES).shape == (2, 6)


def test_nothing_to_read_is_refused(labeler, pictures):
    with pytest.raises(DistokError, match="0 pictures and 6 names"):
        labeler.probabilities([], NAMES)
    with pytest.raises(DistokError, match="5 pictures and 0 names"):
        labeler.probabilities(pictures, [])


def test_without_settings_the_models_own_scale_is_used(broken, pictures):
    (broken / "labeler.json").unlink()
    labeler = open_labeler(broken)
    assert labeler.temperature == pytest.approx(1 / labeler.model.logit_scale.exp().item())
    assert labeler.template == "a photo of a {}"


def test_temperature_and_template_change_the_reading_and_the_hash(broken, labeler, pictures):
    (broken / "labeler.json").write_text(json.dumps({"kind": "clip", "template": "the {}", "temperature": 1.0}))
    other = open_labeler(broken)
    assert other.hash != labeler.hash
    assert other.probabilities(pictures, NAMES).amax() < labeler.probabilities(pictures, NAMES).amax()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "blip"}, "a labeler of kind 'blip', which is not supported; supported kinds: clip"),
        ({"temperature": 0}, "temperature is 0; give a finite number above 0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"template": "a photo"}, "template is 'a photo'; write {} where the name goes"),
    ],
)
def test_bad_settings_are_refused(broken, settings, message):
    (broken / "labeler.json").write_text(json.dumps(settings))
    with pytest.raises(DistokError, match=message):
        open_labeler(broken)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: _truncate(folder / "model.safetensors"), "model.safetensors is corrupt or truncated"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights; a .safetensors file is expected"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds neither tokenizer.json nor vocab.json"),
        (lambda folder: (folder / "config.json").unlink(), r"is not a labeler \(it holds no config.json\)"),
        (lambda folder: (folder / "labeler.json").write_text("{"), "labeler.json is not readable JSON"),
        (lambda folder: (folder / "labeler.json").write_text("[]"), "holds list, but a JSON object is expected"),
        (lambda folder: (folder / "processor_config.json").unlink(), "cannot be loaded .*; copy the checkpoint again"),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(broken, damage, message):
    damage(broken)
    with pytest.raises(DistokError, match=message) as caught:
        open_labeler(broken)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DistokError, match="does not exist here and is not in the local hub cache; give the folder of a labeler"):
        open_labeler(tmp_path / "none")


def test_a_dual_encoder_with_a_convolutional_image_tower_is_read(tmp_path, pictures):
    """The Menagerie's own labeler: a ResNet beside the text encoder, in half precision on disk."""
    tokens = make_tokenizer()
    torch.manual_seed(0)
    model = make_clip(tokens, width=48, layers=1, side=32).eval()
    save_labeler(model, tokens, tmp_path / "labeler", temperature=0.05)
    labeler = open_labeler(tmp_path / "labeler")
    inputs = labeler.processor(text=["a photo of a pig", "a photo of a owl"], images=pictures, padding=True, return_tensors="pt")
    with torch.no_grad():
        output = model.half().float()(**inputs)
    expected = (output.image_embeds @ output.text_embeds.T / 0.05).softmax(-1)
    assert torch.allclose(labeler.probabilities(pictures, ("pig", "owl")), expected, atol=1e-5)
    assert expected.std(0).min() > 0
