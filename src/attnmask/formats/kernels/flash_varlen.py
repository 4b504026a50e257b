"""Keyword arguments of flash-attention's kernel for sequences of any lengths, and of torch's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from attnmask.compiler.plan import Plan
from attnmask.compiler.structure.sequences import (
    Sequences,
    Window,
    checked_runs,
    packed_sequences,
    reasons_against_packing,
)
from attnmask.conventions import Align, IntArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import read_arguments, read_array, read_bounds, read_window
from attnmask.formats.shared.writing import batch_items, tensor_from_array
from attnmask.mask.arguments import is_whole, one_of, positive_number, whole_number
from attnmask.mask.tables.lookup_tables import int32_from

if TYPE_CHECKING:
    import torch
    from torch import Tensor

name = "flash_varlen"
summary = (
    "indices of the tokens, and dict for flash_attn_varlen_func or torch varlen_attn: bounds, window (left, right)"
)
WHERE = "lift('flash_varlen', arguments)"
UNBOUNDED = -1


class Library(StrEnum):
    """Whose argument names."""

    FLASH_ATTN = "flash_attn"
    TORCH = "torch"


NAMES = {
    Library.FLASH_ATTN: ["cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k", "causal", "window_size"],
    Library.TORCH: ["cu_seq_q", "cu_seq_k", "max_q", "max_k", "window_size"],
}


@dataclass(frozen=True)
class Varlen:
    """What is taken from padded tensors, and how the kernel is called with it.

    Attributes:
        indices_q: int64, the query tokens among B * Q, as ``unpad_input`` gives them; the output of all others is 0.
        indices_k: int64, the key tokens among B * K.
        arguments: the keyword arguments.
    """

    indices_q: Tensor
    indices_k: Tensor
    arguments: dict[str, Any]


def refusals(plan: Plan, **options: Any) -> list[str]:
    """Heads that differ, holes in what a query sees, sequences that no one window bounds."""
    return reasons_against_packing(plan, Align.END)


def lower(
    plan: Plan, *, library: str = "flash_attn", batch: int | None = None, device: str | torch.device = "cpu"
) -> Varlen:
    """Say which tokens there are, where their sequences begin, and what a query sees of its own sequence.

    Queries that see nothing and keys that nothing sees are left out, so that padding costs nothing. The kernels align
    queries and keys at the end of a sequence, and ``window_size=(W, 0)`` keeps W + 1 keys.

    Args:
        plan: the set.
        library: "flash_attn", or "torch" for torch.nn.attention.varlen.varlen_attn.
        batch: items to write out; needed where the plan is the same for all of several items.
        device: where the tensors are put.

    Returns:
        Varlen; bounds are int32 (N + 1,), lengths are numbers, -1 is no bound of the window.

    Raises:
        ArgumentError: another library, or another number of items than the plan has.

    Source: flash_attn.flash_attn_varlen_func and flash_attn.bert_padding.unpad_input, flash-attention 2.1 and later;
    torch.nn.attention.varlen, torch 2.13.

    >>> import attnmask as am
    >>> packed = am.compile(am.causal() & am.documents(lengths=[2, 3]), q=5)
    >>> packed.to("flash_varlen", library="torch").arguments
    {'cu_seq_q': tensor([0, 2, 5], dtype=torch.int32), 'cu_seq_k': tensor([0, 2, 5], dtype=torch.int32),
     'max_q': 3, 'max_k': 3, 'window_size': (-1, 0)}
    """
    of = one_of(Library, library, "library", "lower")
    runs = plan.runs.broadcast_to((batch_items(plan, batch), 1, plan.Q))
    found = cast(Sequences, packed_sequences(runs, Align.END))
    bounds = found.query_bounds, found.key_bounds
    window = tuple(UNBOUNDED if side is None else side for side in found.window)
    values = [
        *(tensor_from_array(int32_from(one), device) for one in bounds),
        *(int(np.diff(one).max(initial=0)) for one in bounds),
        *([found.window[1] == 0] if of is Library.FLASH_ATTN else []),
        window,
    ]
    arguments = dict(zip(NAMES[of], values, strict=True))
    return Varlen(tensor_from_array(found.queries, device), tensor_from_array(found.keys, device), arguments)


def lift(representation: Any, *, q: int | None = None, k: int | None = None, batch: int = 1) -> Plan:
    """Read the keyword arguments.

    Args:
        representation: Varlen, or a dict of the arguments of either library alone, for tokens that are all there.
        q, k: queries and keys of an item; needed with a Varlen, else those of all sequences.
        batch: items.

    Returns:
        A Plan.

    Raises:
        ArgumentError: bounds that fall, lengths shorter than a sequence, indices that do not fit, or a sequence
            that lies in two items.

    Source: as ``lower``.

    >>> bounds = [0, 2, 5]
    >>> lift({"cu_seqlens_q": bounds, "cu_seqlens_k": bounds, "max_seqlen_q": 3, "max_seqlen_k": 3, "causal": True})
    Plan(B=1, H=1, Q=5, K=5, pairs=9, density=0.360, empty_rows=0)
    """
    packed = isinstance(representation, Varlen)
    given = representation.arguments if packed else representation
    query_bounds, key_bounds, window = _arguments(given)
    items = positive_number(batch, "batch", "lift")
    if packed and (q is None or k is None):
        raise ArgumentError("the indices do not say how long an item is", where=WHERE, fix="give q= and k=")
    rows, keys = (
        whole_number(given_length, axis, "lift") if given_length is not None else int(bounds[-1]) // items
        for given_length, axis, bounds in ((q, "q", query_bounds), (k, "k", key_bounds))
    )
    queries = _tokens(representation.indices_q if packed else None, "indices_q", query_bounds, items * rows)
    tokens = _tokens(representation.indices_k if packed else None, "indices_k", key_bounds, items * keys)
    found = Sequences(queries, tokens, query_bounds, key_bounds, window, Align.END)
    return Plan(checked_runs(found, (items, rows, keys), WHERE).collapsed())


def _arguments(given: Any) -> tuple[IntArray, IntArray, Window]:
    torch_names = isinstance(given, Mapping) and "cu_seq_q" in given
    names = NAMES[Library.TORCH if torch_names else Library.FLASH_ATTN]
    cu_q, cu_k, max_q, max_k, *rest = read_arguments(given, names, WHERE)
    causal, window_size = (False, *rest) if torch_names else rest
    bounds = read_bounds(cu_q, names[0], WHERE), read_bounds(cu_k, names[1], WHERE)
    if len(bounds[0]) != len(bounds[1]):
        raise ArgumentError(
            f"{names[0]} has {len(bounds[0]) - 1} sequences, {names[1]} {len(bounds[1]) - 1}",
            where=WHERE,
            fix="make them agree",
        )
    for argument, length, own in zip(names[2:4], (max_q, max_k), bounds, strict=True):
        longest = int(np.diff(own).max(initial=0))
        if not is_whole(length) or length < longest:
            raise ArgumentError(
                f"{argument} is {length!r}, the longest sequence is {longest}", where=WHERE, fix=f"give {longest}"
            )
    left, right = read_window((UNBOUNDED, UNBOUNDED) if window_size is None else window_size, "window_size", WHERE)
    return *bounds, (left, 0 if causal else right)


def _tokens(indices: Any, argument: str, bounds: IntArray, total: int) -> IntArray:
    tokens = read_array(range(int(bounds[-1])) if indices is None else indices, argument).reshape(-1)
    if tokens.dtype.kind not in "iu" and len(tokens):
        raise ArgumentError(f"{argument} holds {tokens.dtype} values", where=WHERE, fix="give integers")
    tokens = tokens.astype(np.int64)
    rises = (np.diff(tokens, prepend=-1, append=total) > 0).all()
    if len(tokens) != bounds[-1] or not rises or (indices is None and len(tokens) != total):
        raise ArgumentError(
            f"{argument} has {len(tokens)} of {total} tokens, the bounds say {bounds[-1]}",
            where=WHERE,
            fix="give one index for each token in a sequence, ascending, below batch * q or batch * k",
        )
    return tokens
