"""The table of `attnmask formats`: what it sizes, and what it leaves unwritten."""

from __future__ import annotations

import tracemalloc

import pytest

import attnmask as am
from attnmask.compiler.runs import Runs
from attnmask.conventions import BoolArray
from attnmask.formats import FORMATS, lower
from attnmask.formats import format_table as table
from tests.formats.cases import KINDS

LIMIT, LENGTH = 30, 6
PLANS = {kind: am.compile(mask(LENGTH, LENGTH), q=LENGTH) for kind, mask in KINDS.items()}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pairs of every set that is written out pair by pair."""
    sizes: list[int] = []
    to_dense = Runs.to_dense

    def counted(runs: Runs) -> BoolArray:
        sizes.append(runs.rows * runs.keys)
        return to_dense(runs)

    monkeypatch.setattr(Runs, "to_dense", counted)
    monkeypatch.setattr(table, "MOST_PAIRS", LIMIT)
    return sizes


@pytest.mark.parametrize("kind", KINDS)
def test_no_target_writes_out_more_pairs_than_the_limit(kind: str, written: list[int]) -> None:
    rows = {row.format: row for row in table.rows_of(PLANS[kind])}
    assert max(written, default=0) <= LIMIT
    assert rows["dense"].size == f"over {LIMIT:,} pairs"


def test_items_that_differ_do_not_escape_the_limit(written: list[int]) -> None:
    # The one mask of pairs of an encoder is the union of all items: a set of its own.
    plan = am.compile(am.dilated(2) & am.padding(lengths=[LENGTH, 4]), q=LENGTH)
    sizes = {row.format: row.size for row in table.rows_of(plan)}
    assert sizes["torch_encoder"] == f"over {LIMIT:,} pairs"
    assert max(written, default=0) <= LIMIT


def test_a_long_dilated_window_is_sized_in_little_memory() -> None:
    plan = am.compile(am.dilated(2) & am.window(left=9, right=0), q=1 << 15)
    tracemalloc.start()
    sizes = {row.format: row.size for row in table.rows_of(plan)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Even and odd positions as segments, and a lazy window.
    assert sizes["splash"] == 2 * 4 * plan.Q + table.NUMBER
    assert peak < 300e6, f"{peak / 1e6:.0f} MB"


def test_below_the_limit_every_size_is_of_what_is_lowered() -> None:
    plan = PLANS["packed decoder"]
    for row in table.rows_of(plan):
        assert row.reasons or row.size == table.count_bytes(lower(plan, row.format))
    assert [row.format for row in table.rows_of(plan)] == list(FORMATS)
