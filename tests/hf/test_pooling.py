"""Pooling counts tokens and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.hf.pooling import Pool, pool_packed

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


@pytest.mark.parametrize(
    ("hidden", "mask", "how", "message"),
    [
        (torch.zeros(2, 3, 4), torch.tensor([[1, 1, 0], [0, 0, 0]]), "mean", "item 1 has no token"),
        (torch.zeros(2, 3, 4), torch.ones(2, 4), "mean", r"torch.float32, attention_mask \(2, 4\)"),
        (torch.zeros(2, 3), torch.ones(2, 3), "mean", r"hidden is \(2, 3\)"),
        (torch.zeros(2, 3, 4), torch.full((2, 3), 0.5), "mean", "values other than 0 and 1"),
        (torch.zeros(2, 3, 4), torch.ones(2, 3), "max", "how is 'max'"),
    ],
)
def test_what_cannot_be_pooled_is_refused(hidden: Tensor, mask: Tensor, how: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        am.hf.pool(hidden, mask, how)
