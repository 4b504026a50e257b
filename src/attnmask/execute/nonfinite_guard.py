"""Masked means masked: whatever stands in a pair outside the set reaches neither an output nor a gradient.

A kernel adds -inf to a masked score and multiplies a masked value by 0; both turn NaN and inf into NaN. So
non-finite keys and values are taken out before the kernel runs, and afterwards the rows that do attend to one are
made NaN, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attnmask.compiler.runs import Runs
from attnmask.execute.folding import folded, unfolded
from attnmask.execute.tiles.schedule import flat_runs

Kernel = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def nonfinite_rows(*tensors: Tensor) -> Tensor | None:
    """Bool (B, H, L), True where a token has a non-finite element in one of the tensors; None if there is none."""
    if all(bool(torch.isfinite(x.detach().sum(dtype=torch.float32))) for x in tensors):
        return None
    bad = torch.stack([~torch.isfinite(x.detach()).all(-1) for x in tensors]).any(0)
    return bad if bool(bad.any()) else None


def emptied(x: Tensor, rows: Tensor | None, value: float = 0.0) -> Tensor:
    """The tensor with the given rows (B, H, L) replaced."""
    if rows is None:
        return x
    return x.masked_fill(rows.unsqueeze(-1) if x.ndim > rows.ndim else rows, value)


def rows_that_attend(runs: Runs, keys: Tensor) -> Tensor:
    """Bool (B, H, rows): whether a row of the set attends to one of the given keys (B, H, K)."""
    row, starts, stops = _indices(runs, keys.device)
    before = torch.nn.functional.pad(keys.long().cumsum(-1), (1, 0))
    hits = before[..., stops] - before[..., starts]
    return keys.new_zeros((*keys.shape[:2], runs.rows), dtype=torch.long).index_add_(-1, row, hits) > 0


def keys_attended_by(runs: Runs, rows: Tensor) -> Tensor:
    """Bool (B, H, K): whether a key of the set is attended to by one of the given rows (B, H, rows)."""
    row, starts, stops = _indices(runs, rows.device)
    steps = rows.new_zeros((*rows.shape[:2], runs.keys + 1), dtype=torch.long)
    own = rows[..., row].long()
    return steps.index_add_(-1, starts, own).index_add_(-1, stops, -own).cumsum(-1)[..., :-1] > 0


def rows_with_keys(runs: Runs, device: torch.device) -> Tensor:
    """Bool (rows,): whether a row attends to anything."""
    return torch.from_numpy(runs.counts > 0).to(device)


def poisoned_rows(runs: Runs, rows: Tensor | None, keys: Tensor | None) -> Tensor | None:
    """Rows (B, H, rows) that must be NaN: they have a key, and are non-finite or attend to a non-finite key.

    Args:
        runs: the set, of shape (1, 1, rows). rows: non-finite rows (B, H, rows). keys: non-finite keys (B, H, K).
    """
    found: list[Tensor] = []
    if rows is not None:
        found.append(rows & rows_with_keys(runs, rows.device))
    if keys is not None:
        found.append(rows_that_attend(runs, keys))
    return torch.stack(found).any(0) if found else None


def poisoned_rows_in_set(runs: Runs, rows: Tensor | None, keys: Tensor | None, q: Tensor) -> Tensor | None:
    """Poisoned rows of any set, from rows (B, H, Q), keys (B, Hkv, K) and queries (B, H, Q, D)."""
    axes = runs.shape[0] > 1, runs.shape[1] > 1
    if keys is not None:
        keys = keys.repeat_interleave(q.shape[1] // keys.shape[1], dim=1)
    own = [None if x is None else folded(x, *axes) for x in (rows, keys)]
    found = poisoned_rows(flat_runs(runs), *own)
    return None if found is None else unfolded(found, q, *axes)


def guarded(kernel: Kernel, q: Tensor, k: Tensor, v: Tensor, runs: Runs) -> tuple[Tensor, Tensor]:
    """What a differentiable kernel makes of q, k and v, kept from what is not finite in a masked-out pair.

    A row that attends to something non-finite is NaN, and gives no gradients.
    """
    bad_rows, bad_keys = nonfinite_rows(q), nonfinite_rows(k, v)
    out, lse = kernel(emptied(q, bad_rows), emptied(k, bad_keys), emptied(v, bad_keys))
    poisoned = poisoned_rows_in_set(runs, bad_rows, bad_keys, q)
    return emptied(out, poisoned, torch.nan), emptied(lse, poisoned, torch.nan)


def _indices(runs: Runs, device: torch.device) -> tuple[Tensor, ...]:
    arrays = (runs.row_of_run, runs.starts, runs.stops)
    return tuple(torch.from_numpy(array.astype("int64")).to(device) for array in arrays)
