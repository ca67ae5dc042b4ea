"""Many measures of some pictures at once: one row a picture, and the measures of the whole set; what cannot be had says why.

Shapes: b pictures, f features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from distok.errors import DistokError
from distok.scorers import KINDS, open_scorer, sets
from distok.scorers.base import Missing, NotFiniteError, Scale, Scorer, ScorerSettings
from distok.scorers.fidelity import MEASURES

if TYPE_CHECKING:
    from PIL import Image

    from distok.labelers import Labeler
    from distok.menagerie.evaluator import Evaluator
    from distok.scorers.features import Features
    from distok.scorers.lpips import Lpips

NOVELTY = ("unnamed", "unseen", "part-novelty")
BY_TEXT = tuple(kind for kind in KINDS if kind != "aesthetic")
BY_MIX = (*MEASURES, "part-faithfulness")  # their prompt is the mix asked for
EACH = (*KINDS, *BY_MIX, *NOVELTY)
WHOLE = (*sets.SCALES, "lpips")
_WITHIN = {
    "vendi": sets.vendi,
    "distance": sets.mean_distance,
    "variance": sets.total_variance,
    "duplicates": sets.duplicates,
}
_BETWEEN = {"frechet": sets.frechet, "kid": sets.kernel_distance}
WITH_REFERENCE = ("unseen", "frechet", "kid")
METRICS = (*EACH, *WHOLE)


@dataclass(frozen=True)
class Tools:
    """What the measures are taken with; each part is opened when a measure first needs it, and is the Menagerie's by default.

    Attributes:
        settings: device, dtype and batch of every model.
        labeler: the folder of the model that reads a picture back.
        names: the classes it chooses among; those of the Menagerie by default.
        evaluator: the ruler's file, for the counts of parts.
        features: a CLIP or image model's folder, or an evaluator's file, for the measures of sets.
        reference: pictures of known classes, for "unseen", "frechet" and "kid".
    """

    settings: ScorerSettings = field(default_factory=ScorerSettings)
    labeler: str | Path | None = None
    names: tuple[str, ...] | None = None
    evaluator: str | Path | None = None
    features: str | Path | None = None
    reference: "Sequence[Image.Image]" = ()

    def open(self, metric: str, path: str | Path | None = None) -> Scorer:
        """Open a measure of single pictures.

        Raises:
            DistokError: a part is missing or unusable, or an unknown measure.
        """
        if metric in MEASURES:
            from distok.scorers.fidelity import Fidelity

            return Fidelity(self.reader, self.known, metric, self.settings)
        if metric == "unnamed":
            from distok.scorers.novelty import Unnamed

            return Unnamed(self.reader, self.known, settings=self.settings)
        if metric == "unseen":
            from distok.scorers.novelty import Unseen

            return Unseen(self.extractor, self.reference, self.settings)
        if metric.startswith("part-"):
            from distok.scorers.parts import PartFaithfulness, PartNovelty

            made = PartNovelty if metric == "part-novelty" else PartFaithfulness
            return made(self.ruler, settings=self.settings)
        return open_scorer(metric, path, self.settings)

    @cached_property
    def reader(self) -> "Labeler":
        """The labeler."""
        from distok.checkpoints import shipped
        from distok.labelers import open_labeler

        return open_labeler(self.labeler or shipped("labeler"), self.settings.device)

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The classes."""
        from distok.checkpoints import read_names, shipped

        return self.names or tuple(read_names(shipped("names.txt")))

    @cached_property
    def ruler(self) -> "Evaluator":
        """The independent evaluator."""
        from distok.checkpoints import shipped
        from distok.menagerie.evaluator import Evaluator

        return Evaluator.load(self.evaluator or shipped("evaluator.safetensors")).to(self.settings.device)

    @cached_property
    def extractor(self) -> "Features":
        """The feature extractor."""
        from distok.checkpoints import shipped
        from distok.scorers.features import open_features

        return open_features(self.features or shipped("evaluator.safetensors"), self.settings)

    @cached_property
    def reference_features(self) -> Float[np.ndarray, "b f"]:
        """Of the reference, once."""
        return self.extractor(self.reference)


