"""Audit a metric: predictions at padding must not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.auditing.global_state import global_state_restored
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.calls import public
from attnmask.errors import ArgumentError
from attnmask.hf.packing.labels import IGNORED
from attnmask.mask.arguments import flag, positive_number, shown

NAME = "metric counts padding"
LENGTHS, WIDTH = (9, 4, 7), 12
TIMES_ROUNDING = 1e-6
Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@public
def audit_metric(metric: Callable[[Any], Mapping[str, Any]], *, classes: int = 7, shifts: bool = False) -> Report:
    """Audit whether a metric counts predictions at padding, where labels are -100.

    Args:
        metric: a ``compute_metrics`` function of transformers' Trainer: from an EvalPrediction, or a pair of logits
            float32 (B, L, classes) and labels int64 (B, L), to numbers by name.
        classes: number of classes. shifts: whether the metric compares a prediction with the next label, as for a
            causal language model.

    Returns:
        A Report: ``report.bugs``, ``report.exit_code``, ``print(report)``.

    Raises:
        ArgumentError: the metric raises, or returns no numbers by name.

    Source: transformers' ``Trainer(compute_metrics=)``.

    >>> def accuracy(prediction):
    ...     logits, labels = prediction
    ...     return {"accuracy": float((logits.argmax(-1) == labels).mean())}
    >>> [bug.what for bug in audit_metric(accuracy).bugs]
    ['accuracy of a padded batch is not that of its texts']
    """
    if not callable(metric):
        raise ArgumentError(f"metric is {shown(metric)}", where="audit_metric(metric=)", fix="give a function")
    positive_number(classes, "classes", "audit_metric")
    flag(shifts, "shifts", "audit_metric")
    started = time.perf_counter()
    logits, labels = _predictions(classes)
    counted = labels != IGNORED
    if shifts:  # a prediction counts if the next position has a label
        counted = np.append(counted[:, 1:], np.zeros((len(counted), 1), dtype=bool), axis=1)
    changed_at_padding, changed_at_tokens = (
        np.where((counted == kept)[..., None], logits, -logits) for kept in (True, False)
    )
    own, at_padding, at_tokens = (
        _numbers(metric, one, labels) for one in (logits, changed_at_padding, changed_at_tokens)
    )
    wider = _numbers(metric, *_wider(logits, labels))
    findings = [
        finding
        for name in own
        for finding in (
            _judged(f"predictions at padding change {name}", own[name], at_padding[name], at_tokens[name]),
            _judged(f"{name} of a padded batch is not that of its texts", own[name], wider[name], at_tokens[name]),
        )
    ]
    findings = [replace(one, script=_script(classes)) if one.verdict is Verdict.BUG else one for one in findings]
    title = getattr(metric, "__name__", type(metric).__name__)
    return Report(title, tuple(findings), time.perf_counter() - started)


def _script(classes: int) -> str:
    return "\n".join(
        [
            "import numpy as np; from transformers import EvalPrediction",
            "metric = ...  # the metric that was audited",
            "chance = np.random.default_rng(0)",
            f"labels = chance.integers(0, {classes}, ({len(LENGTHS)}, {WIDTH}))",
            f"logits = chance.normal(size=(*labels.shape, {classes}))",
            f"labels[np.arange({WIDTH}) >= np.array({LENGTHS})[:, None]] = {IGNORED}",
            f"other = np.where((labels == {IGNORED})[..., None], -logits, logits)",
            f"wider = np.pad(logits, ((0, 0), (0, {WIDTH}), (0, 0)))",
            f"more = np.pad(labels, ((0, 0), (0, {WIDTH})), constant_values={IGNORED})",
            "print('these should be equal:', metric(EvalPrediction(logits, labels)))",
            "print('other predictions at padding:', metric(EvalPrediction(other, labels)))",
            "print('more padding:', metric(EvalPrediction(wider, more)))",
        ]
    )


def _predictions(classes: int) -> tuple[Logits, Labels]:
    """Make predictions, about half of them right, for texts that are all padded."""
    chance = np.random.default_rng(0)
    labels = chance.integers(0, classes, (len(LENGTHS), WIDTH))
    logits = chance.normal(size=(*labels.shape, classes)).astype(np.float32)
    right = chance.random(labels.shape) < 0.5
    logits[right, labels[right]] += 9
    labels[np.arange(WIDTH) >= np.array(LENGTHS)[:, None]] = IGNORED
    return logits, labels


def _wider(logits: Logits, labels: Labels) -> tuple[Logits, Labels]:
    """Add padding to the texts."""
    more = ((0, 0), (0, WIDTH))
    return np.pad(logits, (*more, (0, 0))), np.pad(labels, more, constant_values=IGNORED)


def _numbers(metric: Callable[[Any], Mapping[str, Any]], logits: Logits, labels: Labels) -> dict[str, float]:
    from transformers import EvalPrediction

    where = "audit_metric(metric)"
    try:
        with global_state_restored():
            found = metric(EvalPrediction(predictions=logits.copy(), label_ids=labels.copy()))
        return {str(name): float(value) for name, value in found.items()}
    except Exception as error:  # a user's metric may raise anything
        fix = "give a function of (logits (B, L, classes), labels (B, L)) that returns numbers by name"
        raise ArgumentError(f"the metric raises {type(error).__name__}: {error}", where=where, fix=fix) from error


def _judged(what: str, own: float, other: float, at_tokens: float) -> Finding:
    size = max(abs(own), 1e-30)
    number, power = abs(own - other) / size, abs(own - at_tokens) / size
    measured: dict[str, Any] = {"number": number, "threshold": TIMES_ROUNDING, "power": power}
    if power <= TIMES_ROUNDING:
        return Finding(NAME, Verdict.NO_POWER, what, **measured)
    return Finding(NAME, Verdict.BUG if number > TIMES_ROUNDING else Verdict.OK, what, **measured)
