"""Options of scaled dot-product attention in cuDNN's frontend: a diagonal band, and lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs
from attnmask.compiler.structure.bands import band, band_runs
from attnmask.compiler.structure.sequences import Sequences, Window, first_tokens, padded_sequences
from attnmask.conventions import Align, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import lengths_hinted, read_arguments, read_array
from attnmask.formats.shared.window_units import cudnn_from_window, window_from_cudnn
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch

name = "cudnn"
summary = "dict of options for cuDNN's sdpa: diagonal_alignment, diagonal band bounds, padding lengths torch.int32"
WHERE = "lift('cudnn', options)"
NAMES = [
    "diagonal_alignment",
    "diagonal_band_left_bound",
    "diagonal_band_right_bound",
    "use_padding_mask",
    "seq_len_q",
    "seq_len_kv",
]
ALIGNMENTS = {"TOP_LEFT": Align.START, "BOTTOM_RIGHT": Align.END}
Found = tuple[str, Window, Sequences | None]


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Heads that differ, and what is no diagonal band of the first queries and keys of each item."""
    reasons = [f"it differs between its {plan.H} heads"] if plan.H > 1 else []
    if plan.H == 1 and _found(plan, plan.runs) is None:
        reasons.append(
            "it is no diagonal band over the first queries and the first keys of each item; cuDNN takes any other set "
            "as an additive bias alone"
        )
    return reasons


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Give the options.

    A left bound W keeps W keys, self included; a right bound counts the keys after it. The diagonal begins at the
    first query and key, or ends at the last of an item's own lengths. Rows beyond an item's length are 0.

    Args:
        plan: the set.
        batch: items to write out; needed for lengths where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        ``{"diagonal_alignment": "TOP_LEFT" or "BOTTOM_RIGHT", "diagonal_band_left_bound": int or None,
        "diagonal_band_right_bound": int or None, "use_padding_mask": bool, "seq_len_q": torch.int32 (B, 1, 1, 1) or
        None, "seq_len_kv": likewise}``.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: cudnn.pygraph.sdpa, cudnn-frontend 1.23.

    >>> import attnmask as am
    >>> options = am.compile(am.causal() & am.window(left=3, right=0), q=2, k=8, align="end").to("cudnn")
    >>> options["diagonal_alignment"], options["diagonal_band_left_bound"], options["diagonal_band_right_bound"]
    ('BOTTOM_RIGHT', 4, 0)
    """
    runs = plan.runs.broadcast_to((batch_items(plan, batch), *plan.runs.shape[1:]))
    alignment, window, found = cast(Found, _found(plan, runs))
    lengths: list[Any] = [None, None]
    if found is not None:
        lengths = [
            tensor_from_array(int32_from(np.diff(bounds)).reshape(-1, 1, 1, 1), device)
            for bounds in (found.query_bounds, found.key_bounds)
        ]
    values = [alignment, *cudnn_from_window(window), found is not None, *lengths]
    return dict(zip(NAMES, values, strict=True))


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read the options.

    Args:
        representation: dict of the options that ``lower`` gives; one left out is TOP_LEFT, None or False.
        q, k: queries and keys of the tensors.

    Returns:
        A Plan.

    Raises:
        ArgumentError: other values, no lengths, or lengths beyond those of the tensors.

    Source: as ``lower``.

    >>> lift({"diagonal_band_right_bound": 0}, q=3, k=3).pairs
    6
    """
    alignment, left, right, padded, *lengths = read_arguments(representation, NAMES, WHERE)
    named = "TOP_LEFT" if alignment is None else str(getattr(alignment, "name", alignment))
    if named not in ALIGNMENTS:
        raise ArgumentError(f"diagonal_alignment is {alignment!r}", where=WHERE, fix=f"give {' or '.join(ALIGNMENTS)}")
    rows, keys = lengths_hinted(q, k, WHERE)
    window, align = window_from_cudnn(left, right), ALIGNMENTS[named]
    if not padded:
        return Plan(band_runs(window, align, rows, keys))
    queries = _lengths(lengths[0], rows, "seq_len_q")
    own_keys = _lengths(lengths[1], keys, "seq_len_kv")
    if len(queries) != len(own_keys):
        raise ArgumentError(
            f"seq_len_q has {len(queries)} items, seq_len_kv {len(own_keys)}", where=WHERE, fix="make them agree"
        )
    found = first_tokens(queries, own_keys, (rows, keys), window, align)
    return Plan(found.runs((len(queries), rows, keys)).collapsed())


def _found(plan: Plan, runs: Runs) -> Found | None:
    """The alignment, the window, and the lengths where there is padding."""
    if plan.B == 1 and plan.H == 1:
        for alignment, align in ALIGNMENTS.items():
            sides = band(plan, align)
            # cuDNN refuses both a left bound and the bottom right corner where there are more queries than keys.
            if sides is not None and (plan.Q <= plan.K or (sides[0] is None and align is Align.START)):
                return alignment, sides, None
    for alignment, align in ALIGNMENTS.items():
        found = padded_sequences(runs, align)
        if found is not None:
            return alignment, found.window, found
    return None


def _lengths(value: Any, most: int, argument: str) -> IntArray:
    lengths = read_array(value, argument) if value is not None else np.zeros(0)
    if lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 0 or lengths.max() > most:
        raise ArgumentError(
            f"{argument} is {lengths.reshape(-1).tolist()}",
            where=WHERE,
            fix=f"with use_padding_mask give integers (B, 1, 1, 1) from 0 to {most}",
        )
    return lengths.reshape(-1).astype(np.int64)
