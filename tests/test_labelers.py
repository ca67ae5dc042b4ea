"""The CLIP labeler: what it reads, and how broken folders are refused."""

import json
import shutil
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers import open_labeler
from distok.labelers.clip import place_shares
from distok.labelers.loading import is_torchvision
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


@pytest.mark.parametrize(("where", "kind", "told"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)])
def test_pictures_are_prepared_on_a_gpu_where_the_processor_can(labeler_folder, pictures, monkeypatch, where, kind, told):
    labeler, asked = open_labeler(labeler_folder), {}
    expected = labeler.probabilities(pictures, NAMES)
    prepare = labeler.processor.image_processor
    base = type("TorchvisionBackend" if kind else "PilBackend", (), {})

    class Prepare(base):
        def __call__(self, device=None, **options):
            asked["device"] = device
            return prepare(**options)

    class Device(str):  # of a GPU that is not here: pictures and networks stay on the CPU
        type = where

    labeler.processor.image_processor = Prepare()
    monkeypatch.setattr(type(labeler.model), "device", Device("cpu"))
    assert torch.equal(labeler.probabilities(pictures, NAMES), expected)
    assert asked["device"] == ("cpu" if told else None)


def test_only_processors_on_torchvision_are_told_a_device(labeler_folder):
    labeler = open_labeler(labeler_folder)
    assert not is_torchvision(labeler.processor.image_processor) or "torchvision" in sys.modules
    assert all(is_torchvision(type(name, (), {})()) for name in ("TorchvisionBackend", "BaseImageProcessorFast"))


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
    ("change", "message"),
    [
        ({"kind": "blip"}, "a labeler of kind 'blip', which is not supported; supported kinds: clip"),
        ({"temperature": 0}, "temperature is 0; give a finite number above 0"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"reading": "parts"}, "reading is 'parts'; choose one of whole, places"),
        ({"reading": "places"}, "a reading by places needs a ResNet as image tower"),
        ({"template": "a photo"}, "template is 'a photo'; write {} where the name goes"),
    ],
)
def test_bad_settings_are_refused(broken, change, message):
    (broken / "labeler.json").write_text(json.dumps(change))
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
        (
            lambda folder: [file.unlink() for file in folder.glob("*processor_config.json")],
            "cannot be loaded .*; copy the checkpoint again",
        ),
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


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    """The Menagerie's own labeler: a ResNet beside the text encoder, in half precision on disk."""
    folder = tmp_path_factory.mktemp("dual") / "labeler"
    tokens = make_tokenizer()
    torch.manual_seed(0)
    model = make_clip(tokens, width=48, layers=1, side=64).eval()
    save_labeler(model, tokens, folder, temperature=0.05)
    return folder, model.half().float()


def embedded(model, inputs):
    """Unit features of texts; the whole forward of transformers 4 hands a ResNet arguments that it does not take."""
    states = model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).pooler_output
    return torch.nn.functional.normalize(model.text_projection(states), dim=-1)


def test_a_dual_encoder_is_read_place_by_place(dual, pictures):
    folder, model = dual
    labeler = open_labeler(folder)
    texts = ["a photo of a pig", "a photo of a owl"]
    inputs = labeler.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    with torch.no_grad():
        names = embedded(model, inputs)
        maps = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        expected = torch.zeros(len(pictures), 2)
        for picture, places in enumerate(maps):
            lengths = 0.0
            for row, column in [(row, column) for row in range(2) for column in range(2)]:
                feature = model.visual_projection(places[:, row, column])
                expected[picture] += feature.norm() * (names @ (feature / feature.norm()) / 0.05).softmax(0)
                lengths += feature.norm()
            expected[picture] /= lengths
    assert maps.shape[2:] == (2, 2)
    assert torch.allclose(labeler.probabilities(pictures, ("pig", "owl")), expected, atol=1e-5)
    assert expected.std(0).min() > 0


def test_a_dual_encoder_is_read_whole_where_its_settings_say_so(dual, pictures, tmp_path):
    folder, model = dual
    shutil.copytree(folder, tmp_path / "whole")
    (tmp_path / "whole" / "labeler.json").write_text(json.dumps({"kind": "clip", "temperature": 0.05}))
    labeler = open_labeler(tmp_path / "whole")
    inputs = labeler.processor(text=["a photo of a pig", "a photo of a owl"], images=pictures, padding=True, return_tensors="pt")
    with torch.no_grad():
        maps = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        images = torch.nn.functional.normalize(model.visual_projection(maps.mean((2, 3))), dim=-1)
        names = embedded(model, inputs)
    expected = (images @ names.T / 0.05).softmax(-1)
    assert torch.allclose(labeler.probabilities(pictures, ("pig", "owl")), expected, atol=1e-5)
    assert labeler.hash != open_labeler(folder).hash


@given(seed=st.integers(0, 1000), parts=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_places_that_name_different_classes_share_a_picture(seed, parts):
    """Equal places that each show one of the names exactly give each name its share of the places."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.linalg.qr(torch.randn(8, 4, generator=generator))[0].T
    shown = torch.randint(4, (parts,), generator=generator)
    shares = place_shares(3 * texts[shown][None], texts, 1000.0)
    assert torch.allclose(shares[0], torch.bincount(shown, minlength=4) / parts, atol=1e-5)
    longer = torch.cat([texts[:1], 3 * texts[1:2]])[None]
    assert torch.allclose(place_shares(longer, texts, 1000.0)[0], torch.tensor([0.25, 0.75, 0, 0]), atol=1e-5)
