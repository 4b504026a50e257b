"""Random domains, atoms and composed masks, for laws that must hold of all of them.

Values are drawn one by one from strategies made once: a strategy made per example is validated per example,
which costs more than all else.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.mask.atoms import ATOMS
from attnmask.mask.domain import Domain

LENGTHS = st.sampled_from([8, 5, 3, 2, 1, 0])
COUNTS = st.integers(0, 10)
IDS = st.integers(-1, 3)
SIDES = st.none() | st.integers(0, 5)
SHIFTS = st.integers(-4, 4)
BITS = st.integers(0, 2**64 - 1)
PLACES = st.sampled_from([None, "left", "right"])
AXES = st.sampled_from(["keys", "queries", "both"])
COIN = st.booleans()
LEAVES = st.sampled_from([1, 2, 3, 4, 6])
UNARY = st.sampled_from(["none", "not", "shift"])
BINARY = st.sampled_from([operator.and_, operator.or_, operator.sub, operator.xor])
DOMAINS = st.builds(Domain, B=st.integers(1, 3), H=st.integers(1, 2), Q=LENGTHS, K=LENGTHS, offset=st.integers(-4, 6))


@st.composite
def masks(draw: st.DrawFn, domain: Domain) -> am.Mask:
    """Composed masks: & | ~ - ^ and shift over the atoms that fit a domain."""
    return _composed(draw, domain, draw(LEAVES))


@st.composite
def cases(draw: st.DrawFn, count: int = 1) -> tuple[Domain, *tuple[am.Mask, ...]]:
    """A domain and composed masks that fit it.

    Square, wide, tall, one row, no key, no query; several items and heads; queries before and after the keys.
    """
    domain = draw(DOMAINS)
    return (domain, *(draw(masks(domain)) for _ in range(count)))


def _composed(draw: st.DrawFn, domain: Domain, leaves: int) -> am.Mask:
    if leaves == 1:
        mask = ATOM_STRATEGIES[draw(NAMES)](draw, domain)
    else:
        left = draw(SPLITS[leaves])
        combine = draw(BINARY)
        mask = combine(_composed(draw, domain, left), _composed(draw, domain, leaves - left))
    match draw(UNARY):
        case "not":
            return ~mask
        case "shift":
            return mask.shift(draw(SHIFTS))
        case _:
            return mask


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
        lengths = np.minimum(_some(draw, COUNTS, items), most)
        return am.padding(lengths=lengths, side=draw(PLACES), of=of)
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
    return am.tree(np.maximum(np.arange(nodes) - 1 - drawn, -1))


def _shared_prefix(draw: st.DrawFn, domain: Domain) -> am.Mask:
    answers = [_some(draw, SIDE, draw(FEW)) for _ in range(_items(draw, domain.B))]
    return am.shared_prefix(_some(draw, SIDE, len(answers)), answers)


def _per_head(draw: st.DrawFn, domain: Domain) -> am.Mask:
    return am.per_head([_composed(draw, domain, 1) for _ in range(domain.H)])


def _of_sums(b: NDArray[np.int64], h: NDArray[np.int64], q: NDArray[np.int64], k: NDArray[np.int64]) -> Any:
    return (b + 2 * h + 3 * q + 5 * k) % 4 < 2


SIZE, FROM_THREE, RADIUS = st.integers(1, 4), st.integers(3, 4), st.integers(0, 1)
SIDE, FEW = st.integers(0, 4), st.integers(1, 4)
ATOM_STRATEGIES: dict[str, Callable[[st.DrawFn, Domain], am.Mask]] = {
    "full": lambda draw, domain: am.full(),
    "empty": lambda draw, domain: am.empty(),
    "causal": lambda draw, domain: am.causal(),
    "window": lambda draw, domain: am.window(draw(SIDES), draw(SIDES)),
    "prefix": lambda draw, domain: am.prefix(_some(draw, COUNTS, _items(draw, domain.B))),
    "padding": _padding,
    "documents": _documents,
    "dense": _dense,
    "cross_padding": lambda draw, domain: am.cross_padding(
        min(draw(COUNTS), domain.Q), np.minimum(_some(draw, COUNTS, _items(draw, domain.B)), domain.K)
    ),
    "spans": _spans,
    "chunked": lambda draw, domain: am.chunked(draw(SIZE)),
    "block_causal": lambda draw, domain: am.block_causal(draw(SIZE)),
    "block_diffusion": lambda draw, domain: am.block_diffusion(draw(SIZE), draw(SIDE)),
    "dilated": lambda draw, domain: am.dilated(draw(SIZE)),
    "sinks": lambda draw, domain: am.sinks(draw(SIDE)),
    "global_tokens": lambda draw, domain: am.global_tokens(
        [_some(draw, COUNTS, draw(SIDE)) for _ in range(_items(draw, domain.B))]
    ),
    "grid": _grid,
    "blocks": _blocks,
    "tree": _tree,
    "shared_prefix": _shared_prefix,
    "per_head": _per_head,
    "predicate": lambda draw, domain: am.predicate(_of_sums),
}
NAMES = st.sampled_from(list(ATOM_STRATEGIES))
SPLITS = {leaves: st.integers(1, leaves - 1) for leaves in range(2, 7)}


def missing_strategies() -> set[str]:
    """Atoms that no law sees."""
    return set(ATOMS) - set(ATOM_STRATEGIES)


def plan_of(mask: am.Mask, domain: Domain) -> am.Plan:
    """The plan of a mask on a domain."""
    return am.compile(mask, q=domain.Q, k=domain.K, batch=domain.B, heads=domain.H, offset=domain.offset)


def dense_of(plan: am.Plan, domain: Domain) -> NDArray[np.bool_]:
    """Every pair of a plan, bool (B, H, Q, K), broadcast axes written out."""
    return np.broadcast_to(plan.runs.to_dense(), (domain.B, domain.H, domain.Q, domain.K))
