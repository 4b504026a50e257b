"""Every library that runs here computes, under what its format lowers, what the plan means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am
from attnmask.compiler.plan import plan_from_dense
from attnmask.mask.domain import Domain
from conformance.libraries import Library, libraries, models
from conformance.libraries.base import SHAPES
from conformance.run import (
    BATCH,
    EMPTY_ROWS,
    HEADS,
    PAGE,
    agrees,
    answer,
    error_and_budget,
    error_and_budget_of_model,
    model_agrees,
    plans,
    plans_of_model,
    tensors,
)
from tests.strategies import masks, plan_of

LIBRARIES = {library.name: library for library in libraries()}
MODELS = {model.name: model for model in models()}
DOMAINS = [Domain(BATCH, HEADS, *shape) for shape in SHAPES.values()]


def marked(names: list[str]) -> list[Any]:
    """Names with the marker of the extra that holds the library."""
    return [
        pytest.param(name, marks=getattr(pytest.mark, marker) if (marker := LIBRARIES[name].marker) else ())
        for name in names
    ]


EVERY = marked(list(LIBRARIES))
# The others compile every mask anew.
QUICK = marked([name for name, library in LIBRARIES.items() if library.kinds is None])


def needed(name: str) -> Library:
    """The library, or a skipped test where its extra is not installed."""
    library = LIBRARIES[name]
    for package in library.packages:
        pytest.importorskip(package.replace("-", "_"))
    return library


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_agrees_with_the_reference_or_is_refused(name: str) -> None:
    library = needed(name)
    said = {of: agrees(library, plan) for of, plan in plans(library)}
    assert True in said.values()
    assert [of for of, agreed in said.items() if agreed is False] == []


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(DOMAINS))
@pytest.mark.parametrize("name", QUICK)
def test_any_composed_mask_agrees_or_is_refused(name: str, data: st.DataObject, domain: Domain) -> None:
    plan = plan_of(data.draw(masks(domain)), domain)
    assert agrees(needed(name), plan) is not False


@pytest.mark.parametrize("name", EVERY)
def test_rows_without_a_key_are_answered_as_the_page_says(name: str) -> None:
    library = needed(name)
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |"))
    recorded = [cell.strip() for cell in line.strip("|").split("|")][-len(EMPTY_ROWS) :]
    assert [answer(library, kind) for kind in EMPTY_ROWS] == recorded


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_in_a_whole_model_agrees_or_is_refused(name: str) -> None:
    said = {of: model_agrees(MODELS[name], plan) for of, plan in plans_of_model(MODELS[name])}
    assert True in said.values()
    assert tuple(of for of, agreed in said.items() if agreed is False) == MODELS[name].otherwise


def test_the_page_is_of_these_masks_libraries_and_models() -> None:
    rows = [line.strip("|").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    named = [row for row in rows if row[0].strip() in LIBRARIES | MODELS]
    assert [row[0].strip() for row in named] == [*LIBRARIES, *MODELS]
    for row in named:
        of = row[0].strip()
        asked = list(plans(LIBRARIES[of]) if of in LIBRARIES else plans_of_model(MODELS[of]))
        assert int(row[2].split(" of ")[1]) + int(row[3].strip(" |")) == len(asked)
    assert len({package for library in LIBRARIES.values() for package in library.packages}) >= 11


def test_one_wrong_pair_is_seen() -> None:
    # The comparison itself must be able to fail: one key too many or too few.
    library = LIBRARIES["torch scaled_dot_product_attention, bools"]
    plan = dict(plans(library))["any pairs, square"]
    pairs = plan.to("dense").copy()
    pairs[0, 0, pairs[0, 0].sum(-1).argmax(), 0] ^= True
    q, k, v = tensors(plan)
    error, budget = error_and_budget(plan, library.attend(plan_from_dense(pairs), q, k, v), q, k, v)
    assert error > 100 * budget


def test_one_wrong_window_in_a_whole_model_is_seen() -> None:
    model = MODELS["Mistral, its sliding_window, sdpa"]
    one, other = (plan_of(am.causal() & am.window(left, 0), Domain(1, 1, 6, 6, 0)) for left in (1, 2))
    out = model.outputs(one)[0]
    wrong = replace(model, outputs=lambda plan: (out, *model.outputs(plan)[1:]))
    for plan, expected in ((one, True), (other, False)):
        error, budget = error_and_budget_of_model(wrong, plan)
        assert (error <= budget) is expected
    assert error > 100 * budget
