"""A batch of rows of documents: an ``attention_mask`` that knows which tokens belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnmask.compiler.plan import Plan, compile
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.mask.atoms import cross_documents, documents
from attnmask.mask.tables.lookup_tables import ragged_indices

KEEPS_DOCUMENTS = {"to", "bool", "long", "int", "clone", "detach", "contiguous", "cpu", "cuda", "pin_memory"}
SHAPES = {"view", "reshape"}
READS = {"__get__", "size", "dim", "ndimension", "numel", "stride", "__len__", "is_floating_point", "is_contiguous"}
READS_VALUES = {"sum", "untyped_storage", "storage", "is_pinned", "tolist", "numpy", "__repr__"}


@dataclass(frozen=True)
class DocumentLayout:
    """Where documents lie in a batch of rows, in the order of the examples that they were made from.

    Attributes:
        rows, starts, lengths: of each document its row, its first token and its tokens, int64 (N,).
    """

    rows: IntArray
    starts: IntArray
    lengths: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T) of the batch."""
        return int(self.rows.max()) + 1, int((self.starts + self.lengths).max())

    def places(self) -> IntArray:
        """Where the tokens stand in the flattened batch (B * T,), document after document."""
        return ragged_indices(self.rows * self.shape[1] + self.starts, self.lengths)

    def ids(self) -> IntArray:
        """The document of each token, int64 (B, T), -1 where there is none."""
        return self._spread(np.arange(len(self.rows)), fill=-1)

    def positions(self) -> IntArray:
        """How many tokens of its document stand before each token, int64 (B, T), 0 where there is none."""
        ids = self.ids()
        return np.where(ids < 0, 0, np.arange(ids.shape[1]) - self.starts[ids])  # pyright: ignore[reportUnknownArgumentType]

    def plan(self) -> Plan:
        """Each document attends to itself."""
        rows, length = self.shape
        return compile(documents(ids=self.ids()), q=length, batch=rows)

    def plan_over(self, keys: DocumentLayout) -> Plan:
        """Each document of these queries attends to its own document of the keys: packed cross-attention."""
        rows, length = self.shape
        mask = cross_documents(query_ids=self.ids(), key_ids=keys.ids())
        return compile(mask, q=length, k=keys.shape[1], batch=rows, align="start")

    def _spread(self, values: IntArray, fill: int) -> IntArray:
        """A value of each document at its tokens, int64 (B, T)."""
        found: IntArray = np.full(self.shape, fill, dtype=np.int64)
        found.reshape(-1)[self.places()] = np.repeat(values, self.lengths)
        return found


class PackedMask(Tensor):
    """``attention_mask`` (B, T) of documents packed into rows: 1 for a token, and tokens of two documents apart.

    It reaches ``attn_implementation="attnmask"`` through any model that hands its attention_mask on. Other attention
    would read it as a row of one text; it is refused there.

    Attributes:
        documents: where they are. plan: what may attend to what. weights: of the tokens, (B, T), or None.
        plan_of_decoder: of an encoder's documents, what may attend to them across; None without a decoder.
        needs_head_by_document: whether a label belongs to each document, and ``heads_by_document`` is not yet seen.
    """

    documents: DocumentLayout
    plan: Plan
    weights: Tensor | None
    plan_of_decoder: Plan | None
    needs_head_by_document: bool

    @staticmethod
    def of(
        layout: DocumentLayout,
        weights: Tensor | None = None,
        decoder: DocumentLayout | None = None,
        needs_head_by_document: bool = False,
    ) -> PackedMask:
        """The mask of a layout.

        Args:
            layout: of the documents. weights: of the tokens, (B, T). decoder: of the same documents in a decoder.
            needs_head_by_document: whether a model that is not prepared for it is refused.
        """
        tokens = torch.from_numpy((layout.ids() >= 0).astype(np.int64))
        across = None if decoder is None else decoder.plan_over(layout)
        return _with_attributes(
            tokens,
            {
                "documents": layout,
                "plan": layout.plan(),
                "weights": weights,
                "plan_of_decoder": across,
                "needs_head_by_document": needs_head_by_document,
            },
        )

    def replaced(self, **changes: Any) -> PackedMask:
        """The same with other attributes."""
        return _with_attributes(_call_without_override(Tensor.as_subclass, (self, Tensor), {}), vars(self) | changes)

    def across(self) -> PackedMask:
        """The same for the cross-attention of a decoder."""
        if self.plan_of_decoder is None:
            raise ArgumentError(
                "these packed rows are of one text each, and the decoder attends across to an encoder's",
                where="PackedMask",
                fix="make the batch with PackingCollator.for_model(model, ...)",
            )
        return self.replaced(plan=self.plan_of_decoder)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name, found = func.__name__, _call_without_override(func, args, kwargs or {})
        kept = name in KEEPS_DOCUMENTS or (name in SHAPES and found.shape == args[0].shape)
        if kept and isinstance(args[0], PackedMask):
            return _with_attributes(found, vars(args[0]))
        if name in READS_VALUES or (name in READS and not isinstance(found, Tensor)):
            return found
        raise UnsupportedModelError(
            f"{name} of the attention_mask of packed documents would lose the documents",
            where="PackedMask",
            fix='run the model with attn_implementation="attnmask"; if it is, this one takes padded batches alone',
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _with_attributes, (_call_without_override(Tensor.as_subclass, (self, Tensor), {}), vars(self))


def _with_attributes(looks: Tensor, attributes: dict[str, Any]) -> PackedMask:
    mask = looks.as_subclass(PackedMask)
    vars(mask).update(attributes)
    mask.weights = None if mask.weights is None else mask.weights.to(looks.device)
    return mask


def _call_without_override(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    with torch._C.DisableTorchFunctionSubclass():  # pyright: ignore
        return func(*args, **kwargs)
