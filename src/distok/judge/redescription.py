"""The re-description test ("beyond linguistic expression"): picture, caption, picture again; how much of the mix is lost?

Shapes: b pictures, r renders of a caption, k classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from distok import seeds
from distok.distribution import Distribution, js, kl
from distok.errors import DistokError
from distok.judge.asking import Desk, Progress, Question
from distok.judge.cache import Cache
from distok.judge.findings import Findings
from distok.judge.items import SIZE, Item, methods_of, show
from distok.judge.prompts import CAPTION_WANTED, captioning_messages
from distok.judge.scoring import account, gaps, missing
from distok.judge.settings import Endpoint
from distok.judge.validation import NonsenseError

if TYPE_CHECKING:
    from PIL import Image

    from distok.backends import Backend
    from distok.labelers import Labeler

CAPTIONER = "BlipForConditionalGeneration"
_LONGEST = 2000  # characters of a caption
_BATCH = 16  # captions drawn together


class Captioner(Protocol):
    """Whatever puts a picture into words."""

    def caption(self, pictures: "Sequence[Image.Image]") -> list[str | None]:
        """One caption a picture; None where there is none."""


class EndpointCaptioner:
    """A captioner behind an OpenAI-compatible endpoint; its captions are kept in ``cache``.

    After :meth:`caption`, ``account`` says how the asking went, and ``reasons`` why a picture has no caption, one a picture.

    Args:
        endpoint, cache: as for a judge.
        size: longest side shown.
        limit: ask for at most so many captions now; the other pictures have None.
        retry_missing: ask again where no caption came.
        callback: told (done, total).
        seed: of the order in which they are asked.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cache: Cache,
        size: int | None = SIZE,
        limit: int | None = None,
        retry_missing: bool = False,
        callback: Progress | None = None,
        seed: int = 0,
    ) -> None:
        self.endpoint, self.cache, self.size, self.callback, self.seed = endpoint, cache, size, callback, seed
        self.limit, self.retry_missing = limit, retry_missing
        self.account: dict[str, Any] = {"model": endpoint.model, "base_url": endpoint.base_url}
        self.reasons: list[str] = []

    def desk(self, pictures: "Sequence[Image.Image]") -> Desk:
        """The questions about ``pictures`` and what is known of their answers."""
        shown = [show(picture, self.size) for picture in pictures]
        asked = [
            Question(captioning_messages(each), (each,), _caption, 0, {"caption of picture": i}, CAPTION_WANTED)
            for i, each in enumerate(shown)
        ]
        return Desk(asked, self.endpoint, self.cache, self.seed, self.limit, self.retry_missing)

    def caption(self, pictures: "Sequence[Image.Image]") -> list[str | None]:
        """Captions; None where the endpoint gave none of use.

        Raises:
            DistokError: the endpoint cannot be used; what it said so far is kept.
        """
        desk = self.desk(pictures)
        desk.ask(self.callback)
        answers = desk.answers()
        self.account, self.reasons = account(desk), [missing(answer) for answer in answers]
        return [answer.value if answer else None for answer in answers]


