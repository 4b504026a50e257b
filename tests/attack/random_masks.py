"""Random masks on random boxes, each from a number alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import attnmask as am
from tests.attack.expressions import expression
from tests.attack.oracle import Bools, Tree, dense

LENGTHS = [0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 23, 24]
HUGE = 2**31 - 1


@dataclass(frozen=True)
class Rule:
    """A predicate that pickles."""

    factors: tuple[int, int, int, int]
    modulus: int
    below: int

    def __call__(self, b: Any, h: Any, q: Any, k: Any) -> Any:
        total = sum(factor * index for factor, index in zip(self.factors, (b, h, q, k), strict=True))
        return total % self.modulus < self.below


@dataclass(frozen=True)
class Case:
    """A tree of the oracle on a box, and the chance from which all else about it is drawn."""

    seed: int
    tree: Tree
    B: int
    H: int
    Q: int
    K: int
    offset: int
    chance: random.Random

    @cached_property
    def want(self) -> Bools:
        """What the oracle says, bool (B, H, Q, K)."""
        return dense(self.tree, self.B, self.H, self.Q, self.K, self.offset)

    @cached_property
    def mask(self) -> am.Mask:
        return expression(self.tree, self.chance)

    @cached_property
    def plan(self) -> am.Plan:
        return self.compiled(self.mask)

    def compiled(self, mask: am.Mask) -> am.Plan:
        """Any mask on this box."""
        return am.compile(mask, q=self.Q, batch=self.B, heads=self.H, **self._keys_and_offset())

    def _keys_and_offset(self) -> dict[str, Any]:
        if self.Q == self.K and self.offset == 0 and self.chance.random() < 0.5:
            return {}
        for align, offset in (("start", 0), ("end", self.K - self.Q)):
            if self.offset == offset and self.chance.random() < 0.5:
                return {"k": self.K, "align": align}
        return {"k": np.int32(self.K), "offset": np.int64(self.offset)}

    def __str__(self) -> str:
        box = f"B={self.B} H={self.H} Q={self.Q} K={self.K} offset={self.offset}"
        return f"seed {self.seed}: {box}\n  tree: {self.tree}"


def case_of(seed: int) -> Case:
    """The case of a seed."""
    chance = random.Random(seed)
    draw = Drawer(chance)
    return Case(seed, draw.tree(chance.choice((1, 1, 1, 2, 2, 2, 3, 3, 4, 6))), *draw.box, chance)


class Drawer:
    """Draws trees that fit one box."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.B, self.H = chance.choice((1, 1, 1, 2, 3)), chance.choice((1, 1, 1, 2, 4))
        self.Q = chance.choice(LENGTHS)
        self.K = self.Q if chance.random() < 0.5 else chance.choice(LENGTHS)
        self.offset = self._offset()
        self.longest = max(self.Q, self.K) + 3

    @property
    def box(self) -> tuple[int, int, int, int, int]:
        return self.B, self.H, self.Q, self.K, self.offset

    def _offset(self) -> int:
        kind = self.chance.randrange(20)
        if kind == 0:
            return self.chance.choice((-1, 1)) * self.chance.choice((HUGE - 24, 2**30, 10**6, 1000))
        if kind < 11:
            return self.chance.choice((0, self.K - self.Q))
        return self.chance.randint(-8, 20)

    def tree(self, leaves: int) -> Tree:
        drawn = self._combined(leaves) if leaves > 1 else self.atom()
        kind = self.chance.randrange(10)
        if kind == 0:
            return ("shift", drawn, self._offset() if self.chance.random() < 0.2 else self.chance.randint(-5, 5))
        return ("not", drawn) if kind < 3 else drawn

    def _combined(self, leaves: int) -> Tree:
        name = self.chance.choice(("and", "and", "or", "or", "xor", "minus"))
        first = self.chance.randint(1, leaves - 1)
        return (name, self.tree(first), self.tree(leaves - first))

    def atom(self, names: tuple[str, ...] = ()) -> Tree:
        name = self.chance.choice(names or NAMES)
        if name == "per_head":
            return ("per_head", *(self.tree(1) for _ in range(self.H)))
        if name == "placed":
            return self.placed()
        return (name, ARGUMENTS[name](self))

    def placed(self) -> Tree:
        """A tree on a part that is a box of its own."""
        part = copy(self)
        part.Q = part.K = self.chance.randint(1, 12)
        part.offset, part.longest = 0, part.Q + 3
        return ("placed", part.tree(self.chance.choice((1, 2))), self.one_or_list(self.numbers(self.longest)), part.Q)

    def number(self, most: int = 10, least: int = 0) -> int:
        """Mostly small, sometimes as large as can be."""
        return HUGE - self.chance.randrange(3) if self.chance.random() < 0.02 else self.chance.randint(least, most)

    def bound(self) -> int | None:
        return None if self.chance.random() < 0.2 else self.number(8)

    def items(self) -> int:
        return self.chance.choice((1, self.B))

    def numbers(self, most: int, count: int | None = None) -> list[int]:
        return [self.chance.randint(0, most) for _ in range(self.items() if count is None else count)]

    def one_or_list(self, numbers: list[int]) -> Any:
        return numbers[0] if len(numbers) == 1 and self.chance.random() < 0.5 else numbers

    def per_item(self, draw: Callable[[], Any]) -> Any:
        """One value for all items, bare or in a list, or one an item."""
        values = [draw() for _ in range(self.items())]
        return values[0] if len(values) == 1 and self.chance.random() < 0.5 else values

    def bools(self, *shape: int) -> Bools:
        size = int(np.prod(shape))
        bits = np.frombuffer(self.chance.getrandbits(8 * size).to_bytes(size, "little"), dtype=np.uint8)
        return (bits < self.chance.choice((0, 26, 128, 230, 256))).reshape(shape)

    def layers(self, rows: int, columns: int) -> Bools:
        """(rows, columns), or with items and heads before them."""
        if self.chance.random() < 0.5:
            return self.bools(rows, columns)
        return self.bools(self.items(), self.chance.choice((1, self.H)), rows, columns)

    def ids(self, length: int) -> list[int]:
        """Ids of positions: one after the other, or coming back."""
        if self.chance.random() < 0.5:
            return [self.chance.randint(-1, 3) for _ in range(length)]
        ids, last = [], self.chance.choice((-1, 0, 0, 7))
        for _ in range(length):
            last += self.chance.random() < 0.3
            ids.append(last if self.chance.random() < 0.9 else -1)
        return ids

    def table_of_ids(self) -> Any:
        length = self.chance.randint(0, self.longest)
        rows = [self.ids(length) for _ in range(self.items())]
        return np.array(rows[0] if len(rows) == 1 and self.chance.random() < 0.5 else rows, dtype=np.int64)

    def parents(self) -> Any:
        length = self.chance.randint(0, self.longest)
        back = self.chance.choice((1, 2, 4))

        def parent(node: int) -> int:
            return max(node - self.chance.randint(1, back), -1) if self.chance.random() < 0.9 else -1

        rows = [[parent(node) for node in range(length)] for _ in range(self.items())]
        return np.array(rows[0] if len(rows) == 1 and self.chance.random() < 0.5 else rows, dtype=np.int64)


