"""What every mask means, as plain formulas over all pairs; it shares no code with the package that it judges.

A mask is a tree of tuples: ``("and", tree, ...)``, ``("or", tree, ...)``, ``("xor", left, right)``, ``("not", tree)``,
``("minus", left, right)``, ``("shift", tree, n)``, ``("per_head", tree, ...)``, ``("placed", tree, at, length)``, or an
atom, ``(name, arguments)``, with the dict of arguments of the public function of that name. Values are numbers, lists
and NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tree = tuple[Any, ...]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Points:
    """All points of a box: indices of batch, head and row, positions of query and key, and the lengths Q and K."""

    b: Ints
    h: Ints
    row: Ints
    q: Ints
    k: Ints
    Q: int
    K: int


def points(B: int, H: int, Q: int, K: int, offset: int) -> Points:
    """Every point of a box; the arrays broadcast to (B, H, Q, K)."""
    row = np.arange(Q).reshape(1, 1, Q, 1)
    return Points(
        np.arange(B).reshape(B, 1, 1, 1), np.arange(H).reshape(1, H, 1, 1), row, row + offset, np.arange(K), Q, K
    )


def dense(tree: Tree, B: int, H: int, Q: int, K: int, offset: int) -> Bools:
    """Bool (B, H, Q, K), True where the pair attends."""
    return np.broadcast_to(attends(tree, points(B, H, Q, K, offset)), (B, H, Q, K))


def attends(tree: Tree, at: Points) -> Bools:
    """Whether each point attends."""
    name, *parts = tree
    match name:
        case "and":
            return reduce(np.logical_and, (attends(part, at) for part in parts))
        case "or":
            return reduce(np.logical_or, (attends(part, at) for part in parts))
        case "xor":
            return attends(parts[0], at) != attends(parts[1], at)
        case "minus":
            return attends(parts[0], at) & ~attends(parts[1], at)
        case "not":
            return ~attends(parts[0], at)
        case "shift":
            return attends(parts[0], replace(at, row=at.row + parts[1], q=at.q + parts[1]))
        case "per_head":
            answers = [attends(part, at) & (at.h == head) for head, part in enumerate(parts)]
            return reduce(np.logical_or, answers)
        case "placed":
            return placed(at, *parts)
        case _:
            return FORMULAS[name](at, **parts[0])


def placed(at: Points, inner: Tree, start: Any, length: int) -> Bools:
    """Both axes moved, on a part that is a sequence of its own; outside of it nothing attends."""
    first = per_item(start, at.b)
    q, k = at.q - first, at.k - first
    inside = (q >= 0) & (q < length) & (k >= 0) & (k < length)
    return inside & attends(inner, Points(at.b, at.h, q, q, k, length, length))


def per_item(value: Any, b: Ints) -> Ints:
    """One number an item, broadcast over the points."""
    numbers = np.asarray(value, dtype=np.int64).reshape(-1)
    return numbers[b % len(numbers)]


def looked_up(table: Any, b: Ints, position: Ints, outside: Any) -> NDArray[Any]:
    """``table[b, position]`` of a table (S,) or (B, S), and ``outside`` where it has no such position."""
    rows = np.atleast_2d(np.asarray(table))
    if not rows.shape[1]:
        return np.full(np.broadcast_shapes(b.shape, position.shape), outside)
    known = (position >= 0) & (position < rows.shape[1])
    return np.where(known, rows[b % len(rows), np.clip(position, 0, rows.shape[1] - 1)], outside)


def same_id(of_query: NDArray[Any], of_key: NDArray[Any]) -> Bools:
    """Whether two ids are one, which is not negative."""
    return (of_query == of_key) & (of_query >= 0)


def in_one_document(ids: Any, at: Points) -> Bools:
    return same_id(looked_up(ids, at.b, at.q, -1), looked_up(ids, at.b, at.k, -1))


def ids_from_lengths(lengths: Sequence[Any]) -> list[list[int]]:
    """One list of ids an item, -1 behind the last document."""
    items = lengths if any(isinstance(one, list) for one in lengths) else [lengths]
    ids = [[document for document, length in enumerate(item) for _ in range(length)] for item in items]
    longest = max(map(len, ids))
    return [item + [-1] * (longest - len(item)) for item in ids]


def window(at: Points, left: int | None, right: int | None) -> Bools:
    near = np.ones(np.broadcast_shapes(at.q.shape, at.k.shape), dtype=bool)
    if left is not None:
        near &= at.q - at.k <= left
    if right is not None:
        near &= at.k - at.q <= right
    return near


def on_axes(of: str, query: Bools, key: Bools) -> Bools:
    return {"keys": key, "queries": query, "both": query & key}[of]


def padding(
    at: Points,
    lengths: Any = None,
    attention_mask: Any = None,
    ids: Any = None,
    pad_id: int | None = None,
    side: str | None = None,
    of: str = "keys",
) -> Bools:
    if ids is not None:
        attention_mask = tokens_of(np.atleast_2d(ids), pad_id, side)
    if attention_mask is not None:
        query, key = (looked_up(attention_mask, at.b, index, 0) == 1 for index in (at.row, at.k))
        return on_axes(of, query, key)
    n = per_item(lengths, at.b)

    def real(index: Ints, total: int) -> Bools:
        inside = (index >= 0) & (index < total)
        return inside & (index >= total - n if side == "left" else index < n)

    return on_axes(of, real(at.row, at.Q), real(at.k, at.K))


def tokens_of(ids: NDArray[Any], pad_id: int | None, side: str | None) -> Bools:
    """False for the run of pad ids at the padded end."""
    tokens = np.ones(ids.shape, dtype=bool)
    for own, row in zip(tokens, ids.tolist(), strict=True):
        places = range(len(row)) if side == "left" else reversed(range(len(row)))
        for place in places:
            if row[place] != pad_id:
                break
            own[place] = False
    return tokens


def ids_of(lengths: Any = None, ids: Any = None, cu_seqlens: Any = None) -> Any:
    """Ids of documents that are given in one of three ways."""
    if cu_seqlens is not None:
        lengths = [after - before for before, after in pairwise(cu_seqlens)]
    return ids_from_lengths(lengths) if ids is None else ids


def documents(at: Points, **given: Any) -> Bools:
    return in_one_document(ids_of(**given), at)


def cross_documents(at: Points, **given: Any) -> Bools:
    names = {"lengths": "{}_lengths", "ids": "{}_ids", "cu_seqlens": "cu_seqlens_{}"}
    sides = {"lengths": ("query", "key"), "ids": ("query", "key"), "cu_seqlens": ("q", "k")}
    of_query, of_key = (
        ids_of(**{kind: given.get(name.format(sides[kind][place])) for kind, name in names.items()}) for place in (0, 1)
    )
    return same_id(looked_up(of_query, at.b, at.row, -1), looked_up(of_key, at.b, at.k, -1))


def global_tokens(at: Points, indices: Any) -> Bools:
    items = indices if any(isinstance(one, list) for one in indices) else [indices]
    answers = [
        (at.b % len(items) == item) & (np.isin(at.q, own) | np.isin(at.k, own)) for item, own in enumerate(items)
    ]
    return reduce(np.logical_or, answers)


def grid(at: Points, height: int, width: int, radius: int, border: str = "clip") -> Bools:
    size = height * width
    there = (at.q >= 0) & (at.q < size) & (at.k < size)

    def near(own: Ints, other: Ints, length: int) -> Bools:
        # NATTEN moves the neighbourhood of a pixel at the border inwards.
        centre = np.clip(own, radius, length - 1 - radius) if border == "natten" else own
        return abs(centre - other) <= radius

    return there & near(at.q // width, at.k // width, height) & near(at.q % width, at.k % width, width)


def on_array(array: Any, at: Points, row: Ints, column: Ints) -> Bools:
    """``array[(b, h,) row, column]``, False outside."""
    values = np.asarray(array, dtype=bool)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    rows, columns = values.shape[2:]
    if not rows * columns:
        return np.zeros(np.broadcast_shapes(at.b.shape, row.shape, column.shape), dtype=bool)
    there = (row >= 0) & (row < rows) & (column < columns)
    inside = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
    return there & values[at.b % values.shape[0], at.h % values.shape[1], *inside]


def block_causal(at: Points, size: int, left: int | None = None) -> Bools:
    behind = at.q // size - at.k // size
    return (behind >= 0) & (behind >= 0 if left is None else behind <= left)


def preceding_images(at: Points, media_locations: Any, tokens: int, which: str = "last") -> Bools:
    table = np.atleast_2d(np.asarray(media_locations)).astype(int)
    seen = np.zeros(np.broadcast_shapes(at.b.shape, at.row.shape), dtype=int)
    for position, images in enumerate(table.T):
        seen = seen + np.where(at.row >= position, per_item(images, at.b), 0)
    image = at.k // tokens + 1
    return image == seen if which == "last" else image <= seen


def tree(at: Points, parents: Any, cache: Any = None) -> Bools:
    if cache is not None:
        cached, node = per_item(cache, at.b), at.row
        there = (node >= 0) & (node < np.atleast_2d(np.asarray(parents)).shape[1])
        return there & (at.k < cached) | on_tree(parents, at, node, at.k - cached)
    return on_tree(parents, at, at.q, at.k)


def on_tree(parents: Any, at: Points, node: Ints, k: Ints) -> Bools:
    """Whether k is a node or an ancestor of it."""
    rows = np.atleast_2d(np.asarray(parents, dtype=np.int64))
    nodes = rows.shape[1]
    related = np.zeros((len(rows), nodes, nodes), dtype=bool)
    for seen, own in zip(related, rows.tolist(), strict=True):
        for child, parent in enumerate(own):
            if parent >= 0:
                seen[child] = seen[parent]
            seen[child, child] = True
    return on_array(related[:, None], at, node, k)


def block_diffusion(at: Points, size: int, length: int) -> Bools:
    def half_and_block(position: Ints) -> tuple[Bools, Ints]:
        return position < length, position % max(length, 1) // size

    inside = (at.q >= 0) & (at.q < 2 * length) & (at.k < 2 * length)
    (noised_q, block_q), (noised_k, block_k) = half_and_block(at.q), half_and_block(at.k)
    sees_noised = noised_q & noised_k & (block_q == block_k)
    sees_clean = ~noised_k & np.where(noised_q, block_k < block_q, block_k <= block_q)
    return inside & (sees_noised | sees_clean)


def shared_prefix(at: Points, prompt: Any, answers: Any) -> Bools:
    items = answers if any(isinstance(one, list) for one in answers) else [answers]
    prompts = np.asarray(prompt).reshape(-1).tolist()
    count = max(len(items), len(prompts))
    lengths = [[prompts[b % len(prompts)], *items[b % len(items)]] for b in range(count)]
    ids = ids_from_lengths(lengths)
    there = looked_up(ids, at.b, at.q, -1) >= 0
    return in_one_document(ids, at) | (there & (looked_up(ids, at.b, at.k, -1) == 0))


def cross_padding(at: Points, queries: Any, keys: Any) -> Bools:
    return padding(at, lengths=queries, of="queries") & padding(at, lengths=keys)


FORMULAS: dict[str, Callable[..., Bools]] = {
    "full": lambda at: np.ones(np.broadcast_shapes(at.q.shape, at.k.shape), dtype=bool),
    "empty": lambda at: np.zeros(np.broadcast_shapes(at.q.shape, at.k.shape), dtype=bool),
    "causal": lambda at: at.k <= at.q,
    "window": window,
    "prefix": lambda at, lengths: at.k < per_item(lengths, at.b),
    "padding": padding,
    "cross_padding": cross_padding,
    "documents": documents,
    "spans": lambda at, ids: in_one_document(ids, at),
    "chunked": lambda at, size: at.q // size == at.k // size,
    "block_causal": block_causal,
    "cross_documents": cross_documents,
    "preceding_images": preceding_images,
    "block_diffusion": block_diffusion,
    "dilated": lambda at, step: (at.q - at.k) % step == 0,
    "sinks": lambda at, n: at.k < n,
    "global_tokens": global_tokens,
    "grid": grid,
    "blocks": lambda at, layout, size: on_array(layout, at, at.q // size, at.k // size),
    "tree": tree,
    "shared_prefix": shared_prefix,
    "dense": lambda at, array: on_array(array, at, at.row, at.k),
    "predicate": lambda at, fn: np.asarray(fn(at.b, at.h, at.q, at.k)),
}
