"""Keyword arguments of jax.nn.dot_product_attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnmask.compiler.plan import Plan
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.structure.padded_bands import Band, band_from_runs, lengths_from_tokens
from attnmask.conventions import Align, BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import (
    at_lengths,
    lengths_hinted,
    read_arguments,
    read_array,
    with_leading_axes,
)
from attnmask.formats.shared.writing import batch_items, reasons_against_pairs
from attnmask.mask.arguments import whole_number
from attnmask.mask.atoms import causal, dense, full, padding, window
from attnmask.mask.expression import Mask

name = "jax"
summary = "dict for jax.nn.dot_product_attention: mask bool (B, H, Q, K), is_causal, lengths (B,), local_window_size"
WHERE = "lift('jax', arguments)"
ARGUMENTS = ["mask", "is_causal", "query_seq_lengths", "key_value_seq_lengths", "local_window_size"]


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out, of a set that needs them."""
    return reasons_against_pairs(plan, lambda: _bands(plan, options.get("batch")) is not None)


def lower(plan: Plan, *, batch: int | None = None) -> dict[str, Any]:
    """Give the keyword arguments that make JAX attend to the set, on its queries (B, Q, H, D) and keys (B, K, H, D).

    A mask is written out only where the set is not a window between tokens that stand before their padding. JAX lines
    queries and keys up at the first of each. A row without a key is the mean of all values (tested on CPU), but for
    rows past ``query_seq_lengths``, which are 0.

    Args:
        plan: the set.
        batch: items of the tensors; with it the same padding for all items is given as lengths too, which JAX wants
            for each item.

    Returns:
        ``{"mask": bool (B, H, Q, K) or None, "is_causal": bool, "query_seq_lengths": int32 (B,) or None,
        "key_value_seq_lengths": int32 (B,) or None, "local_window_size": (left, right) or None}``, NumPy arrays, True
        attends; B or H is 1, and broadcasts, where the set does not depend on it.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: jax.nn.dot_product_attention of jax 0.10, https://docs.jax.dev/en/latest/_autosummary/
    jax.nn.dot_product_attention.html.

    >>> import attnmask as am
    >>> given = am.compile(am.causal() & am.window(left=2, right=0) & am.padding(lengths=[4, 2]), q=4).to("jax")
    >>> given["local_window_size"], given["key_value_seq_lengths"], given["mask"]
    ((2, 0), array([4, 2], dtype=int32), None)
    """
    given = _bands(plan, batch)
    return {**dict.fromkeys(ARGUMENTS), "mask": plan.runs.to_dense(), "is_causal": False} if given is None else given


def lift(representation: Any, *, q: int | None = None, k: int | None = None) -> Plan:
    """Read the keyword arguments; a pair attends if all of them let it.

    Args:
        representation: dict of ``mask``, bools (Q, K), (H, Q, K) or (B, H, Q, K), or None; ``is_causal``;
            ``query_seq_lengths`` and ``key_value_seq_lengths``, whole numbers (B,), or None; and
            ``local_window_size``, a number or a pair, or None.
        q, k: queries and keys; needed without ``mask``, else the lengths to which an axis of 1 broadcasts.

    Returns:
        A Plan.

    Raises:
        ArgumentError: other values or axes, no lengths, or arguments that do not fit each other.

    Source: as ``lower``.

    >>> lift({"local_window_size": 1}, q=3, k=3)
    Plan(B=1, H=1, Q=3, K=3, pairs=7, density=0.778, empty_rows=0)
    """
    given, is_causal, queries, keys, sides = read_arguments(representation, ARGUMENTS, WHERE)
    mask: Mask = causal() if is_causal else full()
    if given is None:
        rows, columns = lengths_hinted(q, k, WHERE)
    else:
        attends = at_lengths(_bools(given), q, k, "mask", WHERE)
        rows, columns = attends.shape[2:]
        mask &= dense(attends)
    mask = mask if queries is None else mask & padding(lengths=queries, of="queries")
    mask = mask if keys is None else mask & padding(lengths=keys)
    mask = mask if sides is None else mask & window(*_sides(sides))
    return compile_mask(mask, q=rows, k=columns, align=Align.START)


def _bands(plan: Plan, batch: int | None) -> dict[str, Any] | None:
    """The arguments of a window between tokens; None of another set."""
    items, band = batch_items(plan, batch), band_from_runs(plan.runs)
    return None if band is None else _arguments(band, plan, items, batch is not None)


def _arguments(band: Band, plan: Plan, items: int, written_out: bool) -> dict[str, Any] | None:
    tokens = [each for each in (band.queries, band.keys) if each is not None]
    if any(lengths_from_tokens(each) is None for each in tokens) or (tokens and plan.B == 1 and not written_out):
        return None
    return {
        "mask": None,
        "is_causal": band.is_causal,
        "query_seq_lengths": _lengths(band.queries, items),
        "key_value_seq_lengths": _lengths(band.keys, items),
        "local_window_size": None if band.is_causal else _window(band, max(plan.Q, plan.K)),
    }


def _lengths(tokens: BoolArray | None, items: int) -> IntArray | None:
    lengths = None if tokens is None else lengths_from_tokens(tokens)
    return None if lengths is None else np.broadcast_to(lengths, (items,)).copy()


def _window(band: Band, unbounded: int) -> tuple[int, int] | None:
    if band.left is None and band.right is None:
        return None
    return unbounded if band.left is None else band.left, unbounded if band.right is None else band.right


def _bools(mask: Any) -> NDArray[np.bool_]:
    array = read_array(mask, "mask")
    if array.dtype.kind != "b":
        raise ArgumentError(
            f"mask holds {array.dtype} values",
            where=WHERE,
            fix="JAX takes bools there, True attends; what is added to the scores is its bias, no mask",
        )
    return with_leading_axes(array, "mask", WHERE)


def _sides(local_window_size: Any) -> tuple[int, int]:
    sides = np.ravel(read_array(local_window_size, "local_window_size")).tolist()
    if len(sides) not in (1, 2):
        raise ArgumentError(
            f"local_window_size is {local_window_size!r}", where=WHERE, fix="give one number, or (left, right)"
        )
    left, right = (whole_number(side, "local_window_size", "lift") for side in (sides[0], sides[-1]))
    return left, right
