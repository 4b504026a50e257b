"""Embeddings at padding get no gradient, those of tokens get some, and none is NaN."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnmask.auditing.expected.token_mixers import mixing_beside_attention
from attnmask.auditing.measure.differences import output_rows
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.report.reproduction import gradient_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.probe_inputs import SIDES, PaddedBatch, padded

NAME = "gradients"
WHAT = "the loss of tokens has a gradient at padding"
STARVED = "a token that is attended to gets no gradient"
POISONED = "a row with nothing to attend to makes gradients NaN"


def applies(context: ProbeContext) -> str:
    """Why the probe does not apply; empty if it does."""
    if context.subject.is_pooled:
        return "the model gives no output for every token"
    if "attention_mask" not in context.subject.takes:
        return "the model takes no attention_mask"
    has_table = any(isinstance(m, nn.Embedding) for m in context.subject.model.modules())
    return "" if has_table else "the model has no embeddings"


def run(context: ProbeContext) -> Iterator[Finding]:
    """One backward pass for every padding and implementation."""
    for implementation in context.subject.implementations:
        for side in (*SIDES, "everything"):
            yield _judged(context, implementation, side)


def _judged(context: ProbeContext, implementation: str, side: str) -> Finding:
    subject = context.subject
    batch = _batch(subject, side)
    cell = {"padding": side, "implementation": implementation}
    try:
        sensitivity = context.sensitivity(implementation)
        grads, parameters_finite = embedding_gradients(subject, Run(batch.inputs, implementation, grad=True), batch)
    except CouldNotRunError as error:
        return Finding(NAME, Verdict.COULD_NOT_RUN, str(error), cell)
    script = gradient_script(subject, Run(batch.inputs, implementation), batch)
    poisoned = not parameters_finite or not bool(torch.isfinite(grads).all())
    if poisoned and grads.dtype == torch.float64:
        # A softmax in float32 takes float64's lowest number for -inf: no dtype that people use.
        single = replace(subject, model=copy.deepcopy(subject.model).float(), source=(*subject.source, "model.float()"))
        return _judged(ProbeContext(single), implementation, side)
    if poisoned:
        return Finding(NAME, Verdict.BUG, POISONED, cell, float("inf"), 0.0, script=script, cause=POISONED)
    if side == "everything":
        return Finding(NAME, Verdict.OK, POISONED, cell, 0.0)
    sizes = grads.pow(2).sum(-1).sqrt()
    typical = float(sizes[batch.places].median())
    at_padding = float(sizes[batch.masked].max()) / max(typical, 1e-30)
    measured: dict[str, Any] = {"number": at_padding, "threshold": sensitivity.threshold, "power": 1.0}
    if typical == 0:
        return Finding(NAME, Verdict.NO_POWER, "no token gets a gradient", cell)
    if at_padding > sensitivity.threshold:
        wrong = context.first_mismatch(Run(batch.inputs, implementation), batch)
        beside = "" if wrong else mixing_beside_attention(subject)
        verdict = Verdict.BY_DESIGN if beside else Verdict.BUG
        cause = wrong.cause if wrong else beside
        since = wrong.where if wrong else ""
        return Finding(NAME, verdict, WHAT, cell, **measured, since=since, cause=cause, script=script)
    starved = [place for place in batch.places if sizes[place] == 0]
    if starved and subject.kind is not ModelKind.CAUSAL and context.subject.layers is not None:
        return Finding(NAME, Verdict.BUG, f"{STARVED}: {starved[:5]}", cell, **measured, script=script)
    return Finding(NAME, Verdict.OK, WHAT, cell, **measured)


def _batch(subject: Subject, side: str) -> PaddedBatch:
    """``everything``: an item that is all padding, beside one of tokens."""
    batch = padded(subject, "left" if side == "everything" else side, 2, None, "given")
    if side == "everything":
        batch.inputs["attention_mask"][-1] = 0
        tokens = batch.tokens.clone()
        tokens[-1] = False
        return PaddedBatch(batch.inputs, 0, tokens)
    return batch


def embedding_gradients(subject: Subject, run: Run, batch: PaddedBatch) -> tuple[Tensor, bool]:
    """Gradient at every embedding of the item (L, D), of the outputs of its tokens; and whether all are finite."""
    seen: list[Tensor] = []
    ids = run.inputs["input_ids"]

    def keep(_: Any, given: tuple[Any, ...], out: Tensor) -> None:
        read = given[0] if given else None
        if out.requires_grad and isinstance(read, Tensor) and read.shape == ids.shape and torch.equal(read, ids):
            out.retain_grad()
            seen.append(out)

    tables = [m for m in subject.model.modules() if isinstance(m, nn.Embedding)]
    handles = [table.register_forward_hook(keep) for table in tables]
    try:
        out = subject.run(run)
        rows = output_rows(subject, batch.item, batch.places)
        places = [place for _, place in rows if place < out.shape[1]] or list(range(out.shape[1]))
        # Random factors: the plain sum of outputs that a layer norm centres is constant, and has no gradient.
        mixed = torch.randn(out[batch.item, places].shape, generator=torch.Generator().manual_seed(0))
        (out[batch.item, places] * mixed.to(out.dtype)).sum().backward()
    except RuntimeError as error:
        raise CouldNotRunError(str(error).splitlines()[0]) from error
    finally:
        for handle in handles:
            handle.remove()
    if not seen or seen[0].grad is None:
        raise CouldNotRunError("no table of embeddings is given the ids")
    grads = [p.grad for p in subject.model.parameters() if p.grad is not None]
    finite = all(bool(torch.isfinite(grad).all()) for grad in grads)
    # Gradients accumulate over backward passes, and the next cell runs the same model.
    subject.model.zero_grad(set_to_none=True)
    return seen[0].grad[batch.item], finite
