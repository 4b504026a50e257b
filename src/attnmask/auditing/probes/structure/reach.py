"""A token must influence the outputs that the declared masks of all layers connect it to, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.measure.influence import influences, replacement_ids
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import unreached_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import PaddedBatch
from attnmask.auditing.subject.subject_from_name import ASSUMED_LAYERS
from attnmask.conventions import BoolArray

NAME = "reach"
TOO_FAR = "a token changes outputs that no path through the declared masks leads to"
EVERYWHERE = "the declared masks let every token reach all"
TOO_NEAR = "a token does not change outputs that the declared masks let it reach"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.is_pooled or context.subject.kind is ModelKind.ENCODER_DECODER:
        return "one mask for all outputs is not declared"
    reach = context.subject.reach(context.subject.length)
    if reach is None:
        return "the mask of a layer is not known"
    if not reach.all():
        return ""
    seen = len(context.subject.layers or ()) < ASSUMED_LAYERS
    return EVERYWHERE if seen else f"no attention is seen from inside, so {EVERYWHERE}: give a mask for each layer"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Every token changed, one in each item of a batch: all influences in one forward pass."""
    for implementation in context.subject.implementations:
        yield from _check_implementation(context, implementation)


def _check_implementation(context: ProbeContext, implementation: str) -> Iterator[Finding]:
    subject = context.subject
    cell = {"implementation": implementation}
    try:
        sensitivity = context.sensitivity(implementation)
        changes = influences(subject, implementation)
    except CouldNotRunError as error:
        yield Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
        return
    reach = subject.reach(subject.length)
    assert reach is not None
    # Only changes at pairs that no path of declared masks connects.
    outside = np.where(reach, 0.0, changes)
    if outside.max() > sensitivity.threshold:
        query, key = np.unravel_index(outside.argmax(), outside.shape)
        yield context.compare(
            *_influence_comparison(subject, implementation, int(query), int(key), cell), sensitivity=sensitivity
        )
    else:
        yield Finding(
            NAME,
            sensitivity.verdict(0.0),
            TOO_FAR,
            cell,
            float(outside.max()),
            sensitivity.threshold,
            sensitivity.power,
        )
    near = _unused_distance(reach, changes)
    if near is not None:
        yield _judge_unused_distance(context, implementation, *near, cell)


def _influence_comparison(
    subject: Subject, implementation: str, query: int, key: int, cell: dict[str, str]
) -> tuple[str, Comparison, dict[str, str], str, PaddedBatch]:
    """The comparison that shows one influence."""
    plain = plain_inputs(subject)
    ids = plain["input_ids"].clone()
    ids[0, key] = replacement_ids(subject, ids[0, key : key + 1])[0]
    one, other = (Run(inputs, implementation) for inputs in (plain, plain | {"input_ids": ids}))
    where = cell | {"token": str(key), "output": str(query)}
    tokens = torch.ones_like(ids, dtype=torch.bool)
    return NAME, Comparison.at(one, other, [(0, query)]), where, TOO_FAR, PaddedBatch(plain, 0, tokens)


def _unused_distance(reach: BoolArray, changes: NDArray[np.float64]) -> tuple[int, int] | None:
    """A distance at which all should reach and none does."""
    length = len(reach)
    for distance in range(1 - length, length):
        allowed, seen = np.diagonal(reach, -distance), np.diagonal(changes, -distance)
        if allowed.sum() >= 3 and bool((seen[allowed] == 0).all()):
            row = int(allowed.nonzero()[0][0])
            return (row + distance, row) if distance >= 0 else (row, row - distance)
    return None


def _judge_unused_distance(
    context: ProbeContext, implementation: str, query: int, key: int, cell: dict[str, str]
) -> Finding:
    _, comparison, where, _, batch = _influence_comparison(context.subject, implementation, query, key, cell)
    wrong = context.first_mismatch(comparison.left, batch)
    finding = Finding(NAME, Verdict.NO_POWER, TOO_NEAR, where, 0.0, 0.0)
    if wrong is None:
        return replace(finding, cause="attention is as declared: the influence is too small to see")
    return replace(
        finding, verdict=Verdict.BUG, since=wrong.where, cause=wrong.cause, expected=wrong.expected,
        received=wrong.received, script=unreached_script(context.subject, comparison),
    )  # fmt: skip
