"""Packed rows of Hugging Face transformers: positions that begin anew with each document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.difference import diff_from_runs
from attnmask.compiler.plan import Plan
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.runs import Runs
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import read_arguments, read_array, read_bounds
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.arguments import first_element, whole_number
from attnmask.mask.atoms import causal, documents
from attnmask.mask.domain import Domain
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch

name = "hf_position_ids"
summary = "dict for a decoder of transformers without attention_mask: position_ids torch.int64 (B, S), cu_seq_lens"
WHERE = "lift('hf_position_ids', arguments)"
LENGTHS = ["cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"]


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Whatever is not causal within documents that follow each other without a gap."""
    reasons = [f"it differs between its {plan.H} heads"] if plan.H > 1 else []
    if plan.Q != plan.K:
        return [*reasons, f"it has {plan.Q} queries and {plan.K} keys: packed rows are not read from a cache"]
    difference = diff_from_runs(plan.runs, _expected(plan))
    if difference.first_left:
        reasons.append(f"it is not causal: (b, h, q, k) = {difference.first_left} attends")
    if difference.first_right:
        reasons.append(
            f"a document is not whole: (b, h, q, k) = {difference.first_right} does not attend, though its document "
            "goes on; every position belongs to a document, and a window is the model's own"
        )
    return reasons


def lower(
    plan: Plan, *, start: int = 0, batch: int | None = None, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """Number the tokens of each document, and say where documents begin.

    transformers reads documents off ``position_ids`` only where it gets no ``attention_mask`` and no cache, and its
    flash attention only with one item; an ``attention_mask`` of ones switches that off and lets documents see each
    other. The ``cu_seq_lens`` arguments, of all items one after the other, are for flash attention alone.

    Args:
        plan: the set, causal within documents: the decoder adds causality itself.
        start: position of the first token of a document, 2 in models made like RoBERTa.
        batch: items to write out; needed where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        ``{"position_ids": torch.int64 (B, S), "cu_seq_lens_q": torch.int32 (N + 1,), "cu_seq_lens_k": the same,
        "max_length_q": int, "max_length_k": int}``.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: transformers.masking_utils.find_packed_sequence_indices, transformers.DataCollatorWithFlattening and
    transformers.modeling_flash_attention_utils, 5.23.

    >>> import attnmask as am
    >>> packed = am.compile(am.causal() & am.documents(lengths=[2, 3]), q=5)
    >>> packed.to("hf_position_ids")["position_ids"]
    tensor([[0, 1, 0, 1, 2]])
    """
    runs = plan.runs.broadcast_to((batch_items(plan, batch), 1, plan.Q))
    begins = _begins(runs)
    positions = np.arange(runs.rows) - begins[np.searchsorted(begins, np.arange(runs.rows), side="right") - 1]
    positions = positions.reshape(runs.shape[0], plan.Q) + whole_number(start, "start", "lower")
    bounds = tensor_from_array(int32_from(np.append(begins, runs.rows)), device)
    longest = int(np.diff(begins, append=runs.rows).max(initial=0))
    return {
        "position_ids": tensor_from_array(positions, device),
        **dict(zip(LENGTHS, [bounds] * 2 + [longest] * 2, strict=True)),
    }


def lift(representation: Any) -> Plan:
    """Read position ids of a decoder that gets no attention mask and no cache.

    Args:
        representation: integers (B, S), or a dict in which they are ``position_ids`` with or without the arguments
            for flash attention.

    Returns:
        A Plan, causal within documents.

    Raises:
        AmbiguousError: positions that neither go on nor begin anew, which transformers' sdpa and flash attention
            read differently, or bounds that say something else than the positions.
        ArgumentError: other values or axes.

    Source: as ``lower``.

    >>> lift([[0, 1, 0, 1, 2]])
    Plan(B=1, H=1, Q=5, K=5, pairs=9, density=0.360, empty_rows=0)
    """
    mapping = isinstance(representation, Mapping)
    given = cast(Mapping[Any, Any], representation) if mapping else {"position_ids": representation}
    position_ids, *lengths = read_arguments(given, ["position_ids", *LENGTHS], WHERE)
    positions = _positions(position_ids)
    begins = positions == positions.min(initial=np.iinfo(np.int64).max)
    _check_restarts(positions, begins)
    _check_bounds(lengths[:2], np.append(np.flatnonzero(begins), begins.size))
    return compile_mask(causal() & documents(ids=np.cumsum(begins, axis=1)), q=positions.shape[1], batch=len(positions))


def _expected(plan: Plan) -> Runs:
    b, _, q = plan.runs.shape
    one_head = plan.runs.take(np.arange(plan.runs.rows).reshape(plan.runs.shape)[:, 0].reshape(-1), (b, 1, q))
    begins = np.zeros(one_head.rows, dtype=np.int64)
    begins[_begins(one_head)] = 1
    domain = Domain(b, 1, q, q)
    in_documents = runs_from_mask(documents(ids=np.cumsum(begins.reshape(b, q), axis=1)), domain)
    return intersect([in_documents, runs_from_mask(causal(), domain)])


def _begins(runs: Runs) -> IntArray:
    """The rows, counted over all items, that see nothing before themselves: where documents begin."""
    rows = np.arange(runs.rows)
    first = rows % max(runs.shape[2], 1)
    some = runs.counts > 0
    first[some] = runs.starts[runs.indptr[:-1][some]]
    return np.flatnonzero(first >= rows % max(runs.shape[2], 1))


def _positions(value: Any) -> IntArray:
    positions = read_array(value, "position_ids")
    if positions.ndim != 2 or not len(positions) or positions.dtype.kind not in "iu":
        raise ArgumentError(
            f"position_ids holds {positions.dtype} values in shape {positions.shape}",
            where=WHERE,
            fix="give integers (B, S); of several kinds of position, as for text and pictures, those of the text",
        )
    return positions.astype(np.int64)


def _check_restarts(positions: IntArray, begins: BoolArray) -> None:
    steps = np.diff(positions, axis=1, prepend=positions[:, :1] - 2)
    unclear = (steps != 1) & ~begins
    if unclear.any():
        raise AmbiguousError(
            f"{first_element(positions, unclear, 'position_ids')}, no step of 1 and not the least position: "
            "a document begins there in eager, sdpa and flex attention, and none in flash attention",
            where=WHERE,
            fix=f"begin every document, and every item, at {positions.min()}",
        )


def _check_bounds(given: list[Any], bounds: IntArray) -> None:
    for argument, value in zip(LENGTHS, given, strict=False):
        if value is not None and not np.array_equal(read_bounds(value, argument, WHERE), bounds):
            raise AmbiguousError(
                f"{argument} is {np.asarray(value).tolist()}, by position_ids it is {bounds.tolist()}",
                where=WHERE,
                fix="make them agree: flash attention reads the one, all other attention the other",
            )
