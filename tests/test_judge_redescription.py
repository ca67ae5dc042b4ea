"""The re-description test: picture, caption, picture again, with the real classes at tiny size and a real endpoint."""

import csv
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from distok import seeds
from distok.backends import open_backend
from distok.concept import digest
from distok.distribution import Distribution, js, kl
from distok.errors import DistokError
from distok.judge.cache import Cache
from distok.judge.items import Item
from distok.judge.redescription import BlipCaptioner, EndpointCaptioner, prompt_of, redescribe, summarise
from distok.judge.settings import Endpoint as Settings
from distok.labelers import open_labeler
from tests import edge, tiny
from tests.judge_endpoint import Endpoint, Response, level

MIXES = [Distribution.parse("cat=0.5, dog=0.5"), Distribution.parse("pig=0.7, snake=0.3")]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *tiny.WORDS)


class Says:
    """A captioner that says what it is told."""

    def __init__(self, *captions: str | None) -> None:
        self.captions = list(captions)

    def caption(self, pictures):
        assert len(pictures) == len(self.captions)
        return self.captions


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory):
    """A tiny BLIP captioner with random weights, as a folder."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip import BlipImageProcessor

    folder = tmp_path_factory.mktemp("tiny") / "blip"
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.5,
    }
    text = {
        **tower, "vocab_size": len(WORDS), "encoder_hidden_size": 32, "max_position_embeddings": 32, "projection_dim": 16,
        "bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vision = {**tower, "image_size": 16, "patch_size": 8}
        model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    tokens = tiny.tokenizer_of_files(BertTokenizer, {"vocab.txt": "\n".join(WORDS)}, model_max_length=32)
    BlipProcessor(image_processor=BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer=tokens).save_pretrained(folder)
    return folder


def render_seed(picture: int, render: int, seed: int = 0) -> int:
    return seeds.derive(seed, "redescribe", picture, render) >> 32


@pytest.fixture(scope="module")
def pictures(backend):
    return backend.render(["a photo of a cat dog", "a photo of a pig"], None, seeds=[render_seed(0, 0), render_seed(1, 0)])


@pytest.fixture(scope="module")
def sharp(pipeline_folder, tmp_path_factory):
    """A tiny pipeline with strong guidance and a sharp labeler: readings of its pictures tell captions and seeds apart."""
    home = tmp_path_factory.mktemp("sharp")
    shutil.copytree(pipeline_folder, home / "pipeline")
    (home / "pipeline" / "distok.json").write_text(json.dumps({"steps": 2, "guidance_scale": 20.0, "size": 16}))
    return open_backend(home / "pipeline"), open_labeler(tiny.save_labeler(home / "labeler", seed=5, temperature=0.005))


def test_every_figure_is_what_the_parts_say(pictures, sharp):
    backend, labeler = sharp
    said = Says("a red cat", "a cute snake")
    found = redescribe(pictures, MIXES, said, backend, labeler, tiny.NAMES, renders=2, seed=5)

    def read(caption, picture, seed=5):
        drawn = [backend.render([caption], None, seeds=[render_seed(picture, j, seed)])[0] for j in range(2)]
        return labeler.probabilities(drawn, tiny.NAMES).double().numpy()

    for i, (mix, caption, result) in enumerate(zip(MIXES, said.captions, found, strict=True)):
        want = mix.over(tiny.NAMES)
        (first,) = labeler.probabilities([pictures[i]], tiny.NAMES).double().numpy()
        again = read(caption, i)
        others = [read(said.captions[1 - i], i), read(caption, 1 - i), read(caption, i, seed=6), again[:1]]
        for measure, before, after in ((kl, result.kl_first, result.kl_again), (js, result.js_first, result.js_again)):
            wanted, *wrong = (sum(measure(want, row) for row in rows) / len(rows) for rows in (again, *others))
            assert min(abs(each - wanted) for each in wrong) > 5e-3, "another caption, seed or number of pictures would do too"
            assert (before, after) == pytest.approx((measure(want, first), wanted), abs=1e-3)
        assert result.caption == caption
        assert result.again.over(tiny.NAMES) == pytest.approx(again.mean(0), abs=1e-3)


def test_words_that_lose_nothing_lose_nothing(pictures, backend, labeler):
    """The prompt that a picture was drawn from, as its caption and with its seed, gives the same picture and the same mix."""
    found = redescribe(pictures, MIXES, Says("a photo of a cat dog", "a photo of a pig"), backend, labeler, tiny.NAMES)
    for result in found:
        assert result.kl_again == pytest.approx(result.kl_first, abs=1e-4)
        assert result.js_again == pytest.approx(result.js_first, abs=1e-5)
        assert result.again.as_dict() == pytest.approx(result.first.as_dict(), abs=1e-4)


def test_a_picture_without_a_caption_is_missing(pictures, backend, labeler, tmp_path):
    found = redescribe(pictures, MIXES, Says(None, "a lion"), backend, labeler, tiny.NAMES)
    assert (found[0].caption, found[0].again, found[0].kl_again, found[0].js_again) == (None, None, None, None)
    assert found[0].kl_first > 0
    items = [Item(tmp_path / f"{i}.png", "ours", str(i), str(mix)) for i, mix in enumerate(MIXES)]
    summary = summarise(items, found)
    entry = summary.figures["methods"]["ours"]
    assert (entry["pictures"], entry["described"]) == (2, 1)
    assert entry["kl_first"].mean == pytest.approx(found[1].kl_first)  # of the described one only: a paired comparison
    assert entry["kl_loss"].mean == pytest.approx(found[1].kl_again - found[1].kl_first)
    nothing = redescribe(pictures, MIXES, Says(None, None), backend, labeler, tiny.NAMES)
    assert summarise(items, nothing).figures["methods"]["ours"]["kl_loss"] is None
    assert "–" in summarise(items, nothing).tables[0].rows[0]


def test_nothing_is_drawn_twice(pictures, backend, labeler, tmp_path, monkeypatch):
    say = Says("a red cat", "a cute snake")
    first = redescribe(pictures, MIXES, say, backend, labeler, tiny.NAMES, folder=tmp_path)
    assert len(list(tmp_path.rglob("*.png"))) == 2

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(type(backend), "render_pixels", refuse)
    again = redescribe(pictures, MIXES, say, backend, labeler, tiny.NAMES, folder=tmp_path)
    assert [r.kl_again for r in again] == pytest.approx([r.kl_again for r in first])


def test_bad_input(pictures, backend, labeler):
    with pytest.raises(DistokError, match="2 pictures and 1 mixes; give one mix a picture"):
        redescribe(pictures, MIXES[:1], Says("a", "b"), backend, labeler, tiny.NAMES)
    with pytest.raises(DistokError, match="renders is 0"):
        redescribe(pictures, MIXES, Says("a", "b"), backend, labeler, tiny.NAMES, renders=0)
    with pytest.raises(DistokError, match="class 'pig' is not among the 2 classes"):
        redescribe(pictures, MIXES, Says("a", "b"), backend, labeler, ("cat", "dog"))


def test_captions_are_plain_prompts():
    assert prompt_of("a (red:1.9)  cat {} with <tcrt_0>\n[big] ears") == "a red:1.9 cat with tcrt_0 big ears"


def test_blip_describes_each_picture_by_itself(blip_folder, pictures):
    captioner = BlipCaptioner(blip_folder, max_tokens=6)
    said = captioner.caption(pictures)
    assert said == [captioner.caption([picture])[0] for picture in pictures]
    assert captioner.caption(pictures[::-1]) == said[::-1]
    for caption in said:
        assert caption is None or set(caption.split()) <= set(WORDS)
    assert any(said)


def test_what_is_no_captioner(labeler_folder, tmp_path):
    with pytest.raises(DistokError, match="holds CLIPModel, but a BlipForConditionalGeneration is expected"):
        BlipCaptioner(labeler_folder)
    with pytest.raises(DistokError, match="does not exist here"):
        BlipCaptioner(tmp_path / "none")


def describe(number, request):
    return Response("a red cat" if level(request.pictures[0]) > 0 else "")


def test_an_endpoint_describes_once(pictures, tmp_path):
    with Endpoint(describe) as server:
        settings = Settings(base_url=server.url, model="captioner", backoff=0.01)
        said = EndpointCaptioner(settings, Cache(tmp_path)).caption([*pictures, pictures[0]])
        assert (said, len(server.requests)) == (["a red cat"] * 3, 2)
        assert EndpointCaptioner(settings, Cache(tmp_path)).caption(pictures) == ["a red cat"] * 2
        assert len(server.requests) == 2
        server.script = lambda number, request: Response("  ")
        empty = EndpointCaptioner(settings, Cache(tmp_path / "2")).caption(pictures[:1])
        assert (empty, len(server.requests)) == ([None], 5)
        assert "Answer with the one-sentence description" in server.requests[-1].text
        server.script = lambda number, request: Response("word " * 1000)
        assert EndpointCaptioner(settings, Cache(tmp_path / "3")).caption(pictures[:1]) == [None]


HALF = "a pig \ud83d"  # of a pair of characters: good JSON, and no text


def test_a_caption_that_is_no_text_is_asked_again(pictures, tmp_path):
    settings = Settings(base_url="http://127.0.0.1:1/v1", model="captioner", backoff=0.01, concurrency=1)

    def captions(server: Endpoint) -> list[str | None]:
        return EndpointCaptioner(replace(settings, base_url=server.url), Cache(tmp_path)).caption(pictures)

    with Endpoint(lambda number, request: Response(HALF if number == 1 else "a red cat")) as server:
        assert captions(server) == ["a red cat"] * 2
        assert len(server.requests) == 3
        said, again = server.requests[1].body["messages"][-2:]
        assert said["content"] == "a pig ?"
        assert "cannot be used: the description holds a character that is not one" in again["content"]
        for path in tmp_path.rglob("*.json"):  # as it was kept before that was refused
            path.write_text(path.read_text().replace("a red cat", json.dumps(HALF)[1:-1]))
        assert captions(server) == ["a red cat"] * 2
        assert len(server.requests) == 5


@pytest.fixture
def gallery(pictures, tmp_path):
    rows = []
    for i, (picture, mix) in enumerate(zip(pictures, MIXES, strict=True)):
        picture.save(tmp_path / f"{i}.png")
        rows.append({"picture": f"{i}.png", "method": "ours", "case": str(i), "asked": str(mix)})
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows))
    (tmp_path / "names.txt").write_text("\n".join(tiny.NAMES))
    return path


@pytest.fixture
def distok_command(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return edge.CommandLine(capsys, monkeypatch)


def test_the_command(gallery, distok_command, pipeline_folder, labeler_folder, blip_folder, tmp_path):
    world = ("--backend", pipeline_folder, "--labeler", labeler_folder, "--concepts", tmp_path / "names.txt")
    with Endpoint(describe) as server:
        ask = ("--base-url", server.url, "--model", "captioner", "--backoff", 0.01)
        status, out, err = distok_command("judge", "redescribe", gallery, "--out", "out", *ask, "--dry-run")
        assert (status, out, len(server.requests)) == (0, "", 0)
        assert "2 to ask now" in err
        status, out, err = distok_command("judge", "redescribe", gallery, "--out", "out", *world, *ask, "--json")
        said = json.loads(out)["methods"]["ours"]
        assert (status, said["described"], len(server.requests)) == (0, 2, 2)
        assert said["kl_loss"]["mean"] == pytest.approx(said["kl_again"]["mean"] - said["kl_first"]["mean"])
        rows = list(csv.DictReader((tmp_path / "out" / "redescribed.csv").open()))
        assert [row["caption"] for row in rows] == ["a red cat"] * 2
        assert sum(float(row["kl_again"]) for row in rows) / 2 == pytest.approx(said["kl_again"]["mean"], rel=1e-4)
        server.script = lambda number, request: Response(status=500)
        status, _, err = distok_command("judge", "redescribe", gallery, "--out", "two", *world, *ask, "--attempts", 2)
        assert status == 2
        assert "0 of 2 answers are kept in two/answers, run the same command again to go on" in err.splitlines()[-1]
    status, out, _ = distok_command("judge", "redescribe", gallery, "--out", "three", *world, "--captioner", blip_folder)
    assert status == 0
    assert "The mix before and after words" in out
    table = gallery.read_text()
    gallery.write_text(table.replace("cat=", "CAT="))
    assert gallery.read_text() != table
    status, out, _ = distok_command("judge", "redescribe", gallery, "--out", "four", *world, "--captioner", blip_folder)
    assert (status, "The mix before and after words" in out) == (0, True), "the spelling of a class does not matter"


def test_what_is_found_names_who_described_and_what_is_missing(
    gallery, distok_command, pipeline_folder, labeler_folder, blip_folder, tmp_path
):
    world = ("--backend", pipeline_folder, "--labeler", labeler_folder, "--concepts", tmp_path / "names.txt")

    def found(*more: object) -> tuple[str, dict, list[str]]:
        status, out, _ = distok_command("judge", "redescribe", gallery, "--out", "out", *world, *more)
        assert status == 0
        rows = csv.DictReader((tmp_path / "out" / "redescribed.csv").open())
        said = json.loads((tmp_path / "out" / "redescribed.json").read_text())
        return " ".join(out.split()), said, sorted(row["missing"] for row in rows)

    with Endpoint(lambda number, request: Response("a red cat" if number == 1 else "()")) as server:
        ask = ("--base-url", server.url, "--model", "describer", "--backoff", 0.01)
        out, said, missing = found(*ask, "--limit", 1)
        assert missing == ["", "not asked yet"]
        assert "1 of 2 answers; 1 not asked yet. Captioner: describer." in out
        out, said, missing = found(*ask)
        assert missing == ["", "no usable answer: the description is empty"]
    assert "1 of 2 answers; 1 without a usable answer, left out. Captioner: describer." in out
    who = said["captioner"]
    assert (who["model"], who["base_url"], who["reasons"]) == ("describer", server.url, {missing[1]: 1})
    assert (who["requests"], who["tokens_in"], who["tokens_out"]) == (4, 400, 80)
    hashes = (open_backend(pipeline_folder).pipeline_hash, open_labeler(labeler_folder).hash, digest(*tiny.NAMES))
    assert (said["pipeline_hash"], said["labeler_hash"], said["names_hash"]) == hashes
    assert (said["renders"], said["seed"]) == (1, 0)
    out, said, _ = found("--captioner", blip_folder)
    assert f"Captioner:{blip_folder}." in out.replace(" ", "")
    assert (said["captioner"]["model"], len(said["captioner"]["hash"])) == (str(blip_folder), len(hashes[1]))


def test_the_command_refuses(gallery, distok_command, tmp_path):
    def last(*words: object) -> str:
        status, _, err = distok_command("judge", "redescribe", gallery, "--out", "out", *words)
        assert status == 2
        return err

    assert "say who is asked: --base-url URL" in last()
    idle = ("--captioner", "x", "--limit", 3, "--model", "m", "--price-in", 1, "--size", 64)
    assert "--captioner describes without an endpoint, and has no use for --limit, --model, --price-in, --size;" in last(*idle)
    ask = ("--base-url", "http://127.0.0.1:1/v1", "--model", "m")
    gallery.write_text(re.sub(r"cat=0.50, dog=0.50", "a cat dog", gallery.read_text()))
    assert "case '0' asks for 'a cat dog'; redescribe needs mixes" in last(*ask)


def test_the_seed_draws_which_captions_a_limit_asks_for(pictures, tmp_path):
    settings = Settings(base_url="http://127.0.0.1:1/v1", model="captioner")
    many = [picture.rotate(angle) for picture in pictures for angle in (0, 90, 180, 270)]
    chosen = {
        tuple(key for key, _ in EndpointCaptioner(settings, Cache(tmp_path), limit=2, seed=seed).desk(many).now)
        for seed in range(4)
    }
    assert len(chosen) > 1
