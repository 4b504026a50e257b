"""Implementations of attention must agree, under every padding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from attnmask.audit.context import Context
from attnmask.audit.inputs import SIDES, padded
from attnmask.audit.measure import Comparison, rows_of
from attnmask.audit.subject import Run
from attnmask.audit.verdict import Finding

NAME = "implementations disagree"
WHAT = "two implementations of attention give different outputs for tokens"


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    return "" if len(context.subject.implementations) > 1 else "one implementation runs"


def run(context: Context) -> Iterator[Finding]:
    """Each of the others against the first."""
    subject = context.subject
    first, *others = subject.implementations
    for other, side, train in product(others, (*SIDES, "none"), (False, True)):
        if train and side != "left":
            continue
        batch = padded(subject, "right" if side == "none" else side, 2, None, "given")
        inputs = dict(batch.inputs)
        if side == "none":
            inputs.pop("attention_mask", None)
            batch.tokens[:] = True
        rows = rows_of(subject, batch.item, batch.places)
        this, that = (Run(inputs, name, train=train, grad=train) for name in (other, first))
        cell = {"implementation": f"{other} against {first}", "padding": side} | ({"mode": "train"} if train else {})
        yield context.compare(NAME, Comparison.at(this, that, rows), cell, WHAT, batch)