def _padding(draw: Drawer) -> dict[str, Any]:
    chance, of = draw.chance, draw.chance.choice(("keys", "keys", "queries", "both"))
    lengths = {"keys": draw.K, "queries": draw.Q, "both": min(draw.Q, draw.K)}
    side, kind = chance.choice((None, "right", "left")), chance.randrange(3)
    if kind == 0 or (of == "both" and draw.Q != draw.K):
        return {"lengths": draw.one_or_list(draw.numbers(lengths[of])), "side": side, "of": of}
    if kind == 1:
        return {"attention_mask": draw.bools(draw.items(), lengths[of]), "of": of}
    return {"ids": _padded_ids(draw, lengths[of], side), "pad_id": 9, "side": side, "of": of}


def _padded_ids(draw: Drawer, length: int, side: str | None) -> Any:
    """Texts of the ids 0 to 9 that begin and end with another id than 9, filled with 9 at one end."""
    rows = []
    for n in draw.numbers(length):
        text = [draw.chance.randint(0, 9) for _ in range(n)]
        for end in (0, -1) if n else ():
            text[end] = draw.chance.randint(0, 8)
        filling = [9] * (length - n)
        rows.append(filling + text if side == "left" else text + filling)
    return np.array(rows, dtype=np.int64).reshape(len(rows), length)


def _documents(draw: Drawer) -> dict[str, Any]:
    def lengths() -> list[int]:
        return draw.numbers(6, draw.chance.randint(1, 5))

    kind = draw.chance.randrange(3)
    if kind == 0:
        return {"ids": draw.table_of_ids()}
    if kind == 1:
        return {"lengths": draw.per_item(lengths)}
    return {"cu_seqlens": np.cumsum([0, *lengths()]).tolist()}


