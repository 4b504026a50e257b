"""Pooling counts tokens and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.hf.inference.pooling import Pool, pool_packed
from attnmask.hf.packing.packed_mask import DocumentLayout

MASKS = {
    "right": [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]],
    "left": [[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]],
    "both and a hole": [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1]],
    "one token": [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1]],
}


def by_loop(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    items = [h[m.bool()] for h, m in zip(hidden, mask, strict=True)]
    return torch.stack([{"mean": x.mean(0), "cls": x[0], "last": x[-1]}[how] for x in items])


@pytest.mark.parametrize("how", [each.value for each in Pool])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_padding_never_counts(name: str, how: str, dtype: torch.dtype) -> None:
    mask = torch.tensor(MASKS[name])
    hidden = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = by_loop(hidden, mask, how)
    hidden[mask == 0] = torch.nan
    leaf = hidden.clone().requires_grad_()
    pooled = am.hf.pool(leaf, mask.to(dtype), how)
    torch.testing.assert_close(pooled, expected)
    pooled.sum().backward()
    assert leaf.grad is not None
    assert (leaf.grad[mask == 0] == 0).all()
    torch.testing.assert_close(leaf.grad.sum(1), torch.ones(2, 7, dtype=torch.float64))


@pytest.mark.parametrize("how", list(Pool))
def test_packed_texts_are_pooled_like_padded_ones(how: Pool) -> None:
    lengths = torch.tensor([3, 1, 5])
    hidden = torch.randn(9, 4, dtype=torch.float64)
    expected = torch.cat([by_loop(x[None], torch.ones(1, len(x)), how) for x in hidden.split(lengths.tolist())])
    torch.testing.assert_close(pool_packed(hidden, lengths, how, None), expected)


def test_a_weight_of_2_in_the_mean_is_the_token_twice() -> None:
    hidden, lengths = torch.randn(5, 4, dtype=torch.float64), torch.tensor([2, 3])
    weights = torch.tensor([1, 2, 0, 1, 0.5], dtype=torch.float64)
    expected = [(hidden[0] + 2 * hidden[1]) / 3, (hidden[3] + hidden[4] / 2) / 1.5]
    torch.testing.assert_close(pool_packed(hidden, lengths, Pool.MEAN, weights), torch.stack(expected))


@pytest.mark.parametrize("name", MASKS)
def test_weighted_mean_counts_each_token_by_its_weight(name: str) -> None:
    mask, generator = torch.tensor(MASKS[name]), torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 5, generator=generator, dtype=torch.float64) + 0.1
    loop = [
        sum(w * h for w, h, m in zip(*rows, strict=True) if m)
        / sum(w for w, m in zip(rows[0], rows[2], strict=True) if m)
        for rows in zip(weights, hidden, mask, strict=True)
    ]
    weights[mask == 0], hidden[mask == 0] = torch.nan, torch.nan
    leaves = hidden.requires_grad_(), weights.requires_grad_()
    pooled = am.hf.pool(hidden, mask, weights=weights)
    torch.testing.assert_close(pooled, torch.stack(loop))
    pooled.sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert (leaf.grad[mask == 0] == 0).all()
        assert leaf.grad[mask == 1].isfinite().all()


def test_weights_of_one_zero_and_two_are_the_plain_mean_a_token_away_and_a_token_twice() -> None:
    hidden, mask = torch.randn(1, 4, 3, dtype=torch.float64), torch.tensor([[1, 1, 1, 0]])
    pool = am.hf.pool
    torch.testing.assert_close(pool(hidden, mask, weights=torch.ones(1, 4)), pool(hidden, mask))
    weights = torch.tensor([[1.0, 2.0, 0.0, 5.0]])
    twice = hidden[:, [0, 1, 1]]
    torch.testing.assert_close(pool(hidden, mask, weights=weights), twice.mean(1))
    hidden[0, 2] = torch.nan  # nobody sees a token of weight 0
    torch.testing.assert_close(pool(hidden, mask, weights=weights), twice.mean(1))


def test_gradients_of_weights_are_true_at_0_too() -> None:
    hidden, mask = torch.randn(2, 4, 3, dtype=torch.float64), torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    weights = torch.tensor([[0.0, 2, 1, 0], [0, 1, 0.5, 3]], dtype=torch.float64)
    own = torch.autograd.functional.jacobian(lambda w: am.hf.pool(hidden, mask, weights=w), weights)
    assert torch.autograd.gradcheck(lambda h: am.hf.pool(h, mask, weights=weights), hidden.requires_grad_())
    step = 1e-6
    for at in ((0, 0), (0, 1), (1, 3)):
        more = weights.clone()
        more[at] += step
        slope = (am.hf.pool(hidden, mask, weights=more) - am.hf.pool(hidden, mask, weights=weights)) / step
        torch.testing.assert_close(own[:, :, *at], slope, rtol=1e-4, atol=1e-5)


def _packed(weights: Tensor | None = None) -> Tensor:
    # Rows of 5: documents of 3 and 1 with one place left, then one of 5.
    layout = DocumentLayout(np.array([0, 0, 1]), np.array([0, 3, 0]), np.array([3, 1, 5]))
    return am.hf.PackedMask.of(layout, weights)


def test_weights_of_packed_documents_are_given_or_the_masks_own() -> None:
    hidden = torch.randn(2, 5, 3, dtype=torch.float64)
    weights = torch.rand(2, 5, dtype=torch.float64) + 0.1
    documents = [(0, slice(0, 3)), (0, slice(3, 4)), (1, slice(0, 5))]
    want = torch.stack([weights[at] @ hidden[at] / weights[at].sum() for at in documents])
    torch.testing.assert_close(am.hf.pool(hidden, _packed(), weights=weights), want)
    torch.testing.assert_close(am.hf.pool(hidden, _packed(weights)), want)
    torch.testing.assert_close(
        am.hf.pool(hidden, _packed(weights), weights=torch.ones(2, 5)), am.hf.pool(hidden, _packed())
    )
    assert torch.autograd.gradcheck(lambda w: am.hf.pool(hidden, _packed(), weights=w), weights.requires_grad_())


def test_the_vector_has_the_dtype_of_the_hidden_states() -> None:
    hidden, weights = torch.randn(2, 5, 3, dtype=torch.bfloat16), torch.rand(2, 5)
    assert am.hf.pool(hidden, torch.ones(2, 5), weights=weights).dtype == torch.bfloat16
    assert am.hf.pool(hidden, _packed(), weights=weights).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("weights", "how", "message"),
    [
        (torch.ones(2, 3), "cls", "which uses no weights"),
        (torch.ones(3), "mean", r"weights are \(3,\) torch.float32, attention_mask \(2, 3\)"),
        (torch.ones(2, 3, dtype=torch.int64), "mean", "torch.int64"),
        (torch.tensor([[1.0, 1, 1], [1, torch.nan, 1]]), "mean", r"weights\[1, 1\] is nan"),
        (torch.tensor([[1.0, 1, 1], [1, 1, -2]]), "mean", r"weights\[1, 2\] is -2"),
        (torch.tensor([[1.0, 1, 1], [0, 0, 0]]), "mean", "all tokens of item 1 weigh 0"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weights: Tensor, how: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        am.hf.pool(torch.zeros(2, 3, 4), torch.ones(2, 3), how, weights=weights)


def test_packed_documents_of_another_batch_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"hidden is \(2, 6, 3\) torch.float32, attention_mask \(2, 5\)"):
        am.hf.pool(torch.zeros(2, 6, 3), _packed())
    with pytest.raises(ArgumentError, match="all tokens of document 1 weigh 0"):
        am.hf.pool(torch.zeros(2, 5, 3), _packed(torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])))


@pytest.mark.parametrize(
    ("hidden", "mask", "how", "message"),
    [
        (torch.zeros(2, 3, 4), torch.tensor([[1, 1, 0], [0, 0, 0]]), "mean", "item 1 has no token"),
        (torch.zeros(2, 3, 4), torch.ones(2, 4), "mean", r"torch.float32, attention_mask \(2, 4\)"),
        (torch.zeros(2, 3), torch.ones(2, 3), "mean", r"hidden is \(2, 3\)"),
        (torch.zeros(2, 3, 4), torch.full((2, 3), 0.5), "mean", r"attention_mask\[0, 0\] is 0\.5, neither 1"),
        (torch.zeros(2, 3, 4), torch.ones(2, 3), "max", "how is 'max'"),
    ],
)
def test_what_cannot_be_pooled_is_refused(hidden: Tensor, mask: Tensor, how: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        am.hf.pool(hidden, mask, how)
