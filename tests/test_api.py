from dataclasses import replace

import numpy as np
import pytest
import torch

import distok
from distok.api import Creator
from distok.asking import slug
from distok.backends import open_backend
from distok.checkpoints import check_device, known_names, locate, read_names, shipped
from distok.errors import DistokError
from distok.gallery import save_creation, save_exploration
from distok.selection import candidates
from distok.training import train
from tests import edge, tiny
from tests.tiny import NAMES, run_settings

MIX = "pig=0.55, sheep=0.25, snake=0.2"


@pytest.fixture(scope="module")
def model_file(backend, tmp_path_factory):
    return edge.save_model(tmp_path_factory.mktemp("model") / "distok.safetensors", backend)


@pytest.fixture(scope="module")
def creator(pipeline_folder, model_file, labeler_folder) -> Creator:
    return distok.open(pipeline_folder, model_file, labeler_folder)


def pixels(pictures) -> np.ndarray:
    return np.stack([np.asarray(picture, dtype=np.int16) for picture in pictures])


def test_a_creation_holds_what_was_asked_and_what_came_out(creator):
    creation = creator.create(MIX, "a cute {} in the snow", n=3, seed=5)
    assert creation.asked.as_dict() == pytest.approx({"pig": 0.55, "sheep": 0.25, "snake": 0.2})
    assert creation.seeds == [5, 6, 7] == [recipe.seed for recipe in creation.recipes]
    assert creation.measured.over(tiny.NAMES) == pytest.approx(
        np.mean([reading.over(tiny.NAMES) for reading in creation.readings], axis=0)
    )
    assert creation.kl == distok.kl(creation.asked, creation.measured)
    assert creation.js == distok.js(creation.asked, creation.measured)
    assert creation.recipes[0].steps == 2  # the checkpoint's own


def test_the_token_is_the_models_answer_to_the_weighted_tokens(creator):
    tokens = creator.backend.name_tokens(["pig", "sheep", "snake"])
    with torch.no_grad():
        expected = creator.model(torch.tensor([[0.55, 0.25, 0.2]]) @ tokens)
    concept = creator.concept(MIX)
    torch.testing.assert_close(concept.vectors["text_encoder"], expected)
    assert concept.provenance["backend_hash"] == creator.backend.hash
    assert concept.name == "pig55-sheep25-snake20"


def test_a_picture_depends_on_its_own_seed_not_on_how_many_there_are(creator):
    many = pixels(creator.create(MIX, n=4, seed=10).pictures)
    alone = pixels(creator.create(MIX, n=1, seed=12).pictures)
    assert np.abs(many[2] - alone[0]).max() <= 1
    assert np.abs(many[0] - many[1]).max() > 1


def test_different_mixes_prompts_and_seeds_give_different_pictures(creator):
    base = pixels(creator.create(MIX, n=1, steps=2).pictures)
    for change in ({"mix": "cat"}, {"prompt": "a red {}"}, {"seed": 1}, {"steps": 3}, {"guidance_scale": 9.0}):
        other = pixels(creator.create(**({"mix": MIX, "n": 1, "steps": 2} | change)).pictures)
        assert np.abs(base - other).max() > 0, change


def test_exploring_more_keeps_the_first_ones(creator):
    few, many = creator.explore(2, "laplace", seed=3), creator.explore(5, "laplace", seed=3)
    assert [concept.hash for concept in many[:2]] == [concept.hash for concept in few]
    assert len({concept.hash for concept in many}) == 5
    assert many[0].distribution is None
    assert many[0].provenance["prior"] == "laplace"
    assert creator.explore(1, "normal", seed=3)[0].hash != few[0].hash


def test_a_surprise_of_a_random_mix_is_the_token_of_that_mix(creator):
    few, many = creator.explore(2, "mixture", seed=3), creator.explore(4, "mixture", seed=3)
    assert [concept.hash for concept in many[:2]] == [concept.hash for concept in few]
    assert [concept.name for concept in few] == ["mixture-3-000", "mixture-3-001"]
    for concept in many:
        assert concept.hash == creator.concept(concept.distribution).hash
        assert concept.provenance["prior"] == "mixture"
    assert creator.create(few[0], n=1, steps=1).kl > 0
    with pytest.raises(DistokError, match="unknown prior 'uniform'; choose normal, laplace, cauchy or mixture"):
        creator.explore(1, "uniform")