def _cross_documents(draw: Drawer) -> dict[str, Any]:
    kind, chance = draw.chance.randrange(3), draw.chance
    if kind == 0:
        return {"query_ids": draw.table_of_ids(), "key_ids": draw.table_of_ids()}
    # As many documents of queries as of keys, item by item.
    counts = [chance.randint(1, 4) for _ in range(draw.items() if kind == 1 else 1)]
    lengths = [[draw.numbers(6, count) for count in counts] for _ in range(2)]
    if kind == 1:
        queries, keys = lengths if len(counts) > 1 else (lengths[0][0], lengths[1][0])
        return {"query_lengths": queries, "key_lengths": keys}
    borders = [np.cumsum([0, *own[0]]).tolist() for own in lengths]
    return {"cu_seqlens_q": borders[0], "cu_seqlens_k": borders[1]}


def _tree(draw: Drawer) -> dict[str, Any]:
    cache = {} if draw.chance.random() < 0.6 else {"cache": draw.one_or_list(draw.numbers(8))}
    return {"parents": draw.parents()} | cache


def _preceding_images(draw: Drawer) -> dict[str, Any]:
    places = draw.bools(draw.items(), draw.chance.randint(1, draw.longest))
    which = {} if draw.chance.random() < 0.5 else {"which": draw.chance.choice(("last", "all"))}
    return {"media_locations": places, "tokens": draw.number(5, 1)} | which


def _grid(draw: Drawer) -> dict[str, Any]:
    height, width = draw.chance.randint(1, 5), draw.chance.randint(1, 5)
    if draw.chance.random() < 0.5:
        return {"height": height, "width": width, "radius": draw.number(3)}
    radius = draw.chance.randint(0, (min(height, width) - 1) // 2)
    return {"height": height, "width": width, "radius": radius, "border": "natten"}


def _blocks(draw: Drawer) -> dict[str, Any]:
    size = draw.number(5, 1)
    if draw.chance.random() < 0.2:
        count = draw.chance.randint(1, 6)
        numbers = [draw.chance.choice((1, 3)), draw.chance.randint(0, 1), draw.chance.randint(0, 2)]
        return {"layout": am.bigbird_layout(count, *numbers, seed=draw.chance.randrange(99)), "size": size}
    return {"layout": draw.layers(draw.chance.randint(1, 6), draw.chance.randint(1, 6)), "size": size}


ARGUMENTS: dict[str, Callable[[Drawer], dict[str, Any]]] = {
    "full": lambda draw: {},
    "empty": lambda draw: {},
    "causal": lambda draw: {},
    "window": lambda draw: {"left": draw.bound(), "right": draw.bound()},
    "prefix": lambda draw: {"lengths": draw.one_or_list(draw.numbers(draw.longest))},
    "padding": _padding,
    "cross_padding": lambda draw: {
        "queries": draw.one_or_list(draw.numbers(draw.Q)),
        "keys": draw.one_or_list(draw.numbers(draw.K)),
    },
    "documents": _documents,
    "spans": lambda draw: {"ids": draw.table_of_ids()},
    "chunked": lambda draw: {"size": draw.number(8, 1)},
    "block_causal": lambda draw: {"size": draw.number(8, 1), "left": draw.bound()},
    "cross_documents": _cross_documents,
    "preceding_images": _preceding_images,
    "block_diffusion": lambda draw: {"size": draw.number(5, 1), "length": draw.number(draw.longest // 2 + 1)},
    "dilated": lambda draw: {"step": draw.number(6, 1)},
    "sinks": lambda draw: {"n": draw.number(6)},
    "global_tokens": lambda draw: {
        "indices": draw.per_item(lambda: draw.numbers(draw.longest, draw.chance.randint(0, 5)))
    },
    "grid": _grid,
    "blocks": _blocks,
    "tree": _tree,
    "shared_prefix": lambda draw: {
        "prompt": draw.one_or_list(draw.numbers(5)),
        "answers": draw.per_item(lambda: draw.numbers(5, draw.chance.randint(1, 4))),
    },
    "dense": lambda draw: {"array": draw.layers(draw.Q, draw.K)},
    "predicate": lambda draw: {
        "fn": Rule(tuple(draw.numbers(5, 4)), draw.chance.randint(1, 7), draw.chance.randint(0, 5))  # type: ignore[arg-type]
    },
}
NAMES = (*ARGUMENTS, "causal", "window", "padding", "documents", "per_head", "placed")
