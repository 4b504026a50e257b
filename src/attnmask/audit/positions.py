"""Absolute positions shift under left padding where nobody gives position ids: recognised, not taken for a leak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from attnmask.audit.inputs import Padded, alone, padded
from attnmask.audit.measure import Comparison, difference, rows_of
from attnmask.audit.subject import Kind, Run, Subject
from attnmask.audit.verdict import CouldNotRunError

SHIFTED = "absolute positions shift under left padding when no position ids are given"
WORDS = ("position", "wpe", "pos_emb")


def padded_and_alone(
    subject: Subject, side: str, implementation: str, batch: int, positions: str
) -> tuple[Comparison, Padded]:
    """A text in a padded batch, and by itself."""
    own = padded(subject, side, batch, None, positions)
    rows = rows_of(subject, own.item, own.places)
    left, right = (Run(inputs, implementation) for inputs in (own.inputs, alone(subject, positions)))
    return Comparison(left, right, rows, [(0, i) for i in range(len(rows))]), own


def is_shift(subject: Subject, comparison: Comparison, own: Padded, threshold: float) -> bool:
    """Whether the text alone gives the same where its positions count from behind the padding."""
    start = len(own.masked)
    is_pair = subject.kind is Kind.ENCODER_DECODER
    try:
        if "position_ids" in subject.takes and not is_pair:
            shifted = replace(comparison, right=replace(comparison.right, inputs=alone(subject, "given", start=start)))
            if shifted.measured(subject) <= threshold:
                return True
        named = [(name, table) for name, table in tables_of(subject.model) if any(word in name for word in WORDS)]
        tables = [table for name, table in named if not is_pair or "decoder" not in name.removeprefix("model.")]
        found = (_when_rolled(subject, comparison, table, start) for table in tables)
        return any(number <= threshold for number in found)
    except CouldNotRunError:
        return False


def tables_of(model: nn.Module) -> list[tuple[str, nn.Embedding]]:
    """Every nn.Embedding of a model, by its name."""
    modules = cast(Iterable[tuple[str, nn.Module]], model.named_modules())
    return [(name, module) for name, module in modules if isinstance(module, nn.Embedding)]


def _when_rolled(subject: Subject, comparison: Comparison, table: nn.Embedding, start: int) -> float:
    """The difference where the text alone finds the positions of the padded one in the table."""
    weight: Tensor = table.weight
    before = weight.detach().clone()
    padded_out = subject.run(comparison.left)
    with torch.no_grad():
        weight.copy_(before.roll(-start, 0))
    try:
        alone_out = subject.run(comparison.right)
    finally:
        with torch.no_grad():
            weight.copy_(before)
    return difference(padded_out, alone_out, comparison.left_rows, comparison.right_rows)