class BlipCaptioner:
    """A ``BlipForConditionalGeneration`` checkpoint, in a folder or the local hub cache.

    ``account`` says which; ``reasons`` stays empty, as it gives none.

    Args:
        max_tokens: of a caption.

    Raises:
        DistokError: not such a checkpoint.
    """

    def __init__(self, path_or_id: str | Path, device: str = "cpu", max_tokens: int = 50) -> None:
        import torch

        from distok import pretrained
        from distok.labelers.loading import hash_of, load_image_processor, load_model, load_tokenizer

        folder = pretrained.local_folder(path_or_id, "config.json", "BLIP captioner")
        kind = pretrained.read_json(folder / "config.json").get("architectures") or ["a model without a name"]
        if CAPTIONER not in kind:
            raise DistokError(f"{folder} holds {kind[0]}, but a {CAPTIONER} is expected; give such a folder")
        self.model = load_model(folder, CAPTIONER, device, torch.float32)
        self.images, self.tokenizer = load_image_processor(folder), load_tokenizer(folder)
        room = self.model.config.text_config.max_position_embeddings - 2  # start and end take a place each
        self.max_tokens = min(max_tokens, room)
        self.reasons: list[str] = []
        self.account = {"model": str(path_or_id), "hash": hash_of(self.model, str(self.max_tokens))}

    def caption(self, pictures: "Sequence[Image.Image]") -> list[str | None]:
        """Captions by greedy search; None where the model says nothing."""
        import torch

        said: list[str | None] = []
        for start in range(0, len(pictures), _BATCH):
            images = [picture.convert("RGB") for picture in pictures[start : start + _BATCH]]
            pixels = self.images(images=images, return_tensors="pt")["pixel_values"].to(self.model.device)
            with torch.no_grad():
                ids = self.model.generate(pixel_values=pixels, max_new_tokens=self.max_tokens, do_sample=False, num_beams=1)
            said += [text.strip() or None for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]
        return said


@dataclass(frozen=True)
class Redescription:
    """What one picture lost.

    Attributes:
        caption: what the captioner said; None where it said nothing, and then all after is None.
        first, again: the mix read from the picture, and from the pictures drawn after the caption (their mean).
        kl_first, js_first, kl_again, js_again: KL(asked ‖ read) and Jensen-Shannon divergence, in nats.
    """

    caption: str | None
    first: Distribution
    kl_first: float
    js_first: float
    again: Distribution | None = None
    kl_again: float | None = None
    js_again: float | None = None


def redescribe(
    pictures: "Sequence[Image.Image]",
    asked: Sequence[Distribution],
    captioner: Captioner,
    backend: "Backend",
    labeler: "Labeler",
    names: Sequence[str],
    renders: int = 1,
    seed: int = 0,
    folder: Path | None = None,
) -> list[Redescription]:
    """Caption each picture, draw the caption again, and read the mix from both.

    Args:
        pictures, asked: one mix a picture.
        captioner, backend, labeler: who describes, who draws, who reads.
        names: the classes to read; must hold every class asked for.
        renders: pictures a caption, at least 1.
        seed: of the renders: picture i, render j has a seed of its own.
        folder: keeps what was drawn, so that it is not drawn again.

    Raises:
        DistokError: numbers differ, a class is not among ``names``, or whatever the three raise.
    """
    if len(pictures) != len(asked) or not pictures:
        raise DistokError(f"{len(pictures)} pictures and {len(asked)} mixes; give one mix a picture, and at least one")
    if renders < 1:
        raise DistokError(f"renders is {renders}, but at least 1 is expected; correct it")
    wanted = [mix.over(names) for mix in asked]
    captions = captioner.caption(pictures)
    described = [i for i, caption in enumerate(captions) if caption]
    drawn = _draw(backend, {i: prompt_of(captions[i] or "") for i in described}, renders, seed, folder)
    before = labeler.probabilities(pictures, names).double().cpu().numpy()
    results = []
    for i, (want, caption) in enumerate(zip(wanted, captions, strict=True)):
        first = Distribution.from_vector(names, before[i])
        at_first = kl(want, before[i]), js(want, before[i])
        if i not in drawn:
            results.append(Redescription(None, first, *at_first))
            continue
        read = labeler.probabilities(drawn[i], names).double().cpu().numpy()
        again = Distribution.from_vector(names, read.mean(0))
        kl_again = float(np.mean([kl(want, row) for row in read]))
        js_again = float(np.mean([js(want, row) for row in read]))
        results.append(Redescription(caption, first, *at_first, again, kl_again, js_again))
    return results


