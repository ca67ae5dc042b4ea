"""``distok world check``: how well the ruler, the labeler and the checkpoint of a world do, each beside its bar.

Shapes: b pictures, k species, f features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from distok.backends.prompts import named
from distok.distribution import Distribution, compare
from distok.errors import DistokError
from distok.evaluation.bars import verdict_table, verdicts
from distok.evaluation.cases import STRIDE, Bench, artist_pictures
from distok.evaluation.origin import Origin
from distok.evaluation.pictures import Darkroom, Report, Shot
from distok.evaluation.prompts import look_prompts
from distok.evaluation.readings import Looks, Rulers, parents_within
from distok.evaluation.report import Result, grid
from distok.evaluation.reuse import compare_looks, read_all
from distok.files import check_folder
from distok.scorers.sets import frechet

# what is drawn -> (number of species, equal weights); of each, Sizes.drawn pictures that no training saw
KINDS = {
    "single species": (1, True),
    "pairs, equal": (2, True),
    "pairs, weighted": (2, False),
    "three, equal": (3, True),
    "three, weighted": (3, False),
    "four, equal": (4, True),
    "four, weighted": (4, False),
}
HELD_OUT = "held-out pairs"


@dataclass(frozen=True)
class Sizes:
    """How many pictures a check makes: drawn of each kind of mixture, seeds a prompt, species in each look, tokens reused."""

    drawn: int = 300
    seeds: int = 20
    species: int = 60
    tokens: int = 12
    reused: int = 5


QUICK = Sizes(drawn=60, seeds=2, species=10, tokens=4, reused=1)


def check_world(
    folder: str | Path,
    callback: Report | None = None,
    quick: bool = False,
    world: str | Path | None = None,
    sizes: Sizes | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Measure a world by the artist's own unseen pictures and by the independent evaluator, and write the report to ``folder``.

    Args:
        folder: for ``world.json``, ``.md``, the HTML report and the pictures; a second call renders none again.
        callback: told (stage, done, total).
        quick: a tenth of the pictures: an impression, not a measurement.
        world: the folder of ``pipeline/``, ``labeler/``, ``evaluator.safetensors`` and ``distok.safetensors``; the shipped one
            by default. Parts other than the evaluator may be missing; then their figures are.
        sizes: numbers of pictures, in place of ``quick``.
        command: what the report shall say that it was made with.

    Returns:
        ``figures`` (name → value), ``bars`` (each figure with its bar and whether it passed) and ``missing`` parts.

    Raises:
        DistokError: there is no evaluator, or a part is corrupt.
    """
    out, sizes = Path(folder), sizes or (QUICK if quick else Sizes())
    check_folder(out)
    home = _home(world)
    rulers, missing = _open_rulers(home)
    figures = read_artist(rulers, sizes, callback)
    images: dict[str, bytes] = {}
    if (home / "pipeline").is_dir():
        from distok.backends import open_backend

        darkroom = Darkroom(open_backend(home / "pipeline"), out / "pictures", callback)
        seen, images["world.png"] = check_checkpoint(rulers, darkroom, sizes)
        figures |= seen
        if (home / "distok.safetensors").is_file():
            figures |= check_reuse(rulers, darkroom, home / "distok.safetensors", sizes)
        else:
            missing.append("distok.safetensors")
    else:
        missing.append("pipeline")
    note = f"{sizes.drawn} pictures of each kind of mixture, {sizes.seeds} seeds a prompt, {sizes.species} pictures of each look."
    note += f" Not there, so not measured: {', '.join(missing)}." if missing else ""
    table = verdict_table("The world, each figure beside its bar", figures, note)
    result = {"figures": figures, "bars": verdicts(figures), "missing": missing, "sizes": vars(sizes), "world": str(home)}
    origin = Origin.of("world", {"seeds": sizes.seeds, "sizes": vars(sizes), "world": home}, command)
    Result("world", {key: value for key, value in result.items() if key != "world"}, (table,), (), images).save(out, origin)
    return result | {"tables": (table,)}


