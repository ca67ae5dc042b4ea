"""``distok study``: a page for participants, and what their votes say."""

from pathlib import Path
from typing import Annotated

import typer

from distok.cli import options

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="A user study in one page: build it, score the votes.")


@app.command()
def build(
    pictures: Annotated[
        Path, typer.Argument(help="A CSV or JSON manifest (picture, method, case, asked), or a folder METHOD/CASE.png.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page; its key is written beside it.")] = Path("study.html"),
    question: Annotated[str | None, typer.Option("--question", help="Asked of every pair.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="Of the page.")] = None,
    intro: Annotated[str | None, typer.Option("--intro", help="A sentence or two before the start.")] = None,
    ties: Annotated[bool, typer.Option("--ties", help='Allow "no difference".')] = False,
    trials: Annotated[int | None, typer.Option("--trials", help="Pairs a participant; all by default.")] = None,
    checks: Annotated[int, typer.Option("--checks", help="Attention checks a participant.")] = 4,
    size: Annotated[int, typer.Option("--size", help="Longest side of a picture in pixels.")] = 384,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is drawn.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write over another page, or another study and its key.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write one self-contained page: two pictures, one choice, blind and in random order.

    Send participants the page, and keep the key: it says which picture is whose, and scoring needs it.
    """
    from distok.cli import output
    from distok.judge.items import read_items
    from distok.study.build import StudySettings, build_study

    words = {name: text for name, text in (("question", question), ("title", title), ("intro", intro)) if text is not None}
    settings = StudySettings(**words, ties=ties, trials=trials, checks=checks, size=size, seed=seed)
    study = build_study(read_items(pictures), settings)
    page, key = study.save(out, force)
    pairs = [len(block) - checks for block in study.key["blocks"]]
    size_of = len(study.page.encode())
    if as_json:
        record = {"study": study.id, "page": str(page), "key": str(key), "bytes": size_of}
        output.print_json({**record, "pairs": pairs[0], "checks": checks, "blocks": len(pairs)})
        return
    kinds = f", in {len(pairs)} blocks (which one, a participant's code decides)" if len(pairs) > 1 else ""
    output.show(
        f"page: {output.bold(page)} ({size_of / 1e6:.1f} MB): {pairs[0]} pairs and {checks} attention checks{kinds}",
        f"key: {output.bold(key)}; keep it to yourself",
        f"[dim]then: {output.command('study', 'score', key, 'VOTES', '--out', 'results')}[/dim]",
    )


@app.command()
def score(
    key: Annotated[Path, typer.Argument(help="The key written beside the page.")],
    votes: Annotated[list[Path], typer.Argument(help="Files that participants saved, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    threshold: Annotated[float, typer.Option("--threshold", help="Least share of attention checks to pass.")] = 0.75,
    skip_refused: Annotated[bool, typer.Option("--skip-refused", help="Leave out files that cannot be used.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the bootstrap.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Wins and losses, Wilson intervals, Bradley–Terry strengths; who failed the attention checks is left out."""
    from distok.cli.judge import show_findings
    from distok.study.score import score_study

    show_findings(score_study(key, votes, threshold, skip_refused, seed), out, "study", as_json)
