"""Mask expressions: immutable, hashable values that say which (query, key) pairs attend, without any length.

An expression is an atom or a combination by ``& | ~ - ^`` and ``shift``. An atom implements ``attends``, its meaning
at given points, and ``bounds``, the same as ranges of keys for each query row. ``mask/reference.py``
evaluates expressions by ``attends`` alone; ``compiler/runs_from_mask.py`` by ranges. The tests compare the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import position_count
from attnmask.mask.domain import Domain, Points
from attnmask.registered import FUNCTIONS

# Whatever walks through a mask goes this deep and visits this many of its parts at most.
DEEPEST = 100
MOST_PARTS = 100_000


class Extent(NamedTuple):
    """How many levels a mask has, and of how many masks it is made, those that occur twice counted twice."""

    levels: int
    parts: int


class Mask:
    """A set of (query, key) pairs, described without any length.

    ``a & b`` attends where both do, ``a | b`` where either does, ``~a`` where ``a`` does not,
    ``a - b`` where ``a`` does and ``b`` does not, ``a ^ b`` where exactly one does.
    Masks are compared as written; to compare the sets, compare their plans.
    """

    def __post_init__(self) -> None:
        if self.extent.levels > DEEPEST or self.extent.parts > MOST_PARTS:
            raise ArgumentError(
                f"the mask is nested {self.extent.levels} levels deep and has {self.extent.parts:,} parts",
                where="& | ^ - ~, shift, per_head",
                fix=f"stay within {DEEPEST} levels and {MOST_PARTS:,} parts: & and | of many masks stay flat, "
                "shift once, by the sum, or write dense(array)",
            )

    def __copy__(self) -> Mask:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Mask:
        return self

    @cached_property
    def extent(self) -> Extent:
        """Its size as an expression; not that of the set."""
        extents = [part.extent for part in parts_of(self)]
        levels = 1 + max((extent.levels for extent in extents), default=0)
        return Extent(levels, 1 + sum(extent.parts for extent in extents))

    def __and__(self, other: Mask) -> Mask:
        return And(_terms(And, self) + _terms(And, _mask(other)))

    def __or__(self, other: Mask) -> Mask:
        return Or(_terms(Or, self) + _terms(Or, _mask(other)))

    def __xor__(self, other: Mask) -> Mask:
        return Xor(self, _mask(other))

    def __sub__(self, other: Mask) -> Mask:
        return self & ~_mask(other)

    def __invert__(self) -> Mask:
        return Not(self)

    @public
    def shift(self, n: int) -> Mask:
        """The mask as seen by queries that stand ``n`` positions later.

        Query ``q`` attends to ``k`` under ``mask.shift(n)`` iff query ``q + n`` attends to ``k`` under ``mask``.

        Args:
            n: positions, negative for earlier.

        Returns:
            A mask.

        Raises:
            ArgumentError: ``n`` is not an integer.

        Source: the ``offset`` of JAX's splash attention masks, as an operator.

        >>> from attnmask.mask.atoms import causal
        >>> from attnmask.mask.reference import grid
        >>> print(grid(causal().shift(1), q=3))
        1 1 0
        1 1 1
        1 1 1
        >>> print(grid(causal().shift(-1), q=3))
        0 0 0
        1 0 0
        1 1 0
        """
        return Shift(self, position_count(n, "n", "mask.shift(n)"))

    @public
    def to_json(self) -> str:
        """The mask as JSON, from which ``mask_from_json`` makes an equal one.

        Raises:
            ArgumentError: the mask holds a function.

        >>> from attnmask.mask.atoms import causal
        >>> causal().shift(1).to_json()
        '{"attnmask": 1, "mask": {"shift": [{"causal": {}}, 1]}}'
        """
        return FUNCTIONS["json_from_mask"](self)

    @staticmethod
    @public
    def from_json(text: str) -> Mask:
        """The mask that ``to_json`` wrote.

        Raises:
            ArgumentError: the text is no mask of this version.

        >>> Mask.from_json('{"attnmask": 1, "mask": {"shift": [{"causal": {}}, 1]}}')
        causal().shift(1)
        """
        return FUNCTIONS["mask_from_json"](text)

    # Without this, NumPy would try to combine its arrays with a mask element by element.
    __array_ufunc__ = None

    def __rand__(self, other: object) -> NoReturn:
        _mask(other)
        raise AssertionError

    __ror__ = __rxor__ = __rsub__ = __rand__

    def __bool__(self) -> NoReturn:
        raise ArgumentError(
            "a mask has no truth value",
            where=repr(self),
            fix="combine masks with & | ~ - ^, not with and / or / not; compare sets with compile(a) == compile(b)",
        )


@dataclass(frozen=True, repr=False)
class And(Mask):
    """Attends where every term does."""

    terms: tuple[Mask, ...]

    def __repr__(self) -> str:
        return " & ".join(_operand(term) for term in self.terms)


@dataclass(frozen=True, repr=False)
class Or(Mask):
    """Attends where some term does."""

    terms: tuple[Mask, ...]

    def __repr__(self) -> str:
        return " | ".join(_operand(term) for term in self.terms)


@dataclass(frozen=True, repr=False)
class Xor(Mask):
    """Attends where exactly one of two does."""

    left: Mask
    right: Mask

    def __repr__(self) -> str:
        return f"{_operand(self.left)} ^ {_operand(self.right)}"


@dataclass(frozen=True, repr=False)
class Not(Mask):
    """Attends where the inner mask does not."""

    inner: Mask

    def __repr__(self) -> str:
        return f"~{_operand(self.inner)}"


@dataclass(frozen=True, repr=False)
class Shift(Mask):
    """The inner mask as seen by queries that stand ``n`` positions later."""

    inner: Mask
    n: int

    def __repr__(self) -> str:
        inner = f"({self.inner!r})" if isinstance(self.inner, Not) else _operand(self.inner)
        return f"{inner}.shift({self.n})"


@dataclass(frozen=True)
class Bounds:
    """The key runs of every query row, as an atom knows them; rows with equal runs may be given once.

    Attributes:
        shape: (B, H, Q) of the rows, each axis 1 where the runs do not depend on it.
        starts, stops: half-open key runs; clipped to the keys later, so they may reach outside. With
            ``counts`` None they broadcast to ``shape``, one run a row, empty where stop <= start.
        counts: else the number of runs of each row, shape ``shape``; starts and stops are then flat, and the
            runs of a row are in order and do not touch.
    """

    shape: tuple[int, int, int]
    starts: IntArray
    stops: IntArray
    counts: IntArray | None = None


class KeyRange(NamedTuple):
    """One range of keys per query row, half-open; empty where stop <= start.

    Attributes:
        starts, stops: int64 (B, H, Q), each axis 1 where they do not depend on it.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def all_keys(domain: Domain) -> KeyRange:
    """The range of all keys, for every row."""
    return KeyRange(np.zeros((1, 1, 1), dtype=np.int64), np.full((1, 1, 1), domain.K, dtype=np.int64))


