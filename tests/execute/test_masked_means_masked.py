"""What stands at a masked-out key or value reaches neither the output nor a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import attnmask as am
from attnmask.mask.domain import Domain
from tests.execute.peers import BATCH, LENGTH, masks, tensors, with_grads
from tests.strategies import cases

BAD = [math.nan, math.inf, -math.inf]


def _run(plan: am.Plan, *inputs: Tensor) -> list[Tensor]:
    *qkv, grad = inputs
    return with_grads(lambda q, k, v: am.attention(q, k, v, plan), qkv, grad)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", masks())
def test_masked_out_keys_and_values_have_no_influence(name: str, bad: float) -> None:
    plan = am.compile(masks()[name] & am.padding(lengths=[LENGTH - 7, 40]), q=LENGTH, batch=BATCH, heads=4)
    q, k, v, grad = tensors(*[(BATCH, 4, LENGTH, 8)] * 4, dtype=torch.float32)
    unseen = ~torch.from_numpy(plan.runs.to_dense()).any(2).expand(BATCH, 4, LENGTH)
    assert unseen.any()
    spoilt = [x.masked_fill(unseen[..., None], bad) for x in (k, v)]
    for got, want in zip(_run(plan, q, *spoilt, grad), _run(plan, q, k, v, grad), strict=True):
        assert torch.equal(got, want)


@given(case=cases(), bad=st.sampled_from(BAD), at=st.integers(0, 7), of=st.sampled_from("kv"))
@settings(max_examples=100, deadline=None)
def test_a_bad_key_reaches_those_that_attend_to_it_and_nobody_else(
    case: tuple[Domain, am.Mask], bad: float, at: int, of: str
) -> None:
    where, mask = case
    if not where.K or not where.Q:
        return
    plan = am.compile(mask, q=where.Q, k=where.K, batch=where.B, heads=where.H, offset=where.offset)
    q, k, v, grad = tensors(*[(where.B, where.H, n, 3) for n in (where.Q, where.K, where.K, where.Q)])
    clean = _run(plan, q, k, v, grad)
    (k if of == "k" else v)[:, :, at % where.K, 1] = bad
    out, grad_q, grad_k, grad_v = _run(plan, q, k, v, grad)
    attends = torch.from_numpy(plan.runs.to_dense()).expand(where.B, where.H, where.Q, where.K)
    reached = attends[..., at % where.K]
    assert torch.equal(out.isnan().all(-1), reached)
    assert torch.equal(grad_q.isnan().all(-1), reached)
    torch.testing.assert_close(out[~reached], clean[0][~reached])
    torch.testing.assert_close(grad_q[~reached], clean[1][~reached])
    shared = (attends & reached[..., None]).any(2)
    assert torch.equal(grad_k.isnan().any(-1), shared)
    assert torch.equal(grad_v.isnan().any(-1), shared)
    assert torch.equal(am.attention(q, k, v, plan, backend="reference").isnan(), out.isnan())


def test_a_bad_query_or_gradient_stays_in_its_document() -> None:
    plan = am.compile(am.documents(lengths=[3, 4]), q=7)
    q, k, v, grad = tensors(*[(1, 1, 7, 4)] * 4)
    clean = _run(plan, q, k, v, grad)
    for spoilt in (0, 3):
        inputs = [q.clone(), k, v, grad.clone()]
        inputs[spoilt][:, :, 1] = math.nan
        for got, want in zip(_run(plan, *inputs), clean, strict=True):
            assert torch.equal(got[:, :, 3:], want[:, :, 3:])
        assert _run(plan, *inputs)[1][:, :, 1].isnan().all()


def test_bad_padding_with_grouped_queries_and_half_precision() -> None:
    plan = am.compile(am.padding(lengths=[5, 9]) & am.causal(), q=9)
    q, k, v, grad = tensors((2, 4, 9, 8), (2, 2, 9, 8), (2, 2, 9, 8), (2, 4, 9, 8), dtype=torch.bfloat16)
    want = _run(plan, q, k, v, grad)
    k[0, :, 5:], v[0, :, 5:] = math.nan, math.inf
    for got, expected in zip(_run(plan, q, k, v, grad), want, strict=True):
        assert torch.equal(got, expected)
