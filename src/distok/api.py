"""The library in four verbs: open a creator, then ``create``, ``explore`` and ``read``. Commands that draw call it too.

Shapes: n = pictures or concepts, d = token width, w = latent dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distok.asking import PROMPT, Mix, Progress, as_distribution, as_names, check_count, check_drawing, seeds_from, slug, within
from distok.checkpoints import as_dtype, check_device, known_names, locate
from distok.creation import Creation
from distok.distribution import MIXTURE, Distribution, check_surprise, random_mixes, sample_prior
from distok.errors import DistokError
from distok.selection import PREVIEWS, ROUNDS, choose, preview_steps, refine, visible

if TYPE_CHECKING:
    from PIL import Image

    from distok.backends import Backend
    from distok.concept import Concept, Recipe
    from distok.labelers import Labeler
    from distok.model import DisTok


@dataclass(frozen=True, eq=False)
class Creator:
    """A frozen pipeline, the DisTok model trained for it, and a labeler that reads pictures back; made by :func:`open`.

    Attributes:
        backend, model: they belong together.
        labeler: None measures nothing.
        names: the classes that the model was trained on, and that the labeler chooses from.
        label: what the backend is called in recipes.
    """

    backend: "Backend"
    model: "DisTok"
    labeler: "Labeler | None"
    names: tuple[str, ...]
    label: str = ""

    def concept(self, mix: Mix, any_words: bool = False) -> "Concept":
        """Make the token of a mix: t = D_tok(E_dis(Σ p_i t_i)).

        Args:
            mix: a ``Distribution``, a mapping, or text such as ``"pig=0.55, sheep=0.45"``.
            any_words: also accept classes that the model was not trained on.

        Raises:
            DistokError: the mix is not valid, or names an unknown class.
        """
        import torch

        distribution = as_distribution(mix, self.names, strangers=any_words)
        with torch.no_grad():
            tokens = self.backend.name_tokens(distribution.names).cpu().float()
            z = self.model.encode(torch.tensor(distribution.weights, dtype=torch.float32)[None] @ tokens)
        return self._decode(slug(distribution), z[0].tolist(), distribution)

    def refine(
        self,
        mix: Mix,
        rounds: int = ROUNDS,
        pictures: int = PREVIEWS,
        prompt: str = PROMPT,
        seed: int = 0,
        any_words: bool = False,
        callback: Progress | None = None,
        **settings: Any,
    ) -> "Concept":
        """Make the token of a mix by the closed loop: ``rounds`` times draw ``pictures``, read them, and correct the weights.

        They are previews, of :func:`distok.selection.preview_steps` denoising steps. The concept's distribution is what was
        asked; its latent is that of the weights whose pictures read closest, which its provenance tells. See
        :func:`distok.selection.refine`.

        Raises:
            DistokError: as :meth:`concept` and :meth:`render`; no labeler, or a number out of range.
        """
        self._reader()
        settings, seed = check_drawing(prompt, settings), seeds_from(seed, 1)[0]
        asked, done = self.concept(mix, any_words), iter(range(rounds))
        steps = settings.get("steps")
        sketch = settings | {"steps": preview_steps(self.backend.defaults.steps if steps is None else steps)}

        def look(given: Distribution, seeds: Sequence[int]) -> list[Distribution]:
            told = within(callback, next(done), 1, rounds)
            drawn = self._render([self.concept(given, any_words)] * len(seeds), prompt, list(seeds), told, sketch)
            return self.read([drawn[i] for i in visible(drawn)], tuple(dict.fromkeys((*self.names, *given.names))))

        assert asked.distribution is not None
        found = refine(asked.distribution, look, rounds, pictures, seed)
        told = {"refined": f"{rounds} rounds of {pictures} previews, seed {seed}", "given": str(found.given)}
        better = self.concept(found.given, any_words)
        return replace(better, name=asked.name, distribution=asked.distribution, provenance=better.provenance | told)

    def explore(self, n: int, prior: str = "normal", seed: int = 0) -> "list[Concept]":
        """Make ``n`` concepts from random latents, or with the prior "mixture" of random mixes; each depends on its number alone.

        Raises:
            DistokError: an unknown prior, or n not in 1 … 1000.
        """
        import torch

        check_count(n)
        check_surprise(prior)
        (seed,) = seeds_from(seed, 1)
        if prior == MIXTURE:
            made = [self.concept(mix) for mix in random_mixes(self.names, n, seed)]
        else:
            drawn = torch.from_numpy(sample_prior(prior, n, self.model.settings.latent_dim, seed))
            # One by one: the last bits of a matrix product depend on its size.
            made = [self._decode(prior, self.model.sample_latents(row[None])[0].tolist(), None) for row in drawn]
        told = [{"prior": prior, "seed": str(seed), "index": str(i)} for i in range(n)]
        return [
            replace(each, name=f"{prior}-{seed}-{i:03d}", provenance=each.provenance | told[i]) for i, each in enumerate(made)
        ]

    def render(
        self,
        concept: "Concept",
        prompt: str = PROMPT,
        n: int = 4,
        seed: int = 0,
        callback: Progress | None = None,
        **settings: Any,
    ) -> "list[Image.Image]":
        """Render ``n`` pictures of one concept; picture i has the seed ``seed + i`` and depends on it alone, never on ``n``.

        Args:
            concept: made with this backend, or another of the same text encoders.
            prompt: with ``{}`` where the concept goes.
            n: 1 … 1000.
            seed: of the first picture, 0 or more.
            callback: called with (denoising steps done, in all).
            settings: ``steps``, ``guidance_scale``, ``size``, ``negative_prompt``; None is the checkpoint's own.

        Raises:
            DistokError: a prompt without ``{}`` or too long, a value out of range, a concept for text encoders of other widths.
        """
        check_count(n)
        return self._render([concept] * n, prompt, seeds_from(seed, n), callback, settings)

    def render_each(
        self,
        concepts: "Sequence[Concept]",
        prompt: str = PROMPT,
        seed: int = 0,
        callback: Progress | None = None,
        **settings: Any,
    ) -> "list[Image.Image]":
        """Render one picture of each concept, all with the same ``seed``; see :meth:`render`."""
        check_count(len(concepts))
        return self._render(concepts, prompt, seeds_from(seed, 1) * len(concepts), callback, settings)

    def read(self, pictures: "Sequence[Image.Image]", names: Sequence[str] | None = None) -> list[Distribution]:
        """Read each picture back as a mix over ``names`` (the known classes by default).

        Raises:
            DistokError: there is no labeler.
        """
        return self._reader().read(pictures, as_names(names or self.names))

    def create(
        self,
        mix: "Mix | Concept",
        prompt: str = PROMPT,
        n: int = 4,
        seed: int = 0,
        any_words: bool = False,
        callback: Progress | None = None,
        best_of: int = 1,
        read_back: bool = True,
        **settings: Any,
    ) -> Creation:
        """Make (or take) a concept, render it ``n`` times and read the pictures back; see :meth:`concept` and :meth:`render`.

        Args:
            best_of: render each picture from so many seeds and keep the one whose reading is closest to what was asked.
            read_back: False leaves the pictures to a :meth:`measure` of yours: what is drawn can be saved before.

        Raises:
            DistokError: as :meth:`render` and :meth:`measure`; or ``best_of`` is out of range, or has no labeler or no mix to go
                by.
        """
        from distok.concept import Concept

        concept = self._spelled(mix) if isinstance(mix, Concept) else self.concept(mix, any_words)
        check_count(n)
        settings = check_drawing(prompt, settings)
        seeds = seeds_from(seed, n)
        if best_of == 1:
            pictures = self._render([concept] * n, prompt, seeds, callback, settings)
        else:
            seeds, pictures = self._best(concept, prompt, seeds, best_of, callback, settings)
        recipes = [self.recipe(concept, prompt, each, picture, **settings) for each, picture in zip(seeds, pictures, strict=True)]
        made = Creation(concept, prompt, pictures, seeds, recipes)
        return self.measure(made) if read_back else made

    def measure(self, creation: Creation) -> Creation:
        """The creation with its pictures read back; without a labeler as it is.

        Raises:
            DistokError: the labeler cannot read one.
        """
        return replace(creation, readings=self.readings(creation.pictures, creation.asked))

    def readings(self, pictures: "Sequence[Image.Image]", asked: Distribution | None = None) -> list[Distribution]:
        """Read pictures over the known classes and those asked for; an empty list without a labeler."""
        if self.labeler is None:
            return []
        return self.read(pictures, tuple(dict.fromkeys((*self.names, *(asked.names if asked else ())))))

    def recipe(self, concept: "Concept", prompt: str, seed: int, picture: "Image.Image", **settings: Any) -> "Recipe":
        """Return the recipe of a picture that :meth:`render` made."""
        from distok.concept import make_recipe

        how = self.backend.defaults
        steps, scale = settings.get("steps"), settings.get("guidance_scale")
        return make_recipe(
            concept,
            prompt=prompt,
            seed=int(seed),
            steps=how.steps if steps is None else steps,
            guidance_scale=float(how.guidance_scale if scale is None else scale),
            size=picture.width,
            negative_prompt=settings.get("negative_prompt") or "",
            sampler=type(self.backend.pipe.scheduler).__name__.removesuffix("Scheduler"),
            names_hash=self.names_hash,
            backend=self.label,
            backend_hash=self.backend.hash,
            model_hash=concept.provenance.get("model_hash", self.model_hash),  # of the one that its latent belongs to
            fingerprint=self.backend.fingerprint,
            version=_version(),
        )

    def concept_of(self, recipe: "Recipe") -> "Concept":
        """Make the concept of a recipe again, from its latent.

        Raises:
            DistokError: the recipe is of another backend or model, or holds no latent.
        """
        parts = (("backend", self.backend.hash, recipe.backend_hash), ("model", self.model_hash, recipe.model_hash))
        for kind, found, wanted in parts:
            if found != wanted:
                raise DistokError(f"the picture was made with {kind} {wanted}, this one is {found}; open that one with --{kind}")
        if recipe.fingerprint and recipe.fingerprint != self.backend.fingerprint:
            raise DistokError(
                f"the picture was drawn by pipeline {recipe.fingerprint}, this one is {self.backend.fingerprint} with the same "
                "text encoder; open that one with --backend, or draw the token here with --concept and its file"
            )
        if recipe.z is None:
            raise DistokError("the recipe holds no latent; give the concept file instead, with --concept")
        width = self.model.settings.latent_dim
        if len(recipe.z) != width:
            raise DistokError(f"the recipe's latent has {len(recipe.z)} numbers, and the model's {width}; give the concept file")
        return self._decode(recipe.concept, recipe.z, recipe.distribution and Distribution.from_mapping(recipe.distribution))

    def _reader(self) -> "Labeler":
        if self.labeler is None:
            raise DistokError("this creator has no labeler; open one with labeler=… (--labeler on the command line)")
        return self.labeler

    @cached_property
    def model_hash(self) -> str:
        """Ten hexadecimal digits of the DisTok model's weights."""
        from distok.concept import digest_weights

        return digest_weights(self.model.state_dict())

    @cached_property
    def names_hash(self) -> str:
        """Ten hexadecimal digits of the known classes."""
        from distok.concept import digest

        return digest(*self.names)

    def _best(
        self,
        concept: "Concept",
        prompt: str,
        seeds: list[int],
        count: int,
        callback: Progress | None,
        settings: Mapping[str, Any],
    ) -> "tuple[list[int], list[Image.Image]]":
        """The best of ``count`` candidates of each picture, and its seed."""
        asked = concept.distribution
        if asked is None or self.labeler is None:
            missing = "a labeler to read them; open one with --labeler" if asked else "a mix to compare them with; leave it out"
            raise DistokError(f"choosing the best of {count} pictures needs {missing}")

        def draw(done: int, numbers: Sequence[int]) -> "list[Image.Image]":
            return self._render([concept] * count, prompt, list(numbers), within(callback, done, 1, len(seeds)), settings)

        return choose(asked, seeds, count, draw, lambda pictures: self.readings(pictures, asked))

    def _spelled(self, concept: "Concept") -> "Concept":
        """The concept with its mix in the spelling of the known classes: a reading cannot name a class in two spellings."""
        asked = concept.distribution
        return replace(concept, distribution=as_distribution(asked, self.names, strangers=True)) if asked else concept

    def _decode(self, name: str, z: list[float], distribution: Any, **provenance: str) -> "Concept":
        import torch

        from distok.concept import Concept

        with torch.no_grad():
            token = self.model.decode(torch.tensor([z], dtype=torch.float32))
        made = {"backend": self.label, "backend_hash": self.backend.hash, "model_hash": self.model_hash}
        made |= {"names_hash": self.names_hash, "version": _version()}
        return Concept(name, self.backend.split(token), distribution, tuple(z), made | provenance)

    def _render(
        self, concepts: "Sequence[Concept]", prompt: str, seeds: list[int], callback: Progress | None, settings: Mapping[str, Any]
    ) -> "list[Image.Image]":
        import torch

        from distok.backends import slot

        settings = check_drawing(prompt, settings)
        first_row: dict[int, int] = {}  # a concept that is asked for again keeps its rows
        rows, prompts = [], []
        for concept in concepts:
            vectors = self.backend.join(concept.for_backend(self.backend.widths, self.label))
            if id(concept) not in first_row:
                first_row[id(concept)] = len(rows)
                rows.extend(vectors)
            start = first_row[id(concept)]
            prompts.append(prompt.replace("{}", " ".join(slot(start + row) for row in range(len(vectors)))))
        return self.backend.render(prompts, torch.stack(rows), seeds=seeds, callback=callback, **settings)


