"""A decoder must not attend to the padding of its encoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch

from attnmask.auditing.measure.differences import Comparison
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.verdict import Finding
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import padded

NAME = "cross-attention sees padding"
WHAT = "encoder states at padding change the outputs of the decoder"
STATES = 8


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    if subject.kind is ModelKind.ENCODER_DECODER:
        return "" if {"encoder_outputs", "attention_mask"} <= subject.takes else "it takes no encoder outputs"
    if not getattr(subject.config, "add_cross_attention", False):
        return "the model has no cross-attention"
    return "" if {"encoder_hidden_states", "encoder_attention_mask"} <= subject.takes else "it takes no encoder states"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Two contents of the encoder's padding, in a batch of two and of one."""
    for implementation in context.subject.implementations:
        for side in ("right", "left"):
            for batch in (1, 2):
                yield _compared(context, implementation, side, batch)


def _compared(context: ProbeContext, implementation: str, side: str, batch: int) -> Finding:
    subject = context.subject
    own = padded(subject, side, batch)
    width = _width(subject.config)
    dtype = next(subject.model.parameters()).dtype
    generator = torch.Generator().manual_seed(7)
    # Whole numbers, which a reproduction can spell out.
    shape = (batch, own.tokens.shape[1], width)
    states, others = (torch.randint(-2, 3, shape, generator=generator).to(dtype) for _ in range(2))
    other = torch.where(own.tokens[..., None], states, others)
    runs = [Run(_inputs(context, one, own.tokens.long()), implementation) for one in (states, other)]
    length = subject.length if subject.kind is ModelKind.CAUSAL else 9
    rows = [(own.item, i) for i in range(length)]
    cell = {"padding": side, "implementation": implementation, "batch": str(batch)}
    return context.compare(NAME, Comparison.at(runs[0], runs[1], rows), cell, WHAT)


def _width(config: Any) -> int:
    """Of the encoder's states."""
    own = getattr(config, "encoder", config)
    return getattr(own, "hidden_size", None) or own.d_model


def _inputs(context: ProbeContext, states: torch.Tensor, mask: torch.Tensor) -> dict[str, object]:
    subject = context.subject
    if subject.kind is ModelKind.ENCODER_DECODER:
        decoder = subject.text(99, 9).expand(len(states), -1)
        return {"decoder_input_ids": decoder, "encoder_outputs": _outputs(subject, states), "attention_mask": mask}
    plain = {name: value.expand(len(states), -1) for name, value in plain_inputs(subject).items()}
    return {**plain, "encoder_hidden_states": states, "encoder_attention_mask": mask}


def _outputs(subject: Subject, states: torch.Tensor) -> Any:
    """Of an encoder: what transformers takes by name or by place."""
    if not subject.is_transformers:
        return (states,)
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=cast(Any, states))
