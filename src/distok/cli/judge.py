"""``distok judge``: a vision-language model gives marks, chooses between two, or describes a picture to be drawn again."""

import functools
import inspect
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distok.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distok.judge.asking import Desk, Question
    from distok.judge.cache import Cache
    from distok.judge.findings import Findings
    from distok.judge.settings import Endpoint

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="A vision-language model as judge, over any OpenAI-compatible endpoint."
)

Pictures = Annotated[
    Path, typer.Argument(help="A CSV or JSON manifest (picture, method, case, asked), or a folder METHOD/CASE.png.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write into; run again to go on.")]


@dataclass(frozen=True)
class Asking:
    """The options that every command has: which endpoint, how it is asked, what it costs. Its fields become options."""

    base_url: Annotated[str | None, typer.Option(help="The endpoint, such as http://localhost:8000/v1.")] = None
    model: Annotated[str | None, typer.Option(help="The model's name at the endpoint.")] = None
    key_variable: Annotated[str | None, typer.Option(help="Environment variable that holds the key.")] = None
    cache: Annotated[Path | None, typer.Option(help="Where answers are kept; OUT/answers by default.")] = None
    limit: Annotated[int | None, typer.Option(help="Ask at most so many questions now.")] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and send nothing.")] = False
    retry_missing: Annotated[bool, typer.Option("--retry-missing", help="Ask again what ended without a usable answer.")] = False
    price_in: Annotated[float | None, typer.Option(help="Price of a million tokens sent.")] = None
    price_out: Annotated[float | None, typer.Option(help="Price of a million tokens answered.")] = None
    image_tokens: Annotated[int | None, typer.Option(help="Tokens of one picture; a rule of thumb by default.")] = None
    size: Annotated[int, typer.Option(min=16, help="Longest side shown, in pixels.")] = 512
    seed: Annotated[int, typer.Option(help="Of the order, the sides, the bootstrap, and what is drawn again.")] = 0
    temperature: Annotated[float, typer.Option(help="Of the model; 0 is as repeatable as it gets.")] = 0.0
    max_tokens: Annotated[int, typer.Option(help="Of an answer.")] = 200
    extra: Annotated[str | None, typer.Option(help="JSON members for each request; null takes one out.")] = None
    timeout: Annotated[float, typer.Option(help="Seconds for one answer.")] = 60.0
    attempts: Annotated[int, typer.Option(help="How often a request is sent at most when the endpoint fails.")] = 5
    backoff: Annotated[float, typer.Option(help="Seconds before the second attempt; doubles after that.")] = 1.0
    concurrency: Annotated[int, typer.Option(help="Requests under way at a time.")] = 4
    as_json: options.Json = False

    @property
    def given(self) -> set[str]:
        """The names of what is not as it is by default."""
        return {each.name for each in fields(self) if getattr(self, each.name) != each.default}

    @property
    def endpoint(self) -> "Endpoint":
        """Who is asked."""
        from distok.errors import DistokError
        from distok.judge.settings import Endpoint, parse_extra

        if self.base_url is None or self.model is None:
            raise DistokError("say who is asked: --base-url URL of an OpenAI-compatible endpoint, and --model NAME there")
        same = ("key_variable", "temperature", "max_tokens", "timeout", "attempts", "backoff", "concurrency")
        given = {name: getattr(self, name) for name in same}
        return Endpoint(base_url=self.base_url, model=self.model, extra=parse_extra(self.extra), **given)

    def answers(self, out: Path) -> "Cache":
        """Where answers are kept."""
        from distok.judge.cache import Cache

        return Cache(self.cache or out / "answers")

    def ask(
        self,
        endpoint: "Endpoint",
        asked: "Sequence[Question]",
        sum_up: "Callable[[Desk], Findings]",
        out: Path,
        name: str,
    ) -> None:
        """Say what it will cost, then ask, write and show what was found; what is kept is written where the endpoint fails."""
        from distok.cli import output
        from distok.errors import DistokError
        from distok.judge.asking import Desk

        desk = Desk(asked, endpoint, self.answers(out), self.seed, self.limit, self.retry_missing)
        if not self.announce(desk):
            return
        try:
            with output.progress("asking") as callback:
                desk.ask(callback)
        except DistokError:
            if desk.kept:
                paths = sum_up(desk).save(out, name)
                said = f"written, of the answers kept so far: {', '.join(map(str, paths))}"
                output.console(stderr=True).print(said, markup=False)
            raise
        self.finish(sum_up(desk), out, name)

    def announce(self, desk: "Desk") -> bool:
        """Say what is to come, on stderr before anything is sent; True to go on."""
        from distok.cli import output
        from distok.judge.cost import Prices, estimate

        prices = Prices(per_million_in=self.price_in, per_million_out=self.price_out, image_tokens=self.image_tokens)
        expected = estimate(desk, prices)
        output.console(stderr=True).print(str(expected), markup=False)
        if self.dry_run and self.as_json:
            output.print_json({"dry_run": True, **asdict(expected)})
        return not self.dry_run

    def finish(self, findings: "Findings", out: Path, name: str) -> None:
        """Write what was found, and show it."""
        show_findings(findings, out, name, self.as_json)


def _asking(command: "Callable[..., None]") -> "Callable[..., None]":
    """Give a command the options of :class:`Asking` after its own; it takes them as one argument, ``asking``."""
    common = inspect.signature(Asking).parameters
    own = {name: parameter for name, parameter in inspect.signature(command).parameters.items() if name != "asking"}

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(asking=Asking(**{name: given.pop(name) for name in common}), **given)

    together = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own.values(), *common.values())]
    run.__signature__ = inspect.Signature(together)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in together}
    return run


