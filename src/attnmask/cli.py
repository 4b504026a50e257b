"""The command line: read the arguments, call, print. What it does lies elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from attnmask.compile import compile
from attnmask.errors import AttnMaskError
from attnmask.mask.parse import mask_from_text

try:
    import typer
except ImportError:
    raise SystemExit("the command line needs typer and rich: pip install 'attnmask[cli]'") from None

app = typer.Typer(
    name="attnmask",
    help="Attention masks: describe one, look at it, embed texts under one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


@contextmanager
def _errors_as_messages() -> Generator[None]:
    try:
        yield
    except AttnMaskError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attnmask {version('attnmask')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def draw(
    expression: Annotated[str, typer.Argument(help="Such as 'causal() & window(left=3, right=0)'.")],
    q: Annotated[int, typer.Option(help="Number of query rows.")],
    k: Annotated[int | None, typer.Option(help="Number of keys; as many as queries if left out.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch items; what the mask's data say if left out.")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads; likewise.")] = None,
    offset: Annotated[int | None, typer.Option(help="Position of query row 0.")] = None,
    align: Annotated[str | None, typer.Option(help="start or end: how queries and keys line up.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf file, instead of the terminal.")] = None,
) -> None:
    """Draw a mask."""
    from attnmask.draw import save_image, text_from_plan

    with _errors_as_messages():
        mask = mask_from_text(expression)
        plan = compile(mask, q=q, k=k, batch=batch, heads=heads, offset=offset, align=align)
        if out is None:
            typer.echo(text_from_plan(plan))
        else:
            save_image(plan, out)