def read_artist(rulers: Rulers, sizes: Sizes, callback: Report | None = None) -> dict[str, float]:
    """Evaluator and labeler on the artist's unseen pictures: KLs, top-1 of singles, parents among the largest shares of pairs."""
    from distok.menagerie.splits import splits
    from distok.menagerie.stage_evaluator import unseen

    figures: dict[str, float] = {}
    kinds = {**KINDS, HELD_OUT: (2, True)}
    for done, (kind, (count, equal)) in enumerate(kinds.items()):
        pairs = list(splits().held_out_pairs) if kind == HELD_OUT else None
        asked, pictures = unseen(sizes.drawn, count, equal=equal, pairs=pairs, seed=77_000_001 if pairs else 9_000_001)
        for who in rulers.who:
            figures |= {f"{who}: {key}, {kind}": value for key, value in _artist_figures(rulers, who, asked, pictures).items()}
        if callback:
            callback("the artist's own pictures", done + 1, len(kinds))
    return {key: figures[key] for key in sorted(figures, key=lambda key: key.split(":")[0])}


def _artist_figures(rulers: Rulers, who: str, asked: Sequence[Mapping[str, float]], pictures: np.ndarray) -> dict[str, float]:
    from PIL import Image

    shares = rulers.read(who, [Image.fromarray(picture) for picture in pictures])
    wanted = [Distribution.from_mapping(each).over(rulers.names) for each in asked]
    found = [compare(a, b) for a, b in zip(wanted, shares, strict=True)]
    figures = {"KL": float(np.mean([each["kl"] for each in found]))}
    if len(asked[0]) == 1:
        figures["top-1"] = float(np.mean([each["top1"] for each in found]))
    if len(asked[0]) == 2:
        for top, label in ((2, "both parents the top 2"), (3, "both parents in the top 3")):
            figures[label] = float(np.mean([parents_within(a, b, rulers.names, top) for a, b in zip(asked, shares, strict=True)]))
    return figures


def check_checkpoint(rulers: Rulers, darkroom: Darkroom, sizes: Sizes) -> tuple[dict[str, float], bytes]:
    """The checkpoint by the independent evaluator; prompts are words, no token takes part. Also a page of pictures."""
    singles, figures, row = _check_singles(rulers, darkroom, sizes)
    rows = {"single species": row}
    seen, rows["held-out pairs"], rows["the artist, same pairs"] = _check_pairs(rulers, darkroom, sizes)
    figures |= seen
    seen, row = _check_looks(rulers, darkroom, sizes)
    figures |= seen | _unasked(singles)
    rows["looks"] = row
    return figures, grid({label: each[:16] for label, each in rows.items()}, [""] * 16, cell=96)


def _check_singles(rulers: Rulers, darkroom: Darkroom, sizes: Sizes) -> tuple[Looks, dict[str, float], list]:
    shots = [Shot(named(name), STRIDE * i + j) for i, name in enumerate(rulers.names) for j in range(sizes.seeds)]
    pictures = darkroom.develop("checkpoint: single species", shots)
    looks = rulers.look(pictures)
    right = looks.mix.argmax(1) == np.repeat(np.arange(len(rulers.names)), sizes.seeds)
    side = max(32, pictures[0].width - pictures[0].width % 32)
    first, second = (
        rulers.look([
            picture
            for name in rulers.names
            for picture in artist_pictures(Distribution((name,), (1.0,)), range(start, start + sizes.seeds), side)
        ])
        for start in (10_000, 20_000)
    )  # fmt: skip
    figures = {
        "checkpoint: top-1, single species": float(right.mean()),
        "checkpoint: worst species, share of top-1": float(right.reshape(-1, sizes.seeds).mean(1).min()),
        "checkpoint: share called a creature, single species": float((looks.creature > 0.5).mean()),
        "checkpoint: Fréchet distance to the artist": frechet(looks.features, first.features),
        "the artist: Fréchet distance to himself": frechet(second.features, first.features),
    }
    return looks, figures, pictures[:: sizes.seeds]


