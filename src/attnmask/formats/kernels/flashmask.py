"""FlashMask: for each key the stretches of query rows that are masked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from attnmask.compiler.algebra import complement, runs_from_pieces
from attnmask.compiler.columns import masked_runs_per_column, rows_asked, transposed
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs, runs_from_counts
from attnmask.conventions import IntArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import read_arguments, read_array
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.arguments import whole_number
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch

name = "flashmask"
summary = "dict for FlashMask: startend_row_indices torch.int32 (B, H or 1, K, 1, 2 or 4), causal"
WHERE = "lift('flashmask', arguments)"
NAMES = ["startend_row_indices", "causal"]
MOST_RUNS = 2


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More masked stretches of a key than there is room for."""
    for rows in rows_asked(plan.runs):
        if reasons := _reasons(plan.runs.of_queries(rows), "" if len(rows) == plan.Q else "at least "):
            return reasons
    return []


def _reasons(runs: Runs, least: str) -> list[str]:
    stretches = masked_runs_per_column(runs)
    many = np.flatnonzero(stretches > MOST_RUNS)
    if not len(many):
        return []
    item, k = divmod(int(many[0]), runs.keys)
    first = stretches.reshape(-1)[many[0]]
    return [
        f"{least}{len(many)} of {stretches.size} keys are masked out by more than {MOST_RUNS} stretches of query rows, "
        f"the first is (b, h, k) = {(*divmod(item, runs.shape[1]), k)} with {least}{first}"
    ]


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Write down, of each key, where the rows begin and end that do not attend to it, in as few numbers as it takes.

    With ``causal`` a key is masked out for the rows before it anyway: one number says from which row on it is masked
    out again, two say which stretch. Without, two are the first rows that are let in and the last, and four are two
    stretches. FlashMask's own reference lines up causal rows and keys at the start, its kernels at the end: causal is
    set where there are as many rows as keys, alone.

    Args:
        plan: the set.
        batch: items to write out; needed where the plan is the same for all of several items.
        device: where the tensor is put.

    Returns:
        ``{"startend_row_indices": torch.int32 (B, H, K, n), "causal": bool}``; n is 1 or 2 with causal, else 2 or 4.
        H is 1, and broadcasts, where the set does not depend on it; else they are the heads of the keys, and in later
        versions of Paddle those of the queries.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: paddle.nn.functional.flashmask_attention, Paddle 3; arXiv:2410.01359.

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.documents(lengths=[2, 1]), q=3).to("flashmask")
    {'startend_row_indices': tensor([[[[2],
              [2],
              [3]]]], dtype=torch.int32), 'causal': True}
    """
    attends = transposed(plan.runs)
    below = _below_diagonal(attends)
    causal = below is not None and below.one_per_row
    bounds = _one_stretch(below) if below is not None and causal else _two_stretches(complement(attends))
    shaped = bounds.reshape(plan.B, plan.H, plan.K, bounds.shape[1])
    written = int32_from(np.broadcast_to(shaped, (batch_items(plan, batch), *shaped.shape[1:])).copy())
    return dict(zip(NAMES, [tensor_from_array(written, device), causal], strict=True))


def lift(representation: Any, *, q: int | None = None) -> Plan:
    """Read the bounds.

    Args:
        representation: dict of ``startend_row_indices``, integers (B, H, K, 1, 2 or 4), and ``causal``.
        q: queries; as many as keys if left out.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: causal, with other numbers of queries and keys: aligned at the start or at the end.
        ArgumentError: other values or axes.

    Source: as ``lower``.

    >>> lift({"startend_row_indices": [[[[2], [3], [3]]]], "causal": True}).pairs
    5
    """
    given, causal = read_arguments(representation, NAMES, WHERE)
    bounds = _checked(given, bool(causal))
    b, h, k, numbers = bounds.shape
    rows = k if q is None else whole_number(q, "q", "lift")
    if causal and rows != k:
        raise AmbiguousError(
            f"causal is True with {rows} queries and {k} keys: FlashMask's reference lines them up at the start, its "
            "kernels at the end",
            where=WHERE,
            fix="write causality into the bounds: causal=False and 2 or 4 numbers a key",
        )
    bounds = np.clip(bounds.reshape(-1, numbers), 0, rows)
    first, last = np.zeros(len(bounds), dtype=np.int64), np.full(len(bounds), rows)
    own_ends = numbers == 4 or (causal and numbers == 2)
    upper_end = np.arange(len(bounds)) % max(k, 1) if causal else bounds[:, -1]
    starts = np.concatenate([bounds[:, 2] if numbers == 4 else first, bounds[:, 0]])
    stops = np.concatenate([upper_end, bounds[:, 1] if own_ends else last])
    some = stops > starts
    line = np.tile(np.arange(len(bounds)), 2)[some]
    masked = runs_from_pieces((b, h, k), rows, line, starts[some], stops[some])
    return Plan(transposed(complement(masked)).collapsed())


def _below_diagonal(attends: Runs) -> Runs | None:
    """Of each key the masked rows from its own on, if all before are masked and there are as many rows as keys."""
    own = attends.row_of_run % max(attends.shape[2], 1)
    if attends.shape[2] != attends.keys or (attends.starts < own).any():
        return None
    masked = complement(attends)
    starts = np.maximum(masked.starts, masked.row_of_run % max(masked.shape[2], 1))
    keep = masked.stops > starts
    counts = np.bincount(masked.row_of_run[keep], minlength=masked.rows)
    return runs_from_counts(masked.shape, masked.keys, counts, starts[keep], masked.stops[keep])


def _one_stretch(below: Runs) -> IntArray:
    starts, stops = below.single()
    none = below.counts == 0
    starts, stops = np.where(none, below.keys, starts), np.where(none, below.keys, stops)
    return starts[:, None] if (stops == below.keys).all() else np.stack([starts, stops], axis=1)


def _two_stretches(masked: Runs) -> IntArray:
    """(lower start, lower end, upper start, upper end) of each key, or of stretches at both ends the inner two."""
    rows = masked.keys
    last = np.append(np.diff(masked.row_of_run) > 0, True)[: len(masked.starts)]
    upper = (masked.starts == 0) | ~last
    bounds = np.tile([rows, rows, 0, 0], (masked.rows, 1))
    bounds[masked.row_of_run[~upper], :2] = np.stack([masked.starts, masked.stops], axis=1)[~upper]
    bounds[masked.row_of_run[upper], 2:] = np.stack([masked.starts, masked.stops], axis=1)[upper]
    at_both_ends = (bounds[:, 1] == rows).all() and (bounds[:, 2] == 0).all()
    return bounds[:, [0, 3]] if at_both_ends else bounds


def _checked(given: Any, causal: bool) -> IntArray:
    bounds = read_array(given, NAMES[0])
    numbers = (1, 2) if causal else (2, 4)
    if bounds.dtype.kind not in "iu" or bounds.ndim != 4 or 0 in bounds.shape[:2] or bounds.shape[3] not in numbers:
        raise ArgumentError(
            f"{NAMES[0]} holds {bounds.dtype} values in shape {bounds.shape}, causal is {causal}",
            where=WHERE,
            fix=f"give integers (B, H, K, {numbers[0]} or {numbers[1]}), B and H 1 or more",
        )
    return bounds.astype(np.int64)
