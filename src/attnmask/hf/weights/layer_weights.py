"""The token weights of the running model, from which its attention layers read the weights of their keys."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attnmask.errors import ArgumentError, UnsupportedModelError

WHERE = "weighted"


@dataclass
class LayerWeights:
    """The token weights of one model call.

    Attributes:
        values: (B, L). configs: ids of the configs of the modules that read the tokens; a vision tower has another one.
        outer: the weights of the enclosing ``weighted``. tokens: the largest number of tokens, including those in a
            cache, for which a layer has read weights. paused: whether a model other than the weighted one is running.
    """

    values: Tensor
    configs: frozenset[int]
    outer: LayerWeights | None
    tokens: int = 0
    paused: bool = False

    def check(self, tokens: int, batch: int) -> None:
        """Raise unless there is a weight for each token of the first call, and for each of its texts."""
        rows, length = self.values.shape
        # Later calls read generated tokens, whose weight is 1.
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
        """Raise unless layers have read the weights of all tokens."""
        if not self.tokens:
            raise UnsupportedModelError(
                "no layer of this model used the weights: they had no effect",
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
    """Return the weights of the keys at some positions, (B, K); None if no weights are set.

    Args:
        keys: absolute positions; those after the weighted tokens get the weight 1. tokens: number of tokens so far.
        batch: number of texts. config: config of the calling module, or None.
    """
    current = current_weights.get()
    if current is None or current.paused or not (config is None or id(config) in current.configs):
        return None
    current.check(tokens, batch)
    current.tokens = max(current.tokens, tokens)
    missing = max(keys.stop - current.values.shape[1], 0)
    return nn.functional.pad(current.values, (0, missing), value=1.0)[:, keys.start : keys.stop]
