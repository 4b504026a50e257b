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


# Each backend in a precision that it is for.
BACKENDS = {"native": torch.float32, "tiled": torch.float64}


def _run(plan: am.Plan, *inputs: Tensor, backend: str = "auto") -> list[Tensor]:
    *qkv, grad = inputs
    return with_grads(lambda q, k, v: am.attention(q, k, v, plan, backend=backend), qkv, grad)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", masks())
def test_masked_out_keys_and_values_have_no_influence(name: str, bad: float, backend: str) -> None:
    plan = am.compile(masks()[name] & am.padding(lengths=[LENGTH - 7, 40]), q=LENGTH, batch=BATCH, heads=4)
    q, k, v, grad = tensors(*[(BATCH, 4, LENGTH, 8)] * 4, dtype=torch.float32)
    unseen = ~torch.from_numpy(plan.runs.to_dense()).any(2).expand(BATCH, 4, LENGTH)
    assert unseen.any()
    spoilt = [x.masked_fill(unseen[..., None], bad) for x in (k, v)]
    for got, want in zip(
        _run(plan, q, *spoilt, grad, backend=backend), _run(plan, q, k, v, grad, backend=backend), strict=True
    ):
        assert torch.equal(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["causal window", "documents", "random per head", "padding of both"])
def test_a_bad_key_of_many_reaches_those_that_attend_to_it_and_nobody_else(name: str, backend: str) -> None:
    plan = am.compile(masks()[name], q=LENGTH, batch=BATCH, heads=4)
    _a_bad_key_reaches_those_that_attend_to_it(plan, LENGTH // 3, math.inf, "k", backend, (BATCH, 4))


@given(
    case=cases(),
    bad=st.sampled_from(BAD),
    at=st.integers(0, 7),
    of=st.sampled_from("kv"),
    backend=st.sampled_from(list(BACKENDS)),
)
@settings(max_examples=200, deadline=None)
def test_a_bad_key_reaches_those_that_attend_to_it_and_nobody_else(
    case: tuple[Domain, am.Mask], bad: float, at: int, of: str, backend: str
) -> None:
    where, mask = case
    if not where.K or not where.Q:
        return
    plan = am.compile(mask, q=where.Q, k=where.K, batch=where.B, heads=where.H, offset=where.offset)
    _a_bad_key_reaches_those_that_attend_to_it(plan, at % where.K, bad, of, backend, (where.B, where.H))


def _a_bad_key_reaches_those_that_attend_to_it(
    plan: am.Plan, key: int, bad: float, of: str, backend: str, items_and_heads: tuple[int, int]
) -> None:
    rows, keys = plan.Q, plan.K
    shapes = [(*items_and_heads, length, 4) for length in (rows, keys, keys, rows)]
    q, k, v, grad = tensors(*shapes, dtype=BACKENDS[backend])
    clean = _run(plan, q, k, v, grad, backend=backend)
    (k if of == "k" else v)[:, :, key, 1] = bad
    out, grad_q, grad_k, grad_v = _run(plan, q, k, v, grad, backend=backend)
    attends = torch.from_numpy(plan.runs.to_dense()).expand(*items_and_heads, rows, keys)
    reached = attends[..., key]
    assert torch.equal(out.isnan().all(-1), reached)
    assert torch.equal(grad_q.isnan().all(-1), reached)
    torch.testing.assert_close(out[~reached], clean[0][~reached], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad_q[~reached], clean[1][~reached], rtol=1e-5, atol=1e-5)
    shared = (attends & reached[..., None]).any(2)
    assert torch.equal(grad_k.isnan().any(-1), shared)
    assert torch.equal(grad_v.isnan().any(-1), shared)
    assert torch.equal(am.attention(q, k, v, plan, backend="reference").isnan(), out.isnan())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_query_or_gradient_stays_in_its_document(backend: str) -> None:
    plan = am.compile(am.documents(lengths=[3, 4]), q=7)
    q, k, v, grad = tensors(*[(1, 1, 7, 4)] * 4, dtype=BACKENDS[backend])
    clean = _run(plan, q, k, v, grad, backend=backend)
    for spoilt in (0, 3):
        inputs = [q.clone(), k, v, grad.clone()]
        inputs[spoilt][:, :, 1] = math.nan
        for got, want in zip(_run(plan, *inputs, backend=backend), clean, strict=True):
            assert torch.equal(got[:, :, 3:], want[:, :, 3:])
        assert _run(plan, *inputs, backend=backend)[1][:, :, 1].isnan().all()


def test_bad_padding_with_grouped_queries_and_half_precision() -> None:
    plan = am.compile(am.padding(lengths=[5, 9]) & am.causal(), q=9)
    q, k, v, grad = tensors((2, 4, 9, 8), (2, 2, 9, 8), (2, 2, 9, 8), (2, 4, 9, 8), dtype=torch.bfloat16)
    want = _run(plan, q, k, v, grad)
    k[0, :, 5:], v[0, :, 5:] = math.nan, math.inf
    for got, expected in zip(_run(plan, q, k, v, grad), want, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bad_query_or_gradient_of_a_row_without_a_key_has_no_influence(bad: float, backend: str) -> None:
    plan = am.compile(am.padding(lengths=[3], of="queries"), q=5)
    q, k, v, grad = tensors(*[(1, 1, 5, 4)] * 4, dtype=BACKENDS[backend])
    clean = _run(plan, q, k, v, grad, backend=backend)
    for spoilt in (0, 3):
        inputs = [q.clone(), k, v, grad.clone()]
        inputs[spoilt][:, :, 3:] = bad
        for got, want in zip(_run(plan, *inputs, backend=backend), clean, strict=True):
            assert torch.equal(got, want)
