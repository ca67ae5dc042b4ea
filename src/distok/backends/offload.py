"""Whose weights are on the device when: the parts of a pipeline that take turns there, with each other and with a labeler.

Text encoders stay: every step of a training goes through them, and views of them that are spliced could not be moved by hooks.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

# Of all families, in the order in which rendering calls them: each sends the one before it back to main memory.
RENDERING = ("prior_prior", "prior_image_encoder", "unet", "transformer", "vae", "movq")


@dataclass(frozen=True)
class Placement:
    """Where a pipeline's weights are.

    Attributes:
        mode: "fast", "balanced" or "low", see :func:`distok.backends.loading.choose_offload`.
        visiting: the parts that come to the device when they are called.
        stored: the weights of the parts that come a layer at a time; between calls their modules hold none.
    """

    mode: str = "fast"
    visiting: tuple[nn.Module, ...] = ()
    stored: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def leave(self) -> None:
        """Send what still visits the device back to main memory: rendering is over."""
        for part in self.visiting:
            part.to("cpu")


def stays(name: str, mode: str) -> bool:
    """Whether a part is on the device all the time."""
    # Kandinsky's prior reads weights of its own outside a call of it, so no hook can bring a layer at a time.
    return mode == "fast" or "text_encoder" in name or (mode == "low" and name == "prior_prior")


def place(pipe: Any, device: str, mode: str) -> Placement:
    """Put the parts of a pipeline that is in main memory where the mode wants them."""
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    moving = [name for name in parts if not stays(name, mode)]
    for name in parts.keys() - moving:
        parts[name].to(device)
    if mode == "low":
        from accelerate import cpu_offload

        stored = {name: parts[name].state_dict() for name in moving}
        for name in moving:
            cpu_offload(parts[name], device, offload_buffers=bool(parts[name]._parameters), state_dict=stored[name])
        return Placement(mode, (), stored)
    if mode == "balanced":
        from accelerate import cpu_offload_with_hook

        before = None
        for name in sorted(moving, key=lambda name: RENDERING.index(name) if name in RENDERING else len(RENDERING)):
            _, before = cpu_offload_with_hook(parts[name], device, before)
    return Placement(mode, tuple(parts[name] for name in moving))


@contextmanager
def resting(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Networks wait in main memory for the length of a ``with`` block; then they are where they were, come what may."""
    homes = [(network, next(network.parameters()).device) for network in networks]
    try:
        for network, _ in homes:
            network.to("cpu")
        yield
    finally:
        for network, home in homes:
            network.to(home)
