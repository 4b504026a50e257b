"""What compile, and a plan, say to what they cannot use."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest

import attnmask as am
from attnmask.errors import AlignmentError, ArgumentError

ERRORS: list[tuple[type[ArgumentError], Callable[[], object], str]] = [
    (
        AlignmentError,
        lambda: am.compile(am.causal(), q=2, k=5),
        "2 queries and 5 keys, and nothing says how they line up\n"
        "  where: compile\n"
        '  to do: align="start": query row 0 stands at key 0 (torch is_causal, cross-attention); '
        'align="end": the last row stands at the last key (decoding with a cache, flash-attention); '
        "or offset=n: query row i stands at position i + n",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=2, k=5, offset=1, align="end"),
        "got offset and align\n  where: compile\n  to do: give one of them",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=2, k=5, align="middle"),
        "align is 'middle'\n  where: compile(align=)\n  to do: give one of 'start', 'end'",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=2, offset=0.5),  # type: ignore[arg-type]
        "offset is 0.5\n  where: compile(offset=)\n  to do: give a whole number of positions, within 2**31",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=16, offset=2**31 - 1),
        "offset is 2147483647 with 16 queries and 16 keys\n  where: compile(offset=)\n"
        "  to do: positions stay within 2**31",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=-1),
        "q is -1\n  where: compile(q=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4, k="4"),  # type: ignore[arg-type]
        "k is '4'\n  where: compile(k=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        ArgumentError,
        lambda: am.compile([[1, 0]], q=2),  # type: ignore[arg-type]
        "list is no mask\n  where: compile\n  to do: wrap an array with dense(array)",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal, q=2),  # type: ignore[arg-type]
        "function is no mask\n  where: compile\n  to do: call it, as in causal()",
    ),
    (
        ArgumentError,
        lambda: am.compile("causal()", q=2),  # type: ignore[arg-type]
        "str is no mask\n  where: compile\n  to do: read an expression with mask_from_text(text)",
    ),
    (
        ArgumentError,
        lambda: am.compile(reduce(lambda mask, _: mask.shift(1), range(5000), am.causal()), q=2),
        "the mask is nested 101 levels deep and has 101 parts\n  where: & | ^ - ~, shift, per_head\n"
        "  to do: stay within 100 levels and 100,000 parts: & and | of many masks stay flat, shift once, by the sum, "
        "or write dense(array)",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.padding(lengths=[1, 2]), q=2, batch=3),
        "the data have B=2, the plan has B=3\n"
        "  where: padding(lengths=[1, 2])\n"
        "  to do: compile with batch=2, or fix the data",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.padding(lengths=[1, 2]) & am.prefix([1, 2, 3]), q=2),
        "the data have B=3, the plan has B=2\n"
        "  where: prefix(lengths=[1, 2, 3])\n"
        "  to do: compile with batch=3, or fix the data",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.padding(attention_mask=[1, 0, 1]), q=4),
        "the data have K=3, the plan has K=4\n"
        "  where: padding(attention_mask=[[1, 0, 1]])\n"
        "  to do: compile with k=3, or fix the data",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.dense([[1, 0]]), q=2),
        "the data have Q=1, the plan has Q=2\n"
        "  where: dense(array=[[1, 0]])\n"
        "  to do: compile with q=1, or fix the data",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.dense(np.ones((1, 3, 2, 2), bool)), q=2, heads=2),
        "the data have H=3, the plan has H=2\n"
        "  where: dense(array=[[[[1, 1], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [1, 1]]]])\n"
        "  to do: compile with heads=3, or fix the data",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4).tiles(rows=0),
        "rows is 0\n  where: plan.tiles\n  to do: a tile has 1 row and 1 key or more",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4)[4],
        "row 4 of 4\n  where: plan[rows]\n  to do: rows are 0 to 3",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4)[::2],
        "step is 2\n  where: plan[rows]\n  to do: take consecutive rows",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4).explain(0, 0, 4, 0),
        "q is 4\n  where: plan.explain\n  to do: give 0 to 3",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4).explain(0, 0, 0, -1),
        "k is -1\n  where: plan.explain\n  to do: give 0 to 3",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.padding(lengths=[1, 2]), q=4).explain(2, 0, 0, 0),
        "b is 2\n  where: plan.explain\n  to do: give 0 to 1",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.causal(), q=4).diff(am.compile(am.causal(), q=5)),
        "lengths (Q, K) are (4, 4) and (5, 5)\n  where: plan.diff\n  to do: compare plans of the same lengths",
    ),
    (
        ArgumentError,
        lambda: am.compile(am.prefix([1, 2]), q=4).diff(am.compile(am.prefix([1, 2, 3]), q=4)),
        "batch and heads are (2, 1) and (3, 1)\n  where: plan.diff\n  to do: make them agree",
    ),
]


@pytest.mark.parametrize(
    ("kind", "act", "text"), ERRORS, ids=[f"{text.splitlines()[0]}-{n}" for n, (*_, text) in enumerate(ERRORS)]
)
def test_what_cannot_be_compiled_is_named_with_what_to_do(
    kind: type[ArgumentError], act: Callable[[], object], text: str
) -> None:
    with pytest.raises(kind) as error:
        act()
    assert str(error.value) == text


def test_equal_lengths_need_no_alignment_and_may_have_one() -> None:
    plan = am.compile(am.causal(), q=3)
    assert plan == am.compile(am.causal(), q=3, k=3, align="start") == am.compile(am.causal(), q=3, align="end")
    assert plan.offset == 0


def test_the_two_alignments_are_two_offsets() -> None:
    for mask in (am.causal(), am.window(left=1, right=0)):
        assert am.compile(mask, q=2, k=5, align="start") == am.compile(mask, q=2, k=5, offset=0)
        assert am.compile(mask, q=2, k=5, align="end") == am.compile(mask, q=2, k=5, offset=3)
        assert am.compile(mask, q=5, k=2, align="end") == am.compile(mask, q=5, k=2, offset=-3)
