"""Our own reading of each library's form, from its documentation; no code of the package reads here.

Every reader takes the form, the lengths Q and K, and the options that it was written with, and gives bools
(B, H, Q, K), B or H 1 where the form does not depend on it. This file reads what is written pair by pair or token by
token; ``bounds.py`` reads windows, lengths and slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.attack.inputs.bounds import (
    band,
    cudnn,
    flash_varlen,
    hf_position_ids,
    hf_sliding_window,
    magi,
    top_left,
    xformers,
)
from tests.attack.oracle import Bools

Reader = Callable[[Any, int, int, dict[str, Any]], Bools]


def array(value: Any) -> np.ndarray:
    """NumPy array of a tensor, an array or lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def added(value: Any) -> Bools:
    """Of what is added to the scores, 0 attends."""
    values = array(value)
    assert values.dtype.kind == "f"
    assert ((values == 0) | (values <= -1000)).all()
    return values == 0


def sdpa(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    if form["attn_mask"] is not None:
        assert not form["is_causal"]
        return array(form["attn_mask"])
    return top_left(Q, K, right=0 if form["is_causal"] else None)


def tokens(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """1 is a token; the queries are the last of the keys."""
    values = array(form).reshape(len(form), K)
    assert np.isin(values, (0, 1)).all()
    seen = np.broadcast_to((values == 1)[:, None, None], (len(form), 1, Q, K))
    return seen & band(np.arange(Q) + K - Q, K, right=0) if options.get("causal") else seen


def masked_out(mask: Any, padding: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """torch.nn's two masks, True is masked out."""
    seen = np.ones((1, 1, Q, K), dtype=bool)
    if mask is not None:
        values = array(mask)
        heads = options.get("num_heads") or 1
        seen = seen & ~(values[None, None] if values.ndim == 2 else values.reshape(-1, heads, Q, K))
    return seen if padding is None else seen & ~array(padding)[:, None, None]


def torch_encoder(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    if "lengths" in form:
        there = np.arange(K) < array(form["lengths"])[:, None, None, None]
        return there & there.swapaxes(2, 3)
    seen = masked_out(form["mask"], form["src_key_padding_mask"], Q, K, options)
    return seen & top_left(Q, K, right=0) if form["is_causal"] else seen


def flex(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """Full blocks whole, partial ones as the mask_mod says, nothing else."""
    import torch

    rows, columns = form.BLOCK_SIZE
    assert tuple(form.seq_lengths) == (Q, K)
    B, H = form.kv_num_blocks.shape[:2]
    b, h, q, k = (torch.arange(size) for size in (B, H, Q, K))
    said = form.mask_mod(b[:, None, None, None], h[:, None, None], q[:, None], k)
    said = np.broadcast_to(array(said), (B, H, Q, K))
    partial, full = (
        _blocks(array(counts), array(indices), rows, columns, (B, H, Q, K))
        for counts, indices in (
            (form.kv_num_blocks, form.kv_indices),
            (form.full_kv_num_blocks, form.full_kv_indices),
        )
    )
    by_key = [
        _blocks(array(counts), array(indices), columns, rows, (B, H, K, Q)).swapaxes(2, 3)
        for counts, indices in ((form.q_num_blocks, form.q_indices), (form.full_q_num_blocks, form.full_q_indices))
    ]
    assert np.array_equal(by_key, [partial, full]), "the lists by key are other blocks"
    assert not (partial & full).any(), "a block is partial and full"
    return full | (partial & said)


def _blocks(
    counts: np.ndarray, indices: np.ndarray, rows: int, columns: int, shape: tuple[int, int, int, int]
) -> Bools:
    listed = np.zeros(shape, dtype=bool)
    for b, h, row in np.ndindex(*counts.shape):
        for column in indices[b, h, row, : counts[b, h, row]].tolist():
            place = slice(row * rows, (row + 1) * rows), slice(column * columns, (column + 1) * columns)
            listed[b, h, *place] = True
    return listed


def flashmask(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    """Rows that do not attend to a key: a stretch below the diagonal, and one above it."""
    bounds, row = array(form["startend_row_indices"]), np.arange(Q)[:, None, None, None, None]
    numbers = [bounds[..., place] for place in range(bounds.shape[3])]
    row = row[:, 0]
    if form["causal"]:
        start, stop = numbers[0], numbers[1] if len(numbers) == 2 else Q
        out = ((row >= start) & (row < stop)) | (row < np.arange(K))
    elif len(numbers) == 2:
        out = (row >= numbers[0]) | (row < numbers[1])
    else:
        out = ((row >= numbers[0]) & (row < numbers[1])) | ((row >= numbers[2]) & (row < numbers[3]))
    return ~np.moveaxis(out, 0, 2)


def flashinfer(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    requests = len(form["qo_indptr"]) - 1
    assert np.array_equal(array(form["qo_indptr"]), Q * np.arange(requests + 1))
    assert np.array_equal(array(form["kv_indptr"]), K * np.arange(requests + 1))
    if form["packed_custom_mask"] is None:
        left = None if form["window_left"] < 0 else form["window_left"]
        seen = band(np.arange(Q) + K - Q, K, left, 0 if form["causal"] else None)
        return np.broadcast_to(seen, (requests, 1, Q, K))
    size = -(-Q * K // 8)
    packed = array(form["packed_custom_mask"]).reshape(requests, size)
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : Q * K]
    return bits.astype(bool).reshape(requests, 1, Q, K)


def transformer_engine(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    kind, mask = form["attn_mask_type"], form["attention_mask"]
    left, right = (None if side < 0 else side for side in form["window_size"])
    right = 0 if "causal" in kind else right
    if kind == "arbitrary":
        assert (left, right) == (None, None)
        return ~array(mask)
    if "padding" not in kind:
        shift = 0 if kind == "causal" else K - Q
        return band(np.arange(Q) + shift, K, left, right)
    pair = mask if isinstance(mask, tuple) else (mask, mask)
    query, key = (~array(one)[:, :, 0] for one in pair)
    behind = key.sum(-1) - query.sum(-1) if "bottom_right" in kind else np.zeros((len(key), 1), dtype=int)
    seen = band(np.arange(Q) + behind[..., None], K, left, right)
    return seen & query[..., :, None] & key[..., None, :]


def jax(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    left, right = form["local_window_size"] or (None, None)
    seen = top_left(Q, K, left, right) & top_left(Q, K, right=0 if form["is_causal"] else None)
    if form["mask"] is not None:
        seen = seen & array(form["mask"])
    for name, index in (("query_seq_lengths", np.arange(Q)[:, None]), ("key_value_seq_lengths", np.arange(K))):
        if form[name] is not None:
            seen = seen & (index < array(form[name])[:, None, None, None])
    return seen


def keras(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    seen = top_left(Q, K, right=0 if form["use_causal_mask"] else None)
    if options.get("sliding_window"):
        seen = seen & top_left(Q, K, options["sliding_window"] - 1, options["sliding_window"] - 1)
    if form["attention_mask"] is not None:
        mask = array(form["attention_mask"])
        seen = seen & (mask[:, None] if mask.ndim == 3 else mask)
    return seen if form["value_mask"] is None else seen & array(form["value_mask"])[:, None, None]


def onnx(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    left, right = (None if form.get(f"{side}_window_size", -1) < 0 else form[f"{side}_window_size"] for side in SIDES)
    seen = top_left(Q, K, left, 0 if form["is_causal"] else right)
    if form["attn_mask"] is not None:
        mask = array(form["attn_mask"])
        seen = seen & (mask if mask.dtype == bool else added(mask))
    if form["nonpad_kv_seqlen"] is None:
        return seen
    assert seen.all(), "beside nonpad_kv_seqlen, versions of the operator read causality differently"
    return seen & (np.arange(K) < array(form["nonpad_kv_seqlen"])[:, None, None, None])


def splash(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    seen = np.stack([np.asarray(mask[:, :], dtype=bool) for mask in form["mask"].masks])[None]
    assert seen.shape[2:] == (Q, K)
    if form["segment_ids"] is None:
        return seen
    query, key = array(form["segment_ids"].q), array(form["segment_ids"].kv)
    return seen & (query[:, None, :, None] == key[:, None, None])


def tokamax(form: Any, Q: int, K: int, options: dict[str, Any]) -> Bools:
    row, key = np.arange(Q)[:, None], np.arange(K)
    seen = top_left(Q, K, right=0 if form.is_causal else None)
    for index, start, stop, axis in (
        (key, form.k_start, form.k_end, -1),
        (row, form.q_start, form.q_end, -2),
    ):
        if start is not None:
            seen = seen & (index >= np.expand_dims(array(start), axis))
        if stop is not None:
            seen = seen & (index < np.expand_dims(array(stop), axis))
    return seen if form.bool_mask is None else seen & array(form.bool_mask)


SIDES = ("left", "right")
READERS: dict[str, Reader] = {
    "dense": lambda form, Q, K, options: array(form),
    "dense_torch": lambda form, Q, K, options: array(form),
    "flax": lambda form, Q, K, options: array(form),
    "integers": lambda form, Q, K, options: array(form) == 1,
    "additive": lambda form, Q, K, options: added(form),
    "hf_4d": lambda form, Q, K, options: added(form),
    "sdpa": sdpa,
    "hf_2d": tokens,
    "lists": tokens,
    "mha": lambda form, Q, K, options: masked_out(form["attn_mask"], form["key_padding_mask"], Q, K, options),
    "torch_encoder": torch_encoder,
    "flex": flex,
    "flashmask": flashmask,
    "flashinfer": flashinfer,
    "transformer_engine": transformer_engine,
    "jax": jax,
    "keras": keras,
    "onnx": onnx,
    "splash": splash,
    "tokamax": tokamax,
    "cudnn": cudnn,
    "flash_varlen": flash_varlen,
    "hf_position_ids": hf_position_ids,
    "hf_sliding_window": hf_sliding_window,
    "magi": magi,
    "xformers": xformers,
}
