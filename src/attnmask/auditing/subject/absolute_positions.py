"""Recognise that left padding without position ids shifts absolute positions, which is not a leak."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from attnmask.auditing.measure.differences import Comparison, difference, output_rows
from attnmask.auditing.report.verdict import CouldNotRunError
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject
from attnmask.auditing.subject.position_offset import PositionOffset
from attnmask.auditing.subject.probe_inputs import PaddedBatch, alone, padded

SHIFTED = "absolute positions shift under left padding when no position ids are given"
# Substrings of the names of modules that compute or look up positions.
WORDS = ("position", "wpe", "pos_emb", "rotary")


def padded_and_alone(
    subject: Subject, side: str, implementation: str, batch: int, positions: str
) -> tuple[Comparison, PaddedBatch]:
    """Compare a text in a padded batch with the same text alone."""
    own = padded(subject, side, batch, None, positions)
    rows = output_rows(subject, own.item, own.places)
    left, right = (Run(inputs, implementation) for inputs in (own.inputs, alone(subject, positions)))
    return Comparison(left, right, rows, [(0, i) for i in range(len(rows))]), own


def is_position_shift(subject: Subject, comparison: Comparison, own: PaddedBatch, threshold: float) -> bool:
    """Return whether the text alone gives equal outputs if it gets the positions that it has in the padded batch.

    A model may receive positions as position ids, through a module, or by torch.arange or slices of a table.
    """
    start = len(own.masked)
    ways: list[tuple[Comparison, AbstractContextManager[Any]]] = [
        (comparison, _with_padded_positions(subject, comparison, own)),
        (comparison, PositionOffset(subject.model, subject.short, start)),
    ]
    if "position_ids" in subject.takes and subject.kind is not ModelKind.ENCODER_DECODER:
        given = replace(comparison.right, inputs=alone(subject, "given", start=start))
        ways.insert(0, (replace(comparison, right=given), nullcontext()))
    return any(_is_same(subject, each, way, threshold) for each, way in ways)


def _is_same(subject: Subject, comparison: Comparison, way: AbstractContextManager[Any], threshold: float) -> bool:
    rows = comparison.left_rows, comparison.right_rows
    try:
        padded_out = subject.run(comparison.left)
        with way:
            return difference(padded_out, subject.run(comparison.right), *rows) <= threshold
    except CouldNotRunError:
        return False


def embedding_tables(model: nn.Module) -> list[tuple[str, nn.Embedding]]:
    """Return every nn.Embedding of a model with its name."""
    return [(name, module) for name, module in _modules(model) if isinstance(module, nn.Embedding)]


def _modules(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return cast(Iterable[tuple[str, nn.Module]], model.named_modules())


def _may_encode_positions(subject: Subject, name: str, module: nn.Module) -> bool:
    """Return whether a module may encode positions: an embedding, or by its name; in a pair, only in the encoder."""
    if subject.kind is ModelKind.ENCODER_DECODER and "decoder" in name.removeprefix("model."):
        return False
    return isinstance(module, nn.Embedding) or any(word in name.split(".")[-1] for word in WORDS)


@contextmanager
def _with_padded_positions(subject: Subject, comparison: Comparison, own: PaddedBatch) -> Generator[None]:
    """Make position modules return, for the text alone, what they return for its tokens in the padded batch."""
    with _recorded_positions(subject, own.inputs["input_ids"]) as seen:
        subject.run(comparison.left)
    with _replaced_positions(subject, seen, own):
        yield


@contextmanager
def _recorded_positions(subject: Subject, ids: Tensor) -> Generator[dict[str, Any]]:
    """Record the outputs of position modules by name; an embedding that receives the ids is a word table, not one."""
    seen: dict[str, Any] = {}
    with ExitStack() as hooks:
        for name, module in _modules(subject.model):
            if _may_encode_positions(subject, name, module):
                hooks.callback(module.register_forward_hook(_recording_hook(seen, name, ids)).remove)
        yield seen


def _recording_hook(seen: dict[str, Any], name: str, ids: Tensor) -> Callable[..., None]:
    is_named = any(word in name.split(".")[-1] for word in WORDS)

    def keep(_: Any, given: tuple[Any, ...], out: Any) -> None:
        read = given[0] if given else None
        if is_named or not (isinstance(read, Tensor) and read.shape == ids.shape and torch.equal(read, ids)):
            seen[name] = out

    return keep


@contextmanager
def _replaced_positions(subject: Subject, seen: dict[str, Any], own: PaddedBatch) -> Generator[None]:
    """Replace the outputs of position modules by the recorded ones."""
    with ExitStack() as hooks:
        for name, module in _modules(subject.model):
            if name in seen:
                hooks.callback(module.register_forward_hook(_replacing_hook(seen[name], own)).remove)
        yield


def _replacing_hook(seen: Any, own: PaddedBatch) -> Callable[..., Any]:
    def put(_: Any, __: Any, ___: Any) -> Any:
        several = cast(tuple[Any, ...], seen) if isinstance(seen, tuple) else None
        return _select_tokens(seen, own) if several is None else tuple(_select_tokens(one, own) for one in several)

    return put


def _select_tokens(out: Any, own: PaddedBatch) -> Any:
    """Select the rows of the padded item's tokens in an output (L, D), (1, L, D) or (B, L, D)."""
    if not isinstance(out, Tensor) or out.ndim < 2:
        return out
    item = out if out.ndim == 2 else out[min(own.item, len(out) - 1)][None]
    return item[..., own.places, :] if item.shape[-2] == own.tokens.shape[1] else item
