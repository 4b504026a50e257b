"""The loss of a padded batch must be the mean of the losses of its texts, weighted by their numbers of targets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import loss_script
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.absolute_positions import padded_and_alone
from attnmask.auditing.subject.audited_model import ModelKind, Subject
from attnmask.auditing.subject.model_outputs import access_code, loss_name, output_parts
from attnmask.auditing.subject.probe_inputs import alone, padded

NAME = "loss counts padding"
WHAT = "the loss of a padded batch is not that of its texts"
IGNORED = -100


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    if not {"labels", "attention_mask"} <= subject.takes or subject.is_pooled:
        return "the model takes no labels of tokens"
    return "" if subject.kind is not ModelKind.ENCODER_DECODER else "its labels are the decoder's"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Two texts, the second padded, its labels -100 there."""
    subject = context.subject
    for implementation in subject.implementations:
        for side in ("right", "left"):
            yield _judged(context, implementation, side)


def _judged(context: ProbeContext, implementation: str, side: str) -> Finding:
    subject = context.subject
    subject.use(implementation)
    cell = {"padding": side, "implementation": implementation}
    both = _labelled(padded(subject, side, 2, None, "given").inputs)
    first = {name: value[:1] for name, value in both.items()}
    second = _labelled(alone(subject, "given"))
    try:
        found = [_called(subject, inputs) for inputs in (both, first, second)]
        name = loss_name(found[0])
        together, one, two = (output_parts(each)[name].double() for each in found)
    except Exception as error:  # whatever a model's own code raises
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    counts = [inputs["input_ids"].shape[1] - 1 for inputs in (first, second)]
    wanted = (one * counts[0] + two * counts[1]) / sum(counts)
    if _outputs_differ(context, implementation, side):
        return Finding(NAME, Verdict.NOT_APPLICABLE, "the outputs of tokens differ already", cell)
    number = float((together - wanted).abs() / wanted.abs().clamp(min=1e-30))
    sensitivity = context.sensitivity(implementation)
    power = float((one - two).abs() / wanted.abs())
    measured: dict[str, Any] = {"number": number, "threshold": max(sensitivity.threshold, 1e-5), "power": power}
    if not number > measured["threshold"]:
        return Finding(NAME, Verdict.OK, WHAT, cell, **measured)
    script = loss_script(subject, implementation, [both, first, second], counts, access_code(found[0], name))
    return Finding(NAME, Verdict.BUG, WHAT, cell, **measured, script=script)


def _outputs_differ(context: ProbeContext, implementation: str, side: str) -> bool:
    comparison, _ = padded_and_alone(context.subject, side, implementation, 2, "given")
    return comparison.measured(context.subject) > context.sensitivity(implementation).threshold


def _labelled(inputs: dict[str, Any]) -> dict[str, Any]:
    """Labels of all tokens but the first, which a causal model predicts from nothing, or from the pad before it."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    counted = (mask == 1) & (mask.cumsum(1) > 1)
    return inputs | {"labels": torch.where(counted, ids, IGNORED)}


def _called(subject: Subject, inputs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return subject.call(inputs)
