"""The command ``draw``: a mask, or those of a model's layers, as text or as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from attnmask.cli.command_exits import model_code
from attnmask.cli.options import Align, Batch, Heads, Keys, Offset, refuse_ignored
from attnmask.compiler import compile
from attnmask.errors import ArgumentError
from attnmask.escapes import escaped
from attnmask.files import check_picture
from attnmask.mask.parse_text import mask_from_text

# Signs of pictures, for terminals that cannot show them.
PLAIN_SIGNS = str.maketrans("■▒·", "#+.")


def draw(
    expression: Annotated[str | None, typer.Argument(help="Such as 'causal() & window(left=3, right=0)'.")] = None,
    q: Annotated[int | None, typer.Option(help="Number of query rows.")] = None,
    k: Keys = None,
    batch: Batch = None,
    heads: Heads = None,
    offset: Offset = None,
    align: Align = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf file, instead of the terminal.")] = None,
    trace: Annotated[str, typer.Option(help="A model as in audit: draw what each of its layers attends to.")] = "",
) -> None:
    """Draw a mask, or those that a model's layers really attend by."""
    from attnmask.drawing import save_image, text_from_plan

    if out is not None:
        check_picture(out)
    if trace:
        beside = {"EXPRESSION": expression, "--q": q, "--k": k, "--batch": batch, "--heads": heads, "--offset": offset}
        refuse_ignored(beside | {"--align": align}, "--trace draws a model's own masks")
        return _draw_layers(trace, out)
    if expression is None or q is None:
        raise ArgumentError("there is nothing to draw", fix="give an expression and --q, or --trace MODEL")
    plan = compile(mask_from_text(expression), q=q, k=k, batch=batch, heads=heads, offset=offset, align=align)
    if out is None:
        _show(text_from_plan(plan))
    else:
        save_image(plan, out)


def _draw_layers(model: str, out: Path | None) -> None:
    from attnmask.auditing.recording.model_traces import plans_from_model
    from attnmask.drawing import save_images, text_from_plan

    with model_code(model):
        plans = plans_from_model(model)
    if out is None:
        _show("\n\n".join(f"{layer}\n{text_from_plan(plan)}" for layer, plan in plans.items()))
    else:
        save_images(plans, out)


def _show(text: str) -> None:
    """Print a picture, in plain signs where standard output knows no others."""
    try:
        "".join(map(chr, PLAIN_SIGNS)).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(PLAIN_SIGNS)
    typer.echo(escaped(text, lines=True))