def test_each_explored_concept_is_drawn_as_if_alone(creator):
    concepts = creator.explore(3)
    together = pixels(creator.render_each(concepts, seed=4))
    alone = pixels(creator.render(concepts[1], n=1, seed=4))
    assert np.abs(together[1] - alone[0]).max() <= 1


def test_a_concept_of_several_vectors_is_rendered_as_a_phrase(creator):
    row = creator.concept(MIX).vectors["text_encoder"]
    two = distok.Concept("two", {"text_encoder": torch.cat([row, -row])})
    one = distok.Concept("one", {"text_encoder": row})
    drawn = pixels(creator.render_each([two, one, two]))
    assert np.abs(drawn[0] - drawn[2]).max() <= 1
    assert np.abs(drawn[0] - drawn[1]).max() > 1


def test_a_recipe_makes_its_picture_again(creator):
    creation = creator.create(MIX, "a red {}", n=1, seed=9, steps=3, guidance_scale=2.5)
    recipe = creation.recipes[0]
    concept = creator.concept_of(recipe)
    again = creator.render(
        concept, recipe.prompt, 1, recipe.seed, steps=recipe.steps, guidance_scale=recipe.guidance_scale, size=recipe.size
    )
    assert concept.hash == recipe.concept_hash
    assert np.array_equal(pixels(again), pixels(creation.pictures))


def test_a_seed_may_be_a_number_of_numpy(creator, tmp_path):
    record = save_creation(creator.create(MIX, n=2, seed=np.int64(3), best_of=2), tmp_path)
    assert distok.read_recipe(record["pictures"][0]).seed == record["seeds"][0] in candidates(3, 2)
    save_exploration(creator, creator.explore(1), tmp_path, "a {}", np.int64(3))
    assert distok.read_recipe(tmp_path / "normal-0-000.png").seed == 3
    with pytest.raises(DistokError, match=r"the seed is 1\.5; use a whole number"):
        creator.create(MIX, seed=1.5)


def test_pictures_that_cannot_be_read_are_there(creator, monkeypatch):
    def read(*_):
        raise DistokError("the answer is no list")

    monkeypatch.setattr(type(creator.labeler), "read", read)
    drawn = creator.create(MIX, n=1, read_back=False)
    assert (len(drawn.pictures), drawn.measured, drawn.kl, drawn.js) == (1, None, None, None)
    for verb in (lambda: creator.measure(drawn), lambda: creator.create(MIX, n=1)):
        with pytest.raises(DistokError, match="the answer is no list"):
            verb()


def test_what_no_tokenizer_takes_is_refused_in_words(creator):
    for asked, message in (
        ({"prompt": "a \udcff {}"}, "the prompt .* holds bytes that are no UTF-8"),
        ({"prompt": "a <tcrt> {}"}, "the prompt .* holds <tcrt>, which is what a concept's place is called inside; leave it out"),
        ({"negative_prompt": "\udcff"}, "the negative prompt .* holds bytes that are no UTF-8; type it again"),
        ({"size": 16_392}, "size is 16392, but a multiple of 8 pixels is expected, 16384 at most"),
        ({"steps": 1001}, "steps is 1001, but this pipeline was trained with 1000; ask for 1000 at most"),
    ):
        with pytest.raises(DistokError, match=message):
            creator.create(MIX, n=1, **asked)


def test_a_recipe_of_another_model_is_refused(creator):
    recipe = creator.create(MIX, n=1).recipes[0]
    changed = distok.Recipe(**(recipe.as_dict() | {"model_hash": "0"}))
    with pytest.raises(DistokError, match="the picture was made with model 0, this one is"):
        creator.concept_of(changed)
    stranger = distok.Recipe(**(recipe.as_dict() | {"fingerprint": "1"}))
    with pytest.raises(DistokError, match=r"drawn by pipeline 1, this one is \w+ with the same text encoder; open that one"):
        creator.concept_of(stranger)
    older = distok.Recipe(**(recipe.as_dict() | {"fingerprint": ""}))
    assert creator.concept_of(older).hash == recipe.concept_hash, "an older version wrote none"
    with pytest.raises(DistokError, match="holds no latent; give the concept file instead"):
        creator.concept_of(distok.Recipe(**(recipe.as_dict() | {"z": None})))
    with pytest.raises(DistokError, match=r"latent has 1 numbers, and the model's \d+; give the concept file"):
        creator.concept_of(distok.Recipe(**(recipe.as_dict() | {"z": [0.5]})))


