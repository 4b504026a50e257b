"""The token weights of the model that is running, as its attention layers ask for them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attnmask.errors import ArgumentError, UnsupportedModelError

WHERE = "weighted"


@dataclass
class LayerWeights:
    """The weights of the tokens of a call.

    Attributes:
        values: (B, L). configs: ids of the configs of what reads the tokens, unlike a vision tower.
        outer: the weights around these. tokens: the most that a layer has asked for, those in a cache among them.
        paused: whether another model than theirs is running.
    """

    values: Tensor
    configs: frozenset[int]
    outer: LayerWeights | None
    tokens: int = 0
    paused: bool = False

    def check(self, tokens: int, batch: int) -> None:
        """Raise unless there is a weight for each token of the first call, and for each of its texts."""
        rows, length = self.values.shape
        if not self.tokens and tokens > length:
            raise ArgumentError(
                f"weights are of {length} tokens, the text has {tokens}",
                where=WHERE,
                fix="give one a token of input_ids, pads too",
            )
        if rows not in (1, batch):
            raise ArgumentError(
                f"weights have shape {(rows, length)}, the batch {batch} texts",
                where=WHERE,
                fix="give (B, L) or (L,); where generate makes n beams or sequences of each text, "
                "weights.repeat_interleave(n, 0)",
            )

    def check_used(self) -> None:
        """Raise unless layers have asked for the weights, all of them."""
        if not self.tokens:
            raise UnsupportedModelError(
                "no layer of this model asked for the weights: they changed nothing",
                where=WHERE,
                fix="its attention does not go through transformers' AttentionInterface",
            )
        if self.tokens < self.values.shape[1]:
            raise ArgumentError(
                f"weights are of {self.values.shape[1]} tokens, the model was run on {self.tokens}",
                where=WHERE,
                fix="give one a token of input_ids, pads too",
            )


current_weights: ContextVar[LayerWeights | None] = ContextVar("attnmask_weights", default=None)


def current_key_weights(keys: range, tokens: int, batch: int, config: Any) -> Tensor | None:
    """The weights of the keys at some positions, (B, K); 1 for those that came later; None where there are none.

    Args:
        keys: absolute positions. tokens: how many there are so far. batch: texts.
        config: of what asks, None if it has none.
    """
    current = current_weights.get()
    if current is None or current.paused or not (config is None or id(config) in current.configs):
        return None
    current.check(tokens, batch)
    current.tokens = max(current.tokens, tokens)
    missing = max(keys.stop - current.values.shape[1], 0)
    return nn.functional.pad(current.values, (0, missing), value=1.0)[:, keys.start : keys.stop]
