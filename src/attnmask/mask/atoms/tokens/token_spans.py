"""Bidirectional spans, such as images inside causal text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnmask.calls import public
from attnmask.conventions import IntArray
from attnmask.mask.atoms.tokens.packed_documents import Documents
from attnmask.mask.expression import Mask
from attnmask.mask.tables.id_stretches import stretches_from_ids


@dataclass(frozen=True, repr=False)
class Spans(Documents):
    def arguments(self) -> dict[str, object]:
        return {"ids": self.ids.written_out()}


@public
def spans(ids: Sequence[int] | Sequence[Sequence[int]] | IntArray) -> Mask:
    """Queries see the keys of their own span, both ways; attends iff ids[q] == ids[k] >= 0.

    Images inside causal text are ``causal() | spans(ids)``.

    Args:
        ids: the span of each position, shape (S,) or (B, S); negative for a position in none.

    Returns:
        A mask.

    Raises:
        ArgumentError: ids are no whole numbers, or of another shape.

    Source: Gemma 3 and PaliGemma, ``token_type_ids`` of transformers.

    >>> from attnmask.mask.atoms import causal
    >>> from attnmask.mask.reference import grid
    >>> print(grid(causal() | spans([-1, 0, 0, -1]), q=4))
    1 0 0 0
    1 1 1 0
    1 1 1 0
    1 1 1 1
    """
    return Spans(stretches_from_ids(ids, "ids", "spans"))