def open(
    backend: str | Path | None = None,
    model: str | Path | None = None,
    labeler: str | Path | None = None,
    device: str = "cpu",
    names: Sequence[str] | None = None,
    dtype: str = "auto",
    offload: str = "auto",
) -> Creator:
    """Open a creator; with no arguments the Menagerie that ships with the package.

    Args:
        backend: a diffusers pipeline folder, or a hub id that is in the local cache.
        model: the ``distok.safetensors`` that was trained for it, or the folder of that run.
        labeler: a labeler's folder. With a backend of your own, None means that nothing is measured.
        device: where the pipeline and the labeler run, "cpu" or "cuda".
        names: the known classes; by default those stored with the model.
        dtype: the pipeline's weights as "float32", "bfloat16" or "float16"; "auto" is float32.
        offload: what does not fit a GPU: "fast", "balanced", "low" or "auto", see
            :func:`distok.backends.loading.choose_offload`.

    Raises:
        DistokError: a part is missing or corrupt, or the parts do not belong together.
    """
    from distok.backends import open_backend
    from distok.labelers import open_labeler
    from distok.model import DisTok

    check_device(device)
    folder, model_path, labeler = locate(backend, model, labeler)
    names = as_names(names) if names else known_names(model_path)
    loaded = DisTok.load(model_path)
    opened = open_backend(folder, device, as_dtype(dtype), offload)
    trained_for = loaded.provenance.get("backend", opened.hash)
    if loaded.settings.token_dim != opened.token_dim or trained_for != opened.hash:
        kind = loaded.provenance.get("dtype", opened.dtype)
        if kind != opened.dtype and loaded.settings.token_dim == opened.token_dim:
            raise DistokError(
                f"{model_path} was trained for a pipeline in {kind}, and in {opened.dtype} its text encoder has other weights; "
                f"open it with --dtype {kind}"
            )
        raise DistokError(
            f"{model_path} was trained for another text encoder (width {loaded.settings.token_dim}, {trained_for}) than that of "
            f"{folder} (width {opened.token_dim}, {opened.hash}); train one with 'distok train --backend {folder}'"
        )
    label = "menagerie" if backend is None else Path(folder).resolve().name
    return Creator(opened, loaded, None if labeler is None else open_labeler(labeler, device), names, label)


def _version() -> str:
    from distok import __version__

    return __version__
