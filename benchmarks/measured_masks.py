"""The masks that are measured: one of every kind, at a length of choice, as people use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import attnmask as am
from attnmask.mask.atoms import ATOMS

WINDOW = 1023
DOCUMENTS = 1000


def random_lengths(total: int, count: int) -> NDArray[np.int64]:
    """Lengths of documents that fill a row, always the same for the same numbers."""
    cuts = np.sort(np.random.default_rng(count).choice(np.arange(1, total), count - 1, replace=False))
    return np.diff([0, *cuts, total])


def packed(length: int) -> am.Mask:
    """Packed documents under a causal sliding window."""
    return am.causal() & am.window(left=WINDOW, right=None) & am.documents(lengths=document_lengths(length))


def document_lengths(length: int) -> NDArray[np.int64]:
    return random_lengths(length, min(DOCUMENTS, length // 8))


def training_batch() -> tuple[am.Mask, dict[str, int]]:
    """Eight rows of packed documents, padded on the right."""
    rows, length = 8, 4096
    filled = np.random.default_rng(0).integers(length // 2, length, rows)
    documents = am.documents(lengths=[random_lengths(length, 8) for _ in range(rows)])
    return am.causal() & documents & am.padding(lengths=filled), {"q": length, "batch": rows}


def _global_and_local(length: int) -> am.Mask:
    return am.global_tokens(list(range(0, length, length // 8))) & am.causal() | am.window(left=512, right=0)


def _big_bird(length: int) -> am.Mask:
    return am.blocks(am.bigbird_layout(-(-length // 64), window=3, global_blocks=2, random_blocks=3, seed=0), 64)


def _image_spans(length: int) -> am.Mask:
    ids = np.where(np.arange(length) % 1024 < 256, np.arange(length) // 1024, -1)
    return am.causal() | am.spans(ids)


def _tree(length: int) -> am.Mask:
    """A prompt, and at its end a tree of drafts."""
    parents = np.arange(length) - 1
    root = max(length - 4096, length // 2)
    drafts = np.arange(root + 1, length)
    parents[drafts] = (drafts - root - 1) // 2 + root
    return am.tree(parents)


def some_pairs(b: Any, h: Any, q: Any, k: Any) -> Any:
    """A rule that nobody knows the runs of."""
    return (q * 7 + k * 13) % 5 < 2


KINDS: dict[str, Callable[[int], am.Mask]] = {
    "full": lambda n: am.full(),
    "empty": lambda n: am.empty(),
    "causal": lambda n: am.causal(),
    "window": lambda n: am.window(left=255, right=256),
    "prefix": lambda n: am.causal() | am.prefix([n // 4]),
    "padding": lambda n: am.padding(lengths=[n // 2, n // 3, n], of="both"),
    "documents": lambda n: am.documents(lengths=document_lengths(n)),
    "chunked": lambda n: am.causal() & am.chunked(8192),
    "block_causal": lambda n: am.block_causal(64),
    "cross_documents": lambda n: am.cross_documents(
        query_lengths=document_lengths(n), key_lengths=document_lengths(n)[::-1]
    ),
    "preceding_images": lambda n: am.preceding_images(np.arange(n) % 256 == 0, tokens=64),
    "cross_padding": lambda n: am.cross_padding([n // 2, n, n // 5], [n, n // 3, n]),
    "dilated": lambda n: am.causal() & (am.window(left=361, right=0) | am.dilated(362)),
    "sinks": lambda n: am.causal() & (am.window(left=WINDOW, right=0) | am.sinks(4)),
    "global_tokens": _global_and_local,
    "spans": _image_spans,
    "grid": lambda n: am.grid(height=64, width=n // 64, radius=3),
    "blocks": _big_bird,
    "tree": _tree,
    "placed": lambda n: am.causal() | am.placed(am.grid(height=64, width=n // 128, radius=3), at=n // 4, length=n // 2),
    "shared_prefix": lambda n: am.causal() & am.shared_prefix(prompt=n // 2, answers=[n // 32] * 16),
    "block_diffusion": lambda n: am.block_diffusion(size=32, length=n // 2),
    "per_head": lambda n: am.per_head([am.causal(), am.window(left=WINDOW, right=0)] * 4),
    "predicate": lambda n: am.predicate(some_pairs) & am.window(left=WINDOW, right=0),
}
# What cannot avoid Q x K pairs, at a length at which that can be done at all.
DENSE_LENGTH = 8192


def dense_mask() -> am.Mask:
    """Causal, written out pair by pair."""
    return am.dense(np.tri(DENSE_LENGTH, dtype=bool))


def kinds_without_a_measurement() -> set[str]:
    """Atoms that the table leaves out."""
    return set(ATOMS) - set(KINDS) - {"dense"}
