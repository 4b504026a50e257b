"""Our own reading of forms that say a set by windows, lengths and slices; see ``readers.py``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tests.attack.oracle import Bools


def band(position: Any, K: int, left: int | None = None, right: int | None = None) -> Bools:
    """Keys from ``left`` before a query's position to ``right`` after it; position (..., Q), bools (..., Q, K)."""
    at, key = np.asarray(position)[..., None], np.arange(K)
    seen = np.ones(np.broadcast_shapes(at.shape, key.shape), dtype=bool)
    if left is not None:
        seen &= key >= at - left
    if right is not None:
        seen &= key <= at + right
    return seen.reshape((1,) * (4 - seen.ndim) + seen.shape)


def top_left(Q: int, K: int, left: int | None = None, right: int | None = None) -> Bools:
    """A band of queries that stand at the first keys."""
    return band(np.arange(Q), K, left, right)


def _numbers(value: Any) -> list[int]:
    return [int(one) for one in np.asarray(value).reshape(-1)]


def _sequences(shape: tuple[int, int, int], pieces: list[tuple[list[int], list[int], Bools]]) -> Bools:
    """Pieces of tokens of all items, one after the other, put into (B, 1, Q, K)."""
    B, Q, K = shape
    seen = np.zeros((B * Q, B * K), dtype=bool)
    for queries, keys, pairs in pieces:
        assert not seen[np.ix_(queries, keys)].any(), "two sequences share a pair"
        seen[np.ix_(queries, keys)] = pairs
    blocks = seen.reshape(B, Q, B, K)
    own = np.stack([blocks[item, :, item] for item in range(B)]) if B else blocks[:, :, 0]
    assert own.sum() == seen.sum(), "a pair lies in two items"
    return own[:, None]


def flash_varlen(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    given, ours = form.arguments, options["library"] == "torch"
    cu_q, cu_k = (
        _numbers(given[name]) for name in (("cu_seq_q", "cu_seq_k") if ours else ("cu_seqlens_q", "cu_seqlens_k"))
    )
    left, right = (None if side < 0 else side for side in given["window_size"])
    right = 0 if given.get("causal") else right
    longest = [given[name] for name in (("max_q", "max_k") if ours else ("max_seqlen_q", "max_seqlen_k"))]
    pieces = []
    for (q0, q1), (k0, k1) in zip(pairwise(cu_q), pairwise(cu_k), strict=True):
        assert q1 - q0 <= longest[0]
        assert k1 - k0 <= longest[1]
        pairs = band(np.arange(q1 - q0) + (k1 - k0) - (q1 - q0), k1 - k0, left, right)[0, 0]
        pieces.append((_numbers(form.indices_q)[q0:q1], _numbers(form.indices_k)[k0:k1], pairs))
    return _sequences((options["B"], Q, K), pieces)


def hf_position_ids(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """A document begins where the positions do not go on."""
    positions = np.asarray(form["position_ids"])
    begins = np.diff(positions, axis=1, prepend=-99) != 1
    document = np.cumsum(begins, axis=1)
    starts = np.flatnonzero(begins.reshape(-1)).tolist()
    bounds = sorted({*starts, positions.size})
    assert _numbers(form["cu_seq_lens_q"]) == _numbers(form["cu_seq_lens_k"]) == (bounds if positions.size else [0])
    return (document[:, None, :, None] == document[:, None, None]) & top_left(Q, K, right=0)


def hf_sliding_window(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    size = form["sliding_window"]
    left = None if size is None else size - 1
    if form["is_causal"]:
        return band(np.arange(Q) + K - Q, K, left, 0)
    side = left if size is None or options.get("path") == "flash" else size
    return band(np.arange(Q) + K - Q, K, side, side)


def cudnn(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    lengths_q, lengths_k = np.array([Q]), np.array([K])
    if form["use_padding_mask"]:
        lengths_q, lengths_k = (np.asarray(form[name]).reshape(-1) for name in ("seq_len_q", "seq_len_kv"))
    left, right = form["diagonal_band_left_bound"], form["diagonal_band_right_bound"]
    behind = lengths_k - lengths_q if form["diagonal_alignment"] == "BOTTOM_RIGHT" else 0 * lengths_q
    row, lengths = np.arange(Q), (lengths_q[:, None], lengths_k[:, None])
    seen = band((row + behind[:, None])[:, None], K, None if left is None else left - 1, right)
    return seen & (row < lengths[0])[:, None, :, None] & (np.arange(K) < lengths[1])[:, None, None]


def magi(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """Slices: 1 is causal at the bottom right, 2 inversely at the top left, 3 both."""
    pieces = []
    ranges = [np.asarray(form[name]).reshape(-1, 2).tolist() for name in ("q_ranges", "k_ranges")]
    for (q0, q1), (k0, k1), kind in zip(*ranges, _numbers(form["attn_type_map"]), strict=True):
        row, key = np.arange(q1 - q0)[:, None], np.arange(k1 - k0)
        pairs = np.ones((q1 - q0, k1 - k0), dtype=bool)
        if kind & 1:
            pairs &= key - (k1 - k0) <= row - (q1 - q0)
        if kind & 2:
            pairs &= key >= row
        pieces.append((list(range(q0, q1)), list(range(k0, k1)), pairs))
    return _slices((options["B"], Q, K), pieces)


def _slices(shape: tuple[int, int, int], pieces: list[tuple[list[int], list[int], Bools]]) -> Bools:
    """As ``_sequences``, where the rectangles of slices may overlap but their pairs may not."""
    B, Q, K = shape
    times = np.zeros((B * Q, B * K), dtype=int)
    for queries, keys, pairs in pieces:
        times[np.ix_(queries, keys)] += pairs
    assert times.max(initial=0) <= 1, "two slices share a pair"
    whole = (list(range(B * Q)), list(range(B * K)), times > 0)
    return _sequences(shape, [whole])


def xformers(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """By the names of the classes, as xformers materialises them."""
    name = type(form).__name__
    if form is None:
        return top_left(Q, K)
    left, right = _xformers_window(form, name)
    at_end = "FromBottomRight" in name or "PaddedKeys" in name
    if not name.startswith("BlockDiagonal"):
        return band(np.arange(Q) + (K - Q if at_end else 0), K, left, right)
    cu_q, starts = form.q_seqinfo.seqstart_py, form.k_seqinfo.seqstart_py
    lengths = form.k_seqinfo.seqlen_py if "PaddedKeys" in name else np.diff(starts).tolist()
    pieces = []
    for q0, q1, k0, own in zip(cu_q, cu_q[1:], starts, lengths, strict=False):
        behind = own - (q1 - q0) if at_end else 0
        pairs = band(np.arange(q1 - q0) + behind, own, left, right)[0, 0]
        pieces.append((list(range(q0, q1)), list(range(k0, k0 + own)), pairs))
    return _sequences((options["B"], Q, K), pieces)


def _xformers_window(form: Any, name: str) -> tuple[int | None, int | None]:
    if hasattr(form, "window_left"):
        return form.window_left, form.window_right
    causal = "LowerTriangular" in name or "Causal" in name
    return (form._window_size - 1 if hasattr(form, "_window_size") else None), 0 if causal else None