@dataclass
class Scores:
    """What was measured.

    Attributes:
        each: measure → one float a picture, or why there is none.
        whole: measure → one float for the set, or why there is none.
        scales: how to read each.
        hashes: of the weights and settings behind each measure of single pictures.
    """

    each: dict[str, list[float] | Missing] = field(default_factory=dict)
    whole: dict[str, float | Missing] = field(default_factory=dict)
    scales: dict[str, Scale] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[Missing]:
        """The measures that could not be had."""
        return [value for value in (*self.each.values(), *self.whole.values()) if isinstance(value, Missing)]


def score(
    pictures: "Sequence[Image.Image]",
    metrics: Mapping[str, str | Path | None],
    prompts: str | Sequence[str] | None = None,
    mixes: str | Sequence[str] | None = None,
    tools: Tools | None = None,
) -> Scores:
    """Take several measures of pictures.

    Args:
        pictures: the set.
        metrics: of :data:`METRICS`, each with the folder of its weights, or None.
        prompts: a text for all pictures or one each, for the measures that read a text.
        mixes: the same for those that read a mix, such as "pig=0.55, sheep=0.45".
        tools: what to measure with.

    Raises:
        DistokError: a mistake of the call: an unknown measure, prompts or mixes that do not fit, no reference where one is
            needed, a device that is not there. Weights that are missing or unusable, and numbers that are not finite, are no
            mistake: the result says so.
    """
    from distok.checkpoints import check_device

    tools = tools or Tools()
    check_device(tools.settings.device)
    _check(metrics, tools)
    found = Scores()
    for metric in (name for name in metrics if name in EACH):
        try:
            scorer = tools.open(metric, metrics[metric])
        except DistokError as error:
            found.each[metric] = Missing(metric, str(error))
            continue
        try:
            found.each[metric] = scorer(pictures, mixes if metric in BY_MIX else prompts).tolist()
        except NotFiniteError as error:  # any other is a mistake of the call
            found.each[metric] = Missing(metric, str(error))
            continue
        found.scales[metric], found.hashes[metric] = scorer.scale, scorer.hash
    features = cache(lambda: tools.extractor(pictures))
    for metric in (name for name in metrics if name in WHOLE):
        found.scales[metric] = sets.SCALES.get(metric, Scale(0, np.inf))
        try:
            if metric == "lpips":
                found.whole[metric] = _lpips(metrics[metric], tools).mean_distance(pictures)
            elif metric in WITH_REFERENCE:
                found.whole[metric] = _BETWEEN[metric](features(), tools.reference_features)
            else:
                found.whole[metric] = _WITHIN[metric](features())
        except DistokError as error:
            found.whole[metric] = Missing(metric, str(error))
    return found


def _check(metrics: Mapping[str, Any], tools: Tools) -> None:
    if not metrics:
        raise DistokError(f"no metric was named; choose among {', '.join(METRICS)}")
    strangers = [name for name in metrics if name not in METRICS]
    if strangers:
        raise DistokError(f"unknown metric {strangers[0]!r}; choose among {', '.join(METRICS)}")
    for name, path in metrics.items():
        if path is not None and name not in (*KINDS, "lpips"):
            raise DistokError(f"{name} has no weights of its own, and was given {path}; {_instrument(name)}")
    lonely = [name for name in metrics if name in WITH_REFERENCE and not tools.reference]
    if lonely:
        raise DistokError(f"{lonely[0]} compares with pictures of known classes; give them as the reference (--reference)")


def _instrument(metric: str) -> str:
    """What a measure is taken with instead of weights of its own."""
    if metric in MEASURES or metric == "unnamed":
        return "it reads with the labeler: --labeler"
    if metric.startswith("part-"):
        return "it counts with the Menagerie's evaluator; leave that out"
    return "it looks at features: --features"


def _lpips(path: str | Path | None, tools: Tools) -> "Lpips":
    from distok.scorers.base import MissingWeightsError
    from distok.scorers.lpips import Lpips

    if path is None or not Path(path).is_dir():
        raise MissingWeightsError(
            "LPIPS needs two weight files of its own (docs/scorers.md): lpips=FOLDER; 'distance' measures the same by features"
        )
    return Lpips.load(Path(path), tools.settings)
