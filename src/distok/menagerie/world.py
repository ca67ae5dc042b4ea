"""``distok world train``: the whole text-to-image world from nothing, stage by stage, resumable after a kill at any point.

Stages: evaluator (the instrument, first), vae, text (the text encoder, from captions alone), labeler (an image tower under
that encoder), bank (encoded pictures), denoiser, assemble (an ordinary diffusers pipeline directory). With a person's own
pictures the evaluator is left out: it is an instrument for the artist's zones.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import nn
from transformers import CLIPTokenizer

from distok.checkpoints import check_device
from distok.concept import digest, digest_weights
from distok.errors import DistokError
from distok.files import read_tensors, rewritten, write_text
from distok.menagerie.corpus import Drawn, Source
from distok.menagerie.evaluator import Evaluator
from distok.menagerie.folder import Folder
from distok.menagerie.language import make_clip, make_tokenizer, name_as_published, save_labeler, save_projection, save_tokenizer
from distok.menagerie.latents import build_bank, read_bank
from distok.menagerie.stage import Runner, Schedule
from distok.menagerie.stage_denoiser import DenoiserStage, make_unet
from distok.menagerie.stage_evaluator import EvaluatorStage
from distok.menagerie.stage_labeler import LabelerStage
from distok.menagerie.stage_text import TextReader, TextStage
from distok.menagerie.stage_vae import LATENT_CHANNELS, VaeStage, make_vae, measure_scale
from distok.pretrained import read_json, without_bars

T = TypeVar("T")

STAGES = ("evaluator", "vae", "text", "labeler", "bank", "denoiser", "assemble")
Progress = Callable[[str, int, int | None], None]

EVALUATOR = Schedule(4200, 2e-3, warmup=100, cooldown=0.5, weight_decay=0.02)
VAE = Schedule(7000, 2e-3, warmup=100, cooldown=0.4, weight_decay=0.0)
TEXT = Schedule(1500, 1e-3, warmup=100, cooldown=0.5, weight_decay=0.05)
LABELER = Schedule(2400, 2e-3, warmup=100, cooldown=0.6, weight_decay=0.05)
DENOISER = Schedule(40_000, 1e-3, warmup=300, cooldown=0.2, weight_decay=0.0, ema=0.999)


@dataclass(frozen=True)
class Recipe:
    """How much of each stage. What the shipped checkpoint has had so far is in its model card."""

    evaluator: Schedule = EVALUATOR
    vae: Schedule = VAE
    text: Schedule = TEXT
    labeler: Schedule = LABELER
    denoiser: Schedule = DENOISER
    pictures: int = 65_536
    shard: int = 2048
    batch: int = 64
    steps: int = 12
    guidance_scale: float = 5.0
    seed: int = 7


def _once(stage: Callable[["World"], T]) -> Callable[["World"], T]:
    """What a stage has made stays for the life of a world: a later stage that needs it shall not train it further."""

    @wraps(stage)
    def made(world: "World") -> T:
        if stage.__name__ not in world.made:
            world.made[stage.__name__] = stage(world)
        return cast(T, world.made[stage.__name__])

    return made


@dataclass
class World:
    """One training of a world in ``out``; each stage is a method that resumes, or loads what is finished."""

    out: Path
    recipe: Recipe
    pictures: Path | None = None
    device: str = "cpu"
    callback: Progress | None = None
    seconds: float | None = None
    start: Path | None = None
    chosen: tuple[str, ...] = STAGES
    made: dict[str, Any] = field(default_factory=dict)

    def claim(self) -> None:
        """Say in ``out`` what is trained there, or find that it says so.

        Raises:
            DistokError: the folder holds the training of another world, or the one to go on from is none.
        """
        source = self.source(0)
        told = {
            "pictures": source.identity, "names": list(source.names), "seed": self.recipe.seed, "batch": self.recipe.batch,
            "start": None if self.start is None else _weights_of(self.start),
        }  # fmt: skip
        path = self.out / "state" / "world.json"
        found = {"start": told["start"]}  # an earlier version did not say it: taken to be the same
        found |= read_json(path) if path.is_file() else told
        changed = [name for name in told if found.get(name) != told[name]]
        if changed:
            raise DistokError(
                f"{self.out} holds the training of a world that differs in its {' and '.join(changed)}; give the same, or "
                f"another folder with --out, or delete {self.out / 'state'} and {self.out / 'bank'} to start again"
            )
        write_text(path, json.dumps(told, indent=1))

    def source(self, seed: int) -> Source:
        """The artist's corpus, or the person's own pictures."""
        return Folder(self.pictures, seed=seed) if self.pictures else Drawn(seed)

    @_once
    def evaluator(self) -> Evaluator:
        """The instrument; refused for a person's own pictures, whose zones nobody knows."""
        torch.manual_seed(self.recipe.seed)
        model = Evaluator.load(self.start / "evaluator.safetensors") if self.start else Evaluator()
        model = model.to(memory_format=torch.channels_last)
        model = self._run(EvaluatorStage(model, batch_size=self.recipe.batch), self.recipe.evaluator)
        model.save(self.out / "evaluator.safetensors")
        return model

    @_once
    def vae(self) -> nn.Module:
        """The autoencoder with its measured latent scale."""
        source = self.source(202)
        torch.manual_seed(self.recipe.seed)
        model = self._begin(make_vae(), "pipeline/vae").to(memory_format=torch.channels_last)
        model = self._run(VaeStage(model, source), self.recipe.vae)
        kept = self._taken_over("vae")  # its denoiser knows its latents at its own scale
        model.register_to_config(scaling_factor=self._scale() if kept else measure_scale(model.float(), source))
        return model

    def _scale(self) -> float:
        """The latent scale of the world it goes on from."""
        return float(read_json(self.start / "pipeline" / "vae" / "config.json")["scaling_factor"])

    @_once
    def text(self) -> tuple[nn.Module, CLIPTokenizer]:
        """The text encoder, in a dual encoder whose image tower knows nothing yet, and the tokenizer."""
        source, tokenizer = self.source(707), self.tokenizer()
        torch.manual_seed(self.recipe.seed)
        model = self._begin(make_clip(tokenizer), "labeler")
        if self.start:  # the labeler is in half precision on disk, and a rounded text encoder would be another one
            self._begin(model.text_model, "pipeline/text_encoder")
            projection, _ = read_tensors(self.start / "pipeline" / "text_encoder" / "projection.safetensors")
            model.text_projection.load_state_dict(projection)
        reader = TextReader(model.text_model, model.text_projection)
        self._run(TextStage(reader, tokenizer, source, batch_size=2 * self.recipe.batch), self.recipe.text)
        return model, tokenizer

    def tokenizer(self) -> CLIPTokenizer:
        """That of the world it goes on from, else one whose words are those of the captions."""
        if self.start:
            with without_bars():
                return CLIPTokenizer.from_pretrained(self.start / "pipeline" / "tokenizer")
        return make_tokenizer(tuple(self.source(0).words))

    @_once
    def labeler(self) -> nn.Module:
        """The dual encoder: an image tower trained under the locked text encoder."""
        model, tokenizer = self.text()
        # Whole, as the text tower may have moved alone: the stage asks it for features before it runs.
        return self._run(LabelerStage(model.to(self.device), tokenizer, self.source(404)), self.recipe.labeler)

    def bank(self) -> None:
        """Encode the pictures the denoiser learns from."""
        source = self.source(404)
        report = (lambda done, total: self.callback("bank", done, total)) if self.callback else None
        vae, folder = self.vae(), self.out / "bank"
        told, path = digest_weights(vae.state_dict()), folder / "vae.txt"
        if path.is_file() and path.read_text() != told:  # it has learnt since: its latents mean something else now
            for shard in folder.glob("[0-9]*.npz"):
                shard.unlink()
        write_text(path, told)
        build_bank(
            folder,
            vae,
            self.tokenizer(),
            self.recipe.pictures,
            source,
            report,
            self.recipe.shard,
            self.seconds,
        )

    @_once
    def denoiser(self) -> nn.Module:
        """The U-Net under the frozen text encoder."""
        clip, tokenizer = self.text()
        vae = self.vae()
        empty = np.array(tokenizer([""], padding="max_length").input_ids[0])
        torch.manual_seed(self.recipe.seed)
        unet = self._begin(make_unet(LATENT_CHANNELS, clip.config.text_config.hidden_size), "pipeline/unet")
        if self._taken_over("denoiser"):
            return unet.eval()  # no pictures are needed for that
        stage = DenoiserStage(
            unet.to(self.device, memory_format=torch.channels_last),
            clip.text_model.to(self.device),
            read_bank(self.out / "bank"),
            vae.config.scaling_factor,
            tokenizer.eos_token_id,
            empty,
            batch_size=self.recipe.batch // 2,
        )
        return self._run(stage, self.recipe.denoiser, workers=0)

    def assemble(self) -> Path:
        """Write pipeline, labeler and names as ordinary directories; weights in half precision on disk."""
        from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

        clip, tokenizer = self.text()
        text = clip.text_model
        scheduler = DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1
        )
        pipeline = StableDiffusionPipeline(
            deepcopy(self.vae()).half(), text, tokenizer, deepcopy(self.denoiser()).half(), scheduler, None, None,
            requires_safety_checker=False,
        )  # fmt: skip
        settings = {"steps": self.recipe.steps, "guidance_scale": self.recipe.guidance_scale, "size": 128}
        with rewritten(self.out / "pipeline") as folder, without_bars():
            pipeline.save_pretrained(folder)
            name_as_published(folder / "text_encoder" / "model.safetensors")
            save_tokenizer(tokenizer, folder / "tokenizer")
            save_projection(clip, folder / "text_encoder")
            write_text(folder / "distok.json", json.dumps(settings, indent=1))
        labeler = self.labeler()
        with rewritten(self.out / "labeler") as folder, without_bars():
            save_labeler(labeler, tokenizer, folder, temperature=1 / float(labeler.logit_scale.detach().exp()))
        names = self.source(0).names
        if names:
            write_text(self.out / "names.txt", "\n".join(names) + "\n")
        return self.out / "pipeline"

    def _begin(self, model: nn.Module, part: str) -> nn.Module:
        """The model as made, or with the weights of ``part`` of the world it goes on from.

        Raises:
            DistokError: that part is missing or of other sizes.
        """
        if self.start is None:
            return model
        try:
            with without_bars():
                loaded = type(model).from_pretrained(self.start / part)
            model.load_state_dict(loaded.float().state_dict())
        except (OSError, RuntimeError, ValueError):
            raise DistokError(
                f"{self.start / part} is no part of a world like this one; give a folder that 'distok world train' made"
            ) from None
        return model

    def _taken_over(self, stage: str) -> bool:
        """Whether a stage's network stays as the world gone on from has it: another text encoder would orphan the rest.

        One that was trained here in an earlier call is not taken over.
        """
        trained = (self.out / "state" / f"{stage}.state.safetensors").exists()
        return self.start is not None and stage not in self.chosen and not trained

    def _run(self, stage, schedule: Schedule, workers: int = 1) -> nn.Module:
        if self._taken_over(stage.name):
            return stage.model.eval()
        report = (lambda name, step, total, _: self.callback(name, step, total)) if self.callback else None
        runner = Runner(stage, schedule, self.out / "state", self.device, workers, autocast=True, callback=report)
        return runner.run(self.seconds)


