"""Generation must give the same scores for a left-padded text as for the text alone, and with as without a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attnmask.auditing.expected.token_mixers import mixing_beside_attention
from attnmask.auditing.measure.differences import difference
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import forward_script, generation_script
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.auditing.subject.absolute_positions import SHIFTED, padded_and_alone
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs
from attnmask.auditing.subject.probe_inputs import alone, padded

NAME = "generation disagrees"
STATIC_DIFFERS = "a text is continued otherwise with a cache of fixed size than with one that grows"
FORWARD = "the first token is generated from other scores than one forward pass gives"
WHAT = "a text padded on the left is continued otherwise than alone"
CACHED = "a text is continued otherwise with a cache than without"
TOKENS = 6
CACHE, WITHOUT, STATIC = {"use_cache": True}, {"use_cache": False}, {"cache_implementation": "static"}
Options = Mapping[str, Any]
Comparable = tuple[Callable[[], tuple[Tensor, Tensor]], str]


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    subject = context.subject
    can = getattr(subject.model, "can_generate", None)
    if subject.kind is ModelKind.BIDIRECTIONAL or can is None or not can() or subject.is_pooled:
        return "the model does not generate"
    return "" if "attention_mask" in subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Greedy, with a cache and without, and the one against the other; for an encoder-decoder padded on the right."""
    for implementation in context.subject.implementations:
        for options in (CACHE, WITHOUT):
            yield _judged(context, implementation, options)
        yield from _compare_caches(context, implementation)


def _judged(context: ProbeContext, implementation: str, options: Options) -> Finding:
    subject = context.subject
    side = "right" if subject.kind is ModelKind.ENCODER_DECODER else "left"
    cell = {"padding": side, "implementation": implementation, "cache": "yes" if options is CACHE else "no"}
    subject.use(implementation)
    batch, own = (_prompts(subject, inputs) for inputs in (padded(subject, side, 2).inputs, alone(subject)))
    try:
        together, by_itself = (generated_scores(subject, inputs, options) for inputs in (batch, own))
        sensitivity = context.sensitivity(implementation)
    except Exception as error:  # generate has requirements of its own
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    steps = range(min(together.shape[1], by_itself.shape[1]))
    number = difference(together, by_itself, [(1, i) for i in steps], [(0, i) for i in steps])
    measured: dict[str, Any] = {"number": number, "threshold": sensitivity.threshold, "power": sensitivity.power}
    verdict = sensitivity.verdict(number)
    if verdict is not Verdict.BUG:
        return Finding(NAME, verdict, WHAT, cell, **measured)
    if side == "left" and "position_ids" not in subject.takes and context.shifts_positions(implementation):
        return Finding(NAME, Verdict.BY_DESIGN, WHAT, cell, **measured, cause=SHIFTED)
    comparison, _ = padded_and_alone(subject, side, implementation, 2, "given")
    if comparison.measured(subject) > sensitivity.threshold:
        return Finding(NAME, Verdict.NOT_APPLICABLE, "the outputs of one forward pass differ already", cell)
    script = generation_script(subject, implementation, [(batch, options, 1), (own, options, 0)], TOKENS)
    return Finding(NAME, verdict, WHAT, cell, **measured, script=script)


def _compare_caches(context: ProbeContext, implementation: str) -> Iterator[Finding]:
    """Compare caches with each other and with one forward pass, on a prompt longer than any window."""
    subject = context.subject
    subject.use(implementation)
    own = _prompts(subject, plain_inputs(subject))

    @cache
    def usual() -> Tensor:
        return generated_scores(subject, own, CACHE)

    def by(options: Options) -> Comparable:
        script = generation_script(subject, implementation, [(own, CACHE, 0), (own, options, 0)], TOKENS)
        return lambda: (usual(), generated_scores(subject, own, options)), script

    def at_once() -> tuple[Tensor, Tensor]:
        return usual()[:, :1], subject.run(Run(own, implementation))[:, -1:]

    yield _judge_equal_scores(context, implementation, "yes against no", CACHED, by(WITHOUT))
    if implementation == subject.implementations[0] and getattr(subject.model, "_can_compile_fullgraph", False):
        yield _judge_equal_scores(context, implementation, "growing against static", STATIC_DIFFERS, by(STATIC))
    if subject.kind is ModelKind.CAUSAL and subject.output == "logits":
        script = forward_script(subject, implementation, own)
        yield _judge_equal_scores(context, implementation, "generate against forward", FORWARD, (at_once, script))


def _judge_equal_scores(
    context: ProbeContext, implementation: str, of: str, what: str, comparable: Comparable
) -> Finding:
    """Judge two sets of scores of the same text, (1, steps, V), that must be equal."""
    sides, script = comparable
    cell = {"implementation": implementation, "cache": of}
    try:
        one, other = sides()
        sensitivity = context.sensitivity(implementation)
    except Exception as error:  # as above
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:120]}", cell)
    rows = [(0, i) for i in range(one.shape[1])]
    number = difference(one, other, rows, rows)
    measured: dict[str, Any] = {"number": number, "threshold": sensitivity.threshold, "power": sensitivity.power}
    verdict = sensitivity.verdict(number)
    if verdict is not Verdict.BUG:
        return Finding(NAME, verdict, what, cell, **measured)
    if beside := mixing_beside_attention(context.subject, padded=False):
        return Finding(NAME, Verdict.BY_DESIGN, what, cell, **measured, cause=beside)
    return Finding(NAME, verdict, what, cell, **measured, script=script)


def _prompts(subject: Subject, inputs: dict[str, Any]) -> dict[str, Tensor]:
    types = [] if subject.span_rule is None else [subject.span_rule.argument]
    return {name: inputs[name] for name in ("input_ids", "attention_mask", *types)}


def generated_scores(subject: Subject, inputs: dict[str, Tensor], options: Options) -> Tensor:
    """Scores of the tokens that are generated, (B, steps, V): those of the first text decide nothing for the second."""
    model: Any = subject.model
    found = model.generate(
        **inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, output_logits=True,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    return torch.stack(found.logits, 1)
