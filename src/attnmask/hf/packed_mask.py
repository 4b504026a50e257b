"""A batch of rows of documents: an ``attention_mask`` that knows which tokens belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnmask.compile.plan import Plan, compile
from attnmask.conventions import IntArray
from attnmask.errors import UnsupportedModelError
from attnmask.mask.atoms import documents

KEEPS = {"to", "bool", "long", "int", "clone", "detach", "contiguous", "cpu", "cuda", "pin_memory"}
SHAPES = {"view", "reshape"}
READS = {"__get__", "size", "dim", "ndimension", "numel", "stride", "__len__", "is_floating_point", "is_contiguous"}
COUNTS = {"sum", "untyped_storage", "storage", "is_pinned", "tolist", "numpy", "__repr__"}


@dataclass(frozen=True)
class Layout:
    """Where documents lie in a batch of rows, row by row and from left to right.

    Attributes:
        rows, starts, lengths: of each document its row, its first token and its tokens, int64 (N,).
    """

    rows: IntArray
    starts: IntArray
    lengths: IntArray

    def ids(self) -> IntArray:
        """The document of each token in its row, int64 (B, T), -1 where there is none."""
        shape = int(self.rows.max()) + 1, int((self.starts + self.lengths).max())
        ids: IntArray = np.full(shape, -1, dtype=np.int64)
        for number in range(len(self.rows)):
            row, start = int(self.rows[number]), int(self.starts[number])
            ids[row, start : start + int(self.lengths[number])] = number
        return ids

    def positions(self) -> IntArray:
        """How many tokens of its document stand before each token, int64 (B, T), 0 where there is none."""
        ids = self.ids()
        return np.where(ids < 0, 0, np.arange(ids.shape[1]) - self.starts[ids])  # pyright: ignore[reportUnknownArgumentType]


class PackedMask(Tensor):
    """``attention_mask`` (B, T) of documents packed into rows: 1 for a token, and tokens of two documents apart.

    It reaches ``attn_implementation="attnmask"`` through any model that hands its attention_mask on. Other attention
    would read it as a row of one text; it is refused there.

    Attributes:
        documents: where they are. plan: what may attend to what. weights: of the tokens, (B, T), or None.
    """

    documents: Layout
    plan: Plan
    weights: Tensor | None

    @staticmethod
    def of(layout: Layout, weights: Tensor | None = None) -> PackedMask:
        """The mask of a layout."""
        ids = layout.ids()
        plan = compile(documents(ids=ids), q=ids.shape[1], batch=len(ids))
        return _carrying(torch.from_numpy((ids >= 0).astype(np.int64)), layout, plan, weights)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name, found = func.__name__, _plainly(func, args, kwargs or {})
        kept = name in KEEPS or (name in SHAPES and found.shape == args[0].shape)
        if kept and isinstance(args[0], PackedMask):
            return _carrying(found, args[0].documents, args[0].plan, args[0].weights)
        if name in COUNTS or (name in READS and not isinstance(found, Tensor)):
            return found
        raise UnsupportedModelError(
            f"{name} of the attention_mask of packed documents would lose the documents",
            where="PackedMask",
            fix='run the model with attn_implementation="attnmask"; if it is, this one takes padded batches alone',
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _carrying, (_plainly(Tensor.as_subclass, (self, Tensor), {}), self.documents, self.plan, self.weights)


def _carrying(looks: Tensor, layout: Layout, plan: Plan, weights: Tensor | None) -> PackedMask:
    mask = looks.as_subclass(PackedMask)
    mask.documents, mask.plan = layout, plan
    mask.weights = None if weights is None else weights.to(looks.device)
    return mask


def _plainly(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():  # pyright: ignore
        return func(*args, **kwargs)
