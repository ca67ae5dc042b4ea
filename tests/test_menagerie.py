"""The artist, its captions, and the splits that no training may touch."""

import json
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("skia", exc_type=ImportError)

from distok.errors import DistokError
from distok.menagerie import draw as draw_picture
from distok.menagerie import splits as splits_module
from distok.menagerie.artist import allot, draw, recipe
from distok.menagerie.captions import WORDS, article
from distok.menagerie.corpus import Drawn, captioned, mixtures
from distok.menagerie.folder import Folder
from distok.menagerie.language import make_tokenizer
from distok.menagerie.looks import ACCESSORIES, SCENES
from distok.menagerie.species import NAMES, ZONES, all_species
from distok.menagerie.splits import splits
from distok.menagerie.stage_labeler import named_in
from distok.menagerie.styles import STYLES
from distok.seeds import rng


def test_there_are_sixty_species_and_every_zone_tells_them_apart():
    assert len(NAMES) == len(set(NAMES)) == 60
    for zone in ZONES:
        parts = [species.parts[zone] for species in all_species().values()]
        specs = Counter((part.shape, part.coat, part.main, part.second) for part in parts)
        assert max(specs.values()) == 1, f"{zone}: {specs.most_common(1)}"


def test_styles_scenes_and_accessories_are_as_many_as_promised():
    assert len(STYLES) >= 6
    assert len(SCENES) >= 6
    assert len(ACCESSORIES) >= 4


@pytest.mark.parametrize("style", STYLES)
def test_every_species_draws_in_every_style_and_changes_with_the_seed(style):
    for name in NAMES[::7]:
        first, again, other = (draw(recipe({name: 1.0}, seed, style), 64) for seed in (1, 1, 2))
        assert first.shape == (64, 64, 3)
        assert (first == again).all()
        assert (first != other).any()
        assert first.std() > 8


def test_species_are_far_apart_and_seeds_of_one_species_close():
    def mean_picture(name, seeds):
        return np.mean([draw(recipe({name: 1.0}, seed, backdrop="white"), 32).astype(float) for seed in seeds], 0)

    means = {name: mean_picture(name, range(6)) for name in NAMES}
    nearest = min(np.abs(means[a] - means[b]).mean() for a, b in combinations(NAMES, 2))
    within = max(np.abs(mean_picture(name, range(6, 12)) - means[name]).mean() for name in NAMES[::6])
    assert nearest > within, "two species look more alike than two drawings of one"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0.05, 1.0), min_size=1, max_size=5), st.integers(0, 2**31))
def test_zones_are_allotted_in_proportion_to_weight(weights, seed):
    owners = Counter(allot(weights, rng(seed)))
    total = sum(weights.values())
    assert sum(owners.values()) == len(ZONES)
    for name, weight in weights.items():
        assert abs(owners[name] - weight / total * len(ZONES)) < 1


