"""Attention biases of xformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs
from attnmask.compiler.structure.bands import Window, band, band_runs
from attnmask.compiler.structure.facts import is_full
from attnmask.compiler.structure.sequences import (
    Sequences,
    checked_runs,
    padded_sequences,
    reasons_against_packing,
    unbroken_sequences,
)
from attnmask.conventions import Align, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.kernels import xformers_classes as bias
from attnmask.formats.shared.foreign_arrays import lengths_hinted, read_array, read_bounds
from attnmask.formats.shared.window_units import window_from_xformers_causal
from attnmask.formats.shared.writing import batch_items
from attnmask.mask.arguments import positive_number
from attnmask.mask.tables.lookup_tables import ragged_indices

if TYPE_CHECKING:
    import torch

name = "xformers"
summary = "attention bias of xformers, or None: a triangle, a local window, or blocks of sequences one after the other"
WHERE = "lift('xformers', attn_bias)"
CLASSES = {
    one.__name__
    for one in vars(bias).values()
    if isinstance(one, type) and one.__name__.endswith("Mask") and one.__module__ == bias.__name__
}


Form = tuple[type[bias.AttentionBias], dict[str, int], Sequences | None]


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Heads that differ, rows without a key, and what is neither a window nor blocks with one window."""
    if plan.Q == 0 or plan.K == 0:
        return [f"it has {plan.Q} queries and {plan.K} keys: xformers needs one of each"]
    reasons: list[str] = []
    if plan.empty_rows:
        reasons.append(
            f"{plan.empty_rows} of {plan.runs.rows} rows attend to nothing, which xformers leaves undefined or refuses"
        )
    if plan.H > 1 or (not is_full(plan.runs) and _form(plan, plan.runs) is None):
        reasons += reasons_against_packing(plan, Align.END) or [
            "there is no class of this window, or of keys between sequences that nothing sees"
        ]
    return reasons


def lower(plan: Plan, *, batch: int | None = None, device: str | torch.device = "cpu") -> bias.AttentionBias | None:
    """Give the attention bias, as a dataclass with the names of xformers' own.

    A ``BlockDiagonal...`` is for tokens of all items one after the other, tensors of one item; any other is for
    tensors (B, M, H, D). ``_window_size=W`` keeps W keys, self included, ``window_left=W`` keeps W before it.

    Args:
        plan: the set.
        batch: items to write out into blocks; needed where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        A dataclass of ``attnmask.formats.kernels.xformers_classes``; None where everything attends.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: xformers.ops.fmha.attn_bias, xformers 0.0.35 (now mslk.attention.fmha.attn_bias).

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.window(left=3, right=0), q=2, k=8, align="end").to("xformers")
    LowerTriangularFromBottomRightLocalAttentionMask(_window_size=4)
    >>> am.compile(am.documents(lengths=[2, 3]), q=5).to("xformers").k_seqinfo.seqstart_py
    [0, 2, 5]
    """
    items = batch_items(plan, batch)
    if is_full(plan.runs):
        return None
    kind, numbers, found = cast(Form, _form(plan, plan.runs.broadcast_to((items, 1, plan.Q))))
    made = cast(Callable[..., bias.AttentionBias], kind)
    if found is None:
        return made(**numbers)
    padded = issubclass(kind, bias.BlockDiagonalPaddedKeysMask)
    queries = bias.lengths_info(found.query_bounds, device)
    lengths = np.diff(found.key_bounds)
    keys = bias.padded_info(lengths, plan.K, device) if padded else bias.lengths_info(found.key_bounds, device)
    return made(q_seqinfo=queries, k_seqinfo=keys, **numbers)


