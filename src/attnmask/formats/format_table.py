"""The table of the command ``formats``: which formats can hold a set, in how many bytes, and why others cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, Shape
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import MissingExtraError
from attnmask.escapes import escaped
from attnmask.formats import FORMATS, lower, summaries

if TYPE_CHECKING:
    from rich.table import Table

# More would take seconds to write and gigabytes as floats.
MOST_PAIRS = 1 << 26
NUMBER = 8


@dataclass(frozen=True)
class Row:
    """What one format says of a set: its size in bytes, or why there is none, and every reason if it refuses."""

    format: str
    size: int | str
    reasons: list[str]


class _TooManyPairsError(Exception):
    pass


class _Sized(Runs):
    """Runs that are not written out pair by pair where that would fill the memory."""

    def to_dense(self) -> BoolArray:
        if self.rows * self.keys > MOST_PAIRS:
            raise _TooManyPairsError
        return super().to_dense()

    def take(self, rows: IntArray, shape: Shape) -> Runs:
        return _sized(super().take(rows, shape))


def _sized(runs: Runs) -> _Sized:
    return _Sized(runs.shape, runs.keys, runs.indptr, runs.starts, runs.stops)


def rows_of(plan: Plan) -> list[Row]:
    """What each format says of a plan under its default options.

    >>> import attnmask as am
    >>> sizes = {row.format: row.size for row in rows_of(am.compile(am.causal(), q=1024))}
    >>> sizes["dense"], sizes["flashmask"]
    (1048576, 4096)
    """
    refused = plan.formats()
    return [Row(name, "" if refused[name] else _size(plan, name), refused[name]) for name in FORMATS]


def table_of(plan: Plan, title: str) -> Table:
    """A rich table: who can, in how many bytes, and who cannot and why."""
    from rich.table import Table
    from rich.text import Text

    heads = ("format", "bytes", "what it is, or why it cannot hold the mask")
    table = Table(*heads, title=Text(escaped(title)), title_justify="left")
    told = summaries()
    for row in sorted(rows_of(plan), key=lambda row: bool(row.reasons)):
        size = f"{row.size:,}" if isinstance(row.size, int) else row.size
        said = "\n".join(f"no: {reason}" for reason in row.reasons) or told[row.format]
        table.add_row(row.format, size, Text(escaped(said, lines=True)), style="dim" if row.reasons else "")
    return table


def count_bytes(form: Any) -> int:
    """Bytes of the arrays, tensors and lists of a form; a number alone, or a flag, counts nothing."""
    if hasattr(form, "nbytes"):
        return int(form.nbytes)
    if isinstance(form, Mapping):
        return sum(map(count_bytes, cast(Mapping[Any, Any], form).values()))
    if isinstance(form, list):
        return sum(count_bytes(one) or NUMBER for one in cast(list[Any], form))
    if isinstance(form, tuple):
        return sum(map(count_bytes, cast(tuple[Any, ...], form)))
    if is_dataclass(form):
        return sum(count_bytes(getattr(form, field.name)) for field in fields(form))
    if hasattr(form, "as_tuple"):
        return sum(count_bytes(one) for one in form.as_tuple() if hasattr(one, "nbytes"))
    return 0


def _size(plan: Plan, format: str) -> int | str:
    try:
        return count_bytes(lower(Plan(_sized(plan.runs), plan.offset, plan.mask), format))
    except _TooManyPairsError:
        return f"over {MOST_PAIRS:,} pairs"
    except MissingExtraError as error:
        return f"needs {error.package}"
