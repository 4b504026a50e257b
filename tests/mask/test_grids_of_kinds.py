"""Grids typed by hand: 4 x 4 at offset 0, and 2 x 5 whose rows stand at positions 2 and 3."""

from __future__ import annotations

import pytest

import attnmask as am
from attnmask.mask import tables
from attnmask.mask.domain import Domain
from attnmask.mask.reference import grid
from tests.strategies import dense_of, plan_of

KIND_GRIDS: dict[str, tuple[am.Mask, str, str]] = {
    "chunked": (am.chunked(2), "1100 1100 0011 0011", "00110 00110"),
    "block_causal": (am.block_causal(2), "1100 1100 1111 1111", "11110 11110"),
    "sinks": (am.sinks(1), "1000 1000 1000 1000", "10000 10000"),
    "spans": (am.spans([-1, 0, 0, -1]), "0000 0110 0110 0000", "01100 00000"),
    "global_tokens": (am.global_tokens([1]), "0100 1111 0100 0100", "01000 01000"),
    "dilated": (am.dilated(2), "1010 0101 1010 0101", "10101 01010"),
    "grid": (am.grid(height=1, width=4, radius=1), "1100 1110 0111 0011", "01110 00110"),
    "blocks": (am.blocks([[1, 0], [1, 1]], 2), "1100 1100 1111 1111", "11110 11110"),
    "tree": (am.tree([-1, 0, 0, 1]), "1000 1100 1010 1101", "10100 11010"),
    "shared_prefix": (am.shared_prefix(1, [1, 2]), "1000 1100 1011 1011", "10110 10110"),
    "block_diffusion": (am.block_diffusion(1, 2), "1000 0110 0010 0011", "00100 00110"),
    "cross_padding": (am.cross_padding([3], [2]), "1100 1100 1100 0000", "11000 11000"),
    "per_head": (am.per_head([am.causal()]), "1000 1100 1110 1111", "11100 11110"),
    "predicate": (am.predicate(lambda b, h, q, k: q > k), "0000 1000 1100 1110", "11000 11100"),
}


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
