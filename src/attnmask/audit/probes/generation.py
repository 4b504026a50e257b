"""A text padded on the left must be continued as it is alone, and alone with a cache as without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from attnmask.audit.context import Context
from attnmask.audit.inputs import alone, padded
from attnmask.audit.measure import difference
from attnmask.audit.mixers import beside_attention
from attnmask.audit.positions import SHIFTED, padded_and_alone
from attnmask.audit.script import generation_script
from attnmask.audit.subject import Kind, Subject, plain_inputs
from attnmask.audit.verdict import Finding, Verdict

NAME = "generation disagrees"
WHAT = "a text padded on the left is continued otherwise than alone"
CACHED = "a text is continued otherwise with a cache than without"
TOKENS = 6


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    can = getattr(subject.model, "can_generate", None)
    if subject.kind is Kind.BIDIRECTIONAL or can is None or not can() or subject.is_pooled:
        return "the model does not generate"
    return "" if "attention_mask" in subject.takes else "the model takes no attention_mask"


def run(context: Context) -> Iterator[Finding]:
    """Greedy, with a cache and without, and the one against the other; for an encoder-decoder padded on the right."""
    for implementation in context.subject.implementations:
        for cache in (True, False):
            yield _judged(context, implementation, cache)
        yield _cached(context, implementation)


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
    script = generation_script(subject, implementation, [(batch, cache, 1), (own, cache, 0)], TOKENS)
    return Finding(NAME, verdict, WHAT, cell, **measured, script=script)


def _cached(context: Context, implementation: str) -> Finding:
    """The prompt is longer than any window, whose cache drops keys."""
    subject = context.subject
    cell = {"implementation": implementation, "cache": "yes against no"}
    subject.use(implementation)
    own = _prompts(plain_inputs(subject))
    try:
        cached, whole = (scores_of(subject, own, cache) for cache in (True, False))
        scale = context.scale(implementation)
    except Exception as error:  # as above
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    rows = [(0, i) for i in range(cached.shape[1])]
    number = difference(cached, whole, rows, rows)
    measured: dict[str, Any] = {"number": number, "threshold": scale.threshold, "power": scale.power}
    verdict = scale.verdict(number)
    if verdict is not Verdict.BUG:
        return Finding(NAME, verdict, CACHED, cell, **measured)
    if beside := beside_attention(subject, padded=False):
        return Finding(NAME, Verdict.BY_DESIGN, CACHED, cell, **measured, cause=beside)
    script = generation_script(subject, implementation, [(own, True, 0), (own, False, 0)], TOKENS)
    return Finding(NAME, verdict, CACHED, cell, **measured, script=script)


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
