"""``distok backends``: which pipelines can be used, and how."""

from dataclasses import asdict

from distok.cli import options


def backends(as_json: options.Json = False) -> None:
    """Show the families of pipelines: where a token enters, what the losses compare, what one cannot do."""
    from rich.table import Table

    from distok.backends.families import DECODERS, FAMILIES
    from distok.cli import output

    if as_json:
        output.print_json({name: asdict(family) for name, family in FAMILIES.items()})
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("family", "a token enters", "E(·) of the losses", "preset", "cannot"):
        table.add_column(heading)
    for name, family in FAMILIES.items():
        table.add_row(
            f"{family.title}\n[dim]{name}[/dim]", "\n".join(family.enters), family.feature, family.preset, family.cannot
        )
    output.show(table, "")
    output.show(f"[dim]decoders that want their prior beside them: {', '.join(DECODERS)}[/dim]")
    output.show(f"[dim]what a checkpoint holds and needs: {output.command('doctor', 'FOLDER')}[/dim]")
