"""From one form into another, over every pair of formats: what both can hold goes through unchanged."""

from __future__ import annotations

from itertools import permutations

import pytest

import attnmask as am
from attnmask.formats import lift, lower
from tests.formats.cases import KINDS, VARIANTS, plans
from tests.formats.contract.pages import shapes_that_can

PLANS = plans()


def through(name: str, plan: am.Plan) -> am.Plan:
    """What comes back from one form."""
    variant = VARIANTS[name]
    return lift(variant.format, lower(plan, variant.format, **variant.options(plan)), **variant.hints(plan))


def able(kind: str, shape: str) -> dict[str, str]:
    """The formats that can hold a set, each with the first of its variants that can."""
    names = [name for name in VARIANTS if shape in shapes_that_can(name, kind)]
    return {VARIANTS[name].format: name for name in reversed(names)}


# Pairs that meet: packed position ids and encoders have as many queries as keys.
@pytest.mark.parametrize(("shape", "pairs"), [("square", 20 * 19), ("wide, at the end", 18 * 17)])
def test_every_pair_of_formats_that_can_hold_a_set_hands_it_on(shape: str, pairs: int) -> None:
    handed_on: set[tuple[str, str]] = set()
    for turn, kind in enumerate(KINDS):
        plan, forms = PLANS[f"{kind}, {shape}"], able(kind, shape)
        read = {format: through(name, plan) for format, name in forms.items()}
        assert all(one == plan for one in read.values())
        for place, (first, second) in enumerate(permutations(forms, 2)):
            # Each kind of mask goes through every format, but through few of the pairs that others went through before.
            if (place + turn) % 32 and (first, second) in handed_on:
                continue
            assert through(forms[second], read[first]) == plan, f"{kind}: {first} -> {second}"
            handed_on.add((first, second))
    assert len(handed_on) >= pairs
