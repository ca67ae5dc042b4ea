"""The training loop: continuous fusion, class distribution estimation and consistency, resumable to the bit on a CPU.

Shapes: n tasks of a step, d token width, w latent width.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from distok import files, seeds
from distok.backends import Backend, fill
from distok.errors import DistokError
from distok.labelers.base import Labeler
from distok.model import DisTok, DisTokSettings
from distok.objectives import consistency_loss, foreseen_loss, fusion_loss, latent_loss
from distok.pool import ConceptPool
from distok.training import checkpoint, estimation, runtime
from distok.training.calibration import resolve
from distok.training.checks import check, check_apart
from distok.training.estimation import Bank
from distok.training.foresight import Foresight
from distok.training.history import History
from distok.training.parallel import Processes
from distok.training.settings import TrainSettings
from distok.training.tasks import Allowed, Tasks, draw, random_mixtures, shown
from distok.training.words import Words, encode

MODEL_FILE = "distok.safetensors"
# Raised with every change of what the same settings make of a run that holds something out. 2: no two concepts are fused that
# together show what is held out.
REVISION = 2
MEASURED = 4096  # random mixtures whose latents give the law that sampling goes through

Progress = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Losses:
    """The objective of a step and its parts, each a mean over its own tasks (0 where there were none)."""

    total: Tensor
    fusion: Tensor
    consistency: Tensor
    latent: Tensor
    foreseen: Tensor


class Trainer:
    """One run. All randomness derives from (settings.seed, step), so its state is the weights, the moments, the pool and
    what foresight has learnt.

    Args:
        settings: the run; thresholds left at None are calibrated on the backend first.
        backend: the frozen pipeline.
        labeler: reads rendered pictures back; may be None where nothing is rendered (``estimate_count`` 0).
        names: the known classes.
        bank: readings collected ahead of time, consumed in order, ``bank_count`` at each estimation, as if just made.

    Raises:
        DistokError: fewer than 2 names, a name twice or one that no mix can say, two names that are one token, a bank of other
            classes or another text encoder, no labeler where one is needed, a bank that nothing uses, foresight without
            readings, or a held-out pair of unknown classes.
    """

    def __init__(
        self, settings: TrainSettings, backend: Backend, labeler: Labeler | None, names: Sequence[str], bank: Bank | None = None
    ) -> None:
        names = tuple(names)
        check(settings, backend, labeler, names, bank)
        self.names, self.backend, self.labeler, self.bank, self.step = names, backend, labeler, bank, 0
        self.history = History()
        self.allowed = Allowed.among(names, settings.held_out)
        self.settings, self.thresholds = resolve(settings, backend, names, self.allowed)
        tokens = backend.name_tokens(names)
        check_apart(names, tokens)
        self.processes = Processes.found(str(tokens.device))
        features = encode(backend, [settings.adaptive_prompt.format(name) for name in names])
        self.pool = ConceptPool(names, tokens, features, settings.tau, settings.pool_size)
        self.model = self._build_model(tokens)
        self.foresight = self._build_foresight()
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()} if settings.ema_decay else {}
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.words = Words(settings, backend, self.pool, self.allowed)

    def run(self, out: Path, callback: Progress | None = None) -> Path:
        """Train to the last step, saving on the way, and write ``distok.safetensors``; resumes what ``out`` holds.

        Beside the checkpoints, ``losses.csv`` tells how the losses went.

        Raises:
            DistokError: ``out`` holds another run, a model without the checkpoints of its run, or nothing that can be read.
        """
        files.check_folder(out)
        if not self.resume(out) and (out / MODEL_FILE).exists():
            raise DistokError(
                f"{out} holds a {MODEL_FILE} and no checkpoint that says of which run, and a new one would write over it; choose "
                "another --out, or move it away"
            )
        while self.step < self.settings.steps:
            rate = self.learning_rate()
            losses = self.advance()
            self.history.add(self.step, losses, pool=len(self.pool), learning_rate=rate)
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                if self.processes.first:
                    self.save(out)
                self.processes.wait()
            if callback:
                callback(self._progress(losses))
        model = self.finish()
        if self.processes.first:
            model.save(out / MODEL_FILE, self.provenance())
        self.processes.wait()
        return out / MODEL_FILE

    def advance(self) -> Losses | None:
        """One optimiser step; None where there was nothing to do yet (fusion off and no concept admitted)."""
        if self.step % self.settings.estimate_every == 0:
            self.estimate()
        if self.foresight is not None:
            self.foresight.learn(self.step, self.learning_rate() / self.settings.learning_rate)
        tasks = draw(self.step, self.settings, self.allowed, self.pool.distributions)
        losses = self.losses(tasks) if len(tasks) else None
        if losses is not None:
            self.optimizer.param_groups[0]["lr"] = self.learning_rate()
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            self.processes.add_gradients(self.model.parameters())
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.grad_clip)
            self.optimizer.step()
            self._update_average()
            losses = replace(losses, total=self.processes.total(losses.total.detach()))
        self.step += 1
        return losses

    def losses(self, tasks: Tasks) -> Losses:
        """mean over tasks of α·L_mix or β·L_cst, + γ·L_reg (paper, total loss) + δ·L_fsg (ours); calls the text encoder once."""
        settings, n, mine = self.settings, len(tasks), tasks.part(self.processes.mine)
        z = self.model.encode(self._inputs(tasks))
        fusion = consistency = latent = foreseen = z.new_zeros(())
        if len(mine):
            features = self.backend.encode(self.words.adaptive[: len(mine)], self.model.decode(z[self.processes.mine]))
            if mine.fused:
                caps = settings.epsilon_restrictive, settings.epsilon_aesthetic
                fusion = fusion_loss(features[: mine.fused], self.words.restrictive(mine), self.words.style, *caps).sum()
            if len(mine.targets):
                consistency = consistency_loss(features[mine.fused :], self.pool.features[mine.targets]).sum()
        if settings.gamma and n > 1:
            latent = latent_loss(z) / self.processes.size
        if self.foresight is not None and len(self.foresight) and self.step >= settings.foresight_after:
            foreseen = self.foreseen(self.foresight) / self.processes.size
        total = (settings.alpha * fusion + settings.beta * consistency) / n
        total = total + settings.gamma * latent + settings.delta * foreseen
        if not total.requires_grad:
            total = total + 0 * z.sum()  # a process without a task takes part in the others' step all the same
        fusion, consistency = fusion / max(tasks.fused, 1), consistency / max(len(tasks.targets), 1)
        return Losses(total, *(self.processes.total(part.detach()) for part in (fusion, consistency, latent, foreseen)))

    def foreseen(self, foresight: Foresight) -> Float[Tensor, ""]:
        """L_fsg of random mixtures, at tokens as far from the model's own as those that are rendered."""
        settings, known = self.settings, self.pool.known_tokens
        rng = seeds.rng(settings.seed, "foreseen", self.step)
        count = settings.foreseen_count
        asked = torch.from_numpy(random_mixtures(rng, count, len(known), settings.estimate_active, self.allowed)).to(known)
        noise = torch.from_numpy(rng.standard_normal((count, known.shape[1])).astype(np.float32)).to(known)
        tokens = self.model(asked @ known) + settings.estimate_jitter * self.model.token_scale * noise
        return foreseen_loss(foresight(tokens), asked).mean()

    def _inputs(self, tasks: Tasks) -> Float[Tensor, "n d"]:
        """What each task gives to the encoder: a pair's two tokens, or the weighted mean of known ones."""
        pool = self.pool
        return torch.cat(
            [
                self.model.pair(pool.tokens[tasks.left], pool.tokens[tasks.right]),
                torch.from_numpy(tasks.mixtures).to(pool.tokens) @ pool.known_tokens,
                pool.distributions[tasks.targets] @ pool.known_tokens,
            ]
        )

    @torch.no_grad()
    def estimate(self) -> int:
        """Class distribution estimation of this step: offer concepts of the bank and freshly rendered ones to the pool.

        Returns how many were admitted. Does nothing where no task would use them.
        """
        settings = self.settings
        if settings.beta == 0 and (settings.alpha == 0 or settings.novel_share == 0) and self.foresight is None:
            return 0
        tokens, distributions = self._from_bank(self.step // settings.estimate_every)
        if settings.estimate_count and self.labeler is not None:
            if settings.estimate_from != "mixtures":  # then the prior is sampled, through the law of latents
                self.measure_latents()
            rendered = estimation.sample_tokens(
                self.model, self.pool.known_tokens, settings, self.allowed, self.step, settings.estimate_count
            )
            numbers = [
                [seeds.derive(settings.seed, "estimate", self.step, i, r) for r in range(settings.estimate_renders)]
                for i in range(len(rendered))
            ]
            with runtime.threads(settings.render_threads):
                mine = self.processes.mine
                read = estimation.read_back(
                    self.backend, self.labeler, self.names, rendered[mine],
                    picture_seeds=numbers[mine], prompt=settings.adaptive_prompt,
                    steps=settings.estimate_steps, size=settings.estimate_size,
                )  # fmt: skip
            read = self.processes.gather(read.to(tokens), len(rendered))  # from GPU to GPU, where there are some
            tokens, distributions = torch.cat([tokens, rendered]), torch.cat([distributions, read])
        if self.foresight is not None:
            self.foresight.remember(tokens, distributions)
        novel = self.pool.passes(distributions) & self._allowed(distributions)
        if not novel.any():
            return 0
        tokens, distributions = tokens[novel], distributions[novel]
        features = encode(self.backend, [fill(settings.adaptive_prompt, i) for i in range(len(tokens))], tokens)
        return int(self.pool.admit(tokens, distributions, features).sum())

    @torch.no_grad()
    def measure_latents(self) -> None:
        """Store the law of the latents of what training encodes: classes, fusable pairs and random mixtures."""
        rng = seeds.rng(self.settings.seed, "latents")
        mixtures = random_mixtures(rng, MEASURED, len(self.names), self.settings.estimate_active, self.allowed)
        pairs = self.allowed.pairs
        known = self.pool.known_tokens
        chosen = pairs[rng.permutation(len(pairs))[:MEASURED]]
        fused = self.model.pair(known[chosen[:, 0]], known[chosen[:, 1]])
        self.model.fit_latents(self.model.encode(torch.cat([known, fused, torch.from_numpy(mixtures).to(known) @ known])))

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to zero: a function of the step alone."""
        settings = self.settings
        if self.step < settings.warmup:
            return settings.learning_rate * (self.step + 1) / settings.warmup
        done = (self.step - settings.warmup) / max(settings.steps - settings.warmup, 1)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def finish(self) -> DisTok:
        """The trained model: averaged weights where asked, and the measured law of its latents."""
        if self.average:
            self.model.load_state_dict(self.average, strict=False)
        self.measure_latents()
        return self.model.eval()

    def save(self, out: Path) -> None:
        """Write the rows of ``losses.csv`` up to here, then a checkpoint of the whole state: a kill between them loses no row."""
        self.history.save(out)
        checkpoint.save(out, self.step, self.state(), self.record())

    def resume(self, out: Path) -> bool:
        """Continue from the newest whole checkpoint in ``out``, if there is one."""
        found = checkpoint.latest(out, self.record())
        if found:
            self.step = found[0]
            self.restore(found[1])
            self.history.resume(out, self.step)
        return found is not None

    def state(self) -> dict[str, Tensor]:
        """Weights, AdamW's moments, the running mean, the pool and foresight."""
        state = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            state |= {f"optimizer.{name}.{key}": value for key, value in self.optimizer.state.get(parameter, {}).items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        if self.foresight is not None:
            state |= {f"foresight.{name}": tensor for name, tensor in self.foresight.state().items()}
        return state | {f"pool.{name}": tensor for name, tensor in self.pool.state().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a :meth:`state`."""
        self.model.load_state_dict(_under(state, "model."))
        self.average = {name: tensor.to(self.pool.tokens) for name, tensor in _under(state, "average.").items()}
        self.pool.restore(_under(state, "pool."))
        if self.foresight is not None:
            self.foresight.restore(_under(state, "foresight."))
        for name, parameter in self.model.named_parameters():
            moments = _under(state, f"optimizer.{name}.")
            if moments:
                self.optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in moments.items()}

    def record(self) -> dict[str, Any]:
        """What makes this run this run; checkpoints carry it, and another run does not resume from them."""
        settings = json.loads(self.settings.to_json())
        del settings["save_every"]  # changes no result
        return {
            "settings": settings,
            "names": list(self.names),
            "backend": self.backend.hash,
            "features": self.backend.feature_hash,
            "pipeline": self.backend.fingerprint if self.settings.estimate_count else None,  # what pictures are rendered with
            "labeler": self.labeler.hash if self.labeler else None,
            "bank": self.bank.hash if self.bank else None,
            **({"revision": REVISION} if self.settings.held_out else {}),
            **({"parts": list(self._parts)} if self._parts else {}),  # since each has a radius of its own
        }

    def provenance(self) -> dict[str, str]:
        """Where the model comes from, as the strings its file carries."""
        record = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.record().items()}
        return {**record, "family": self.backend.family, "thresholds": self.thresholds, "dtype": self.backend.dtype}

    def _build_model(self, tokens: Float[Tensor, "k d"]) -> DisTok:
        s = self.settings
        settings = DisTokSettings(tokens.shape[1], s.latent_dim, s.hidden_dim, s.activation, s.input_scale, self._parts)
        with torch.random.fork_rng(devices=[]):  # the caller's generator stays where it was
            torch.manual_seed(seeds.derive(s.seed, "weights"))
            model = DisTok(settings)
        model = model.to(tokens.device)
        model.fit_tokens(tokens)
        if s.start == "linear":
            model.start_linear(tokens)
        return model

    @property
    def _parts(self) -> tuple[int, ...]:
        widths = tuple(self.backend.widths.values())
        return widths if len(widths) > 1 else ()

    def _build_foresight(self) -> Foresight | None:
        model, settings = self.model, self.settings
        if settings.delta == 0:
            return None
        return Foresight(model.token_mean, model.token_scale, len(self.names), settings)

    def _allowed(self, distributions: Float[Tensor, "m k"]) -> Bool[Tensor, " m"]:
        """Which readings show classes that may be mixed: L_cst would ask for the others."""
        may = [self.allowed.mix(each) for each in shown(distributions)]
        return torch.tensor(may, dtype=torch.bool, device=distributions.device)

    def _from_bank(self, event: int) -> tuple[Float[Tensor, "m d"], Float[Tensor, "m k"]]:
        count = self.settings.bank_count
        part = slice(event * count, (event + 1) * count)
        bank, like = self.bank, self.pool.tokens
        empty = like.new_empty(0, like.shape[1]), like.new_empty(0, len(self.names))
        return empty if bank is None else (bank.tokens[part].to(like), bank.distributions[part].to(like))

    @torch.no_grad()
    def _update_average(self) -> None:
        for name, parameter in self.model.named_parameters() if self.average else ():
            self.average[name].lerp_(parameter, 1 - self.settings.ema_decay)

    def _progress(self, losses: Losses | None) -> dict[str, float]:
        report: dict[str, float] = {"step": self.step, "steps": self.settings.steps, "pool": len(self.pool)}
        if losses is not None:
            report |= {name: getattr(losses, name).item() for name in vars(losses)}
        return report


def train(
    settings: TrainSettings,
    backend: Backend,
    labeler: Labeler | None,
    names: Sequence[str],
    out: str | Path,
    callback: Progress | None = None,
    bank: Bank | str | Path | None = None,
) -> Path:
    """Train a DisTok in the run folder ``out``, or resume it, and return its ``distok.safetensors``.

    On a CPU the file is the same to the byte however often the run was interrupted: while it runs, ``settings.threads``
    threads and deterministic algorithms are in force.

    Args:
        callback: told step, steps, pool (its size) and the losses (fields of :class:`Losses`) after every step.
        bank: readings collected ahead of time, or their file.

    Raises:
        DistokError: see :class:`Trainer` and :meth:`Trainer.run`.
    """
    if bank is not None and not isinstance(bank, Bank):
        bank = Bank.load(bank)
    with runtime.deterministic(settings.threads):
        return Trainer(settings, backend, labeler, names, bank).run(Path(out), callback)


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
