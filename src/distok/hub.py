"""A model on the Hugging Face Hub: save it as a repository, load it from one, push it; weights stay in one safetensors file.

``HF_HUB_OFFLINE`` decides about the network: DisTok sets it to 1 where it is not set, so nothing is sent or fetched unasked;
``HF_HUB_OFFLINE=0`` in the environment allows downloads and uploads.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, Self

from distok import files, pretrained
from distok.errors import DistokError

pretrained.quiet()  # before huggingface_hub is first imported, if it is not yet: it reads its environment only then

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download, try_to_load_from_cache  # noqa: E402
from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: E402

WEIGHTS = "distok.safetensors"
CLOSED = "HF_HUB_OFFLINE=1 forbids the network; set HF_HUB_OFFLINE=0 to allow it"
MARK = "<!-- written by distok; save_pretrained writes it anew -->"
_CARD = """
# {title}

A DisTok model: weights over named classes become one reusable token for a frozen text-to-image pipeline. Two small MLPs, the
distribution encoder and the creative decoder, around a latent of {latent_dim} numbers; tokens are {token_dim} wide.

## Use

```python
from distok import DisTok

model = DisTok.from_pretrained("{title}")  # a folder or a hub id; revision="…" pins it
```

`distok create "pig=0.6, sheep=0.4" --backend PIPELINE --model {weights}` makes pictures with it. It fits the text encoder it
was trained for and no other.

## Measured

{figures}

## Provenance

{provenance}

{mark}
"""


class HubModel(ModelHubMixin, library_name="distok", license="apache-2.0", tags=["text-to-image", "distok"]):
    """What a model needs for ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``; it brings ``save`` and ``load``."""

    settings: Any
    provenance: dict[str, str]

    def save_pretrained(self, save_directory: str | Path, *, figures: Mapping[str, object] | None = None, **options: Any) -> Any:
        """Write a folder as the hub has it: ``distok.safetensors``, ``config.json`` with the sizes, ``README.md`` as model card.

        Args:
            save_directory: the folder; made if it is not there.
            figures: what was measured, name to value, for the card; without them it says that nothing was.
            options: of ``ModelHubMixin.save_pretrained``, such as ``push_to_hub`` and ``repo_id``.

        Raises:
            DistokError: the folder cannot be written to, or holds another README.md than one written here while ``figures``
                are given.
        """
        folder, wanted = Path(save_directory), dict(options.pop("model_card_kwargs", None) or {})
        if figures is not None:
            wanted["figures"] = figures
        card = folder / "README.md"
        written_here = not card.exists() or MARK in card.read_text(encoding="utf-8", errors="replace")
        if not written_here and wanted.get("figures"):
            raise DistokError(
                f"{card} is not a card of distok's and is kept, so figures have no place; move it, or leave them out"
            )
        if written_here:
            files.write_text(card, str(self.generate_model_card(**{"title": folder.name, **wanted})))
        return super().save_pretrained(folder, model_card_kwargs=wanted, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Self:
        """Load a model from a folder, a ``distok.safetensors`` file, or the hub; the weights' file alone is read.

        Args:
            pretrained_model_name_or_path: a path, or a hub id such as ``"person/model"``.
            revision: of a hub id: a branch, a tag or a commit.
            cache_dir, token, force_download, local_files_only: of a hub id, as ``hf_hub_download`` takes them.

        Raises:
            DistokError: no such model here, in the hub's cache or, where the network is allowed, on the hub; or it is broken.
        """
        name = str(pretrained_model_name_or_path)
        path = Path(name).expanduser()
        if path.exists():
            return cls.load(path / WEIGHTS if path.is_dir() else path)
        return cls._from_pretrained(
            model_id=name,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            local_files_only=local_files_only,
        )

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, revision: str | None, cache_dir: str | Path | None, local_files_only: bool, **options: Any
    ) -> Self:
        try:
            if local_files_only or _offline():
                path = _cached(model_id, revision, cache_dir)
            else:
                path = hf_hub_download(model_id, WEIGHTS, revision=revision, cache_dir=cache_dir, **options)
        except Exception as error:  # of the hub, of HTTP, of the system
            pinned = f" at revision {revision}" if revision else ""
            raise DistokError(
                f"{model_id}{pinned} is no folder here and cannot be had from the hub ({_reason(error)}); "
                f"give a folder with {WEIGHTS} or the id of one on the hub"
            ) from None
        return cls.load(path)

    def push_to_hub(self, repo_id: str, *, figures: Mapping[str, object] | None = None, **options: Any) -> Any:
        """Upload the model as :meth:`save_pretrained` writes it; makes the repository where there is none.

        The card replaces the one on the hub, whoever wrote that; ``ignore_patterns="README.md"`` leaves it as it is.

        Args:
            repo_id: such as ``"person/model"``.
            figures: as in :meth:`save_pretrained`.
            options: of ``ModelHubMixin.push_to_hub``: ``private``, ``token``, ``branch``, ``commit_message``, ``create_pr`` …

        Returns:
            What the hub says of the commit.

        Raises:
            DistokError: the hub cannot be reached, or does not take it.
        """
        if _offline():
            raise DistokError(f"{repo_id} cannot be pushed to the hub ({CLOSED})")
        wanted = {"title": repo_id, **(options.pop("model_card_kwargs", None) or {})}
        if figures is not None:
            wanted["figures"] = figures
        try:
            return super().push_to_hub(repo_id, model_card_kwargs=wanted, **options)
        except DistokError:
            raise
        except Exception as error:  # of the hub, of HTTP, of the system
            raise DistokError(
                f"{repo_id} cannot be pushed to the hub ({_reason(error)}); "
                "see that you are logged in (hf auth login) and may write there"
            ) from None

    def generate_model_card(self, *, title: str = "DisTok", figures: Mapping[str, object] | None = None) -> ModelCard:
        """Return the model card: what it is, how to use it, what was measured, and where it comes from."""
        rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in (figures or {}).items()]
        measured = "\n".join(["| figure | value |", "|---|---|", *rows]) if rows else "No figures were measured."
        known = {key: value for key, value in self.provenance.items() if len(value) <= 200}
        lines = [f"- {key}: `{value}`" for key, value in sorted(known.items())] or ["Nothing is recorded."]
        names = json.loads(self.provenance.get("names", "[]"))
        if names:
            lines.append(f"- {len(names)} known classes: {', '.join(names)}")
        text = _CARD.format(
            title=title,
            token_dim=self.settings.token_dim,
            latent_dim=self.settings.latent_dim,
            weights=WEIGHTS,
            figures=measured,
            provenance="\n".join(lines),
            mark=MARK,
        )
        return ModelCard(f"---\n{self._hub_mixin_info.model_card_data.to_yaml()}\n---\n{text}")


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _offline() -> bool:
    """Whether the network is forbidden; asked here, since huggingface_hub may have been imported before it was."""
    return os.environ.get("HF_HUB_OFFLINE") != "0"


def _cached(model_id: str, revision: str | None, cache_dir: str | Path | None) -> str:
    """The file in the local cache; ``hf_hub_download`` would ask the hub other things even with ``local_files_only``."""
    found = try_to_load_from_cache(model_id, WEIGHTS, cache_dir, revision)
    if not isinstance(found, str):
        raise FileNotFoundError(f"not in the local hub cache{f', and {CLOSED}' if _offline() else ''}")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return CLOSED
    return shorten(str(error), 200, placeholder=" …") or type(error).__name__