def lift(representation: Any, *, q: int | None = None, k: int | None = None, batch: int = 1) -> Plan:
    """Read an attention bias, of xformers itself or of ``attnmask.formats.kernels.xformers_classes``.

    Args:
        representation: the bias, known by the name of its class; None where everything attends.
        q, k: queries and keys; needed for what has no lengths of its own.
        batch: items that lie one after the other in a block diagonal.

    Returns:
        A Plan.

    Raises:
        ArgumentError: no such bias, a tensor, no lengths, or sequences that lie in two items.

    Source: as ``lower``.

    >>> lift(bias.LocalAttentionFromBottomRightMask(window_left=1, window_right=2), q=4, k=5).pairs
    13
    """
    name = type(representation).__name__
    if representation is not None and name not in CLASSES:
        raise ArgumentError(
            f"the representation is {name}", where=WHERE, fix=f"give None or one of {', '.join(sorted(CLASSES))}"
        )
    window = _window(representation, name)
    if not name.startswith("BlockDiagonal"):
        rows, keys = lengths_hinted(q, k, WHERE)
        align = Align.END if "FromBottomRight" in name else Align.START
        return Plan(band_runs(window, align, rows, keys))
    align = Align.END if "FromBottomRight" in name or "PaddedKeys" in name else Align.START
    infos = [getattr(representation, field) for field in ("q_seqinfo", "k_seqinfo")]
    _check_copies(infos)
    query_bounds = read_bounds(infos[0].seqstart_py, "q_seqinfo.seqstart", WHERE)
    key_starts = read_bounds(infos[1].seqstart_py, "k_seqinfo.seqstart", WHERE)
    lengths: IntArray = np.asarray(getattr(infos[1], "seqlen_py", np.diff(key_starts)), dtype=np.int64)
    items = positive_number(batch, "batch", "lift")
    found = Sequences(
        np.arange(int(query_bounds[-1])),
        ragged_indices(key_starts[:-1], lengths),
        query_bounds,
        np.append(0, np.cumsum(lengths)),
        window,
        align,
    )
    shape = items, int(query_bounds[-1]) // items, int(key_starts[-1]) // items
    return Plan(checked_runs(found, shape, WHERE).collapsed())


def _check_copies(infos: Sequence[Any]) -> None:
    """What is held twice, as a tensor and as a list, is the same."""
    for info, name in product(infos, ("seqstart", "seqlen")):
        if hasattr(info, name):
            tensor, listed = (read_array(getattr(info, held), held) for held in (name, f"{name}_py"))
            if not np.array_equal(tensor, listed):
                raise ArgumentError(f"{name} and {name}_py differ", where=WHERE, fix="give the same numbers in both")


def _window(representation: Any, name: str) -> Window:
    if hasattr(representation, "_window_size"):
        return window_from_xformers_causal(representation._window_size)
    if hasattr(representation, "window_left"):
        return representation.window_left, representation.window_right
    return None, 0 if "Causal" in name or "Triangular" in name else None


def _form(plan: Plan, runs: Runs) -> Form | None:
    """The class of a set that is not full, its window, and its sequences."""
    return (_triangle(plan) if plan.B == 1 else None) or _blocks(runs) or _padded_keys(runs)


def _triangle(plan: Plan) -> Form | None:
    if band(plan, Align.START) == (None, 0):
        return bias.LowerTriangularMask, {}, None
    sides = band(plan, Align.END)
    if sides is None:
        return None
    left, right = sides
    if right != 0:
        return bias.LocalAttentionFromBottomRightMask, _both_sides(sides, plan.runs), None
    if left is None:
        return bias.LowerTriangularFromBottomRightMask, {}, None
    return bias.LowerTriangularFromBottomRightLocalAttentionMask, {"_window_size": left + 1}, None


def _blocks(runs: Runs) -> Form | None:
    for align in (Align.END, Align.START):
        found = unbroken_sequences(runs, align)
        if found is None:
            continue
        left, right = found.window
        one_length = bool((np.diff(found.query_bounds) == np.diff(found.key_bounds)).all())
        kinds = SAME_CORNER if one_length or align is Align.START else BOTTOM_RIGHT
        if right == 0:
            return (kinds[0], {}, found) if left is None else (kinds[1], {"_window_size": left + 1}, found)
        if (left, right) == (None, None):
            return bias.BlockDiagonalMask, {}, found
    return None


def _padded_keys(runs: Runs) -> Form | None:
    found = padded_sequences(runs, Align.END)
    if found is None or len(found.queries) != runs.rows:
        return None
    left, right = found.window
    if found.window == (None, None):
        return bias.BlockDiagonalPaddedKeysMask, {}, found
    if right != 0:
        return bias.BlockDiagonalLocalAttentionPaddedKeysMask, _both_sides(found.window, runs), found
    if left is None:
        return bias.BlockDiagonalCausalWithOffsetPaddedKeysMask, {}, found
    return bias.BlockDiagonalCausalLocalAttentionPaddedKeysMask, {"_window_size": left + 1}, found


def _both_sides(window: Window, runs: Runs) -> dict[str, int]:
    """The numbers of a local window; no bound is one that is never reached."""
    left, right = window
    return {
        "window_left": runs.keys if left is None else left,
        "window_right": runs.shape[2] if right is None else right,
    }


SAME_CORNER = (bias.BlockDiagonalCausalMask, bias.BlockDiagonalCausalLocalAttentionMask)
BOTTOM_RIGHT = (
    bias.BlockDiagonalCausalFromBottomRightMask,
    bias.BlockDiagonalCausalLocalAttentionFromBottomRightMask,
)
