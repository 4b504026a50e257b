"""Grids typed by hand: 4 x 4 at offset 0, and 2 x 5 whose rows stand at positions 2 and 3."""

from __future__ import annotations

import pytest

import attnmask as am
from attnmask.mask.domain import Domain
from attnmask.mask.reference import grid
from attnmask.mask.tables import lookup_tables as tables
from tests.atoms import EXAMPLES
from tests.strategies import dense_of, plan_of

KIND_GRIDS = {name: example.grids for name, example in EXAMPLES.items() if example.grids}


@pytest.mark.parametrize("name", KIND_GRIDS)
def test_a_kind_is_the_grid_that_a_person_typed(name: str) -> None:
    mask, square, offset = KIND_GRIDS[name]
    for domain, typed in ((Domain(1, 1, 4, 4), square), (Domain(1, 1, 2, 5, offset=2), offset)):
        expected = "\n".join(" ".join(row) for row in typed.split())
        assert grid(mask, q=domain.Q, k=domain.K, offset=domain.offset) == expected
        rows = dense_of(plan_of(mask, domain), domain)[0, 0]
        assert "\n".join(" ".join(str(int(pair)) for pair in row) for row in rows) == expected


def test_a_natten_neighbourhood_moves_inwards_at_the_border() -> None:
    pairs = dense_of(plan_of(am.grid(4, 3, 1, border="natten"), Domain(1, 1, 12, 12)), Domain(1, 1, 12, 12))[0, 0]
    assert pairs.sum(axis=1).tolist() == [9] * 12
    assert pairs[0].tolist() == [True] * 9 + [False] * 3


def test_heads_have_masks_of_their_own() -> None:
    plan = am.compile(am.per_head([am.causal(), am.full()]), q=2)
    assert plan.runs.to_dense().astype(int).tolist() == [[[[1, 0], [1, 1]], [[1, 1], [1, 1]]]]
    with pytest.raises(am.AttnMaskError, match="the data have H=2, the plan has H=3"):
        am.compile(am.per_head([am.causal(), am.full()]), q=2, heads=3)


def test_a_costly_mask_is_asked_only_where_other_terms_leave_keys() -> None:
    asked: list[int] = []

    def rule(b: object, h: object, q: object, k: object) -> object:
        asked.append((q + k).size)  # type: ignore[operator]
        return (q + k) % 2 == 0  # type: ignore[operator]

    plan = am.compile(am.causal() & am.window(left=7, right=0) & am.predicate(rule), q=4096)
    assert sum(asked) < 4096 * 300 < 4096 * 4096 / 10
    assert plan == am.compile(am.causal() & am.window(left=7, right=0) & am.dilated(2), q=4096)


def test_more_runs_than_memory_should_hold_are_refused() -> None:
    with pytest.raises(am.AttnMaskError, match="8,589,934,592 runs of keys"):
        am.compile(am.dilated(2), q=131_072)
    assert am.compile(am.dilated(64) & am.window(left=1023, right=0), q=131_072).pairs == 131_072 * 16 - 64 * 120


def test_more_runs_in_all_blocks_of_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    strided = am.causal() & am.dilated(2)
    assert am.compile(strided, q=1024).pairs == 513 * 512
    monkeypatch.setattr(tables, "MOST", 100_000)
    with pytest.raises(am.AttnMaskError, match="runs of keys, or more"):
        am.compile(strided, q=1024)