def test_another_denoiser_is_another_pipeline_though_tokens_fit_it(creator):
    import copy

    family, pipe = type(creator.backend), creator.backend.pipe
    same, other = (family(copy.deepcopy(pipe)) for _ in range(2))
    with torch.no_grad():
        for parameter in other.pipe.unet.parameters():
            parameter.mul_(1.01)
    assert same.fingerprint == family(pipe).fingerprint
    assert other.hash == same.hash
    assert other.fingerprint != same.fingerprint


def test_a_refinement_without_a_labeler_draws_nothing(creator, monkeypatch):
    blind = replace(creator, labeler=None)
    monkeypatch.setattr(type(creator.backend), "render", lambda *_, **__: pytest.fail("it drew"))
    with pytest.raises(DistokError, match="this creator has no labeler; open one with"):
        blind.refine(MIX)


def test_words_that_the_model_never_saw_need_leave(creator):
    with pytest.raises(DistokError, match="unknown class 'red'"):
        creator.concept("red=0.5, pig=0.5")
    creation = creator.create("red=0.5, pig=0.5", n=1, any_words=True)
    assert "red" in creation.measured.names


def test_a_known_class_among_strangers_keeps_its_own_spelling(creator):
    creation = creator.create("red=0.5, PIG=0.5", n=1, any_words=True)
    assert creation.asked.names == creation.concept.distribution.names == ("red", "pig")
    assert creation.measured.names == (*NAMES, "red")
    assert creator.refine("red=0.5, Pig=0.5", rounds=2, pictures=1, any_words=True).distribution.names == ("red", "pig")


def test_pictures_of_a_concept_whose_mix_is_spelled_otherwise_are_measured(creator):
    theirs = replace(creator.concept(MIX), distribution=distok.Distribution.parse("Pig=0.55, SHEEP=0.25, snake=0.2"))
    for best_of in (1, 2):
        creation = creator.create(theirs, n=1, best_of=best_of)
        assert creation.asked.names == ("pig", "sheep", "snake")
        assert creation.kl == distok.kl(creation.asked, creation.measured)


def test_without_a_labeler_nothing_is_measured(pipeline_folder, model_file):
    creator = distok.open(pipeline_folder, model_file)
    creation = creator.create(MIX, n=1)
    assert (creation.readings, creation.measured, creation.kl) == ([], None, None)
    with pytest.raises(DistokError, match="this creator has no labeler"):
        creator.read(creation.pictures)


def test_parts_that_do_not_belong_together_are_refused(creator, pipeline_folder, model_file, tmp_path):
    other = tiny.save_pipeline(tmp_path / "other", seed=1)
    with pytest.raises(DistokError, match="was trained for another text encoder"):
        distok.open(other, model_file)
    with pytest.raises(DistokError, match="a backend needs the DisTok model trained for it; give --model"):
        locate(pipeline_folder)
    concept = distok.Concept("wide", {"text_encoder": torch.ones(1, 768)})
    with pytest.raises(DistokError, match=r"is for text_encoder 768, and .* takes text_encoder 32; open the backend"):
        creator.render(concept)


def test_known_names_come_from_the_model_or_stand_beside_it(model_file, backend, tmp_path):
    assert known_names(model_file) == known_names(model_file.parent) == tiny.NAMES
    bare = tmp_path / "bare.safetensors"
    from distok.model import DisTok, DisTokSettings

    DisTok(DisTokSettings(backend.token_dim)).save(bare)
    concept_file = distok.Concept("x", {"text_encoder": torch.ones(1, 4)}).save(tmp_path / "x.safetensors")
    with pytest.raises(DistokError, match="does not say which classes it knows"):
        known_names(bare)
    with pytest.raises(DistokError, match=r"is not a DisTok model; give a distok\.safetensors file"):
        known_names(concept_file)
    (tmp_path / "names.txt").write_text("# two\npig\n\n guinea pig \n")
    assert known_names(bare) == ("pig", "guinea pig")


