"""Follow attention weights that are masked after the softmax, where dropped weights still count in the sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Functions that may set weights to 0, or make the rest sum to 1 again.
CHANGES = ("mul", "mul_", "masked_fill", "masked_fill_", "where", "tril", "tril_", "div", "div_", "normalize")
# Functions that pass the weights on, as another tensor.
PASSES = ("to", "type_as", "float", "half", "bfloat16", "contiguous")
MIN_SUM = 0.999


@dataclass
class SoftmaxWeights:
    """The weights that a softmax returned, followed through the functions that change them.

    Attributes:
        now: the current weights (..., Q, K). nonzero: which of them are not 0. dropped: whether any was set to 0 after
            the softmax.

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
        """Start to follow the output of a softmax."""
        return SoftmaxWeights(weights, weights.detach() != 0)

    @property
    def sums_below_one(self) -> bool:
        """Whether the weights of some query sum to less than 1, although it keeps some keys."""
        sums = self.now.detach().double().sum(-1)
        return self.dropped and bool(((sums < MIN_SUM) & self.nonzero.any(-1)).any())

    def follow(self, func: Callable[..., Any], given: tuple[Any, ...], out: Any) -> bool:
        """Follow one torch function call; return whether it may have changed the weights."""
        name = getattr(func, "__name__", "")
        if name not in (*CHANGES, *PASSES) or not any(each is self.now for each in given):
            return False
        # A product with the values has another shape, and ends the chain.
        if not isinstance(out, Tensor) or out.shape != self.now.shape:
            return False
        self.now, before = out, self.nonzero
        self.nonzero = before & (out.detach() != 0)
        self.dropped |= not torch.equal(before, self.nonzero)
        return name in CHANGES