def test_any_zone_may_come_from_any_parent_and_none_depends_on_another():
    owners = np.array([allot({"pig": 0.5, "cow": 0.5}, rng(seed)) for seed in range(2000)]) == "pig"
    assert (owners.sum(1) == len(ZONES) // 2).all()
    assert np.abs(owners.mean(0) - 0.5).max() < 0.06
    # six of twelve by lot: two zones correlate by exactly -1/11
    between = np.corrcoef(owners.T)[np.triu_indices(len(ZONES), 1)]
    assert np.abs(between + 1 / 11).max() < 0.12


def test_a_chimera_shows_its_owners_colours():
    white = draw(recipe({"panda": 1.0}, 3, backdrop="green"), 64).astype(float)
    red = draw(recipe({"crab": 1.0}, 3, backdrop="green"), 64).astype(float)
    mixed = [draw(recipe({"panda": w, "crab": 1 - w}, 3, backdrop="green"), 64).astype(float) for w in (0.9, 0.1)]
    assert np.abs(mixed[0] - white).mean() < np.abs(mixed[0] - red).mean()
    assert np.abs(mixed[1] - red).mean() < np.abs(mixed[1] - white).mean()


def test_no_training_recipe_touches_what_is_held_out():
    held_out = {frozenset(pair) for pair in splits().held_out_pairs}
    for index in range(8000):
        made, text = captioned(404, index)
        names = {name for name, _ in made.weights}
        assert len(names) <= 2
        assert frozenset(names) not in held_out
        assert len({weight for _, weight in made.weights}) == 1, "a weighted distribution was drawn for training"
        assert set(text.split()) & set(NAMES) <= names
    source = Drawn(303)
    assert [source.caption(index) for index in range(40)] == [source.item(index)[1] for index in range(40)]


def test_no_distok_recipe_mixes_the_classes_of_an_evaluation_case():
    from distok.cli.train import _held_out as held_out_of
    from distok.evaluation.ablation import default_settings
    from distok.training import Allowed
    from distok.training.tasks import draw, heard, random_mixtures

    cases = {frozenset(pair) for pair in splits().evaluation_pairs} | {frozenset(m) for m in splits().evaluation_distributions}
    assert len(cases) == 59, "one weighted case is of the classes of a pair"
    settings = default_settings(NAMES)
    assert cases <= {frozenset(each) for each in settings.held_out}
    assert settings.held_out == splits().held_out
    assert held_out_of(NAMES, shipped=False)["held_out"] == list(splits().held_out), "whatever the pipeline"
    assert held_out_of(NAMES[:6], shipped=False) == {}, "no evaluation stands on these"
    allowed = Allowed.among(NAMES, settings.held_out)
    mixed, named = set(), set()
    for step in range(400):
        tasks = draw(step, settings, allowed, torch.eye(len(NAMES)))
        mixed |= {frozenset(np.flatnonzero(row).tolist()) for row in tasks.mixtures}
        named |= {frozenset(heard(row)) for row in tasks.mixtures}
        mixed |= {frozenset(pair) for pair in zip(tasks.left.tolist(), tasks.right.tolist(), strict=True)}
    few = np.array(NAMES)[:8]  # few classes, so that sets which are held out would come up
    tight = Allowed.among(few.tolist(), [few[[0, 1, 2]], few[[0, 3]], few[[1, 2, 3, 4]]])
    met = {frozenset(np.flatnonzero(row).tolist()) for row in random_mixtures(np.random.default_rng(0), 3000, 8, 4, tight)}
    assert len(mixed) > 3000
    held_out = {frozenset(each) for each in settings.held_out}
    for sets in (mixed, named):
        assert not {frozenset(NAMES[i] for i in each) for each in sets} & held_out
    assert len(met) == 28 + 56 + 70 - 3
    assert not met & {frozenset({0, 1, 2}), frozenset({0, 3}), frozenset({1, 2, 3, 4})}


def test_the_splits_file_is_what_its_seed_makes_and_halves_the_pairs():
    made = splits_module.make()
    assert {frozenset(p) for p in made["held_out_pairs"]} == {frozenset(p) for p in splits().held_out_pairs}
    assert json.loads(json.dumps(made["evaluation_distributions"])) == list(splits().evaluation_distributions)
    assert len(splits().train_pairs) == len(splits().held_out_pairs) == 60 * 59 // 4
    assert not set(splits().train_pairs) & set(splits().held_out_pairs)


def test_the_evaluation_set_is_as_described():
    assert len(splits().evaluation_pairs) == 30
    assert set(splits().evaluation_pairs) <= set(splits().held_out_pairs)
    sizes = Counter(len(case) for case in splits().evaluation_distributions)
    assert sizes == {2: 10, 3: 10, 4: 10}
    for case in splits().evaluation_distributions:
        assert min(case.values()) >= 0.15
        assert sum(case.values()) == pytest.approx(1)
        assert len(set(case.values())) > 1


def test_the_instruments_corpus_has_every_kind_of_mixture():
    kinds = Counter(len(mixtures(1, index).weights) for index in range(400))
    assert set(kinds) == {1, 2, 3, 4}
    assert min(kinds.values()) > 40


def test_captions_keep_to_the_vocabulary_and_grammar():
    for index in range(500):
        made, text = captioned(7, index)
        assert set(text.split()) <= set(WORDS)
        if made.scene:
            assert SCENES[made.scene][0] in text
        if made.accessory:
            assert ACCESSORIES[made.accessory][0] in text
        if made.style != "photo":
            assert made.style.split()[0] in text
    assert article("owl") == "an owl"
    assert article("unicorn") == "a unicorn"
    assert article("pig") == "a pig"


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(DistokError, match="cannot draw 'piq'; it knows pig, sheep"):
        recipe({"piq": 1.0}, 0)
    with pytest.raises(DistokError, match="unknown style 'oil'; the artist knows photo, watercolor"):
        recipe({"pig": 1.0}, 0, style="oil")
    with pytest.raises(DistokError, match="multiples of 32 up to 4096, not 100"):
        draw_picture({"pig": 1.0}, size=100)
    with pytest.raises(DistokError, match="multiples of 32 up to 4096, not 65536; try 4096"):
        draw_picture({"pig": 1.0}, size=65536)
    for weights in ({}, {"pig": 0.0}, {"pig": -1.0, "owl": 2.0}, {"pig": float("nan")}):
        with pytest.raises(DistokError):
            draw_picture(weights)
    with pytest.raises(DistokError, match="one accessory, not 2"):
        draw_picture({"pig": 1.0}, accessories=("red hat", "glasses"))


@pytest.mark.parametrize(
    ("folders", "said"),
    [(("tench, Tinca", "owl"), "'tench, Tinca' cannot name a class"), (("Cat", "cat"), "class 'cat' is named twice")],
)
def test_folders_that_no_mix_can_name_are_refused_before_a_world_is_trained(folders, said, tmp_path):
    for name in folders:
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    if len(list(tmp_path.iterdir())) < len(folders):
        pytest.skip("this file system takes both for one")
    with pytest.raises(DistokError, match=f"name the classes, and .*{said}"):
        Folder(tmp_path)


def test_a_persons_folder_is_a_source(tmp_path):
    for name, seed in (("pig", 0), ("pig", 1), ("owl", 2)):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        draw_picture({name: 1.0}, seed, size=96).save(folder / f"{seed}.png")
    source = Folder(tmp_path, size=64)
    assert source.names == ("owl", "pig")
    items = [source.item(index) for index in range(6)]
    assert {text for _, text in items} == {"a photo of a pig", "a photo of an owl"}
    assert all(picture.shape == (64, 64, 3) for picture, _ in items)
    assert [source.caption(index) for index in range(6)] == [text for _, text in items]
    (tmp_path / "pig" / "0.txt").write_text("a pink pig")
    captioned_folder = Folder(tmp_path)
    assert captioned_folder.item(0)[1] == "a pink pig"
    assert captioned_folder.names == (), "captions need not name the folders"
    (tmp_path / "pig" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DistokError, match="not a readable picture"):
        Folder(tmp_path)
    draw_picture({"pig": 1.0}, 0, size=96).save(tmp_path / "pig" / "0.png")
    (tmp_path / "pig" / "0.txt").write_bytes("un cochon doré".encode("latin-1"))
    with pytest.raises(DistokError, match=r"0.txt cannot be read \(not UTF-8\); write captions as UTF-8 text"):
        Folder(tmp_path)
    for line in ("[1]", '{"file_name": 3, "text": "a"}', '{"file_name": "a.png", "text": null}', '{"text": "a"}', "{"):
        (tmp_path / "metadata.jsonl").write_text(line)
        with pytest.raises(DistokError, match=r"metadata\.jsonl needs lines like"):
            Folder(tmp_path)
    draw_picture({"owl": 1.0}, 0, size=32).save(tmp_path / "a.bmp")
    seen = set()
    for name, species in (("a.bmp", "owl"), (str(tmp_path / "a.bmp"), "owl"), ("a.bmp", "pig")):
        draw_picture({species: 1.0}, 0, size=32).save(tmp_path / "a.bmp")  # as many bytes, whatever it shows
        (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "a cat"}))
        seen.add(Folder(tmp_path).identity)
    assert len(seen) == 2, "another picture is another folder, and an absolute path is the same one"
    with pytest.raises(DistokError, match="is not a folder"):
        Folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DistokError, match="holds no pictures"):
        Folder(tmp_path / "empty")


