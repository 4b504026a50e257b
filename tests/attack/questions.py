"""What is asked of a plan, each answer against the oracle; a wrong one raises AssertionError."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from tests.attack.expressions import expression
from tests.attack.oracle import Bools, Tree, dense
from tests.attack.random_masks import Case, Drawer


def same(name: str, got: Any, want: Any) -> None:
    assert type(got) is type(want), f"{name} is of type {type(got).__name__}, not {type(want).__name__}"
    assert got == want, f"{name} is {got}, not {want}"


def same_pairs(name: str, got: Any, want: Bools) -> None:
    """Whether an array, B or H of which may be 1, is the set."""
    got = np.asarray(got)
    assert got.dtype == bool, f"{name} is of dtype {got.dtype}"
    assert got.ndim == 4, f"{name} has shape {got.shape}"
    assert all(size in (1, whole) for size, whole in zip(got.shape[:2], want.shape[:2], strict=True)), got.shape
    assert got.shape[2:] == want.shape[2:], f"{name} has shape {got.shape}"
    different = np.argwhere(np.broadcast_to(got, want.shape) != want)
    assert not len(different), f"{name} differs at (b, h, q, k) = {different[0].tolist()} and {len(different)} in all"


def collapsed(want: Bools) -> Bools:
    """The set with B and H of 1 where it does not depend on them."""
    for axis in (0, 1):
        first = want.take([0], axis=axis)
        want = first if (want == first).all() else want
    return want


def ask_dense(case: Case) -> None:
    same_pairs("the set", case.plan.to("dense"), case.want)


def ask_runs(case: Case) -> None:
    runs, small = case.plan.runs, collapsed(case.want)
    same("the shape", case.plan.shape, small.shape)
    assert all(array.dtype == np.int32 for array in (runs.indptr, runs.starts, runs.stops))
    padded = np.zeros((*small.shape[:3], small.shape[3] + 2), dtype=np.int8)
    padded[..., 1:-1] = small
    edges = np.diff(padded, axis=-1).reshape(-1, small.shape[3] + 1)
    same("starts", runs.starts.tolist(), np.nonzero(edges == 1)[1].tolist())
    same("stops", runs.stops.tolist(), np.nonzero(edges == -1)[1].tolist())
    same("indptr", runs.indptr.tolist(), [0, *np.cumsum((edges == 1).sum(1)).tolist()])


def ask_numbers(case: Case) -> None:
    small, plan = collapsed(case.want), case.plan
    pairs = int(small.sum())
    same("pairs", plan.pairs, pairs)
    same("density", plan.density, pairs / max(small.size, 1))
    same("empty_rows", plan.empty_rows, int((~small.any(-1)).sum()))
    same("nbytes_dense", plan.nbytes_dense, small.size)
    same("flops", plan.flops(8), 32 * pairs)
    same("the offset", plan.offset, case.offset)
    runs = int((np.diff(small, axis=-1, prepend=False) & small).sum())
    same("nbytes", plan.nbytes, 4 * (int(np.prod(small.shape[:3])) + 1) + 8 * runs)


def ask_tiles(case: Case) -> None:
    height, width = (case.chance.choice((1, 2, 3, 5, 8, 16, 128, 2**31 - 1)) for _ in range(2))
    states = case.plan.tiles(height, width).states()
    b, h, q, k = case.plan.shape
    same("the shape of tiles", states.shape, (b, h, -(-q // height), -(-k // width)))
    if not states.size:
        return
    small = collapsed(case.want)
    rows, columns = np.arange(0, q, min(height, q)), np.arange(0, k, min(width, k))
    held = np.add.reduceat(np.add.reduceat(small.astype(int), rows, axis=2), columns, axis=3)
    room = np.diff([*rows, q])[:, None] * np.diff([*columns, k])
    expected = np.where(held == room, 2, np.where(held > 0, 1, 0))
    assert (states == expected).all(), f"tiles of {height} by {width} are {states.tolist()}, not {expected.tolist()}"


def ask_slices(case: Case) -> None:
    chance = case.chance
    start, stop = (chance.choice((None, chance.randint(-case.Q - 2, case.Q + 2))) for _ in range(2))
    part = case.plan[start:stop]
    first = range(case.Q)[start:stop].start
    same_pairs(f"plan[{start}:{stop}]", part.to("dense"), case.want[:, :, first : first + part.Q])
    same("its offset", part.offset, case.offset + first)
    if part.mask is not None:
        again = am.compile(part.mask, q=part.Q, k=part.K, batch=case.B, heads=case.H, offset=part.offset)
        assert again == part, f"the mask of plan[{start}:{stop}] is another set"
    if case.Q:
        row = chance.randrange(-case.Q, case.Q)
        same_pairs(f"plan[{row}]", case.plan[row].to("dense"), case.want[:, :, range(case.Q)[row]][:, :, None])


def rewritten(tree: Tree, chance: Any) -> Tree:
    """The same set, written otherwise."""
    name, *parts = tree
    if name in ("and", "or"):
        turned = [rewritten(part, chance) for part in reversed(parts)]
        other = "or" if name == "and" else "and"
        return (name, *turned) if chance.random() < 0.5 else ("not", (other, *(("not", part) for part in turned)))
    if name == "xor":
        left, right = (rewritten(part, chance) for part in parts)
        return ("or", ("minus", left, right), ("minus", right, left))
    if name == "minus":
        return ("and", rewritten(parts[0], chance), ("not", rewritten(parts[1], chance)))
    if name == "not":
        return ("xor", ("full", {}), rewritten(parts[0], chance))
    if name == "shift":
        half = parts[1] // 2
        return ("shift", ("shift", rewritten(parts[0], chance), half), parts[1] - half)
    if name == "placed":
        return (name, rewritten(parts[0], chance), *parts[1:])
    if name == "per_head":
        return ("per_head", *(rewritten(part, chance) for part in parts))
    return ("not", ("not", tree)) if chance.random() < 0.5 else ("or", tree, ("empty", {}))


def ask_equality(case: Case) -> None:
    other = case.compiled(expression(rewritten(case.tree, case.chance), case.chance))
    assert other == case.plan, "the same set, written otherwise, is not equal"
    same("its hash", hash(other), hash(case.plan))
    assert plan_from_dense(case.want) == case.plan, "the set's own array is not equal"
    if case.want.size:
        one = np.zeros(case.want.shape, dtype=bool)
        one.reshape(-1)[case.chance.randrange(one.size)] = True
        changed = case.compiled(case.mask ^ am.dense(one))
        assert changed != case.plan, "a set of one pair more or less is equal"
        same_pairs("a set of one pair more or less", changed.to("dense"), case.want ^ one)


def ask_mask_again(case: Case) -> None:
    """The same expression from arrays of other forms is equal, as masks are compared as written."""
    again = expression(case.tree, case.chance)
    assert again == case.mask, "the same expression is not equal"
    same("its hash", hash(again), hash(case.mask))


def ask_diff(case: Case) -> None:
    draw = Drawer(case.chance)
    draw.B, draw.H, draw.Q, draw.K, draw.offset = case.B, case.H, case.Q, case.K, case.offset
    tree = draw.tree(2)
    theirs = dense(tree, case.B, case.H, case.Q, case.K, case.offset)
    other = case.compiled(expression(tree, case.chance))
    same_pairs(f"the set of {tree}", other.to("dense"), theirs)
    diff = case.plan.diff(other)
    same_pairs("only left", diff.only_left.to_dense(), case.want & ~theirs)
    same_pairs("only right", diff.only_right.to_dense(), theirs & ~case.want)
    same("whether they differ", bool(diff), bool((case.want != theirs).any()))
    for first, pairs in ((diff.first_left, case.want & ~theirs), (diff.first_right, theirs & ~case.want)):
        # A broadcast axis counts as its first item.
        found = np.argwhere(pairs)
        same("the first pair", first, tuple(found[0].tolist()) if len(found) else None)


def ask_explain(case: Case) -> None:
    if not case.want.size:
        return
    plan = case.plan if case.chance.random() < 0.7 else case.plan[case.chance.randrange(case.Q) :]
    behind = case.Q - plan.Q
    for _ in range(2):
        at = tuple(case.chance.randrange(size) for size in (case.B, case.H, plan.Q, case.K))
        said = plan.explain(*at)
        b, h, q, k = at
        same(f"explain{at}", said.attends, bool(case.want[b, h, q + behind, k]))
        if said.steps:
            same(f"the first step of explain{at}", said.steps[0][2], said.attends)


def ask_describe(case: Case) -> None:
    said = case.plan.describe()
    assert said.mask is not None
    assert case.compiled(said.mask) == case.plan, f"describe() says {said.mask}"
    bare = plan_from_dense(case.want, case.offset).describe()
    if bare.mask is not None:
        assert case.compiled(bare.mask) == case.plan, f"describe() of the array says {bare.mask}"
    assert f"{case.plan.pairs:,} of" in said.text


def ask_json(case: Case) -> None:
    text = case.plan.to_json()
    again = am.Plan.from_json(text)
    assert again == case.plan, "the plan from JSON is not equal"
    same("its offset", again.offset, case.offset)
    same("its JSON", again.to_json(), text)
    if holds_rule(case.tree):
        return
    assert again.mask == case.mask, "the plan's mask from JSON is not equal"
    assert am.Mask.from_json(case.mask.to_json()) == case.mask, "the mask from JSON is not equal"


def holds_rule(tree: Tree) -> bool:
    return tree[0] == "predicate" or any(isinstance(part, tuple) and holds_rule(part) for part in tree[1:])


def ask_copies(case: Case) -> None:
    copies: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
    duplicate = case.chance.choice(copies)
    hash(case.plan)
    plan, mask = duplicate(case.plan), duplicate(case.mask)
    assert (plan, mask, plan.mask) == (case.plan, case.mask, case.mask), "a copy is not equal"
    same("the hash of a copy", (hash(plan), hash(mask)), (hash(case.plan), hash(case.mask)))
    same("the offset of a copy", plan.offset, case.offset)
    assert not any(array.flags.writeable for array in (plan.runs.indptr, plan.runs.starts, plan.runs.stops))
    assert case.compiled(mask) == case.plan, "the copy of the mask is another set"


def ask_text(case: Case) -> None:
    text = repr(case.mask)
    try:
        again = am.mask_from_text(text)
    except am.AttnMaskError:
        # Arrays that are too large to be printed, and functions.
        assert " array (" in text or "predicate(<" in text, f"{text} is not read again"
        return
    assert again == case.mask, f"{text} is read as {again}"
    same("the text", repr(again), text)


# How often each is asked: cheap ones more often.
QUESTIONS: dict[Callable[[Case], None], int] = {
    ask_runs: 6,
    ask_numbers: 5,
    ask_tiles: 5,
    ask_slices: 4,
    ask_explain: 4,
    ask_mask_again: 4,
    ask_text: 4,
    ask_copies: 3,
    ask_json: 2,
    ask_diff: 2,
    ask_equality: 2,
    ask_describe: 1,
}
