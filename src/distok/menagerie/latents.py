"""A bank of encoded pictures with their captions' ids, so that the denoiser's training neither draws nor encodes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from distok.checkpoints import native_bf16
from distok.errors import DistokError
from distok.files import write_bytes
from distok.menagerie.corpus import Drawn, Source
from distok.menagerie.stage import plainly


class _Chunks(Dataset):
    def __init__(self, source: Source, tokenizer: CLIPTokenizer, chunk: int, total: int) -> None:
        self.source, self.tokenizer, self.chunk, self.total = source, tokenizer, chunk, total

    def __len__(self) -> int:
        return self.total // self.chunk

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        items = [self.source.item(number * self.chunk + k) for k in range(self.chunk)]
        ids = self.tokenizer([text for _, text in items], padding="max_length", truncation=True).input_ids
        return np.stack([picture for picture, _ in items]), np.array(ids, np.int32)


def build_bank(
    folder: Path,
    vae: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    pictures: int,
    source: Source | None = None,
    callback: Callable[[int, int], None] | None = None,
    shard: int = 2048,
    seconds: float | None = None,
) -> None:
    """Encode ``pictures`` items in shards; shards that exist are kept, so a killed run goes on where it was.

    Args:
        seconds: stop after the shard in which they have passed: what is there can be learnt from.
    """
    start = time.monotonic()
    chunk = min(32, shard)
    shards = -(-pictures // shard)
    missing = [number for number in range(shards) if not (folder / f"{number:04d}.npz").exists()]
    data = _Chunks(source or Drawn(404), tokenizer, chunk, shards * shard)
    order = [number * (shard // chunk) + k for number in missing for k in range(shard // chunk)]
    loader = iter(DataLoader(data, batch_size=None, sampler=order, num_workers=1, prefetch_factor=4))
    for done, number in enumerate(missing):
        with plainly():
            latents, ids = zip(*(_encode(vae, *next(loader)) for _ in range(shard // chunk)), strict=True)
        _write_shard(folder / f"{number:04d}.npz", np.concatenate(latents), np.concatenate(ids))
        if callback:
            callback(shards - len(missing) + done + 1, shards)
        if seconds is not None and time.monotonic() - start >= seconds:
            break


@torch.inference_mode()
def _encode(vae: AutoencoderTiny, pictures: torch.Tensor, ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = torch.as_tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
    device = next(vae.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=native_bf16(device)):
        mean = vae.encode(x.to(device)).latents
    return mean.float().cpu().numpy().astype(np.float16), np.asarray(ids)


def _write_shard(path: Path, latents: np.ndarray, ids: np.ndarray) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, latents=latents, ids=ids)
    write_bytes(path, buffer.getvalue())


def read_bank(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All shards: latents fp16 [n, c, h, w] and ids int32 [n, context] (int16 in shards of before).

    Raises:
        DistokError: there are none.
    """
    shards = [np.load(path) for path in _shards(folder)]
    if not shards:
        raise DistokError(f"{folder} holds no encoded pictures; train the stage 'bank' first")
    return np.concatenate([s["latents"] for s in shards]), np.concatenate([s["ids"] for s in shards])


def _shards(folder: Path) -> Iterator[Path]:
    return iter(sorted(Path(folder).glob("[0-9]*.npz")))