def test_name_lists(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("pig\npig\n")
    with pytest.raises(DistokError, match="has class 'pig' twice; remove one of the lines"):
        read_names(path)
    path.write_text("# nothing\n")
    with pytest.raises(DistokError, match="names no class; write one a line"):
        read_names(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DistokError, match="not text"):
        read_names(path)


def test_devices():
    check_device("cpu")
    with pytest.raises(DistokError, match="unknown device 'toaster'; choose cpu or cuda"):
        check_device("toaster")
    for absent in ("cuda:99", "meta"):
        with pytest.raises(DistokError, match=f"device '{absent}' is not here"):
            check_device(absent)


def test_a_part_of_the_menagerie_that_is_not_there_says_how_to_get_it():
    with pytest.raises(
        DistokError, match=r"the Menagerie's dragon is not at .*; reinstall distok, or build it with 'distok world train'"
    ):
        shipped("dragon")


def test_slugs_are_file_names():
    mix = distok.Distribution.from_mapping({"guinea pig": 3, "../x": 1, "ß": 1, "a": 1, "b": 1})
    assert slug(mix) == "guinea_pig43-x14-x14-a14-etc"


def test_the_best_of_several_pictures_is_kept_and_can_be_made_again(creator):
    mix = f"{NAMES[0]}=0.7, {NAMES[1]}=0.3"
    best = creator.create(mix, n=2, seed=4, best_of=3)
    assert [seed in candidates(first, 3) for seed, first in zip(best.seeds, (4, 5), strict=True)] == [True, True]
    for place, first in enumerate((4, 5)):
        tried = [creator.create(mix, n=1, seed=seed).kl for seed in candidates(first, 3)]
        assert distok.kl(best.asked, best.readings[place]) == pytest.approx(min(tried), abs=1e-3)
    again = creator.create(mix, n=1, seed=best.seeds[1])
    assert np.abs(pixels(again.pictures) - pixels(best.pictures[1:])).max() <= 1
    assert [recipe.seed for recipe in best.recipes] == best.seeds
    assert creator.create(mix, n=1, seed=5, best_of=3).seeds == best.seeds[1:], "a picture depends on its own seed alone"


def test_a_refined_concept_is_that_of_the_best_round(creator):
    mix = f"{NAMES[0]}=0.6, {NAMES[1]}=0.3, {NAMES[2]}=0.1"
    steps = []
    refined = creator.refine(mix, rounds=3, pictures=2, seed=7, callback=lambda done, total: steps.append((done, total)))
    plain = creator.concept(mix)
    assert (refined.name, refined.distribution) == (plain.name, plain.distribution), "it is what was asked"
    given = distok.Distribution.parse(refined.provenance["given"])
    assert set(given.names) == set(NAMES[:3])
    assert refined.z == pytest.approx(creator.concept(given).z, abs=1e-2), "given is printed with two digits"
    assert refined.provenance["refined"] == "3 rounds of 2 previews, seed 7"
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    again = creator.refine(mix, rounds=3, pictures=2, seed=7)
    assert again.z == refined.z
    assert creator.refine(mix, rounds=1, pictures=1).z == plain.z, "the first round is what was asked"
    with pytest.raises(DistokError, match="cannot refine by 0 rounds; give a number from 1 to 64"):
        creator.refine(mix, rounds=0)
    with pytest.raises(DistokError, match="steps"):
        creator.refine(mix, rounds=1, steps=0)
    with pytest.raises(DistokError, match="this creator has no labeler"):
        replace(creator, labeler=None).refine(mix)


def test_choosing_needs_something_to_go_by(creator):
    with pytest.raises(DistokError, match="choosing the best of 2 pictures needs a mix to compare them with"):
        creator.create(creator.explore(1)[0], n=1, best_of=2)
    with pytest.raises(DistokError, match="choosing the best of 2 pictures needs a labeler"):
        replace(creator, labeler=None).create(f"{NAMES[0]}=1", n=1, best_of=2)
    with pytest.raises(DistokError, match="cannot choose the best of 0 pictures; give a number from 1 to 64"):
        creator.create(f"{NAMES[0]}=1", n=1, best_of=0)


def test_a_model_of_another_precision_is_told_from_one_of_another_encoder(backend, pipeline_folder, labeler, tmp_path):
    half = open_backend(pipeline_folder, dtype=torch.bfloat16)
    path = train(run_settings(steps=2, estimate_count=0, bank_count=0), half, None, tiny.NAMES, tmp_path)
    with pytest.raises(
        DistokError, match=r"in bfloat16, and in float32 its text encoder has other weights; open it with --dtype b"
    ):
        distok.open(pipeline_folder, path)
    assert distok.open(pipeline_folder, path, dtype="bfloat16").model.settings.token_dim == half.token_dim


def test_a_list_of_names_may_begin_with_the_mark_that_windows_puts_there(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# mine\npig\nowl\n", encoding="utf-8-sig")
    assert read_names(path) == ("pig", "owl")
