"""What attention says of bad input, word for word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attnmask as am

X = torch.zeros(2, 4, 5, 8)
E4 = torch.float8_e4m3fn
CASES = {
    "three axes": (lambda: am.attention(X[0], X, X, am.full()), "q is shape (4, 5, 8), torch.float32"),
    "no tensor": (lambda: am.attention(X.numpy(), X, X, am.full()), "q is ndarray"),
    "integers": (lambda: am.attention(X.long(), X, X, am.full()), "q is shape (2, 4, 5, 8), torch.int64"),
    "two dtypes": (
        lambda: am.attention(X, X.double(), X, am.full()),
        "k is torch.float64 on cpu, q is torch.float32 on cpu",
    ),
    "heads": (
        lambda: am.attention(X, X[:, :3], X[:, :3], am.full()),
        "q (2, 4, 5, 8), k (2, 3, 5, 8), v (2, 3, 5, 8)",
    ),
    "lengths of k and v": (
        lambda: am.attention(X, X, X[:, :, :3], am.full()),
        "q (2, 4, 5, 8), k (2, 4, 5, 8), v (2, 4, 3, 8)",
    ),
    "plan of other lengths": (
        lambda: am.attention(X, X, X, am.compile(am.full(), q=6)),
        "the plan is (B, H, Q, K) = (1, 1, 6, 6), the tensors are (2, 4, 5, 5)",
    ),
    "plan of another batch": (
        lambda: am.attention(X, X, X, am.compile(am.padding(lengths=[1, 2, 3]), q=5)),
        "the plan is (B, H, Q, K) = (3, 1, 5, 5), the tensors are (2, 4, 5, 5)",
    ),
    "data of another batch": (
        lambda: am.attention(X, X, X, am.padding(lengths=[1, 2, 3])),
        "the data have B=3, the plan has B=2",
    ),
    "backend": (lambda: am.attention(X, X, X, am.full(), backend="fast"), "backend is 'fast'"),
    "tiled with weights per pair": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.ones(1, 1, 5, 5), backend="tiled"),
        "weights are per pair",
    ),
    "negative weight": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.tensor([1, 1, 1, -0.5, 1])),
        "weights[3] is -0.5",
    ),
    "weight that is no number": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.full((2, 5), torch.nan)),
        "weights[0, 0] is nan",
    ),
    "weights of another length": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.ones(6)),
        "weights have shape (6,), the tensors (B, H, Q, K) = (2, 4, 5, 5)",
    ),
    "mask of NumPy": (lambda: am.attention(X, X, X, np.ones((5, 5), bool)), "mask is ndarray"),
    "mask as a list": (lambda: am.attention(X, X, X, [[1]]), "mask is list"),
    "scale as text": (lambda: am.attention(X, X, X, am.full(), scale="a"), "scale is str"),
    "scale that is no number": (lambda: am.attention(X, X, X, am.full(), scale=math.nan), "scale is nan"),
    "scale beyond a float": (lambda: am.attention(X, X, X, am.full(), scale=10**400), "scale is inf"),
    "scale as a bool": (lambda: am.attention(X, X, X, am.full(), scale=True), "scale is bool"),
    "scale as a tensor": (lambda: am.attention(X, X, X, am.full(), scale=torch.ones(())), "scale is Tensor"),
    "scalar weights": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.ones(())),
        "weights have shape (), the tensors (B, H, Q, K) = (2, 4, 5, 5)",
    ),
    "8 bits": (lambda: am.attention(*[X.to(E4)] * 3, am.full()), f"q is shape (2, 4, 5, 8), {E4}"),
    "meta": (lambda: am.attention(*[X.to("meta")] * 3, am.full()), "q is on meta, where tensors hold no numbers"),
    "sparse": (lambda: am.attention(*[X.to_sparse()] * 3, am.full()), "q is of layout torch.sparse_coo"),
    "offset of a plan": (
        lambda: am.attention(X, X, X, am.compile(am.full(), q=5), offset=5),
        "got offset=5 and a Plan, which is compiled for its offset",
    ),
    "align of a plan": (
        lambda: am.attention(X, X, X, am.compile(am.full(), q=5), align="end"),
        "got align='end' and a Plan, which is compiled for its offset",
    ),
    "align as a list": (lambda: am.attention(X, X, X, am.causal(), align=["end"]), "align is ['end']"),
    "lse as text": (lambda: am.attention(X, X, X, am.full(), return_lse="no"), "return_lse is str"),
    "queries of no kind": (lambda: am.compile(am.full(), q=5).backend_for(None), "q is NoneType"),
    "integer weights": (
        lambda: am.attention(X, X, X, am.full(), weights=torch.ones(5, dtype=torch.long)),
        "weights are torch.int64",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_error(name: str) -> None:
    call, what = CASES[name]
    with pytest.raises(am.AttnMaskError) as error:
        call()
    assert error.value.what == what
    assert error.value.where
    assert error.value.fix
