"""A text padded on the left must be continued as it is alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attnmask.audit.context import Context
from attnmask.audit.inputs import alone, padded
from attnmask.audit.measure import difference
from attnmask.audit.positions import SHIFTED, padded_and_alone
from attnmask.audit.script import generation_script
from attnmask.audit.subject import Kind, Subject
from attnmask.audit.verdict import Finding, Verdict

NAME = "generation disagrees"
WHAT = "a text padded on the left is continued otherwise than alone"
TOKENS = 6


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    can = getattr(subject.model, "can_generate", None)
    if subject.kind is Kind.BIDIRECTIONAL or can is None or not can() or subject.is_pooled:
        return "the model does not generate"
    return "" if "attention_mask" in subject.takes else "the model takes no attention_mask"


def run(context: Context) -> Iterator[Finding]:
    """Greedy, with a cache and without; an encoder-decoder's text is padded on the right."""
    for implementation in context.subject.implementations:
        for cache in (True, False):
            yield _judged(context, implementation, cache)


def _judged(context: Context, implementation: str, cache: bool) -> Finding:
    subject = context.subject
    side = "right" if subject.kind is Kind.ENCODER_DECODER else "left"
    cell = {"padding": side, "implementation": implementation, "cache": "yes" if cache else "no"}
    subject.use(implementation)
    batch, own = _prompts(padded(subject, side, 2).inputs), _prompts(alone(subject))
    try:
        together, by_itself = (scores_of(subject, inputs, cache) for inputs in (batch, own))
        scale = context.scale(implementation)
    except Exception as error:  # generate has requirements of its own
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    steps = range(min(together.shape[1], by_itself.shape[1]))
    number = difference(together, by_itself, [(1, i) for i in steps], [(0, i) for i in steps])
    measured: dict[str, Any] = {"number": number, "threshold": scale.threshold, "power": scale.power}
    verdict = scale.verdict(number)
    if verdict is not Verdict.BUG:
        return Finding(NAME, verdict, WHAT, cell, **measured)
    if side == "left" and "position_ids" not in subject.takes and context.shifts(implementation):
        return Finding(NAME, Verdict.BY_DESIGN, WHAT, cell, **measured, cause=SHIFTED)
    comparison, _ = padded_and_alone(subject, side, implementation, 2, "given")
    if comparison.measured(subject) > scale.threshold:
        return Finding(NAME, Verdict.NOT_APPLICABLE, "the outputs of one forward pass differ already", cell)
    script = generation_script(subject, implementation, batch, own, cache, TOKENS)
    return Finding(NAME, verdict, WHAT, cell, **measured, script=script)


def _prompts(inputs: dict[str, Any]) -> dict[str, Tensor]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def scores_of(subject: Subject, inputs: dict[str, Tensor], cache: bool) -> Tensor:
    """Scores of the tokens that are generated, (B, steps, V): those of the first text decide nothing for the second."""
    model: Any = subject.model
    found = model.generate(
        **inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, use_cache=cache,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    return torch.stack(found.logits, 1)
