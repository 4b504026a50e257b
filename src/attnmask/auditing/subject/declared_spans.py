"""Models that open a span of causal text both ways where token types mark it: images, and prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnmask.conventions import IntArray
from attnmask.mask.atoms import causal, spans, window
from attnmask.mask.atoms.positions.windows import Window
from attnmask.mask.expression import Mask

# Places of a text that are marked; text stands before and between them, and the second is wider than a tiny window.
MARKED = ((1, 3), (4, 13))


@dataclass(frozen=True)
class SpanRule:
    """How an architecture is told of spans.

    Attributes:
        argument: of its forward, a type for every token. inside, outside: the types. is_one: whether all marked tokens
            make one span; else each stretch of them does. windows_only: whether layers without a window stay causal.
        switch: attribute of the text config and its value with which spans are open; None if they always are.
    """

    argument: str
    inside: int
    outside: int
    is_one: bool = False
    windows_only: bool = False
    switch: tuple[str, object] | None = None

    def is_open(self, config: Any) -> bool:
        """Whether models of a config open spans."""
        return self.switch is None or getattr(config.get_text_config(), self.switch[0], None) == self.switch[1]

    def types(self, tokens: Tensor) -> Tensor:
        """The type of every place, int64 (B, L), for texts that begin at the first token; 0 at padding."""
        place = torch.arange(tokens.shape[1]) - tokens.long().argmax(1, keepdim=True)
        marked = torch.stack([(place >= first) & (place < last) for first, last in MARKED]).any(0)
        return torch.where(marked, self.inside, self.outside) * tokens

    def declared(self, layers: Sequence[Mask | None], length: int) -> list[Mask | None]:
        """The masks of all layers, with the spans open; a span wider than the window of a layer is cut by it."""
        opened = self.opened(length)
        return [None if mask is None else self._declared(mask, opened) for mask in layers]

    def opened(self, length: int) -> Mask:
        """Causal text with the spans open."""
        return causal() | spans(self._ids(length))

    def _declared(self, mask: Mask, opened: Mask) -> Mask:
        if isinstance(mask, Window):
            return window(left=mask.left, right=None) & opened
        return mask if self.windows_only else opened

    def _ids(self, length: int) -> IntArray:
        ids = np.full(length, -1)
        for number, (first, last) in enumerate(MARKED):
            ids[first:last] = 0 if self.is_one else number
        return ids


GEMMA4 = SpanRule("mm_token_type_ids", 1, 0, windows_only=True, switch=("use_bidirectional_attention", "vision"))
RULES = {
    "gemma3": SpanRule("token_type_ids", 1, 0),
    "gemma4": GEMMA4,
    "gemma4_unified": GEMMA4,
    "hrm_text": SpanRule("token_type_ids", 1, 0, is_one=True, switch=("prefix_lm", True)),
    "molmo2": SpanRule("mm_token_type_ids", 1, 0, is_one=True),
    "paligemma": SpanRule("token_type_ids", 0, 1, is_one=True),
}


def span_rule_from_config(config: Any) -> SpanRule | None:
    """The rule of a transformers config; None where token types open no span."""
    rule = RULES.get(getattr(config, "model_type", ""))
    return rule if rule is not None and rule.is_open(config) else None
