"""Weights of attention that are masked behind the softmax: what is dropped there still counted in its sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# What may set weights to zero, and what makes the rest sum to one again.
CHANGES = ("mul", "mul_", "masked_fill", "masked_fill_", "where", "tril", "tril_", "div", "div_", "normalize")
# What passes them on.
PASSES = ("to", "type_as", "float", "half", "bfloat16", "contiguous")
MIN_SUM = 0.999


@dataclass
class SoftmaxWeights:
    """The weights that a softmax gave, wherever they are now.

    Attributes:
        now: (..., Q, K). alive: which are not zero. dropped: whether any was set to zero behind the softmax.

    >>> weights = SoftmaxWeights.of(torch.tensor([[0.5, 0.5]]))
    >>> mask = torch.tensor([[1.0, 0.0]])
    >>> weights.follow(torch.mul, (weights.now, mask), weights.now * mask)
    True
    >>> weights.nonzero.tolist(), weights.sums_below_one
    ([[True, False]], True)
    """

    now: Tensor
    nonzero: Tensor
    dropped: bool = False

    @staticmethod
    def of(weights: Tensor) -> SoftmaxWeights:
        """As they come from the softmax."""
        return SoftmaxWeights(weights, weights.detach() != 0)

    @property
    def sums_below_one(self) -> bool:
        """Whether those of some query sum to less than 1, though it keeps some keys."""
        sums = self.now.detach().double().sum(-1)
        return self.dropped and bool(((sums < MIN_SUM) & self.nonzero.any(-1)).any())

    def follow(self, func: Callable[..., Any], given: tuple[Any, ...], out: Any) -> bool:
        """Look at what torch did to them; whether they changed."""
        name = getattr(func, "__name__", "")
        if name not in (*CHANGES, *PASSES) or not any(each is self.now for each in given):
            return False
        if not isinstance(out, Tensor) or out.shape != self.now.shape:
            return False
        self.now, before = out, self.nonzero
        self.nonzero = before & (out.detach() != 0)
        self.dropped |= not torch.equal(before, self.nonzero)
        return name in CHANGES
