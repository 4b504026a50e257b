"""Additive constants must neither overflow in half precision nor be too small for large scores."""

from __future__ import annotations

import copy
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from attnmask.audit.context import Context
from attnmask.audit.inputs import alone, padded
from attnmask.audit.measure import Comparison, rows_of, scale_of
from attnmask.audit.subject import Run
from attnmask.audit.verdict import CouldNotRunError, Finding, Verdict

NAME = "additive constant"
OVERFLOW = "in half precision a padded batch gives NaN or infinity where the text alone gives numbers"
SMALL = "with large scores padding is attended to: the additive constant is too small"
# Scores grow by its square: -1e4 shows, -1e9 does not.
LOUDER = 60.0
QUERIES_AND_KEYS = re.compile(
    r"(^|[._])(q|k|query|key|q_proj|k_proj|q_lin|k_lin|wq|wk|query_key_value|c_attn|qkv_proj)[._]"
)
NORMS = re.compile(r"(norm|ln)[^.]*(\.\d+)?\.weight$")


def applies(context: Context) -> str:
    """Why the probe does not apply; empty if it does."""
    return "" if "attention_mask" in context.subject.takes else "the model takes no attention_mask"


def run(context: Context) -> Iterator[Finding]:
    """Each implementation in float16 and bfloat16, and with scores of thousands."""
    for implementation in context.subject.implementations:
        for dtype in (torch.float16, torch.bfloat16):
            for side in ("right", "left"):
                yield _half(context, implementation, dtype, side)
        yield _loud(context, implementation)


def _half(context: Context, implementation: str, dtype: torch.dtype, side: str) -> Finding:
    name = str(dtype).removeprefix("torch.")
    subject = replace(context.subject, model=copy.deepcopy(context.subject.model).to(dtype))
    subject.source = (*subject.source, f"model.to(torch.{name})")
    batch = padded(subject, side, 2, None, "given")
    cell = {"padding": side, "implementation": implementation, "dtype": name}
    try:
        base = subject.run(Run(alone(subject, "given"), implementation))
        rows = rows_of(subject, batch.item, batch.places)
        out = subject.run(Run(batch.inputs, implementation))
    except CouldNotRunError as error:
        return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
    if not bool(torch.isfinite(base).all()):
        return Finding(NAME, Verdict.NO_POWER, "the text alone overflows in this precision", cell)
    places = [place for _, place in rows if place < out.shape[1]] or [0]
    if bool(torch.isfinite(out[batch.item, places]).all()):
        return Finding(NAME, Verdict.OK, OVERFLOW, cell)
    from attnmask.audit.script import script_of

    comparison = Comparison(
        Run(batch.inputs, implementation), Run(alone(subject, "given"), implementation), rows,
        [(0, i) for i in range(len(rows))],
    )  # fmt: skip
    return Finding(
        NAME, Verdict.BUG, OVERFLOW, cell, float("inf"), 0.0, cause="sums of masks overflow",
        script=script_of(subject, comparison),
    )  # fmt: skip


def _loud(context: Context, implementation: str) -> Finding:
    subject = context.subject
    left, right = (padded(subject, "left", 2, content, "given") for content in (21, 22))
    rows = rows_of(subject, left.item, left.places)
    comparison = Comparison.at(Run(left.inputs, implementation), Run(right.inputs, implementation), rows)
    cell = {"scores": "large", "implementation": implementation}
    with _louder(subject.model):
        try:
            scale = scale_of(subject, implementation)
        except CouldNotRunError as error:
            return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
        finding = context.compare(NAME, comparison, cell, SMALL, scale=scale)
    if finding.verdict is not Verdict.BUG:
        return finding
    # The same batch under usual scores: a leak that shows there has another cause, and its own probe.
    if context.compare(NAME, comparison, cell, SMALL).verdict is Verdict.BUG:
        return replace(finding, verdict=Verdict.NOT_APPLICABLE, what="padding leaks under usual scores already")
    lines = finding.script.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("def run"))
    named = any(QUERIES_AND_KEYS.search(name) for name, _ in subject.model.named_parameters())
    pattern = (QUERIES_AND_KEYS if named else NORMS).pattern
    louder = [
        "import re",
        "for name, p in model.named_parameters():",
        f"    if re.search(r'{pattern}', name): p.data *= {LOUDER}",
    ]
    return replace(
        finding, cause="the additive constant is too small", script="\n".join(lines[:at] + louder + lines[at:])
    )


@contextmanager
def _louder(model: nn.Module) -> Generator[None]:
    own = [p for name, p in model.named_parameters() if QUERIES_AND_KEYS.search(name)]
    # Where no name tells them, what is normalised goes into queries and keys.
    own = own or [p for name, p in model.named_parameters() if NORMS.search(name)]
    before = [p.detach().clone() for p in own]
    with torch.no_grad():
        for p in own:
            p.mul_(LOUDER)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(own, before, strict=True):
                p.copy_(value)
