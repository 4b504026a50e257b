"""Additive constants must neither overflow in half precision nor be too small for large scores."""

from __future__ import annotations

import copy
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnmask.auditing.measure.differences import Comparison, measure_sensitivity, output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import comparison_script, refused_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch, alone, padded

NAME = "additive constant"
OVERFLOW = "in half precision a padded batch gives NaN or infinity where the text alone gives numbers"
RAISES = "a constant does not fit into half precision, and the model raises"
SMALL = "with large scores padding is attended to: the additive constant is too small"
# Factor of the query and key weights; scores grow by its square, so that -1e4 is too small to mask, and -1e9 is not.
WEIGHT_FACTOR = 60.0
QUERIES_AND_KEYS = re.compile(
    r"(?i)(^|[._])(q|k|query|key|[qk]_(proj|lin)|to_(q|k|qkv)|w[qk]|w?qkv(_proj)?|query_key_value|c_attn|in_proj)[._]"
)
# If no parameter is named as a query or key weight, scale the norms that feed them, or else the embeddings.
BEFORE_SCORES = ("norm", "embedding")


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: ProbeContext) -> Iterator[Finding]:
    """Each implementation in float16 and bfloat16, and with scores of thousands."""
    for implementation in context.subject.implementations:
        for dtype in (torch.float16, torch.bfloat16):
            for side in ("right", "left"):
                yield _in_half_precision(context, implementation, dtype, side)
        yield _with_large_scores(context, implementation)


def _in_half_precision(context: ProbeContext, implementation: str, dtype: torch.dtype, side: str) -> Finding:
    name = str(dtype).removeprefix("torch.")
    subject = replace(context.subject, model=copy.deepcopy(context.subject.model).to(dtype))
    subject.source = (*subject.source, f"model.to(torch.{name})")
    batch = padded(subject, side, 2, None, "given")
    cell = {"padding": side, "implementation": implementation, "dtype": name}
    rows, base = output_rows(subject, batch.item, batch.places), None
    try:
        base = subject.run(Run(alone(subject, "given"), implementation))
        out = subject.run(Run(batch.inputs, implementation))
    except CouldNotRunError as error:
        return _refused(subject, Run(batch.inputs, implementation), cell, str(error), base is not None)
    if not _is_finite(context.subject.run(Run(batch.inputs, implementation)), batch):
        return Finding(NAME, Verdict.NOT_APPLICABLE, "a padded batch gives no numbers in full precision either", cell)
    if not bool(torch.isfinite(base).all()):
        return Finding(NAME, Verdict.NO_POWER, "the text alone overflows in this precision", cell)
    if _is_finite(out, batch):
        return Finding(NAME, Verdict.OK, OVERFLOW, cell)
    comparison = Comparison(
        Run(batch.inputs, implementation), Run(alone(subject, "given"), implementation), rows,
        [(0, i) for i in range(len(rows))],
    )  # fmt: skip
    return Finding(
        NAME, Verdict.BUG, OVERFLOW, cell, float("inf"), 0.0, cause="sums of masks overflow",
        script=comparison_script(subject, comparison),
    )  # fmt: skip


def _refused(subject: Subject, run: Run, cell: dict[str, str], why: str, alone_runs: bool) -> Finding:
    """torch refuses to fill a tensor with a number that its precision does not hold: a bug if the text alone runs."""
    if "without overflow" not in why:
        return Finding(NAME, Verdict.COULD_NOT_RUN, why, cell)
    if not alone_runs:
        return Finding(NAME, Verdict.COULD_NOT_RUN, f"{RAISES}: {why}", cell)
    return Finding(NAME, Verdict.BUG, RAISES, cell, cause=why, script=refused_script(subject, run))


def _is_finite(out: Tensor, batch: PaddedBatch) -> bool:
    """Whether the outputs of the tokens are."""
    places = [place for place in batch.places if place < out.shape[1]] or [0]
    return bool(torch.isfinite(out[batch.item, places]).all())


def _with_large_scores(context: ProbeContext, implementation: str) -> Finding:
    subject = context.subject
    left, right = (padded(subject, "left", 2, content, "given") for content in (21, 22))
    rows = output_rows(subject, left.item, left.places)
    comparison = Comparison.at(Run(left.inputs, implementation), Run(right.inputs, implementation), rows)
    cell = {"scores": "large", "implementation": implementation}
    if not _score_parameters(subject.model):
        return Finding(NAME, Verdict.NO_POWER, "nothing is known that would make its scores large", cell)
    with scaled_qk(subject.model):
        try:
            sensitivity = measure_sensitivity(subject, implementation)
        except CouldNotRunError as error:
            return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
        finding = context.compare(NAME, comparison, cell, SMALL, sensitivity=sensitivity)
    if finding.verdict is not Verdict.BUG:
        return finding
    # The same batch under usual scores: a leak that shows there has another cause, and its own probe.
    if context.compare(NAME, comparison, cell, SMALL).verdict is Verdict.BUG:
        return replace(finding, verdict=Verdict.NOT_APPLICABLE, what="padding leaks under usual scores already")
    if context.first_layer(Run(left.inputs, implementation), lambda call: call.masked_after_softmax):
        return replace(finding, verdict=Verdict.NOT_APPLICABLE, what="masks come behind the softmax, none is added")
    lines = finding.script.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("def run"))
    return replace(
        finding,
        cause="the additive constant is too small",
        script="\n".join(lines[:at] + _scaling_lines(subject.model) + lines[at:]),
    )


def _score_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that scale the scores: weights of queries and keys, or of the modules before them."""
    own = [p for name, p in model.named_parameters() if QUERIES_AND_KEYS.search(name)]
    return own or [module.weight for module in _modules_before_scores(model)]


def _modules_before_scores(model: nn.Module) -> list[Any]:
    for kind in BEFORE_SCORES:
        found = [module for module in model.modules() if kind in type(module).__name__.lower()]
        weighted = [module for module in found if isinstance(getattr(module, "weight", None), nn.Parameter)]
        if weighted:
            return weighted
    return []


def _scaling_lines(model: nn.Module) -> list[str]:
    """Return the lines of a script that scale the same parameters."""
    if any(QUERIES_AND_KEYS.search(name) for name, _ in model.named_parameters()):
        return [
            "import re",
            "for name, p in model.named_parameters():",
            f"    if re.search(r'{QUERIES_AND_KEYS.pattern}', name): p.data *= {WEIGHT_FACTOR}",
        ]
    kinds = sorted({type(module).__name__ for module in _modules_before_scores(model)})
    return [
        "for module in model.modules():",
        f"    if type(module).__name__ in {kinds}: module.weight.data *= {WEIGHT_FACTOR}",
    ]


@contextmanager
def scaled_qk(model: nn.Module) -> Generator[None]:
    own = _score_parameters(model)
    before = [p.detach().clone() for p in own]
    with torch.no_grad():
        for p in own:
            p.mul_(WEIGHT_FACTOR)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(own, before, strict=True):
                p.copy_(value)
