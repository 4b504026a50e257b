"""One example of every atom: what all tests that go over all atoms know of it.

Values are drawn one by one from strategies made once: a strategy made per example is validated per example,
which costs more than all else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.mask.domain import Domain

Kind = Callable[[int, int], am.Mask]


@dataclass(frozen=True)
class Example:
    """What is known of an atom.

    Attributes:
        draw: makes a random one that fits a domain.
        good: arguments that are right, one of which is then replaced.
        grids: a mask, and grids typed by hand: 4 x 4 at offset 0, and 2 x 5 whose rows stand at positions 2 and 3.
        kinds: for (Q, K) of every shape, the masks that every format meets, beside those of ``formats/cases.py``.
    """

    draw: Callable[[st.DrawFn, Domain], am.Mask]
    good: dict[str, Any]
    grids: tuple[am.Mask, str, str] | None = None
    kinds: dict[str, Kind] = field(default_factory=dict)


COUNTS = st.integers(0, 10)
IDS = st.integers(-1, 3)
SIDES = st.none() | st.integers(0, 5)
SHIFTS = st.integers(-4, 4)
BITS = st.integers(0, 2**64 - 1)
PLACES = st.sampled_from([None, "left", "right"])
AXES = st.sampled_from(["keys", "queries", "both"])
COIN = st.booleans()
SIZE, FROM_THREE, RADIUS = st.integers(1, 4), st.integers(3, 4), st.integers(0, 1)
SIDE, FEW = st.integers(0, 4), st.integers(1, 4)


def _items(draw: st.DrawFn, size: int) -> int:
    return size if draw(COIN) else 1


def _some(draw: st.DrawFn, values: st.SearchStrategy[int], count: int) -> list[int]:
    return [draw(values) for _ in range(count)]


def bools(draw: st.DrawFn, *shape: int) -> NDArray[np.bool_]:
    """A bool array: mixed bits, drawn as numbers because that is quick."""
    size = int(np.prod(shape))
    words = np.array(_some(draw, BITS, -(-size // 64)), dtype=np.uint64)
    return np.unpackbits(words.view(np.uint8), count=size).astype(bool).reshape(shape)


def _padding(draw: st.DrawFn, domain: Domain) -> am.Mask:
    items, of = _items(draw, domain.B), draw(AXES)
    if draw(COIN) or (of == "both" and domain.Q != domain.K):
        most = {"queries": domain.Q, "keys": domain.K, "both": min(domain.Q, domain.K)}[of]
        return am.padding(lengths=np.minimum(_some(draw, COUNTS, items), most), side=draw(PLACES), of=of)
    length = domain.Q if of == "queries" else domain.K
    return am.padding(attention_mask=bools(draw, items, length), of=of)


def _documents(draw: st.DrawFn, domain: Domain) -> am.Mask:
    items, longest = _items(draw, domain.B), draw(COUNTS)
    if draw(COIN):
        return am.documents(ids=np.array(_some(draw, IDS, items * longest), dtype=int).reshape(items, longest))
    if draw(COIN):
        return am.documents(lengths=[_some(draw, SIDE, draw(FEW)) for _ in range(items)])
    return am.documents(cu_seqlens=np.cumsum([0, *_some(draw, SIDE, draw(FEW))]))


def _dense(draw: st.DrawFn, domain: Domain) -> am.Mask:
    if draw(COIN):
        return am.dense(bools(draw, domain.Q, domain.K))
    return am.dense(bools(draw, _items(draw, domain.B), _items(draw, domain.H), domain.Q, domain.K))


def _spans(draw: st.DrawFn, domain: Domain) -> am.Mask:
    items, longest = _items(draw, domain.B), draw(SIZE)
    return am.spans(np.array(_some(draw, IDS, items * longest)).reshape(items, longest))


def _grid(draw: st.DrawFn, domain: Domain) -> am.Mask:
    if draw(COIN):
        return am.grid(draw(SIZE), draw(SIZE), draw(SIDE))
    return am.grid(draw(FROM_THREE), draw(FROM_THREE), draw(RADIUS), border="natten")


def _blocks(draw: st.DrawFn, domain: Domain) -> am.Mask:
    layout = bools(draw, _items(draw, domain.B), _items(draw, domain.H), draw(SIZE), draw(SIZE))
    return am.blocks(layout, draw(SIZE))


def _tree(draw: st.DrawFn, domain: Domain) -> am.Mask:
    items, nodes = _items(draw, domain.B), draw(COUNTS)
    drawn = np.array(_some(draw, SIDE, items * nodes), dtype=int).reshape(items, nodes)
    parents = np.maximum(np.arange(nodes) - 1 - drawn, -1)
    return am.tree(parents, cache=_some(draw, SIDE, _items(draw, domain.B)) if draw(COIN) else None)


def _shared_prefix(draw: st.DrawFn, domain: Domain) -> am.Mask:
    answers = [_some(draw, SIDE, draw(FEW)) for _ in range(_items(draw, domain.B))]
    return am.shared_prefix(_some(draw, SIDE, len(answers)), answers)


def _per_head(draw: st.DrawFn, domain: Domain) -> am.Mask:
    return am.per_head([_simple(draw, domain) for _ in range(domain.H)])


def _of_sums(b: NDArray[np.int64], h: NDArray[np.int64], q: NDArray[np.int64], k: NDArray[np.int64]) -> Any:
    return (b + 2 * h + 3 * q + 5 * k) % 4 < 2


def _simple(draw: st.DrawFn, domain: Domain) -> am.Mask:
    """One atom, not made of others."""
    return EXAMPLES[draw(SIMPLE)].draw(draw, domain)


def _placed(draw: st.DrawFn, domain: Domain) -> am.Mask:
    length = draw(SIZE)
    part = Domain(domain.B, domain.H, length, length)
    masks = [
        _simple(draw, part).shift(draw(SHIFTS)),
        ~_simple(draw, part) & am.causal(),
        am.placed(am.grid(2, 1, 1), 1, 2),
    ]
    return am.placed(draw(st.sampled_from(masks)), _some(draw, SIDE, _items(draw, domain.B)), length)


def _cross_documents(draw: st.DrawFn, domain: Domain) -> am.Mask:
    queries, keys = _items(draw, domain.B), _items(draw, domain.B)
    if draw(COIN):
        ids = [
            np.array(_some(draw, IDS, n * long), dtype=int).reshape(n, long)
            for n, long in ((queries, draw(COUNTS)), (keys, draw(COUNTS)))
        ]
        return am.cross_documents(query_ids=ids[0], key_ids=ids[1])
    count = draw(FEW)
    if draw(COIN):
        lengths = [[_some(draw, SIDE, count) for _ in range(n)] for n in (queries, keys)]
        return am.cross_documents(query_lengths=lengths[0], key_lengths=lengths[1])
    borders = [np.cumsum([0, *_some(draw, SIDE, count)]) for _ in range(2)]
    return am.cross_documents(cu_seqlens_q=borders[0], cu_seqlens_k=borders[1])


def _preceding_images(draw: st.DrawFn, domain: Domain) -> am.Mask:
    locations = bools(draw, _items(draw, domain.B), draw(COUNTS))
    return am.preceding_images(locations, draw(SIZE), which=draw(st.sampled_from(["last", "all"])))


EXAMPLES: dict[str, Example] = {
    "full": Example(
        draw=lambda draw, domain: am.full(),
        good={},
    ),
    "empty": Example(
        draw=lambda draw, domain: am.empty(),
        good={},
    ),
    "causal": Example(
        draw=lambda draw, domain: am.causal(),
        good={},
    ),
    "window": Example(
        draw=lambda draw, domain: am.window(draw(SIDES), draw(SIDES)),
        good={"left": 1, "right": 0},
    ),
    "prefix": Example(
        draw=lambda draw, domain: am.prefix(_some(draw, COUNTS, _items(draw, domain.B))),
        good={"lengths": [2]},
    ),
    "padding": Example(
        draw=_padding,
        good={"lengths": [2], "side": "right", "of": "keys"},
    ),
    "documents": Example(
        draw=_documents,
        good={"lengths": [2, 3]},
    ),
    "cross_documents": Example(
        draw=_cross_documents,
        good={"query_lengths": [2, 3], "key_lengths": [1, 3]},
        grids=(am.cross_documents(query_lengths=[1, 2], key_lengths=[2, 1]), "1100 0010 0010 0000", "11000 00100"),
        kinds={
            "cross documents": lambda q, k: am.cross_documents(query_lengths=[1, 2, 1], key_lengths=[2, 1, 2]),
            "cross documents by item": lambda q, k: am.cross_documents(
                query_lengths=[[1, 2], [3]], key_lengths=[[3, 1], [2]]
            ),
        },
    ),
    "preceding_images": Example(
        draw=_preceding_images,
        good={"media_locations": [0, 1, 1], "tokens": 2, "which": "last"},
        grids=(am.preceding_images([0, 1, 1], tokens=2), "0000 1100 0011 0011", "00000 11000"),
        kinds={
            "last image": lambda q, k: am.preceding_images([[0, 1, 0, 1], [1, 0, 1, 1]], tokens=2),
            "all images": lambda q, k: am.preceding_images([0, 1, 1], tokens=2, which="all"),
        },
    ),
    "dense": Example(
        draw=_dense,
        good={"array": np.ones((5, 5), dtype=bool)},
    ),
    "cross_padding": Example(
        draw=lambda draw, domain: am.cross_padding(
            min(draw(COUNTS), domain.Q), np.minimum(_some(draw, COUNTS, _items(draw, domain.B)), domain.K)
        ),
        good={"queries": [2], "keys": [3]},
        grids=(am.cross_padding([1], [2]), "1100 0000 0000 0000", "11000 00000"),
    ),
    "spans": Example(
        draw=_spans,
        good={"ids": [-1, 0, 0]},
        grids=(am.spans([-1, 0, 0, -1]), "0000 0110 0110 0000", "01100 00000"),
    ),
    "chunked": Example(
        draw=lambda draw, domain: am.chunked(draw(SIZE)),
        good={"size": 2},
        grids=(am.chunked(2), "1100 1100 0011 0011", "00110 00110"),
    ),
    "block_causal": Example(
        draw=lambda draw, domain: am.block_causal(draw(SIZE), left=draw(st.none() | SIDE)),
        good={"size": 2, "left": 1},
        grids=(am.block_causal(2), "1100 1100 1111 1111", "11110 11110"),
        kinds={"left chunks": lambda q, k: am.block_causal(2, left=1)},
    ),
    "block_diffusion": Example(
        draw=lambda draw, domain: am.block_diffusion(draw(SIZE), draw(SIDE)),
        good={"size": 2, "length": 3},
        grids=(am.block_diffusion(1, 2), "1000 0110 0010 0011", "00100 00110"),
    ),
    "dilated": Example(
        draw=lambda draw, domain: am.dilated(draw(SIZE)),
        good={"step": 2},
        grids=(am.dilated(2), "1010 0101 1010 0101", "10101 01010"),
    ),
    "sinks": Example(
        draw=lambda draw, domain: am.sinks(draw(SIDE)),
        good={"n": 1},
        grids=(am.sinks(1), "1000 1000 1000 1000", "10000 10000"),
    ),
    "global_tokens": Example(
        draw=lambda draw, domain: am.global_tokens(
            [_some(draw, COUNTS, draw(SIDE)) for _ in range(_items(draw, domain.B))]
        ),
        good={"indices": [1]},
        grids=(am.global_tokens([1]), "0100 1111 0100 0100", "01000 01000"),
    ),
    "grid": Example(
        draw=_grid,
        good={"height": 3, "width": 3, "radius": 1, "border": "natten"},
        grids=(am.grid(height=1, width=4, radius=1), "1100 1110 0111 0011", "01110 00110"),
    ),
    "blocks": Example(
        draw=_blocks,
        good={"layout": [[1, 0], [1, 1]], "size": 2},
        grids=(am.blocks([[1, 0], [1, 1]], 2), "1100 1100 1111 1111", "11110 11110"),
    ),
    "tree": Example(
        draw=_tree,
        good={"parents": [-1, 0, 0], "cache": None},
        grids=(am.tree([-1, 0, 0, 1]), "1000 1100 1010 1101", "10100 11010"),
        kinds={
            "tree behind a cache": lambda q, k: am.tree([-1, 0, 0], cache=2),
            "trees behind caches": lambda q, k: am.tree([-1, 0, 0], cache=[1, 3]),
        },
    ),
    "shared_prefix": Example(
        draw=_shared_prefix,
        good={"prompt": 1, "answers": [2, 1]},
        grids=(am.shared_prefix(1, [1, 2]), "1000 1100 1011 1011", "10110 10110"),
    ),
    "per_head": Example(
        draw=_per_head,
        good={"masks": [am.causal()]},
        grids=(am.per_head([am.causal()]), "1000 1100 1110 1111", "11100 11110"),
    ),
    "placed": Example(
        draw=_placed,
        good={"mask": am.causal(), "at": 1, "length": 3},
        grids=(am.placed(am.causal(), at=1, length=2), "0000 0100 0110 0000", "01100 00000"),
        kinds={
            "image in text": lambda q, k: am.causal() | am.placed(am.grid(2, 2, 1), at=1, length=4),
            "tree in an item": lambda q, k: am.placed(am.tree([-1, 0, 0]), at=[0, 2], length=3),
        },
    ),
    "predicate": Example(
        draw=lambda draw, domain: am.predicate(_of_sums),
        good={"fn": lambda b, h, q, k: q >= k},
        grids=(am.predicate(lambda b, h, q, k: q > k), "0000 1000 1100 1110", "11000 11100"),
    ),
}
SIMPLE = st.sampled_from([name for name in EXAMPLES if name not in ("per_head", "placed")])
