"""What is computed block by block of rows is what is computed at once."""

from __future__ import annotations

import pytest

import attnmask as am
from attnmask.compiler import runs_from_mask as lower
from attnmask.compiler import tiles
from attnmask.compiler.plan import plan_from_dense
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.formats.cases import KINDS

COSTLY: dict[str, am.Mask] = {
    "dilated": am.dilated(3),
    "strided": am.causal() & (am.window(left=4, right=0) | am.dilated(5)),
    "per head": am.per_head([am.causal() & am.dilated(4), am.window(3, 3)]),
    "per item": am.documents(lengths=[[20, 17], [30, 3]]) & am.dilated(2).shift(3),
    "with rows": am.dilated(3) & am.padding(lengths=[30, 7], side="left", of="both"),
    "per item and head": am.per_head([am.dilated(2) & am.documents(lengths=[[9, 9], [4, 30]]), am.causal()]),
}
MASKS = {**COSTLY, **{kind: mask(37, 37) for kind, mask in KINDS.items()}}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("q", "offset"), [(37, 0), (37, 5), (37, -4), (5, 3), (6, 0)])
def test_a_plan_in_blocks_of_rows(name: str, q: int, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "FIRST_ROWS", 5)
    monkeypatch.setattr(lower, "RUNS_AT_ONCE", 40)
    mask = MASKS[name]
    try:
        plan = am.compile(mask, q=q, k=37, offset=offset)
    except am.AttnMaskError:
        assert q != 37  # the data of the mask are of 37 queries
        return
    assert plan == plan_from_dense(evaluate(mask, Domain(plan.B, plan.H, q, 37, offset)))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (4, 3), (16, 8), (64, 64)])
def test_tiles_in_blocks_of_rows(name: str, rows: int, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = am.compile(MASKS[name], q=37)
    at_once = plan.tiles(rows, keys)
    monkeypatch.setattr(tiles, "RUNS_AT_ONCE", 3)
    in_blocks = plan.tiles(rows, keys)
    assert (in_blocks.touched, in_blocks.full) == (at_once.touched, at_once.full)
