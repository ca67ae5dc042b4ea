"""One resumable training loop for every network of the Menagerie.

A stage's randomness derives from (seed, step), its batches are drawn by worker processes in step order, and its state
(weights, moments, average, step) is one safetensors file that is written atomically: run again to resume.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from distok.checkpoints import native_bf16
from distok.errors import DistokError
from distok.files import read_tensors, write_tensors

Batch = dict[str, Tensor]


class Stage(Protocol):
    """What a stage must say: its networks, its batches (drawn in a worker, uint8 or float arrays), its loss."""

    name: str
    model: nn.Module

    def batch(self, step: int) -> dict[str, np.ndarray]: ...

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float]]: ...


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage trains.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: the peak, reached after ``warmup`` steps and kept until the last ``cooldown`` share of the steps,
            over which it falls linearly to 2 %: a run can be prolonged from before its cooldown.
        ema: decay of the running average of the weights; 0 keeps none.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 200
    cooldown: float = 0.25
    weight_decay: float = 0.01
    ema: float = 0.0
    clip: float = 1.0
    save_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise DistokError(f"a stage needs at least one step, not {self.steps}")

    def rate(self, step: int) -> float:
        """Learning rate of ``step``."""
        start = self.steps * (1 - self.cooldown)
        fall = 1.0 if step < start else max(0.02, (self.steps - step) / max(1.0, self.steps - start))
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup)) * fall


@dataclass
class _Steps(Dataset):
    stage: Stage
    steps: int

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return self.stage.batch(step)


@contextmanager
def plainly() -> Iterator[None]:
    """An error of ours in a process that loads pictures, in its own words: torch hands on its whole traceback as the message."""
    try:
        yield
    except DistokError as error:
        raise DistokError(str(error).strip().splitlines()[-1].removeprefix("distok.errors.DistokError: ")) from None


@dataclass
class Runner:
    """Trains one stage in ``folder``; :meth:`run` returns the model with its averaged (or last) weights loaded.

    With ``autocast`` the loss is computed in bfloat16 where that is native, in single precision elsewhere.
    """

    stage: Stage
    schedule: Schedule
    folder: Path
    device: str = "cpu"
    workers: int = 1
    autocast: bool = False
    callback: Callable[[str, int, int, dict[str, float]], None] | None = None
    step: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)

    def run(self, stop_after: float | None = None) -> nn.Module:
        """Train to the schedule's end, or for ``stop_after`` seconds; a finished stage only loads."""
        model = self.stage.model.to(self.device)
        model.train()
        decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.schedule.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=self.schedule.learning_rate, betas=(0.9, 0.99), fused=True)
        self._resume(model, optimiser)
        if self.step >= self.schedule.steps:
            return self._result(model)
        began = saved = time.monotonic()
        logs: dict[str, float] = {}
        for step, batch in self._batches():
            for group in optimiser.param_groups:
                group["lr"] = self.schedule.rate(step)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast and native_bf16(self.device)):
                loss, values = self.stage.loss(batch, step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            values["norm"] = float(nn.utils.clip_grad_norm_(model.parameters(), self.schedule.clip))
            if not np.isfinite(values["norm"]):
                raise DistokError(f"stage {self.stage.name} diverged at step {step}; lower its learning rate and start again")
            optimiser.step()
            self.step = step + 1
            self._track(model)
            logs = {k: 0.98 * logs.get(k, v) + 0.02 * v for k, v in values.items()}
            now = time.monotonic()
            if self.callback:
                self.callback(self.stage.name, self.step, self.schedule.steps, {**logs, "seconds": now - began})
            if now - saved > self.schedule.save_seconds:
                self._save(model, optimiser)
                saved = now
            if stop_after and now - began > stop_after:
                break
        self._save(model, optimiser)
        return self._result(model)

    def _result(self, model: nn.Module) -> nn.Module:
        if self.average:
            model.load_state_dict({**model.state_dict(), **self.average})
        return model.eval()

    def _batches(self) -> Iterator[tuple[int, Batch]]:
        order = range(self.step, self.schedule.steps)
        extra: dict[str, Any] = {"prefetch_factor": 4} if self.workers else {}
        data = _Steps(self.stage, self.schedule.steps)
        loader = DataLoader(data, batch_size=None, sampler=order, num_workers=self.workers, **extra)
        with plainly():
            for step, batch in zip(order, loader, strict=True):
                yield step, {k: torch.as_tensor(v).to(self.device) for k, v in batch.items()}

    def _track(self, model: nn.Module) -> None:
        if not self.schedule.ema:
            return
        decay = min(self.schedule.ema, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name in self.average:
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name] = value.detach().clone()

    @property
    def _path(self) -> Path:
        return Path(self.folder) / f"{self.stage.name}.state.safetensors"

    def _save(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        by_id = {id(p): name for name, p in model.named_parameters()}
        for parameter, state in optimiser.state.items():
            for key, value in state.items():
                tensors[f"optimiser.{key}.{by_id[id(parameter)]}"] = torch.as_tensor(value)
        write_tensors(self._path, tensors, {"step": str(self.step), "trained": str(len(names))})

    def _resume(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        if not self._path.exists():
            return
        tensors, metadata = read_tensors(self._path)
        try:
            model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        except RuntimeError:
            raise DistokError(
                f"{self._path} belongs to a network of other sizes; give another folder or delete it to start again"
            ) from None
        self.average = {k[8:]: v.to(self.device) for k, v in tensors.items() if k.startswith("average.")}
        self.step = int(metadata["step"])
        for name, parameter in model.named_parameters():
            keys = ("step", "exp_avg", "exp_avg_sq")
            if f"optimiser.step.{name}" in tensors:
                optimiser.state[parameter] = {key: tensors[f"optimiser.{key}.{name}"].to(parameter.device) for key in keys}