def _check_pairs(rulers: Rulers, darkroom: Darkroom, sizes: Sizes) -> tuple[dict[str, float], list, list]:
    from distok.menagerie.splits import splits

    pairs = [pair for pair in splits().evaluation_pairs for _ in range(sizes.seeds)]
    numbers = [STRIDE * i + j for i in range(len(splits().evaluation_pairs)) for j in range(sizes.seeds)]
    # Both orders of the names, in turn.
    shots = [Shot(named(" ".join(pair[:: 1 if n % 2 == 0 else -1])), n) for pair, n in zip(pairs, numbers, strict=True)]
    made = darkroom.develop("checkpoint: held-out pairs", shots)
    own = [artist_pictures(Distribution(pair, (0.5, 0.5)), [n])[0] for pair, n in zip(pairs, numbers, strict=True)]
    figures = {}
    for who, pictures in (("checkpoint", made), ("the artist", own)):
        mix = rulers.look(pictures).mix
        hits = [parents_within(dict.fromkeys(pair, 0.5), row, rulers.names, 3) for pair, row in zip(pairs, mix, strict=True)]
        figures[f"{who}: both parents in the top 3, held-out pairs"] = float(np.mean(hits))
        wanted = [Distribution(pair, (0.5, 0.5)).over(rulers.names) for pair in pairs]
        figures[f"{who}: KL, held-out pairs"] = float(np.mean([compare(a, b)["kl"] for a, b in zip(wanted, mix, strict=True)]))
    return figures, made[:: sizes.seeds], own[:: sizes.seeds]


def _check_looks(rulers: Rulers, darkroom: Darkroom, sizes: Sizes) -> tuple[dict[str, float], list]:
    names = [rulers.names[i] for i in np.linspace(0, len(rulers.names) - 1, sizes.species).round().astype(int)]
    figures, row = {}, []
    for kind, prompts in look_prompts().items():
        for look, prompt in prompts.items():
            # One picture of each species, each with a seed of its own: a look must not hang on one species.
            shots = [Shot(named(name, prompt), 500 + i) for i, name in enumerate(names)]
            pictures = darkroom.develop(f"checkpoint: {look}", shots)
            row.append(pictures[len(row) % len(pictures)])
            figures[f"checkpoint: {kind} {look}"] = recognised(rulers.look(pictures), kind, look)
    return figures, row


def recognised(looks: Looks, kind: str, look: str) -> float:
    """Share of pictures whose style, scene or accessory the evaluator names as ``look``."""
    return float((getattr(looks, kind).argmax(1) == _known(kind).index(look)).mean())


def _unasked(looks: Looks) -> dict[str, float]:
    """How often plain prompts stay plain: a recognised look is worth little where everything wears it."""
    return {
        "checkpoint: share without a scene, none asked": recognised(looks, "scene", "plain"),
        "checkpoint: share without an accessory, none asked": recognised(looks, "accessory", "none"),
    }


def _known(kind: str) -> tuple[str, ...]:
    from distok.menagerie import evaluator

    return {"style": evaluator.STYLE_NAMES, "scene": evaluator.SCENE_NAMES, "accessory": evaluator.ACCESSORY_NAMES}[kind]


def check_reuse(rulers: Rulers, darkroom: Darkroom, model: Path, sizes: Sizes) -> dict[str, float]:
    """The same token across looks, by the evaluator: JS to its plain picture, and between different tokens."""
    from distok.model import DisTok

    bench = Bench(darkroom.backend, DisTok.load(model), Rulers(rulers.names, None, rulers.evaluator), darkroom)
    readings: dict[str, dict[str, Float[np.ndarray, "t k"]]] = read_all(bench, bench.spread(sizes.tokens), sizes.reused)[0]
    found = compare_looks(readings["evaluator"])
    return {
        "reuse: JS of a token to its plain picture, mean over looks": found["same"].mean,
        "reuse: JS of a token to its plain picture, other seeds": found["repeat"].mean,
        "reuse: JS between different tokens": found["different"].mean,
    }


def _home(world: str | Path | None) -> Path:
    if world is not None:
        return Path(world)
    from distok.menagerie import home

    return Path(home())


def _open_rulers(home: Path) -> tuple[Rulers, list[str]]:
    from distok.menagerie import need_artist

    need_artist()
    from distok.menagerie.evaluator import Evaluator
    from distok.menagerie.species import NAMES

    path = home / "evaluator.safetensors"
    if not path.is_file():
        raise DistokError(f"there is no evaluator at {path}; build the world with 'distok world train'")
    labeler = None
    if (home / "labeler").is_dir():
        from distok.labelers import open_labeler

        labeler = open_labeler(home / "labeler")
    return Rulers(NAMES, labeler, Evaluator.load(path)), [] if labeler else ["labeler"]
