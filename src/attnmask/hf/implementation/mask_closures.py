"""Convert the mask functions of transformers to mask expressions.

transformers describes a mask as a closure over (batch, head, query, key) indices, and evaluates it at every pair. The
qualified name of the closure identifies the rule (causal, window, padding), and its closed-over values hold the
parameters; ``_READERS`` maps each known name to a function that builds the same mask from the atoms of attnmask.
``interface.model_mask`` compiles the expression. It evaluates a closure that is not in the table at every pair, with an
UnknownMaskWarning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from attnmask.calls import public
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import instance_of, shown
from attnmask.mask.atoms import causal, documents, full, padding, window
from attnmask.mask.expression import Mask
from attnmask.mask.frozen_array import as_array

MODULE = "transformers.masking_utils"
PACKED = "packed_sequence_mask_function.<locals>.inner_mask"
REMAPPED = "remap_positions_for_packed_sequence.<locals>.inner_mask"


@dataclass(frozen=True)
class MaskPositions:
    """Positions at which a mask function is evaluated.

    Attributes:
        queries, keys: absolute positions. inside: positions inside packed texts, (B, K), for a mask function that reads
            those instead; else None.
    """

    queries: range
    keys: range
    inside: IntArray | None = None

    @property
    def queries_are_keys(self) -> bool:
        """Whether every query has the position of some key, so that a table over keys covers the queries too."""
        first, last = self.queries.start, self.queries.stop
        return self.keys.start <= first and last <= self.keys.stop


@public
def mask_from_closure(fn: Callable[..., Any], queries: range, keys: range) -> Mask | None:
    """Convert a mask function of transformers to a mask.

    Args:
        fn: the ``mask_function`` that ``create_causal_mask`` and similar functions pass to a mask interface.
        queries, keys: absolute positions of the query rows and of the keys.

    Returns:
        The mask whose key 0 is the first of ``keys``, to be compiled with the offset ``queries.start - keys.start``;
        None for a function that transformers' ``masking_utils`` did not make.

    Raises:
        ArgumentError: ``fn`` is not callable, or ``queries`` or ``keys`` is not a range.

    Source: transformers.masking_utils.

    >>> from transformers.masking_utils import sliding_window_causal_mask_function
    >>> mask_from_closure(sliding_window_causal_mask_function(4), range(9), range(9))
    window(left=3, right=None) & causal()
    """
    if not callable(fn):
        raise ArgumentError(f"fn is {shown(fn)}", where="mask_from_closure(fn=)", fix="give a mask function")
    for name, given in (("queries", queries), ("keys", keys)):
        instance_of(range, given, name, "mask_from_closure", "give a range of positions, such as range(9)")
    return _mask_from_function(fn, MaskPositions(queries, keys))


def _mask_from_function(fn: Callable[..., Any], at: MaskPositions) -> Mask | None:
    if getattr(fn, "__module__", None) != MODULE:
        return None
    reader = _READERS.get(fn.__qualname__)
    if reader is None or (at.inside is not None and fn.__qualname__ in ROW_FUNCTIONS):
        return None
    return reader(_closed_over_values(fn), at)


def _closed_over_values(fn: Callable[..., Any]) -> dict[str, Any]:
    closure = getattr(fn, "__closure__", None) or ()
    return dict(zip(fn.__code__.co_freevars, (cell.cell_contents for cell in closure), strict=True))


def _causal_window(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    # transformers' rule kv > q - W keeps W keys, including the query's own; left= does not count that one.
    size = int(cells["sliding_window"])
    return window(left=size - 1, right=None) if size >= 1 else None


def _bidirectional_window(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    size = int(cells["sliding_window"])
    return window(left=size, right=size) if size >= 0 else None


def _padding(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    return padding(attention_mask=slice_of_keys(cells["padding_mask"], at.keys))


def _packed(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    ids = as_array(cells["packed_sequence_mask"])
    # transformers compares ids only for equality; those of documents() must be 0 or more.
    return _same_document(ids - ids.min(initial=0), at)


def _blockwise(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    return _same_document(as_array(cells["block_sequence_ids"]), at)


def _chunked(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    # transformers counts chunks from the first token of each text, not from the start of the row.
    place = np.arange(at.keys.stop) if at.inside is None else at.inside
    chunk = (place - as_array(cells["left_padding"])[:, None]) // int(cells["chunk_size"])
    return _same_document(chunk - chunk.min(initial=0), at)


def _same_document(ids: IntArray, at: MaskPositions) -> Mask | None:
    if not at.queries_are_keys or ids.shape[1] < at.keys.stop:
        return None
    return documents(ids=ids[:, at.keys.start : at.keys.stop])


def _intersection(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    functions: Sequence[Callable[..., Any]] = cells["mask_functions"]
    if at.inside is None and [function.__qualname__ for function in functions] == [PACKED, REMAPPED]:
        return _packed_with_positions(_closed_over_values(functions[0]), _closed_over_values(functions[1]), at)
    return _combine(Mask.__and__, functions, at)


def _union(cells: dict[str, Any], at: MaskPositions) -> Mask | None:
    return _combine(Mask.__or__, cells["mask_functions"], at)


def _combine(
    combine: Callable[[Mask, Mask], Mask], functions: Sequence[Callable[..., Any]], at: MaskPositions
) -> Mask | None:
    masks = [_mask_from_function(function, at) for function in functions]
    # One unknown part makes the whole unknown: None, and not the combination of the known parts.
    known = [mask for mask in masks if mask is not None]
    return reduce(combine, known) if known and len(known) == len(masks) else None


def _packed_with_positions(packed: dict[str, Any], remapped: dict[str, Any], at: MaskPositions) -> Mask | None:
    """Build the mask of packed texts whose rule reads positions inside each text.

    Where positions count up by 1 inside each text, distances between them equal distances in the row, so that a window
    over positions is a window over the row. Returns None for any other positions.
    """
    ids, positions = as_array(packed["packed_sequence_mask"]), as_array(remapped["position_ids"])
    inside = ids[:, 1:] == ids[:, :-1]
    counts_up = bool((np.diff(positions, axis=1)[inside] == 1).all() and (positions >= 0).all())
    in_one_piece = bool((np.diff(ids, axis=1) >= 0).all())
    mask = _mask_from_function(remapped["mask_function"], replace(at, inside=positions))
    own = _packed(packed, at)
    return own & mask if own is not None and mask is not None and counts_up and in_one_piece else None


def slice_of_keys(attention_mask: Any, keys: range) -> IntArray:
    """Return the part of an attention mask (B, S) for the given keys; 0 for keys beyond its end.

    Args:
        attention_mask: 1 or True for a token. keys: absolute positions.
    """
    # A static cache has room for more keys than the mask covers: those hold no tokens yet.
    values = as_array(attention_mask)
    missing = max(keys.stop - values.shape[1], 0)
    return np.pad(values, ((0, 0), (0, missing)))[:, keys.start : keys.stop]


# These rules read places in the row. transformers may wrap any rule to read positions inside texts instead, which would
# be wrong for these, so the wrapped form is not converted.
ROW_FUNCTIONS = {
    "blockwise_overlay.<locals>.inner_mask",
    "padding_mask_function.<locals>.inner_mask",
    PACKED,
}
_READERS: dict[str, Callable[[dict[str, Any], MaskPositions], Mask | None]] = {
    "causal_mask_function": lambda cells, at: causal(),
    "bidirectional_mask_function": lambda cells, at: full(),
    "sliding_window_overlay.<locals>.inner_mask": _causal_window,
    "sliding_window_bidirectional_overlay.<locals>.inner_mask": _bidirectional_window,
    "chunked_overlay.<locals>.inner_mask": _chunked,
    "blockwise_overlay.<locals>.inner_mask": _blockwise,
    "padding_mask_function.<locals>.inner_mask": _padding,
    PACKED: _packed,
    "and_masks.<locals>.and_mask": _intersection,
    "or_masks.<locals>.or_mask": _union,
}
