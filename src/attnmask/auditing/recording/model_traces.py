"""Record the masks of a model's layers on a standard batch, to draw them."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch

from attnmask.auditing.global_state import global_state_restored
from attnmask.auditing.recording.attention_calls import AttentionCall
from attnmask.auditing.recording.layer_sets import record_calls
from attnmask.auditing.subject.audited_model import Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import PaddedBatch, padded
from attnmask.auditing.subject.subject_from_name import quiet, subject_from_text
from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.errors import ArgumentError


def run_for_pictures(subject: Subject) -> tuple[Run, PaddedBatch]:
    """Make the run for pictures: two texts, the second padded on the left; one text if the model takes no mask."""
    if "attention_mask" in subject.takes:
        batch = padded(subject, "left", positions="given")
    else:
        inputs = plain_inputs(subject)
        batch = PaddedBatch(inputs, 0, torch.ones_like(inputs["input_ids"], dtype=torch.bool))
    return Run(batch.inputs, subject.implementations[0]), batch


def plans_from_model(model: str) -> dict[str, Plan]:
    """Return the mask of each layer for a text padded on the left, with neighbouring equal layers merged.

    Args:
        model: the folder of a saved model, a model type of transformers, or ``module:function``.

    Raises:
        ArgumentError: an unknown model, or a model without recordable attention.

    >>> list(plans_from_model("bert"))
    ['bert.encoder.layer.0.attention.self and 1 more']
    """
    with global_state_restored(), quiet():
        subject = subject_from_text(model)
        run, batch = run_for_pictures(subject)
        calls = record_calls(subject, run)
    if not calls:
        raise ArgumentError("no attention call is recorded", where=model, fix="give a model that uses attention")
    return dict(_merge_equal_layers(calls, batch.item))


def _merge_equal_layers(calls: tuple[AttentionCall, ...], item: int) -> list[tuple[str, Plan]]:
    plans = [(call.layer or "model", _plan_for_item(call.plan, item)) for call in calls]
    runs = [(plan, [layer for layer, _ in run]) for plan, run in groupby(plans, lambda each: each[1])]
    return [(layers[0] + (f" and {len(layers) - 1} more" if len(layers) > 1 else ""), plan) for plan, layers in runs]


def _plan_for_item(plan: Plan, item: int) -> Plan:
    dense = plan.to("dense")
    return plan_from_dense(np.ascontiguousarray(dense[min(item, plan.B - 1)][None]))