@app.command()
@_asking
def score(
    pictures: Pictures,
    out: Out,
    asking: Asking,
    repeats: Annotated[int, typer.Option("--repeats", help="How often each picture is judged.")] = 3,
) -> None:
    """Marks from 0 to 10 for fusion, alignment, originality and aesthetics, as in the paper's assessment.

    The judge sees pixels and what was asked, nothing else. Every answer is kept: nothing is paid twice, and a run goes on
    where it stopped.
    """
    from distok.judge import scoring
    from distok.judge.items import read_items

    endpoint = asking.endpoint
    items = read_items(pictures)
    asked = scoring.questions(items, repeats, asking.size)
    asking.ask(endpoint, asked, lambda desk: scoring.assess(items, desk, repeats, asking.seed), out, "scores")


@app.command()
@_asking
def pairs(
    pictures: Pictures,
    out: Out,
    asking: Asking,
    repeats: Annotated[int, typer.Option("--repeats", help="How often each two pictures are compared.")] = 1,
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Ask in both orders, so that sides cancel.")] = True,
) -> None:
    """Which of two pictures of one case is better: wins, Wilson intervals, Bradley–Terry strengths.

    It separates methods better than marks do, which crowd near the top of their scale.
    """
    from distok.judge import pairwise
    from distok.judge.items import matches, read_items

    endpoint = asking.endpoint
    met = matches(read_items(pictures))
    asked = pairwise.questions(met, repeats, mirror, asking.seed, asking.size)
    asking.ask(endpoint, asked, lambda desk: pairwise.compare(met, desk, repeats, mirror, asking.seed), out, "pairs")


@app.command()
@_asking
def redescribe(
    pictures: Pictures,
    out: Out,
    asking: Asking,
    captioner: Annotated[
        str | None, typer.Option("--captioner", help="The folder of a BLIP captioner, in place of an endpoint.")
    ] = None,
    backend: options.Backend = None,
    labeler: options.Labeler = None,
    concepts: Annotated[Path | None, typer.Option("--concepts", help="The classes to read, one a line.")] = None,
    renders: Annotated[int, typer.Option("-n", help="Pictures drawn after each description.")] = 1,
    device: options.Device = "cpu",
) -> None:
    """Describe each picture, draw the description again, and measure how much of the mix is lost in words.

    What is asked for must be mixes, such as pig=0.5, owl=0.5.
    """
    from distok.asking import as_distribution
    from distok.checkpoints import check_device
    from distok.cli import output
    from distok.concept import digest, load_picture
    from distok.errors import DistokError
    from distok.judge import redescription as test
    from distok.judge.items import read_items

    if captioner is not None and (idle := asking.given - {"seed", "as_json"}):
        words = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(idle))
        raise DistokError(f"--captioner describes without an endpoint, and has no use for {words}; leave out one or the other")
    endpoint = asking.endpoint if captioner is None else None
    check_device(device)
    items = read_items(pictures)
    asked = [item.mix for item in items]
    for item, mix in zip(items, asked, strict=True):
        if mix is None:
            raise DistokError(f"case {item.case!r} asks for {item.asked!r}; redescribe needs mixes, like pig=0.5, owl=0.5")
    images = [load_picture(item.picture) for item in items]
    with output.progress("describing") as callback:
        who: test.BlipCaptioner | test.EndpointCaptioner
        if endpoint is None:
            who = test.BlipCaptioner(captioner or "", device)
        else:
            cache, how = asking.answers(out), (asking.size, asking.limit, asking.retry_missing)
            who = test.EndpointCaptioner(endpoint, cache, *how, callback, asking.seed)
            if not asking.announce(who.desk(images)):
                return
        draws, reads, names = _world(backend, labeler, concepts, device)
        asked = [as_distribution(mix, names, strangers=True) for mix in asked]  # spelled as the classes are
        found = test.redescribe(images, asked, who, draws, reads, names, renders, asking.seed, out / "pictures")
    parts = {"pipeline_hash": draws.pipeline_hash, "labeler_hash": reads.hash, "names_hash": digest(*names)}
    made = {"captioner": who.account, **parts, "renders": renders, "seed": asking.seed}
    asking.finish(test.summarise(items, found, asking.seed, made, who.reasons), out, "redescribed")


def _world(backend: str | None, labeler: str | None, concepts: Path | None, device: str) -> tuple[Any, Any, tuple[str, ...]]:
    """The pipeline that draws, the labeler that reads, and the classes it reads; the Menagerie's where none is given."""
    from distok.backends import open_backend
    from distok.checkpoints import known_names, read_names, shipped
    from distok.errors import DistokError
    from distok.labelers import open_labeler

    if backend is not None and (labeler is None or concepts is None):
        raise DistokError("a backend of your own needs --labeler, and --concepts with the classes to read; give both")
    names = read_names(concepts) if concepts else known_names(shipped("distok.safetensors"))
    opened = open_backend(backend or shipped("pipeline"), device)
    return opened, open_labeler(labeler or shipped("labeler"), device), names


def show_findings(findings: "Findings", out: Path, name: str, as_json: bool) -> None:
    """Write what a judge or a study found into ``out``, and show it."""
    from distok.cli import output
    from distok.evaluation.report import plain

    paths = findings.save(out, name)
    if as_json:
        output.print_json({**plain(findings.figures), "files": [str(path) for path in paths]})
        return
    output.show_tables(findings.tables)
    output.show(f"written: {output.bold(', '.join(map(str, paths)))}")
