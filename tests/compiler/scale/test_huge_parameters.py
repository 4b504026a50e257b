"""Numbers near the limits of int32, on a few queries and keys, against an oracle of Python's own integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask
from attnmask.mask.tables.lookup_tables import int32_from
from tests.strategies import speaks_of_more

LARGEST = 2**31 - 1
BILLION = 10**9
Rule = Callable[[int, int], bool]
huge = st.one_of(
    st.integers(1, 9), st.sampled_from([2**15, 2**16, 2**21, 2**30, LARGEST - 1, LARGEST]), st.integers(1, LARGEST)
)
sides = st.one_of(st.none(), st.just(0), huge)
layouts = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=n, max_size=n)
)


def _block(layout: list[list[bool]], size: int) -> Rule:
    def attends(q: int, k: int) -> bool:
        row, column = q // size, k // size
        return 0 <= row < len(layout) and column < len(layout) and layout[row][column]

    return attends


def _grid(width: int, radius: int) -> Rule:
    height = LARGEST // width

    def attends(q: int, k: int) -> bool:
        on_image = 0 <= q < height * width and k < height * width
        return on_image and abs(q // width - k // width) <= radius and abs(q % width - k % width) <= radius

    return attends


def _window(left: int | None, right: int | None) -> Rule:
    return lambda q, k: (left is None or q - k <= left) and (right is None or k - q <= right)


def _diffusion(size: int, length: int) -> Rule:
    def attends(q: int, k: int) -> bool:
        if not 0 <= q < 2 * length or k >= 2 * length:
            return False
        of_q, of_k = q % length // size, k % length // size
        if q < length:
            return of_q == of_k if k < length else of_k < of_q
        return k >= length and of_k <= of_q

    return attends


def _spans(ids: list[int]) -> Rule:
    return lambda q, k: 0 <= q < len(ids) and k < len(ids) and ids[q] == ids[k] >= 0


atoms: st.SearchStrategy[tuple[Mask, Rule]] = st.one_of(
    st.builds(lambda layout, size: (am.blocks(layout, size), _block(layout, size)), layouts, huge),
    st.builds(lambda left, right: (am.window(left, right), _window(left, right)), sides, sides),
    st.builds(lambda size: (am.chunked(size), lambda q, k: q // size == k // size), huge),
    st.builds(lambda size: (am.block_causal(size), lambda q, k: k // size <= q // size), huge),
    st.builds(lambda step: (am.dilated(step), lambda q, k: (q - k) % step == 0), huge),
    st.builds(lambda n: (am.sinks(n), lambda q, k: k < n), huge),
    st.builds(lambda n: (am.prefix(n), lambda q, k: k < n), huge),
    st.builds(lambda n: (am.padding(lengths=n), lambda q, k: k < n), huge),
    st.builds(lambda g: (am.global_tokens(g), lambda q, k: q in g or k in g), st.lists(huge, max_size=3)),
    st.builds(lambda size, length: (am.block_diffusion(size, length), _diffusion(size, length)), huge, huge),
    st.builds(
        lambda ids: (am.spans(ids), _spans(ids)),
        st.lists(st.sampled_from([-(2**63), -1, 0, 1, 2**31, 2**62, 2**63 - 1]), min_size=1, max_size=9),
    ),
    st.builds(lambda width, radius: (am.grid(LARGEST // width, width, radius), _grid(width, radius)), huge, huge),
    st.just((am.causal(), lambda q, k: k <= q)),
)


@given(
    one=atoms,
    other=atoms,
    how=st.sampled_from("&|^-"),
    q=st.integers(0, 6),
    k=st.integers(0, 9),
    offset=st.one_of(st.integers(-9, 9), st.sampled_from([LARGEST - 99, 99 - LARGEST, 2**30])),
    shifts=st.lists(st.sampled_from([1, -1, LARGEST, -LARGEST, 2**30]), max_size=4),
)
@settings(max_examples=200)
def test_huge_parameters_are_computed_without_wrapping_round(
    one: tuple[Mask, Rule],
    other: tuple[Mask, Rule],
    how: str,
    q: int,
    k: int,
    offset: int,
    shifts: list[int],
) -> None:
    (mask, rule), (second, second_rule) = one, other
    assume(not speaks_of_more(mask & second, Domain(1, 1, q, k)))
    for n in shifts:
        mask = mask.shift(n)
    combine = {"&": mask & second, "|": mask | second, "^": mask ^ second, "-": mask - second}[how]
    decide = {
        "&": lambda a, b: a and b,
        "|": lambda a, b: a or b,
        "^": lambda a, b: a != b,
        "-": lambda a, b: a and not b,
    }
    plan = am.compile(combine, q=q, k=k, offset=offset)
    moved = sum(shifts)
    expected = [
        [decide[how](bool(rule(row + offset + moved, key)), bool(second_rule(row + offset, key))) for key in range(k)]
        for row in range(q)
    ]
    np.testing.assert_array_equal(
        np.broadcast_to(plan.to("dense"), (1, 1, q, k)), np.array(expected, dtype=bool).reshape(1, 1, q, k)
    )
    assert am.Plan.from_json(plan.to_json()) == plan
    assert am.Plan.from_json(plan.to_json()).mask == combine


def test_blocks_that_reach_beyond_int32_are_cut_at_the_keys() -> None:
    assert am.compile(am.blocks(np.ones((2, 2), bool), 2**30), q=4).pairs == 16
    assert am.compile(am.blocks(np.ones((2048, 2048), bool), 2**21), q=4).pairs == 16


@pytest.mark.parametrize("keys", [LARGEST - 1, LARGEST])
def test_as_many_keys_as_int32_counts(keys: int) -> None:
    mask = (am.window(2, 0) | am.sinks(3)) ^ am.window(0, 0)
    plan = am.compile(mask, q=4, k=keys, align="end")
    assert plan.pairs == 4 * 5
    assert am.compile(~mask, q=4, k=keys, align="end").pairs == 4 * keys - 20
    assert am.compile(am.full(), q=4, k=keys, align="end").diff(plan).only_left.pairs == 4 * keys - 20
    assert str(plan.describe()).startswith("set:")
    assert all(refused and "keys" in refused[0] for refused in plan.formats().values())


def test_items_and_heads_that_do_not_matter_cost_nothing() -> None:
    assert am.compile(am.causal(), q=4, batch=BILLION, heads=BILLION).pairs == 10


def test_what_does_not_fit_into_int32_is_refused() -> None:
    assert int32_from(np.array([-(2**31), LARGEST])).tolist() == [-(2**31), LARGEST]
    for value in (2**31, -(2**31) - 1):
        with pytest.raises(am.AttnMaskError, match="position"):
            int32_from(np.array([0, value]))
