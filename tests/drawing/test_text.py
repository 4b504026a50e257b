"""Text pictures: golden ones, and the law that every sign is the state of its cell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.drawing import text_from_plan
from attnmask.errors import ArgumentError
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import cases, plan_of

GOLDEN: dict[str, tuple[am.Plan, str]] = {
    "small": (
        am.compile(am.causal() & am.window(left=2, right=0), q=6),
        """
15 of 36 pairs attend (41.67%)
      key
query 0         5
    0 ■ · · · · ·
    1 ■ ■ · · · ·
    2 ■ ■ ■ · · ·
    3 · ■ ■ ■ · ·
    4 · · ■ ■ ■ ·
    5 · · · ■ ■ ■
■ attends  · does not
""",
    ),
    "one row at the end": (
        am.compile(am.window(left=1, right=0), q=1, k=4, align="end"),
        """
2 of 4 pairs attend (50%)
               key
query position 0
    0        3 · · ■ ■
■ attends  · does not
""",
    ),
    "queries before the keys": (
        am.compile(am.causal(), q=2, offset=-1),
        """
1 of 4 pairs attend (25%)
               key
query position 0
    0       -1 · ·
    1        0 ■ ·
■ attends  · does not
""",
    ),
    "items": (
        am.compile(am.prefix([1, 2]), q=2),
        """
batch 0: 2 of 4 pairs attend (50%)
      key
query 0
    0 ■ ·
    1 ■ ·

batch 1: 4 of 4 pairs attend (100%)
      key
query 0
    0 ■ ■
    1 ■ ■
■ attends  · does not
""",
    ),
    "no key": (
        am.compile(am.causal(), q=2, k=0, offset=0),
        """
0 of 0 pairs attend (0%)
      key
query
    0
    1
■ attends  · does not
""",
    ),
    "no query": (
        am.compile(am.causal(), q=0, k=2, offset=0),
        """
0 of 0 pairs attend (0%)
      key
query 0
■ attends  · does not
""",
    ),
    "tiles": (
        am.compile(am.causal(), q=70),
        """
2,485 of 4,900 pairs attend (50.71%)
      key
query 0               32              64
    0 ▒ · · · · · · · · · · · · · · · · ·
    4 ■ ▒ · · · · · · · · · · · · · · · ·
    8 ■ ■ ▒ · · · · · · · · · · · · · · ·
   12 ■ ■ ■ ▒ · · · · · · · · · · · · · ·
   16 ■ ■ ■ ■ ▒ · · · · · · · · · · · · ·
   20 ■ ■ ■ ■ ■ ▒ · · · · · · · · · · · ·
   24 ■ ■ ■ ■ ■ ■ ▒ · · · · · · · · · · ·
   28 ■ ■ ■ ■ ■ ■ ■ ▒ · · · · · · · · · ·
   32 ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · · · · · · ·
   36 ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · · · · · ·
   40 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · · · · ·
   44 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · · · ·
   48 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · · ·
   52 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · · ·
   56 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · · ·
   60 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ · ·
   64 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒ ·
   68 ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ■ ▒
a cell is a tile of 4 x 4 (queries x keys): ■ all attend  ▒ some  · none
""",
    ),
}


@pytest.mark.parametrize(("plan", "picture"), GOLDEN.values(), ids=GOLDEN.keys())
def test_the_picture(plan: am.Plan, picture: str) -> None:
    assert text_from_plan(plan, width=44) == picture.strip("\n")


def signs_of(picture: str) -> list[str]:
    rows = [line for line in picture.split("\n") if re.match(r" *\d+ .*[■▒·]", line) and "attend" not in line]
    return ["".join(re.findall("[■▒·]", row)) for row in rows]


@settings(max_examples=100, deadline=None)
@given(cases())
def test_every_sign_is_a_pair_of_the_reference(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    plan, dense = plan_of(mask, domain), evaluate(mask, domain)
    for b in range(plan.B):
        for h in range(plan.H):
            expected = ["".join("·■"[int(pair)] for pair in row) for row in dense[b, h]] if domain.K else []
            assert signs_of(text_from_plan(plan, batch=b, head=h, width=80)) == expected


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(10, 120))
def test_no_row_of_signs_is_wider_than_the_terminal(q: int, k: int, width: int) -> None:
    lines = text_from_plan(am.compile(am.causal(), q=q, k=k, offset=0), width=width).split("\n")
    assert all(len(line) <= width for line in lines[3:-1])
    assert len(lines) <= 4 + 64


def test_a_million_tokens_fit_into_the_terminal() -> None:
    picture = text_from_plan(am.compile(am.causal(), q=1 << 20), width=80)
    assert picture.endswith("a cell is a tile of 32,768 x 32,768 (queries x keys): ■ all attend  ▒ some  · none")
    assert signs_of(picture) == ["■" * n + "▒" + "·" * (31 - n) for n in range(32)]


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = am.compile(am.causal(), q=40)
    monkeypatch.setenv("COLUMNS", "90")
    assert "tile" not in text_from_plan(plan)
    monkeypatch.setenv("COLUMNS", "60")
    assert "a tile of 2 x 2" in text_from_plan(plan)


def test_four_items_are_drawn_and_the_others_counted() -> None:
    picture = text_from_plan(am.compile(am.prefix(range(6)), q=2), width=80)
    assert picture.count("key") == 4
    assert picture.endswith("2 more of 6 are not shown; in Python, choose with batch= and head=")


def test_one_item_can_be_chosen() -> None:
    plan = am.compile(am.prefix(range(6)), q=2)
    assert text_from_plan(plan, batch=5, width=80).startswith("batch 5: 4 of 4 pairs attend (100%)")


def test_any_item_of_a_broadcast_axis_is_the_same_picture() -> None:
    plan = am.compile(am.causal(), q=3, batch=9)
    assert text_from_plan(plan, batch=7, head=3) == text_from_plan(plan)


@pytest.mark.parametrize("batch", [-1, 3])
def test_an_item_that_is_not_there_is_refused(batch: int) -> None:
    with pytest.raises(ArgumentError) as error:
        text_from_plan(am.compile(am.prefix([0, 1, 2]), q=2), batch=batch)
    assert str(error.value) == f"batch is {batch}\n  where: draw\n  to do: give 0 to 2"
