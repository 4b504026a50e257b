"""Compare the masks that layers receive with the declared masks.

``record_calls`` records the attention calls of a run (``attention_calls``). ``mismatches`` compares each with the
declared mask of its layer, combined with the padding of the batch, and yields the layers and heads that differ, with a
likely cause; ``layer_masks`` yields both masks of every layer for the pictures of a report. Only queries that are
tokens are compared, since the outputs at padding do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.recording.attention_calls import AttentionCall, trace
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch
from attnmask.compiler.plan import Plan, compile, plan_from_dense
from attnmask.conventions import BoolArray, IntArray
from attnmask.mask.expression import Mask


@dataclass(frozen=True)
class Mismatch:
    """A layer, or one head of it, that attends to other pairs than declared.

    Attributes:
        layer: name of the layer. head: the head, or None if all heads differ. expected, received: the masks.
        extra, missing: number of pairs that attend and should not, and that should and do not.
        how: the recorded function. masked_after_softmax, too_small: as in AttentionCall.
    """

    layer: str
    head: int | None
    expected: Plan
    received: Plan
    extra: int
    missing: int
    how: str
    masked_after_softmax: bool
    too_small: float | None = None

    @property
    def where(self) -> str:
        """The layer, and the head if not all differ."""
        return self.layer if self.head is None else f"{self.layer}, head {self.head}"

    @property
    def first(self) -> tuple[int, int, int, int]:
        """The first pair (b, h, q, k) that attends and should not; if none, the first that should and does not."""
        diff = self.received.diff(self.expected)
        found = diff.first_left or diff.first_right
        assert found is not None
        b, h, q, k = found
        return b, h if self.head is None else self.head, q, k

    @property
    def cause(self) -> str:
        """The likely cause, judged by the received mask."""
        if self.too_small is not None:
            return f"the additive constant {self.too_small:g} is too small to mask"
        return _cause(*np.broadcast_arrays(self.expected.to("dense"), self.received.to("dense")))


def record_calls(subject: Subject, run: Run) -> tuple[AttentionCall, ...]:
    """Record the attention calls of all layers in a run."""

    def forward(**batch: Any) -> Any:
        return subject.call(batch)

    subject.use(run.implementation)
    subject.model.train(run.train)
    try:
        return trace(subject.model, run.inputs, forward).calls
    finally:
        subject.model.eval()


def mismatches(subject: Subject, run: Run, batch: PaddedBatch) -> Iterator[Mismatch]:
    """Yield the layers and heads that attend to other pairs than the declared mask and the padding allow."""
    for call in record_calls(subject, run):
        yield from _call_mismatches(subject, call, batch.tokens)


def layer_masks(subject: Subject, run: Run, batch: PaddedBatch) -> Iterator[LayerMask]:
    """Yield the received and the declared mask of every layer in a run."""
    for call in record_calls(subject, run):
        sides = _expected_and_received(subject, call, batch.tokens)
        if sides is not None:
            expected, received, exact = sides
            declared, seen = (plan_from_dense(np.ascontiguousarray(side)) for side in (expected, received))
            yield LayerMask(call.layer, declared, seen, exact)


def _call_mismatches(subject: Subject, call: AttentionCall, tokens: Tensor) -> Iterator[Mismatch]:
    sides = _expected_and_received(subject, call, tokens)
    if sides is None:
        return
    expected, received, exact = sides
    for head, wrong in _wrong_heads(expected, received, exact):
        part = slice(None) if head is None else slice(head, head + 1)
        yield Mismatch(
            call.layer,
            head,
            plan_from_dense(np.ascontiguousarray(expected[:, part])),
            plan_from_dense(np.ascontiguousarray(received[:, part])),
            *wrong,
            call.how,
            call.masked_after_softmax,
            call.too_small if wrong[0] else None,
        )


def _expected_and_received(
    subject: Subject, call: AttentionCall, tokens: Tensor
) -> tuple[BoolArray, BoolArray, bool] | None:
    """Return the declared and received pairs of a call, and whether the declared ones are exact.

    None for a call of other lengths, such as one inside an image encoder.
    """
    received = np.broadcast_to(call.plan.to("dense"), (len(tokens), *call.plan.shape[1:]))
    length = tokens.shape[1]
    kept = tokens.numpy()
    if received.shape[2:] == (length, length + 1):
        received = received[..., :length]  # the last column is a learnt sink, not a key
    if received.shape[2:] == (length, length):
        per_item = [_expected(subject, call.layer, length, int(item.argmax())) for item in kept]
        expected, exact = np.stack([one for one, _ in per_item]), per_item[0][1]
        rows = kept[:, None, :, None]
    elif subject.kind is ModelKind.ENCODER_DECODER and received.shape[2] == received.shape[3]:
        kept, expected, exact = np.ones((len(tokens), 1), dtype=bool), np.tri(received.shape[2], dtype=bool), False
        rows = np.ones((1, 1, 1, 1), dtype=bool)
    elif subject.kind is ModelKind.ENCODER_DECODER and received.shape[3] == length:
        expected, exact = np.ones(received.shape[2:], dtype=bool), True
        rows = np.ones((1, 1, 1, 1), dtype=bool)
    else:
        return None
    expected = np.broadcast_to((expected & kept[:, None, None, :]) & rows, received.shape)
    return expected, received & rows, exact


def _wrong_heads(expected: BoolArray, received: BoolArray, exact: bool) -> Iterator[tuple[int | None, tuple[int, int]]]:
    extra = (received & ~expected).sum((0, 2, 3))
    missing = (expected & ~received).sum((0, 2, 3)) if exact else np.zeros_like(extra)
    wrong = (extra + missing).nonzero()[0]
    if not len(wrong):
        return
    if len(wrong) == received.shape[1]:
        yield None, (int(extra.sum()), int(missing.sum()))
        return
    for head in wrong.tolist():
        yield head, (int(extra[head]), int(missing[head]))


def _expected(subject: Subject, layer: str, length: int, first: int) -> tuple[BoolArray, bool]:
    """Return the declared mask of a layer (1, L, L), and whether it is exact; if not, it is an upper bound.

    Args:
        subject: the subject. layer: name of the layer. length: number of positions.
        first: position of the first token. transformers counts chunks and positions from it.
    """
    bound = np.tri(length, dtype=bool) if subject.kind is ModelKind.CAUSAL else np.ones((length, length), dtype=bool)
    if subject.span_rule is not None:
        bound[first:, first:] = compile(subject.span_rule.opened(length - first), q=length - first).to("dense")[0, 0]
    if subject.layers is None:
        return (np.ones_like(bound) if "decoder" not in layer else bound)[None], False
    number = _number(layer)
    known: Mask | None = subject.layers[number % len(subject.layers)] if subject.layers else None
    if known is None:
        return bound[None], False
    if not subject.is_transformers:
        return compile(known, q=length).to("dense")[0], True
    expected = np.zeros((1, length, length), dtype=bool)
    expected[:, first:, first:] = compile(known, q=length - first).to("dense")[0]
    return expected, True


# The first number in a module's name, such as 3 in "model.layers.3.self_attn", is that of its layer.
def _number(layer: str) -> int:
    numbers = re.findall(r"(?<=\.)\d+(?=\.|$)", "." + layer)
    return int(numbers[0]) if numbers else 0


def _cause(expected: BoolArray, received: BoolArray) -> str:
    rows: BoolArray = np.any(expected, -1, keepdims=True)
    # Rows that keep all keys do not count: inverted they keep none, and a softmax over none attends to all.
    decisive: BoolArray = np.broadcast_to(rows & ~np.all(expected, -1, keepdims=True), expected.shape)
    if np.any(decisive) and np.all(received[decisive] != expected[decisive]):
        return "the mask is inverted: it keeps what should be dropped"
    if bool((received | ~rows).all()):
        return "no mask arrives: every key is attended to"
    extra = received & ~expected
    if not np.any(extra):
        return _narrower(expected, received)
    past: BoolArray = np.tri(*expected.shape[2:], dtype=bool)
    if not np.any(np.logical_and(expected, ~past)):
        if np.any(extra & ~past):
            return "the mask is not causal: keys of the future are attended to"
        first = np.argmax(expected, -1) - np.argmax(received, -1)
        wider: IntArray = first[rows[..., 0] & extra.any(-1)]
        if len(wider) and np.all(wider == 1):
            return "the window is one token too wide"
    columns = expected.any((1, 2), keepdims=True)
    if not np.any(extra & columns):
        return "padding is attended to: the padding mask does not arrive, or does not mask"
    return "more keys are attended to than declared"


def _narrower(expected: BoolArray, received: BoolArray) -> str:
    later = (np.argmax(received, -1) - np.argmax(expected, -1))[(expected & ~received).any(-1)]
    if len(later) and np.all(later == 1):
        return "the window is one token too narrow"
    return "fewer keys are attended to than declared"
