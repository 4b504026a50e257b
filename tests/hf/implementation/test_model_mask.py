"""A mask in a model looks like a tensor, and is a plan for as long as nobody takes it apart."""

from __future__ import annotations

import copy

import pytest
import torch

import attnmask as am
from attnmask.errors import UnsupportedModelError
from attnmask.hf.implementation.model_mask import ModelMask
from attnmask.hf.warnings_issued import MaterializedMaskWarning

PLAN = am.compile(am.causal() & am.padding(lengths=[5, 3]), q=5)
DENSE = torch.from_numpy(PLAN.to("dense"))


def test_it_looks_like_bools_and_takes_no_room() -> None:
    mask = ModelMask.of(am.compile(am.causal(), q=100_000), batch=3)
    assert mask.shape == (3, 1, 100_000, 100_000)
    assert (mask.ndim, mask.dtype, mask.device.type, len(mask)) == (4, torch.bool, "cpu", 3)
    assert mask.stride() == (0, 0, 0, 0)


def test_moving_it_keeps_the_plan() -> None:
    mask = ModelMask.of(PLAN, torch.ones(5))
    for moved in (
        mask.to("cpu"),
        mask.to(dtype=torch.bool),
        mask.bool(),
        mask.clone(),
        mask.detach(),
        mask.contiguous(),
    ):
        assert isinstance(moved, ModelMask)
        assert moved.plan is PLAN
        assert moved.weights is mask.weights
    assert copy.copy([mask])[0] is mask


def test_taking_it_apart_gives_the_bools_and_says_so() -> None:
    mask, other = ModelMask.of(PLAN), ModelMask.of(am.compile(am.full(), q=5, k=2, offset=0), batch=2)
    with pytest.warns(MaterializedMaskWarning, match="applies cat"):
        joined = torch.cat([mask, other], dim=-1)
    assert torch.equal(joined, torch.cat([DENSE, torch.ones(2, 1, 5, 2, dtype=torch.bool)], -1))
    for taken, want in (
        (lambda: mask[:, 0], DENSE[:, 0]),
        (lambda: ~mask, ~DENSE),
        (lambda: mask & DENSE.flip(-1), DENSE & DENSE.flip(-1)),
        (lambda: torch.where(mask, 0.0, -1.0), torch.where(DENSE, 0.0, -1.0)),
        (lambda: mask.to(torch.float32), DENSE.float()),
        (lambda: mask.mT, DENSE.mT),
    ):
        with pytest.warns(MaterializedMaskWarning):
            assert torch.equal(taken(), want)


def test_adding_it_is_refused_and_so_is_losing_weights() -> None:
    mask = ModelMask.of(PLAN)
    scores = torch.zeros(2, 1, 5, 5)
    for add in (
        lambda: scores + mask,
        lambda: mask + scores,
        lambda: scores.add_(mask),
        lambda: torch.add(scores, mask),
    ):
        with pytest.raises(UnsupportedModelError, match="adds the mask to its scores itself"):
            add()
    with pytest.raises(UnsupportedModelError, match="cannot hold token weights"), pytest.warns():
        ModelMask.of(PLAN, torch.ones(5))[:, 0]


def test_bools_made_of_it_cannot_be_added_to_scores_or_filled_with_a_large_negative_number() -> None:
    mask, scores = ModelMask.of(PLAN), torch.zeros(2, 1, 5, 5)
    with pytest.warns(MaterializedMaskWarning):
        part = mask[:, :, :, :5]
    for add in (lambda: scores + part, lambda: part[:, :1] + scores, lambda: scores - (part & DENSE)):
        with pytest.raises(UnsupportedModelError, match="adds the mask to its scores itself"):
            add()
    lowest = torch.finfo(torch.float32).min
    for fill in (
        lambda: mask.masked_fill(DENSE, lowest),
        lambda: part.masked_fill(DENSE, lowest),
        lambda: torch.masked_fill(part, DENSE, value=lowest),
    ):
        with pytest.raises(UnsupportedModelError, match=r"fills a bool mask with -3\.4e"):
            fill()
    assert torch.equal(part.masked_fill(DENSE, False), torch.zeros_like(DENSE))
    assert type(part.float()) is torch.Tensor
    assert torch.equal(scores.masked_fill(~part, lowest), torch.where(DENSE, 0.0, lowest))
