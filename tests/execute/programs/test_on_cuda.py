"""What runs on a GPU, run here as far as a CPU can: FlexAttention's forward, and a stand-in for the varlen kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen
from torch.nn.attention.flex_attention import flex_attention

import attnmask as am
from attnmask.compiler.plan import Plan
from attnmask.execute.backend_choice import Call, choose_backend
from attnmask.execute.cuda.varlen_attention import form_from_plan
from attnmask.execute.dispatch import ON_CUDA
from attnmask.execute.nonfinite_guard import guarded
from tests.execute.peers import tensors

# What FlexAttention says when it is not compiled: compiled for a CPU it has no log-sum-exp.
uncompiled = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")

PACKED = am.documents(lengths=[9, 1, 30, 60])
SETS = {
    "causal": am.causal(),
    "rows without a key": am.causal() & am.padding(lengths=[100, 40]) & ~am.sinks(3),
    "windows of documents": am.window(left=5, right=2) & PACKED,
    "two masks a batch": am.documents(ids=np.repeat([[0, 1, 2], [0, 0, 1]], [20, 30, 50], axis=1)),
    "per head": am.per_head([am.causal(), am.window(3, 3), am.full(), am.causal() & PACKED]),
}


@pytest.fixture
def flex_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnmask.execute.cuda.flex_attention.compiled_flex", lambda: flex_attention)


def _run(name: str, q: Tensor, k: Tensor, v: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    return guarded(lambda *qkv: ON_CUDA[name](*qkv, plan=plan, scale=0.25), q, k, v, plan.runs)


def _is_reference(name: str, mask: am.Mask, q: Tensor, k: Tensor, v: Tensor) -> None:
    plan = am.compile(mask, q=q.shape[2], batch=q.shape[0], heads=q.shape[1])
    got = _run(name, q, k, v, plan)
    want = am.attention(q, k, v, plan, scale=0.25, backend="reference", return_lse=True)
    for ours, right in zip(got, want, strict=True):
        torch.testing.assert_close(ours, right.to(ours.dtype), rtol=1e-5, atol=1e-5, equal_nan=True)


@uncompiled
@pytest.mark.usefixtures("flex_of_a_cpu")
@pytest.mark.parametrize("name", SETS)
def test_flex_is_the_reference(name: str) -> None:
    q, k, v = tensors((2, 4, 100, 16), (2, 2, 100, 16), (2, 2, 100, 32), dtype=torch.float32)
    _is_reference("flex", SETS[name], q, k, v)


@uncompiled
@pytest.mark.usefixtures("flex_of_a_cpu")
def test_flex_keeps_masked_out_numbers_that_are_none_to_themselves() -> None:
    q, k, v = tensors(*[(1, 2, 100, 16)] * 3, dtype=torch.float32)
    v[0, 1, 20] = torch.inf
    k[0, 0, 70, 3] = torch.nan
    _is_reference("flex", am.causal() & PACKED, q, k, v)


def _kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> tuple[Tensor, Tensor]:
    """torch's varlen_attn as its documentation has it, but for the log-sum-exp, which is (H, tokens)."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == max_k == int(cu_seq_q.diff().max())
    assert return_aux.lse
    assert enable_gqa == (q.shape[1] != k.shape[1])
    assert q.shape[-1] == v.shape[-1]
    assert q.shape[-1] % 8 == 0
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    outs, sums = [], []
    for begin, end in zip(cu_seq_q[:-1].tolist(), cu_seq_q[1:].tolist(), strict=True):
        own = slice(begin, end)
        scores = torch.einsum("qhd,khd->hqk", q[own], k[own]) * scale
        after = torch.arange(end - begin) - torch.arange(end - begin)[:, None]
        left, right = (end if side == -1 else side for side in window_size)
        scores = scores.masked_fill((after < -left) | (after > right), -torch.inf)
        sums.append(scores.logsumexp(-1))
        outs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[own]))
    return torch.cat(outs), torch.cat(sums, dim=1)


@pytest.mark.parametrize("inside", [am.full(), am.causal(), am.window(5, 0), am.window(0, 7)], ids=str)
@pytest.mark.parametrize("documents", ["windows of documents", "two masks a batch", "with padding"])
def test_varlen_is_the_reference(monkeypatch: pytest.MonkeyPatch, inside: am.Mask, documents: str) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", _kernel)
    sets = {**SETS, "windows of documents": PACKED, "with padding": am.documents(ids=[-1] * 7 + [0] * 80 + [1] * 10)}
    q, k, v = tensors((2, 4, 100, 12), (2, 2, 100, 12), (2, 2, 100, 20), dtype=torch.float32)
    length = 97 if documents == "with padding" else 100
    _is_reference("varlen", inside & sets[documents], *(x[:, :, :length] for x in (q, k, v)))


def test_varlen_gives_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(varlen, "varlen_attn", _kernel)
    plan = am.compile(am.causal() & am.documents(ids=[0] * 50 + [-1] * 3 + [1] * 47), q=100)

    def grads(backend: str) -> list[Tensor]:
        q, k, v = (x.requires_grad_() for x in tensors(*[(1, 2, 100, 8)] * 3))
        out = (
            _run("varlen", q, k, v, plan)[0]
            if backend == "varlen"
            else am.attention(q, k, v, plan, scale=0.25, backend=backend)
        )
        return list(torch.autograd.grad((out * torch.arange(8)).sum(), (q, k, v)))

    for got, want in zip(grads("varlen"), grads("reference"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("mask", "fits"),
    [
        (PACKED, True),
        (am.causal() & PACKED, True),
        (am.window(4, 0) & PACKED, True),
        (am.causal(), True),
        (am.sinks(3) | am.causal() & PACKED, False),
        (am.causal() & am.padding(lengths=[40]), False),
        # A hole in a document: packed, the positions after it would stand nearer.
        (am.window(4, 0) & am.documents(ids=[0] * 50 + [-1] * 3 + [0] * 47), False),
    ],
    ids=str,
)
def test_varlen_takes_packed_documents_alone(mask: am.Mask, fits: bool) -> None:
    assert (form_from_plan(am.compile(mask, q=100), 1) is not None) == fits


@pytest.mark.parametrize(
    ("mask", "dtype", "wide", "weighted", "chosen", "why"),
    [
        (PACKED, torch.bfloat16, 64, False, "varlen", "native: tensors are on cuda, it runs on cpu"),
        (am.causal() & PACKED | am.sinks(3), torch.bfloat16, 64, False, "flex", "the set is not packed documents"),
        (PACKED, torch.float32, 64, False, "flex", "varlen: tensors are torch.float32"),
        (PACKED, torch.bfloat16, 64, True, "dense", "flex: there are weights"),
        (am.causal(), torch.float32, 8, False, "dense", "flex: heads are 8 wide, it wants 16 or more"),
        (am.causal(), torch.float64, 64, False, "dense", "flex: tensors are torch.float64"),
    ],
)
def test_the_choice_on_cuda(
    mask: am.Mask, dtype: torch.dtype, wide: int, weighted: bool, chosen: str, why: str
) -> None:
    # Without a GPU no tensor can say that it is on one.
    q: Any = SimpleNamespace(device=torch.device("cuda"), dtype=dtype, shape=(1, 1, 100, wide))
    found = choose_backend("auto", Call(q, am.compile(mask, q=100), weighted=weighted))
    assert found.name == chosen
    assert why in found.why
