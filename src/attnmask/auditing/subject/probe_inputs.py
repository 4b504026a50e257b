"""Make the padded batches of probes: padded on the right, on the left, or with a hole inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from attnmask.auditing.subject.audited_model import Subject, extra_inputs

SIDES = ("right", "left", "hole")
HOLE = (4, 7)  # first and last + 1 of the padded positions


@dataclass(frozen=True)
class PaddedBatch:
    """A batch whose last item is padded.

    Attributes:
        inputs: keyword arguments of the model. item: index of the padded item. tokens: bool (B, L), True for a token.
    """

    inputs: dict[str, Any]
    item: int
    tokens: Tensor

    @property
    def places(self) -> list[int]:
        """Positions of the tokens of the padded item."""
        return [place for place, is_token in enumerate(cast(Any, self.tokens[self.item]).tolist()) if is_token]

    @property
    def masked(self) -> list[int]:
        """Positions of the padding of the padded item."""
        return sorted({*range(self.tokens.shape[1])} - {*self.places})


def padded(
    subject: Subject, side: str, batch: int = 2, content: int | None = None, positions: str = "default", seed: int = 1
) -> PaddedBatch:
    """Make a batch whose last text is padded; the other texts fill their rows.

    Args:
        subject: the subject. side: one of ``SIDES``. batch: number of items, 1 for the padded text alone.
        content: seed of the ids at padding; None for the pad id. positions: "default" (none are passed) or "given"
            (counted over the tokens). seed: seed of the padded text.
    """
    length = subject.length
    tokens = torch.ones(batch, length, dtype=torch.bool)
    tokens[-1] = _token_mask(side, length, subject.short)
    ids = torch.cat([subject.text(seed + 10 + b) for b in range(batch - 1)] + [subject.text(seed)])
    filler = torch.full((1, length), subject.pad) if content is None else subject.text(content)
    ids = torch.where(tokens, ids, filler)
    own = subject.text(seed, subject.short) if side != "hole" else None
    if own is not None:
        ids[-1, tokens[-1]] = own[0]
    return PaddedBatch(_model_inputs(subject, ids, tokens, positions), batch - 1, tokens)


def alone(subject: Subject, positions: str = "default", seed: int = 1, start: int = 0) -> dict[str, Any]:
    """Make the inputs of the same text without padding; positions, if given, count from ``start``."""
    ids = subject.text(seed, subject.short)
    inputs = _model_inputs(subject, ids, torch.ones_like(ids, dtype=torch.bool), positions)
    if "position_ids" in inputs:
        inputs["position_ids"] = inputs["position_ids"] + start
    return inputs


def positions_from_tokens(tokens: Tensor, first: int) -> Tensor:
    """Count positions over the tokens, as a user would pass them."""
    return (tokens.long().cumsum(1) - 1).clamp(min=0) + first


def _model_inputs(subject: Subject, ids: Tensor, tokens: Tensor, positions: str) -> dict[str, Any]:
    inputs: dict[str, Any] = {"input_ids": ids}
    if "attention_mask" in subject.takes:
        inputs["attention_mask"] = tokens.long()
    if positions == "given" and "position_ids" in subject.takes:
        inputs["position_ids"] = positions_from_tokens(tokens, subject.first)
    return inputs | extra_inputs(subject, ids, tokens)


def _token_mask(side: str, length: int, short: int) -> Tensor:
    place = torch.arange(length)
    if side == "right":
        return place < short
    if side == "left":
        return place >= length - short
    return (place < HOLE[0]) | (place >= HOLE[1])