def _weights_of(world: Path) -> str:
    """A digest of all weights that a training can begin with.

    Raises:
        DistokError: there are none.
    """
    found = [path for each in ("evaluator", "labeler/*", "pipeline/*/*") for path in sorted(world.glob(f"{each}.safetensors"))]
    if not found:
        raise DistokError(f"{world} is no world to go on from; give --start a folder that 'distok world train' made")
    return digest(*(digest(path.read_bytes()) for path in found))


def train_world(
    out: str | Path,
    stages: Sequence[str] | None = None,
    pictures: str | Path | None = None,
    device: str = "cpu",
    callback: Progress | None = None,
    recipe: Recipe | None = None,
    minutes: float | None = None,
    start: str | Path | None = None,
) -> Path:
    """Train the stages (all by default) in ``out`` and return it; run again to resume.

    Args:
        out: the run's folder; states lie in ``out/state``.
        stages: some of :data:`STAGES`.
        pictures: a person's own pictures instead of the artist's: see :class:`~distok.menagerie.folder.Folder`.
        device: where the networks train.
        callback: told (stage, done, total).
        recipe: how much of each stage.
        minutes: stop each stage after that long, finished or not, and go on to the next; run again to train it further.
        start: a world whose weights and words the chosen stages begin with, and whose other parts stay as they are.

    Raises:
        DistokError: an unknown stage, pictures that cannot be read, or a folder with the training of another world.
    """
    chosen = tuple(stages or (stage for stage in STAGES if not (pictures and stage == "evaluator")))
    for stage in chosen:
        if stage not in STAGES:
            raise DistokError(f"there is no stage {stage!r}; choose from {', '.join(STAGES)}")
    if pictures and "evaluator" in chosen:
        raise DistokError("the evaluator reads the artist's zones and cannot be trained on other pictures; leave that stage out")
    check_device(device)
    if minutes is not None and not minutes > 0:
        raise DistokError(f"a stage cannot train for {minutes} minutes; give a number above 0, or leave it out")
    world = World(
        Path(out),
        recipe or Recipe(),
        Path(pictures) if pictures else None,
        device,
        callback,
        None if minutes is None else 60 * minutes,
        Path(start) if start else None,
        chosen,
    )
    world.claim()
    for stage in STAGES:
        if stage in chosen:
            getattr(world, stage)()
    return Path(out)
