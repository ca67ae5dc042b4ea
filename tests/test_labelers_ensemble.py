"""Ensembles and calibration: the mean of several labelers, the temperature that fits, and ``distok read`` with any of them."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distok.distribution import Distribution
from distok.errors import DistokError
from distok.labelers import EnsembleLabeler, Labeler, Member, calibrate, open_labeler, save_settings
from distok.labelers.calibration import cross_entropy, fit_temperature
from tests import edge, tiny_labelers
from tests.tiny import NAMES

KINDS = ("clip", "blip-vqa", "siglip")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("ensemble")
    for kind in KINDS:
        tiny_labelers.SAVERS[kind](home / kind)
    return home


@pytest.fixture(scope="module")
def pictures():
    pixels = torch.randint(0, 256, (5, 20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in pixels]


@pytest.fixture(scope="module")
def truth():
    return [Distribution.from_mapping({"cat": 0.7, "pig": 0.3}), *(Distribution.from_mapping({name: 1}) for name in NAMES[1:5])]


def rows(home, **first):
    return [
        {"labeler": "clip", **first},
        {"labeler": "blip-vqa", "weight": 2, "temperature": 0.5},
        {"labeler": str(home / "siglip")},
    ]


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_it_is_the_weighted_mean_of_tempered_readings(home, pictures, mean):
    tiny_labelers.write_settings(home, kind="ensemble", mean=mean, temperature=1.5, members=rows(home, weight=0.5))
    clip, vqa, siglip = (open_labeler(home / kind).probabilities(pictures, NAMES) for kind in KINDS)
    sharp = vqa**2 / (vqa**2).sum(1, keepdim=True)
    if mean == "arithmetic":
        expected = (0.5 * clip + 2 * sharp + siglip) / 3.5
    else:
        expected = clip ** (0.5 / 3.5) * sharp ** (2 / 3.5) * siglip ** (1 / 3.5)
    expected = expected ** (1 / 1.5)
    expected = expected / expected.sum(1, keepdim=True)
    for opened in (open_labeler(home), open_labeler(home / "labeler.json")):
        assert torch.allclose(opened.probabilities(pictures, NAMES), expected, atol=1e-5)
        turned = opened.probabilities(pictures, NAMES[::-1])
        assert torch.allclose(turned.flip(1), expected, atol=1e-5)
        alone = torch.cat([opened.probabilities([picture], NAMES) for picture in pictures])
        assert torch.allclose(alone, expected, atol=1e-4)


def test_paths_with_commas_make_an_ensemble_of_equals(home, pictures):
    listed = open_labeler(f"{home / 'clip'}, {home / 'siglip'}")
    clip, siglip = (open_labeler(home / kind).probabilities(pictures, NAMES) for kind in ("clip", "siglip"))
    assert torch.allclose(listed.probabilities(pictures, NAMES), (clip + siglip) / 2, atol=1e-6)
    geometric = open_labeler(f"{home / 'clip'},{home / 'siglip'}", mean="geometric", temperature=2.0)
    expected = (clip * siglip) ** 0.25
    assert torch.allclose(geometric.probabilities(pictures, NAMES), expected / expected.sum(1, keepdim=True), atol=1e-5)
    assert listed.hash != geometric.hash


def test_a_setting_reaches_the_members_that_have_it(home):
    opened = open_labeler(f"{home / 'clip'},{home / 'blip-vqa'}", question="is it a cat ?", template="the {}")
    clip, vqa = (member.labeler.settings for member in opened.members)
    assert (clip.template, vqa.template, vqa.question) == ("the {}", "the {}", "is it a cat ?")
    with pytest.raises(DistokError, match="no labeler of the ensemble has a setting 'question'; they have temperature, template"):
        open_labeler(f"{home / 'clip'},{home / 'siglip'}", question="what?")


def test_saved_and_opened_again_it_reads_the_same(home, pictures, tmp_path):
    opened = open_labeler(f"{home / 'clip'},{home / 'blip-vqa'}", question="is it a cat ?", temperature=0.7)
    member = Member(opened.members[1].labeler, weight=3.0, temperature=1.2)
    ensemble = EnsembleLabeler([opened.members[0], member], opened.settings)
    path = save_settings(ensemble, tmp_path / "both")
    assert not Path(json.loads(path.read_text())["members"][0]["labeler"]).is_absolute()
    again = open_labeler(tmp_path / "both")
    assert again.hash == ensemble.hash
    before = (home / "clip" / "labeler.json").exists()
    with pytest.raises(
        DistokError, match="clip holds a model, which would be taken for the ensemble; save the ensemble to another"
    ):
        save_settings(ensemble, home / "clip")
    assert (home / "clip" / "labeler.json").exists() == before
    assert torch.equal(again.probabilities(pictures, NAMES), ensemble.probabilities(pictures, NAMES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": []}, "an ensemble of 0 labelers"),
        ({"members": "clip"}, "the ensemble has 'clip' as members; give a list"),
        ({"members": ["clip"]}, "'clip' is no member of an ensemble; give"),
        ({"members": [{"labeler": "clip", "wieght": 2}]}, "has no 'wieght'; it has labeler, weight, temperature, settings"),
        ({"members": [{"labeler": "clip", "weight": -1}]}, "weight in the ensemble is -1; give a finite number above 0"),
        ({"members": [{"labeler": "clip", "temperature": 0}]}, "temperature in the ensemble is 0; give a finite"),
        ({"members": [{"labeler": "clip", "settings": {"question": "?"}}]}, "kind 'clip' has no setting 'question'"),
        ({"members": [{"labeler": "nowhere"}]}, "nowhere does not exist here and is not in the local hub cache"),
        ({"members": [{"labeler": "."}]}, "is an ensemble, which cannot be a member of an ensemble"),
        ({"members": [{"labeler": "clip"}], "mean": "harmonic"}, "mean is 'harmonic'; choose one of arithmetic, geometric"),
        ({"members": [{"labeler": "clip"}], "temperature": -2}, "temperature is -2; give a finite number above 0"),
        ({"members": [{"labeler": "clip"}], "question": "?"}, "kind 'ensemble' has no setting 'question'"),
    ],
)
def test_a_bad_ensemble_is_refused(home, change, message):
    tiny_labelers.write_settings(home, kind="ensemble", **change)
    with pytest.raises(DistokError, match=message) as caught:
        open_labeler(home)
    assert "\n" not in str(caught.value)


def test_nothing_to_read_is_refused(home, pictures):
    opened = open_labeler(f"{home / 'clip'},{home / 'siglip'}")
    with pytest.raises(DistokError, match="0 pictures and 6 names"):
        opened.probabilities([], NAMES)
    with pytest.raises(DistokError, match="an ensemble cannot be a member"):
        EnsembleLabeler([Member(opened)])


@given(factor=st.floats(0.1, 10), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_a_known_temperature_is_found_again(factor, seed):
    """Where truth is p at another temperature, that temperature has the least cross-entropy."""
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    fitted = fit_temperature(logits.softmax(-1), (logits / factor).softmax(-1))
    assert fitted == pytest.approx(factor, rel=1e-2)


@pytest.mark.parametrize("kind", [*KINDS, "both"])
def test_calibrated_no_neighbouring_temperature_fits_better(home, pictures, kind):
    labeler = open_labeler(f"{home / 'clip'},{home / 'siglip'}" if kind == "both" else home / kind)
    truth = [Distribution.from_vector(NAMES, 0.6 * one.over(NAMES) + 0.4 / 6) for one in labeler.read(pictures, NAMES)]
    wanted = torch.tensor([list(one.over(NAMES)) for one in truth], dtype=torch.float64)
    calibrated = calibrate(labeler, pictures, truth, NAMES)
    after = calibrated.probabilities(pictures, NAMES)
    assert cross_entropy(after, wanted) < cross_entropy(labeler.probabilities(pictures, NAMES), wanted)
    for factor in (0.9, 1.1):
        assert cross_entropy(after, wanted) < cross_entropy(calibrated.tempered(factor).probabilities(pictures, NAMES), wanted)
    assert (kind == "both") == isinstance(calibrated, EnsembleLabeler)
    if kind == "both":
        assert all(member.temperature != 1 for member in calibrated.members)


def test_a_labeler_of_ones_own_is_tempered_from_outside(home, pictures, truth):
    best = open_labeler(home / "clip").probabilities(pictures[1:], NAMES).argmax(1)
    truth = [truth[0], *(Distribution.from_mapping({NAMES[i]: 1}) for i in best)]  # right but once: a temperature fits

    class Own(Labeler):
        hash = "own"

        def probabilities(self, pictures, names):
            return open_labeler(home / "clip").probabilities(pictures, names)

    calibrated = calibrate(Own(), pictures, truth, NAMES)
    expected = calibrate(open_labeler(home / "clip"), pictures, truth, NAMES)
    assert torch.allclose(calibrated.probabilities(pictures, NAMES), expected.probabilities(pictures, NAMES), atol=1e-4)
    with pytest.raises(DistokError, match="was not opened from a folder"):
        save_settings(calibrated, home / "own")


def test_calibration_that_cannot_be_done_is_refused(home, pictures, truth):
    labeler = open_labeler(home / "clip")
    with pytest.raises(DistokError, match="5 pictures and 2 truths to calibrate on; give one truth a picture"):
        calibrate(labeler, pictures, truth[:2])
    read = labeler.probabilities(pictures, NAMES).argmax(1)
    right = [Distribution.from_mapping({NAMES[best]: 1}) for best in read]
    with pytest.raises(DistokError, match=r"no temperature between 0.01 and 100.0 fits the readings best .*; calibrate on more"):
        calibrate(labeler, pictures, right, NAMES)


def test_cross_entropy_is_in_nats():
    assert cross_entropy(torch.tensor([[0.25, 0.75]]), torch.tensor([[1.0, 0.0]])) == pytest.approx(math.log(4))


@pytest.fixture
def picture(tmp_path, pictures):
    pictures[0].save(tmp_path / "picture.png")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return [tmp_path / "picture.png", "--concepts", tmp_path / "names.txt"]


def test_the_installed_command_reads_with_blip_vqa(home, picture, pictures):
    asked = ["--question", "is it a cat ?", "--template", "a {}", "--temperature", "0.5"]
    words = ["read", *picture, "--labeler", home / "blip-vqa", *asked, "--json"]
    script = Path(sys.executable).with_name("distok")
    done = subprocess.run([script, *map(str, words)], capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")
    labeler = open_labeler(home / "blip-vqa", question="is it a cat ?", template="a {}", temperature=0.5)
    expected = labeler.read(pictures[:1], NAMES)[0].as_dict()
    assert json.loads(done.stdout)["measured"] == pytest.approx(expected, abs=1e-5)


def test_read_takes_several_labelers(home, picture, pictures, capsys, monkeypatch):
    command = edge.CommandLine(capsys, monkeypatch)
    status, out, _ = command("read", *picture, "--labeler", f"{home / 'clip'},{home / 'siglip'}", "--json")
    expected = open_labeler(f"{home / 'clip'},{home / 'siglip'}").read(pictures[:1], NAMES)[0].as_dict()
    assert status == 0
    assert json.loads(out)["measured"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--question", "what?"], "a labeler of kind 'clip' has no setting 'question'; it has temperature, template, reading"),
        (["--template", "photo"], "template is 'photo'; write {} where the name goes"),
        (["--temperature", "-1"], "temperature is -1.0; give a finite number above 0"),
        (["--dtype", "float16"], "on the CPU labelers read in float32"),
    ],
)
def test_read_refuses_in_one_line(home, picture, capsys, monkeypatch, options, message):
    status, out, err = edge.CommandLine(capsys, monkeypatch)("read", *picture, "--labeler", home / "clip", *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err