class Atom(Mask):
    """A mask that is no combination of others: its meaning, its key runs, and the lengths it speaks about.

    Attributes:
        name: of the function that makes it; that of the class in lower case, with underscores, if not given.
        by_row: whether it asks for the number of a query row, or of all rows, and not for its position alone.
    """

    name: ClassVar[str]
    by_row: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def costly(self) -> bool:
        """Whether its runs are so many, or so dear, that they are computed only where other terms leave keys."""
        return False

    def attends(self, at: Points) -> BoolArray:
        """The meaning: whether each point attends."""
        raise NotImplementedError

    def bounds(self, domain: Domain) -> Bounds:
        """The same set as key runs, without visiting pairs."""
        raise NotImplementedError

    def bounds_within(self, domain: Domain, within: KeyRange) -> Bounds:
        """The same inside one range of keys a row; what it says of other keys does not matter."""
        return self.bounds(domain)

    def sizes(self) -> dict[str, int]:
        """Lengths that the atom's data fix, by axis name; batch and head of 1 fit any."""
        return {}

    def least_sizes(self) -> dict[str, int]:
        """Lengths below which the atom's data speak of positions that are not there, by axis name."""
        return {}

    def inner(self) -> tuple[Mask, ...]:
        """The masks that this one is made of, if any."""
        return ()

    def arguments(self) -> dict[str, object]:
        """The keyword arguments that make this atom again."""
        return {}

    def __getstate__(self) -> dict[str, object]:
        # What was looked up on the way is not sent along.
        return {field.name: getattr(self, field.name) for field in fields(cast(Any, self))}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())
        return f"{self.name}({given})"


def parts_of(mask: Mask) -> tuple[Mask, ...]:
    """The masks that a mask is made of, from left to right; none of an atom but ``per_head``."""
    match mask:
        case And(terms) | Or(terms):
            return terms
        case Xor(left, right):
            return left, right
        case Not(inner) | Shift(inner):
            return (inner,)
        case Atom():
            return mask.inner()
        case _:
            raise unknown_mask(mask)


def atoms_in(mask: Mask) -> list[Atom]:
    """Every atom of an expression, from left to right."""
    own = [mask] if isinstance(mask, Atom) else []
    return own + [atom for part in parts_of(mask) for atom in atoms_in(part)]


def _mask(value: object) -> Mask:
    if not isinstance(value, Mask):
        raise ArgumentError(
            f"a mask cannot be combined with {type(value).__name__} {value!r}",
            where="& | ^ -",
            fix=mask_instead_of(value),
        )
    return value


def unknown_mask(mask: object) -> ArgumentError:
    """The error for a mask of a class of which nothing is known, such as a caller's own."""
    return ArgumentError(
        f"{type(mask).__name__} is no mask of attnmask's own",
        where=f"an expression with {type(mask).__name__}",
        fix="write a rule of your own as predicate(fn)",
    )


def mask_instead_of(value: object) -> str:
    """How to get a mask from what was given in its place."""
    if value is None:
        return "give full() to attend to every key"
    if isinstance(value, str):
        return "read an expression with mask_from_text(text)"
    return "call it, as in causal()" if callable(value) else "wrap an array with dense(array)"


def _terms(kind: type[And] | type[Or], mask: Mask) -> tuple[Mask, ...]:
    return mask.terms if isinstance(mask, kind) else (mask,)


def _operand(mask: Mask) -> str:
    return f"({mask!r})" if isinstance(mask, And | Or | Xor) else repr(mask)
