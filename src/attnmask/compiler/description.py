"""A set in words, and as the shortest expression that is proved equal to it."""

from __future__ import annotations

from dataclasses import dataclass

from attnmask.compiler.runs import Runs
from attnmask.compiler.structure.facts import most_masked_runs_per_column, most_runs_per_row
from attnmask.compiler.structure.recognise import MOST_KEYS, mask_from_runs
from attnmask.mask.expression import Mask

# Runs of rows that are not as the row before: of more, the columns are not counted.
MOST_COUNTED = 2**21


@dataclass(frozen=True)
class Description:
    """What a set is; ``str`` of it is the text.

    Attributes:
        mask: the shortest expression found that is this set on these lengths; else the one that the plan was
            compiled from, or None.
        text: some lines for a reader.
    """

    mask: Mask | None
    text: str

    def __str__(self) -> str:
        return self.text


def description_from_runs(runs: Runs, offset: int, mask: Mask | None) -> Description:
    """Describe a set.

    Args:
        runs: the set. offset: position of query row 0. mask: the expression it was compiled from, if any.
    """
    found = mask_from_runs(runs, offset)
    form = _shorter(found, mask)
    b, h, q = runs.shape
    possible = runs.rows * runs.keys
    lines = {
        "set": "no short form found" if form is None else repr(form),
        "shape": f"B={b}, H={h}, Q={q:,}, K={runs.keys:,}" + (f", query row 0 at position {offset}" if offset else ""),
        "pairs": f"{runs.pairs:,} of {possible:,} ({runs.pairs / max(possible, 1):.1%})",
        "queries": f"{_number(most_runs_per_row(runs), 'run')} of keys at most, "
        f"{_number(int((runs.counts == 0).sum()), 'row')} without a key",
        "keys": _columns(runs),
        "memory": f"{_bytes(runs):,} bytes as a Plan, {possible:,} as bools",
    }
    return Description(form, "\n".join(f"{name + ':':9}{line}" for name, line in lines.items()))


def _columns(runs: Runs) -> str:
    if int(runs.counts[runs.changes].sum()) > MOST_COUNTED or runs.shape[0] * runs.shape[1] * runs.keys > MOST_KEYS:
        return "not counted: the set is too large"
    return f"{_number(most_masked_runs_per_column(runs), 'masked run')} of queries at most"


def _shorter(found: Mask | None, written: Mask | None) -> Mask | None:
    known = [mask for mask in (found, written) if mask is not None]
    return min(known, key=lambda mask: len(repr(mask)), default=None)


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _bytes(runs: Runs) -> int:
    return runs.indptr.nbytes + runs.starts.nbytes + runs.stops.nbytes