def summarise(
    items: Sequence[Item],
    results: Sequence[Redescription],
    seed: int = 0,
    made: Mapping[str, Any] | None = None,
    reasons: Sequence[str] = (),
) -> Findings:
    """KL and JS before and after the words, and the loss (after minus before) with 95 % intervals over cases.

    Args:
        items, results: one result a picture.
        seed: of the bootstrap.
        made: what made the results, for the record; its ``captioner``, a captioner's account, is named under the table.
        reasons: why a picture has no caption, one a picture; not known if empty.
    """
    from distok.evaluation.report import Table
    from distok.evaluation.statistics import bootstrap

    methods: dict[str, Any] = {}
    rows = []
    for method in methods_of(items):
        own = [(item, result) for item, result in zip(items, results, strict=True) if item.method == method]
        entry: dict[str, Any] = {"pictures": len(own), "described": sum(result.again is not None for _, result in own)}
        for name in ("kl", "js"):
            cases: dict[str, list[tuple[float, float]]] = {}
            for item, result in own:
                before, after = getattr(result, f"{name}_first"), getattr(result, f"{name}_again")
                if after is not None:
                    cases.setdefault(item.case, []).append((before, after))
            means = np.array([np.mean(values, axis=0) for values in cases.values()]).reshape(-1, 2)
            for part, values in (("first", means[:, 0]), ("again", means[:, 1]), ("loss", means[:, 1] - means[:, 0])):
                entry[f"{name}_{part}"] = bootstrap(values, seed) if len(values) else None
        methods[method] = entry
        cells = [str(entry[f"{name}_{part}"] or "–") for name in ("kl", "js") for part in ("first", "again", "loss")]
        rows.append((method, f"{entry['described']}/{entry['pictures']}", *cells))
    columns = ("method", "described", "KL", "KL, redrawn", "KL lost", "JS", "JS, redrawn", "JS lost")
    note = "Nats, 0 is a perfect match; means over cases, 95 % interval. Pictures without a caption are left out."
    who = (made or {}).get("captioner", {})
    note += f" {gaps(who, 'Captioner')}" if "answered" in who else f" Captioner: {who['model']}." if who else ""
    records = [_record(*each) for each in zip(items, results, reasons or [""] * len(items), strict=True)]
    figures = {"methods": methods, **(made or {})}
    return Findings(figures, (Table("The mix before and after words", columns, tuple(rows), note),), records)


def prompt_of(caption: str) -> str:
    """A caption as a prompt: brackets, which prompts give a meaning to, are taken out."""
    return " ".join(re.sub(r"[(){}\[\]<>]", " ", caption).split())


def _draw(
    backend: "Backend", prompts: dict[int, str], renders: int, seed: int, folder: Path | None
) -> "dict[int, list[Image.Image]]":
    from distok.evaluation.pictures import Darkroom, Shot

    shots = [Shot(p, seeds.derive(seed, "redescribe", i, j) >> 32) for i, p in prompts.items() for j in range(renders)]
    pictures = Darkroom(backend, folder).develop("redrawing", shots) if shots else []
    return {i: pictures[n * renders : (n + 1) * renders] for n, i in enumerate(prompts)}


def _caption(text: str | None) -> str:
    caption = " ".join((text or "").split())
    if caption != caption.encode(errors="replace").decode():
        raise NonsenseError("the description holds a character that is not one")
    if not prompt_of(caption):
        raise NonsenseError("the description is empty")
    if len(caption) > _LONGEST:
        raise NonsenseError("the description is far too long")
    return caption


def _record(item: Item, result: Redescription, reason: str) -> dict[str, Any]:
    def cell(value: object) -> object:
        return "" if value is None else value

    return {
        "picture": str(item.picture),
        "method": item.method,
        "case": item.case,
        "asked": item.asked,
        "caption": cell(result.caption),
        "read": str(result.first),
        "read_again": cell(result.again and str(result.again)),
        **{name: cell(getattr(result, name)) for name in ("kl_first", "js_first", "kl_again", "js_again")},
        "missing": "" if result.caption else reason or "the captioner said nothing",
    }
