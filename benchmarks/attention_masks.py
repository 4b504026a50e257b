"""The masks that attention is timed under, each with the rule that a person writes for FlexAttention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import attnmask as am
from benchmarks.measured_masks import random_lengths

Mod = Callable[[Any, Any, Any, Any], Any]
Calls = tuple[tuple[int, slice, bool], ...]


@dataclass(frozen=True)
class Case:
    """A mask of a length of choice.

    Attributes:
        mask: the set. mod: the same as a rule over tensors. batch: items.
        calls: rows of each independent part, as (item, rows, causal), if the set is such parts.
    """

    mask: am.Mask
    mod: Mod
    batch: int = 1
    calls: Calls = ()


def _documents(n: int, mean: int, causal: bool) -> Case:
    lengths = random_lengths(n, n // mean)
    ends = np.cumsum(lengths)
    ids = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    calls = tuple((0, slice(int(end - size), int(end)), causal) for end, size in zip(ends, lengths, strict=True))
    documents = am.documents(lengths=lengths)
    if causal:
        return Case(am.causal() & documents, lambda b, h, q, k: (q >= k) & (ids[q] == ids[k]), calls=calls)
    return Case(documents, lambda b, h, q, k: ids[q] == ids[k], calls=calls)


def _ragged(n: int) -> Case:
    lengths = [n, n * 3 // 4, n // 2, n // 8]
    filled = torch.tensor(lengths)
    calls = tuple((item, slice(0, length), False) for item, length in enumerate(lengths))
    mask = am.padding(lengths=lengths, of="both")
    return Case(mask, lambda b, h, q, k: (q < filled[b]) & (k < filled[b]), batch=4, calls=calls)


def _image_spans(n: int) -> Case:
    ids = np.where(np.arange(n) % 1024 < 256, np.arange(n) // 1024, -1)
    span = torch.from_numpy(ids)
    return Case(am.causal() | am.spans(ids), lambda b, h, q, k: (q >= k) | ((span[q] == span[k]) & (span[q] >= 0)))


def _grid(n: int) -> Case:
    width = 64
    near = 6

    def mod(b: Any, h: Any, q: Any, k: Any) -> Any:
        return ((q // width - k // width).abs() <= near) & ((q % width - k % width).abs() <= near)

    return Case(am.grid(height=n // width, width=width, radius=near, border="clip"), mod)


def _block_sparse(n: int) -> Case:
    layout = am.bigbird_layout(n // 64, window=3, global_blocks=2, random_blocks=3, seed=0)
    table = torch.from_numpy(np.asarray(layout, dtype=bool))
    return Case(am.blocks(layout, 64), lambda b, h, q, k: table[q // 64, k // 64])


def _shared_prefix(n: int) -> Case:
    prompt, answers = n // 2, 8
    size = n // 2 // answers
    mask = am.causal() & am.shared_prefix(prompt=prompt, answers=[size] * answers)

    def mod(b: Any, h: Any, q: Any, k: Any) -> Any:
        return (q >= k) & ((k < prompt) | ((q - prompt) // size == (k - prompt) // size))

    return Case(mask, mod)


def _random(n: int) -> Case:
    array = np.random.default_rng(0).random((n, n)) < 0.1
    table = torch.from_numpy(array)
    return Case(am.dense(array), lambda b, h, q, k: table[q, k])


CASES: dict[str, Callable[[int], Case]] = {
    "full": lambda n: Case(am.full(), lambda b, h, q, k: q >= 0),
    "causal": lambda n: Case(am.causal(), lambda b, h, q, k: q >= k),
    "window 512": lambda n: Case(
        am.causal() & am.window(left=511, right=0), lambda b, h, q, k: (q >= k) & (q - k <= 511)
    ),
    "window +-256": lambda n: Case(am.window(left=256, right=256), lambda b, h, q, k: (q - k).abs() <= 256),
    "documents 512": lambda n: _documents(n, 512, causal=False),
    "documents 40": lambda n: _documents(n, 40, causal=False),
    "documents causal": lambda n: _documents(n, 512, causal=True),
    "prefix-LM": lambda n: Case(am.causal() | am.prefix([n // 4]), lambda b, h, q, k: (q >= k) | (k < n // 4)),
    "chunked": lambda n: Case(am.causal() & am.chunked(1024), lambda b, h, q, k: (q >= k) & (q // 1024 == k // 1024)),
    "sinks, window": lambda n: Case(
        am.causal() & (am.window(left=511, right=0) | am.sinks(4)),
        lambda b, h, q, k: (q >= k) & ((q - k <= 511) | (k < 4)),
    ),
    "ragged batch": _ragged,
    "image spans": _image_spans,
    "grid 2-D": _grid,
    "block-sparse": _block_sparse,
    "shared prefix": _shared_prefix,
    "random 10 %": _random,
}
