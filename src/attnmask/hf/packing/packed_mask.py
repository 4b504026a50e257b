"""The ``attention_mask`` of packed rows: a Tensor subclass that carries the documents of each row.

``packing_collator`` puts a PackedMask in each batch. A model passes it unchanged to ``interface.model_mask``, which
combines its plan with the mask of the layers. Any operation that would lose the documents raises an error, since a
plain mask of ones would let the documents of a row attend to each other. ``DocumentLayout`` holds the places of the
documents; ``row_packing`` computes it.
"""

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

# Operations by how PackedMask treats them: keep the documents, keep them if the shape stays, read attributes of the
# tensor, or read its values as a mask of tokens (what data loaders, Trainer and printing do).
KEEPS_DOCUMENTS = {"to", "bool", "long", "int", "clone", "detach", "contiguous", "cpu", "cuda", "pin_memory"}
SHAPES = {"view", "reshape"}
READS = {"__get__", "size", "dim", "ndimension", "numel", "stride", "__len__", "is_floating_point", "is_contiguous"}
READS_VALUES = {"sum", "untyped_storage", "storage", "is_pinned", "tolist", "numpy", "__repr__"}


@dataclass(frozen=True)
class DocumentLayout:
    """The places of documents in a batch of rows, in the order of the examples.

    Attributes:
        rows, starts, lengths: row, first position and number of tokens of each document, int64 (N,).
    """

    rows: IntArray
    starts: IntArray
    lengths: IntArray

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T) of the batch."""
        return int(self.rows.max()) + 1, int((self.starts + self.lengths).max())

    def places(self) -> IntArray:
        """Return the indices of the tokens in the flattened batch (B * T,), document after document."""
        return ragged_indices(self.rows * self.shape[1] + self.starts, self.lengths)

    def ids(self) -> IntArray:
        """Return the document of each token, int64 (B, T), -1 at padding."""
        return self._spread(np.arange(len(self.rows)), fill=-1)

    def positions(self) -> IntArray:
        """Return the position of each token inside its document, int64 (B, T), 0 at padding."""
        ids = self.ids()
        return np.where(ids < 0, 0, np.arange(ids.shape[1]) - self.starts[ids])  # pyright: ignore[reportUnknownArgumentType]

    def plan(self) -> Plan:
        """Compile the mask in which each document attends to itself."""
        rows, length = self.shape
        return compile(documents(ids=self.ids()), q=length, batch=rows)

    def plan_over(self, keys: DocumentLayout) -> Plan:
        """Compile packed cross-attention: each document attends to the document of the same number in ``keys``."""
        rows, length = self.shape
        mask = cross_documents(query_ids=self.ids(), key_ids=keys.ids())
        return compile(mask, q=length, k=keys.shape[1], batch=rows, align="start")

    def _spread(self, values: IntArray, fill: int) -> IntArray:
        """Repeat a value per document at each of its tokens, int64 (B, T)."""
        found: IntArray = np.full(self.shape, fill, dtype=np.int64)
        found.reshape(-1)[self.places()] = np.repeat(values, self.lengths)
        return found


class PackedMask(Tensor):
    """The ``attention_mask`` (B, T) of packed rows: 1 for a token, and a plan that keeps documents separate.

    It works with ``attn_implementation="attnmask"``, in any model that passes its attention_mask on. Other attention
    implementations would read each row as one text; they get an error.

    Attributes:
        documents: places of the documents. plan: the pairs that may attend. weights: of the tokens, (B, T), or None.
        plan_of_decoder: for an encoder's documents, the plan of cross-attention to them; None without a decoder.
        needs_head_by_document: whether labels are per document, and the model has not been prepared by
            ``heads_by_document``.
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
        """Make the mask of a layout.

        Args:
            layout: places of the documents. weights: of the tokens, (B, T). decoder: places of the same documents in
                the rows of a decoder.
            needs_head_by_document: whether to refuse models that ``heads_by_document`` has not prepared.
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
        """Return a copy with some attributes changed."""
        return _with_attributes(_call_without_override(Tensor.as_subclass, (self, Tensor), {}), vars(self) | changes)

    def across(self) -> PackedMask:
        """Return the mask for the cross-attention of a decoder to these documents."""
        if self.plan_of_decoder is None:
            raise ArgumentError(
                "this PackedMask has no layout of the decoder's documents, and the model has cross-attention",
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
            fix='run the model with attn_implementation="attnmask"; if it already is, it takes padded batches only',
        )

    # Data loader workers pickle batches: Tensor's own pickling would lose the attributes.
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
