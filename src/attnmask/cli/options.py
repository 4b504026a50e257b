"""Options that several commands take, and the refusal of those that a command would ignore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from attnmask.errors import ArgumentError

Keys = Annotated[int | None, typer.Option(help="Number of keys; as many as queries if left out.")]
Batch = Annotated[int | None, typer.Option(help="Batch items; what the mask's data say if left out.")]
Heads = Annotated[int | None, typer.Option(help="Heads; likewise.")]
Offset = Annotated[int | None, typer.Option(help="Position of query row 0.")]
Align = Annotated[str | None, typer.Option(help="start or end: how queries and keys line up.")]


def refuse_ignored(given: Mapping[str, Any], why: str) -> None:
    """Refuse options that would be ignored."""
    names = [name for name, value in given.items() if value]
    if names:
        raise ArgumentError(f"{', '.join(names)} would be ignored: {why}", fix="leave it out")
