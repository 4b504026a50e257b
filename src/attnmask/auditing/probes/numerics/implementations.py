"""Implementations of attention must agree, under every padding."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch

from attnmask.auditing.measure.differences import Comparison, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import SIDES, PaddedBatch, padded

NAME = "implementations disagree"
WHAT = "two implementations of attention give different outputs for tokens"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    return "" if len(context.subject.implementations) > 1 else "one implementation runs"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Each of the others against the first."""
    subject = context.subject
    first, *others = subject.implementations
    for other, side, train in product(others, (*SIDES, "none"), (False, True)):
        if train and side != "left":
            continue
        batch = _unmasked(subject) if side == "none" else padded(subject, side, 2, None, "given")
        inputs = batch.inputs
        rows = output_rows(subject, batch.item, batch.places)
        this, that = (Run(inputs, name, train=train, grad=train) for name in (other, first))
        cell = {"implementation": f"{other} against {first}", "padding": side} | ({"mode": "train"} if train else {})
        yield context.compare(NAME, Comparison.at(this, that, rows), cell, WHAT, batch)


def _unmasked(subject: Subject) -> PaddedBatch:
    """Two texts of the same length, without a mask and without positions: some code leaves masks out there."""
    plain = plain_inputs(subject)
    inputs = {
        name: value.repeat(2, *(1,) * (value.ndim - 1)) for name, value in plain.items() if name != "attention_mask"
    }
    return PaddedBatch(inputs, 1, torch.ones_like(inputs["input_ids"], dtype=torch.bool))
