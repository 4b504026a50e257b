"""The two masks of torch.nn.MultiheadAttention, of pairs and of keys, in which True is masked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnmask.compiler.plan import Plan
from attnmask.conventions import BoolArray, attends_from_masked_out
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import attends_or_added, read_array
from attnmask.mask.arguments import whole_number


def reasons_against_empty_rows(plan: Plan, answer: str) -> list[str]:
    """That some rows have no key, and what torch answers."""
    if not plan.empty_rows:
        return []
    item, q = divmod(int(np.argmin(plan.runs.counts > 0)), plan.Q)
    first = (*divmod(item, plan.H), q)
    return [f"{plan.empty_rows} of {plan.runs.rows} rows attend to nothing, the first is (b, h, q) = {first}: {answer}"]


def heads_of(plan: Plan, num_heads: int | None) -> int:
    """Heads to write out."""
    heads = plan.H if num_heads is None else whole_number(num_heads, "num_heads", "lower")
    if heads < 1 or plan.H not in (1, heads):
        raise ArgumentError(
            f"num_heads is {heads}, the plan has {plan.H} heads",
            where="lower(num_heads=)",
            fix="make them agree",
        )
    return heads


def attends_of_masks(of_pairs: Any, of_keys: Any, names: Sequence[str], num_heads: int | None, where: str) -> BoolArray:
    """What attends, bool (B, H, Q, K), by one mask or by both."""
    if of_pairs is None:
        return _attends_of_keys(of_keys, names[1], where)
    pairs = _attends_of_pairs(of_pairs, names[0], num_heads, where)
    if of_keys is None:
        return pairs
    keys = _attends_of_keys(of_keys, names[1], where)
    if pairs.shape[3] != keys.shape[3] or (len(pairs) != 1 and len(pairs) != len(keys)):
        raise ArgumentError(
            f"{names[0]} is (B, H, Q, K) = {pairs.shape}, {names[1]} is (B, K) = {keys[:, 0, 0].shape}",
            where=where,
            fix="make them agree",
        )
    return pairs & keys


def _attends_of_pairs(value: Any, name: str, num_heads: int | None, where: str) -> BoolArray:
    attends = _attends(value, name, where)
    if attends.ndim == 2:
        return attends[None, None]
    if attends.ndim == 3 and num_heads is None:
        raise AmbiguousError(
            f"{name} has shape {attends.shape}: the first axis is B * num_heads",
            where=where,
            fix="give num_heads=, that of the module",
        )
    heads = whole_number(num_heads, "num_heads", "lift") if attends.ndim == 3 else 0
    if heads == 0 or len(attends) == 0 or len(attends) % heads:
        raise ArgumentError(
            f"{name} has shape {attends.shape}, num_heads is {num_heads}",
            where=where,
            fix="give (Q, K) or (B * num_heads, Q, K)",
        )
    return attends.reshape(-1, heads, *attends.shape[1:])


def _attends_of_keys(value: Any, name: str, where: str) -> BoolArray:
    attends = _attends(value, name, where)
    if attends.ndim != 2 or not len(attends):
        raise ArgumentError(f"{name} has shape {attends.shape}", where=where, fix="give (B, K), B 1 or more")
    return attends[:, None, None, :]


def _attends(value: Any, name: str, where: str) -> BoolArray:
    array = read_array(value, name)
    attends = attends_or_added(array, name, where)
    return attends_from_masked_out(attends) if array.dtype.kind == "b" else attends
