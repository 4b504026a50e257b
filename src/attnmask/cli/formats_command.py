"""The command ``formats``: which libraries can hold a mask, and why the others cannot."""

from __future__ import annotations

from typing import Annotated

import typer

from attnmask.cli.command_exits import Terminal
from attnmask.cli.options import Align, Batch, Heads, Keys, Offset
from attnmask.compiler import compile
from attnmask.formats.format_table import table_of
from attnmask.mask.parse_text import mask_from_text


def formats(
    expression: Annotated[str, typer.Argument(help="Such as 'causal() & documents(lengths=[512, 512])'.")],
    q: Annotated[int, typer.Option(help="Number of query rows.")],
    k: Keys = None,
    batch: Batch = None,
    heads: Heads = None,
    offset: Offset = None,
    align: Align = None,
) -> None:
    """Say which libraries can hold a mask, in how many bytes, and why others cannot."""
    mask = mask_from_text(expression)
    plan = compile(mask, q=q, k=k, batch=batch, heads=heads, offset=offset, align=align)
    Terminal(soft_wrap=True).print(table_of(plan, repr(plan)))
