"""Why a query attends, or does not attend, to a key, term by term."""

from __future__ import annotations

from dataclasses import dataclass

from attnmask.compiler.runs import Runs
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import is_whole
from attnmask.mask.domain import Domain, Points, point_at
from attnmask.mask.expression import And, Atom, Mask, Not, Or, Shift, Xor
from attnmask.mask.heads import PerHead
from attnmask.mask.reference import attends


@dataclass(frozen=True)
class Explanation:
    """The answer for one pair, and the answer of each part of the expression.

    Attributes:
        attends: whether the pair is in the set.
        steps: (depth, text, answer) of the expression and its parts; none for a lifted plan.
        text: what ``print`` shows.
    """

    attends: bool
    steps: tuple[tuple[int, str, bool], ...]
    text: str

    def __str__(self) -> str:
        return self.text


def explain(mask: Mask | None, runs: Runs, offset: int, b: int, h: int, q: int, k: int) -> Explanation:
    """Explain one pair; indices as in the array (B, H, Q, K), b and h of a broadcast axis may be any."""
    shape = (*runs.shape, runs.keys)
    for axis, index, size in zip("bhqk", (b, h, q, k), shape, strict=True):
        broadcasts = axis in "bh" and size == 1
        if not is_whole(index) or index < 0 or (index >= size and not broadcasts):
            limits = f"give 0 to {size - 1}" if size else f"the plan has no {axis}"
            raise ArgumentError(f"{axis} is {index!r}", where="plan.explain", fix=limits)
    item, head = b if shape[0] > 1 else 0, h if shape[1] > 1 else 0
    row = (item * shape[1] + head) * shape[2] + q
    own = slice(runs.indptr[row], runs.indptr[row + 1])
    answer = bool(((runs.starts[own] <= k) & (k < runs.stops[own])).any())
    steps: list[tuple[int, str, bool]] = []
    if mask is not None:
        at = point_at(Domain(shape[0], shape[1], shape[2], shape[3], offset), item, head, q, k)
        steps = _steps(mask, at, 0)
    verb = "attends" if answer else "does not attend"
    lines = [f"query row {q} (position {q + offset}) {verb} to key {k} (batch {b}, head {h})"]
    lines += [f"  {'yes' if yes else 'no':<4} {'  ' * depth}{text}" for depth, text, yes in steps]
    return Explanation(answer, tuple(steps), "\n".join(lines))


def _steps(mask: Mask, at: Points, depth: int) -> list[tuple[int, str, bool]]:
    answer = bool(attends(mask, at).all())
    match mask:
        case And(parts) | Or(parts):
            name, inner = ("and" if isinstance(mask, And) else "or"), [(part, at) for part in parts]
        case Xor(left, right):
            name, inner = "exactly one of", [(left, at), (right, at)]
        case Not(part):
            name, inner = "not", [(part, at)]
        case Shift(part, n):
            name, inner = f"shift({n})", [(part, at.shifted(n))]
        case PerHead(masks):
            head = int(at.h.reshape(-1)[0])
            name, inner = f"head {head}", [(masks[head], at)]
        case Atom() | _:
            return [(depth, repr(mask), answer)]
    return [(depth, name, answer), *(step for part, there in inner for step in _steps(part, there, depth + 1))]
