"""Time of a training step of the Menagerie's denoiser in single precision and under bfloat16 autocast, in one run on the CPU.

    python -m benchmarks.bfloat16 [--batch 32] [--steps 3] [--threads 1]

The U-Net has the shipped sizes and random weights; it is given noise.
"""

import argparse
import time

import torch
from diffusers.models.attention_processor import AttnProcessor

from distok.checkpoints import native_bf16
from distok.menagerie.stage_denoiser import make_unet
from distok.menagerie.stage_vae import LATENT_CHANNELS

WIDTH, LENGTH, SIDE = 192, 32, 16  # of the shipped text encoder and latents


def main() -> None:
    """Print seconds per step of both, their ratio, and what the Menagerie's recipe chooses here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    unet = make_unet(LATENT_CHANNELS, WIDTH).to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # as the denoiser's stage does on a CPU
    single, half = (_seconds(unet, args, autocast) for autocast in (False, True))
    print(f"single precision  {single:8.2f} s a step of {args.batch}")
    print(f"bfloat16 autocast {half:8.2f} s a step of {args.batch}")
    print(f"ratio             {half / single:8.1f}")
    print(f"chosen here       {'bfloat16 autocast' if native_bf16('cpu') else 'single precision'}")


def _seconds(unet: torch.nn.Module, args: argparse.Namespace, autocast: bool) -> float:
    latents = torch.randn(args.batch, LATENT_CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    states, steps = torch.randn(args.batch, LENGTH, WIDTH), torch.zeros(args.batch, dtype=torch.long)
    for step in range(args.steps + 1):
        if step == 1:  # the first one warms up
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = unet(latents, steps, states).sample.float().square().mean()
        loss.backward()
        unet.zero_grad()
    return (time.perf_counter() - start) / args.steps


if __name__ == "__main__":
    main()
