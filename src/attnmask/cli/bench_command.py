"""The command ``bench``: attention under a mask, timed beside torch's own."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir
from typing import Annotated

import typer

from attnmask.cli.command_exits import Terminal
from attnmask.escapes import escaped
from attnmask.files import check_picture
from attnmask.mask.parse_text import mask_from_text

PLOT = Path(gettempdir()) / "attnmask-bench.png"


def bench(
    expression: Annotated[str, typer.Argument(help="Such as 'causal() & window(left=511, right=0)'.")],
    q: Annotated[int, typer.Option(help="Tokens; an eighth, a quarter and half of it run too.")] = 4096,
    heads: Annotated[int, typer.Option(min=1, help="Query heads; the mask's own if it has several.")] = 8,
    kv_heads: Annotated[int | None, typer.Option(min=1, help="Heads of keys and values; as many if left out.")] = None,
    dim: Annotated[int, typer.Option(min=1, help="Width of a head.")] = 64,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backward: Annotated[bool, typer.Option("--backward", help="Time forward and backward together.")] = False,
    out: Annotated[
        Path,
        typer.Option(help="A .png file for the plot of time against length.", show_default="in the temporary folder"),
    ] = PLOT,
) -> None:
    """Time attention under a mask, beside torch's dense attention and compiled FlexAttention."""
    check_picture(out)
    mask = mask_from_text(expression)

    from attnmask.timing import problems_from_mask, save_plot, table_of, times_of

    title = f"{expression}, {'forward + backward' if backward else 'forward'}, {dtype}, H={heads} D={dim}, {device}"
    problems = problems_from_mask(mask, q, heads, dim, kv_heads, dtype, device)
    times = dict(times_of(problems, backward))
    Terminal(soft_wrap=True).print(table_of(times, title))
    save_plot(times, title, out)
    typer.echo(f"time against length in {escaped(str(out))}")
