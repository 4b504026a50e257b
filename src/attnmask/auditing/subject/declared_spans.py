"""Models that attend in both directions inside spans of causal text, images and prefixes marked by token types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnmask.conventions import IntArray
from attnmask.hf.models.known_types import SpanMarks, known_type
from attnmask.mask.atoms import causal, spans, window
from attnmask.mask.atoms.positions.windows import Window
from attnmask.mask.expression import Mask

# Positions (first, last + 1) of the marked spans: text comes before and between them, and the second span is wider than
# the window of a tiny model.
MARKED = ((1, 3), (4, 13))


class SpanRule(SpanMarks):
    """The marks of spans, with the inputs and masks that follow from them."""

    def is_open(self, config: Any) -> bool:
        """Return whether a config enables spans."""
        return self.switch is None or getattr(config.get_text_config(), self.switch[0], None) == self.switch[1]

    def types(self, tokens: Tensor) -> Tensor:
        """Return the type of every position, int64 (B, L), 0 at padding; spans count from the first token of a text."""
        place = torch.arange(tokens.shape[1]) - tokens.long().argmax(1, keepdim=True)
        marked = torch.stack([(place >= first) & (place < last) for first, last in MARKED]).any(0)
        return torch.where(marked, self.inside, self.outside) * tokens

    def declared(self, layers: Sequence[Mask | None], length: int) -> list[Mask | None]:
        """Return the masks of all layers with spans; a window also cuts a span that is wider than itself."""
        opened = self.opened(length)
        return [None if mask is None else self._declared(mask, opened) for mask in layers]

    def opened(self, length: int) -> Mask:
        """Return the causal mask in which each span attends in both directions."""
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


def span_rule_from_config(config: Any) -> SpanRule | None:
    """Return the rule of a transformers config; None if its token types mark no spans."""
    marks = known_type(getattr(config, "model_type", "")).spans
    rule = None if marks is None else SpanRule(*astuple(marks))
    return rule if rule is not None and rule.is_open(config) else None