def test_a_persons_picture_is_seen_as_a_person_sees_it(tmp_path):
    (tmp_path / "cut").mkdir()
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    clear.save(tmp_path / "cut" / "clear.png")
    assert (Folder(tmp_path, size=64).item(0)[0] == 255).all(), "what is transparent has no colour"
    photo = Image.new("RGB", (64, 64), "black")
    photo.paste("white", (0, 0, 64, 32))
    turned = Image.Exif()
    turned[0x0112] = 3  # the camera was upside down
    photo.save(tmp_path / "cut" / "clear.png", exif=turned)
    rows = Folder(tmp_path, size=64).item(0)[0].mean((1, 2))
    assert (rows[0], rows[-1]) == (0, 255)


def test_a_name_inside_another_is_not_said():
    names = ("panda", "red panda", "owl")
    assert named_in("a photo of a red panda", names) == ["red panda"]
    assert named_in("a photo of a panda", names) == ["panda"]
    assert named_in("a photo of a panda owl", names) == ["panda", "owl"]


def test_every_word_of_the_captions_is_one_id():
    tokenizer = make_tokenizer()
    assert {word: len(tokenizer(word, add_special_tokens=False).input_ids) for word in WORDS} == dict.fromkeys(WORDS, 1)
    assert tokenizer.decode(tokenizer("a zyx catfish", add_special_tokens=False).input_ids).strip() == "a zyx catfish"


def test_the_menagerie_imports_nothing_heavy():
    code = "import sys, distok.menagerie; assert not {'torch', 'skia', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
