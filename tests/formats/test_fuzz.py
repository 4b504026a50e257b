"""Representations that somebody broke: each is read as a set that can be written down again, or refused with a reason.

A valid representation is taken apart into its arrays, numbers and words; one of them is spoilt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import BlockMask

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.formats import FORMATS, lift, lower
from tests.formats.cases import VARIANTS, plans

PLANS = plans()
BLOCK_LISTS = tuple(
    f"{side}{which}{what}"
    for side in ("", "full_")
    for which in ("kv", "q")
    for what in ("_num_blocks", "_indices")
    if which == "kv"
)
Path = tuple[Any, ...]
Mutation = Callable[[Any, st.DataObject], Any]


def parts_of(form: Any, path: Path = ()) -> Iterator[Path]:
    """Where the parts of a form are, itself among them."""
    yield path
    for name, part in children_of(form):
        yield from parts_of(part, (*path, name))


def children_of(form: Any) -> list[tuple[Any, Any]]:
    """The parts of a form by name or place."""
    if isinstance(form, dict):
        return list(form.items())
    if isinstance(form, BlockMask):
        return [(name, getattr(form, name)) for name in BLOCK_LISTS]
    if is_dataclass(form) and not isinstance(form, type):
        return [(field.name, getattr(form, field.name)) for field in fields(form)]
    if hasattr(form, "_fields"):
        return [(name, getattr(form, name)) for name in form._fields]
    return list(enumerate(form)) if isinstance(form, list | tuple) else []


def part_at(form: Any, path: Path) -> Any:
    """One of the parts."""
    for name in path:
        form = dict(children_of(form))[name]
    return form


def with_part(form: Any, path: Path, part: Any) -> Any:
    """The form with another part."""
    if not path:
        return part
    name, *rest = path
    inner = with_part(dict(children_of(form))[name], tuple(rest), part)
    if isinstance(form, dict):
        return {**form, name: inner}
    if isinstance(form, BlockMask):
        spoilt = copy.copy(form)
        setattr(spoilt, name, inner)
        return spoilt
    if is_dataclass(form):
        return replace(form, **{name: inner})
    if hasattr(form, "_fields"):
        return form._replace(**{name: inner})
    return type(form)(inner if place == name else one for place, one in enumerate(form))


def is_array(part: Any) -> bool:
    """Whether a part is an array or a tensor."""
    return isinstance(part, np.ndarray | torch.Tensor)


def with_value(array: Any, value: Any, data: st.DataObject) -> Any:
    """A copy of the array, of a dtype that holds the value, with the value in one place."""
    spoilt = np.asarray(array).astype(np.result_type(np.asarray(array).dtype, type(value))).copy()
    if spoilt.size:
        spoilt.reshape(-1)[data.draw(st.integers(0, spoilt.size - 1))] = value
    return torch.from_numpy(spoilt) if isinstance(array, torch.Tensor) and spoilt.dtype != object else spoilt


def resized(array: Any, data: st.DataObject) -> Any:
    """One entry more or less along an axis."""
    array = np.asarray(array)
    if not array.ndim:
        return array[None]
    axis, longer = data.draw(st.integers(0, array.ndim - 1)), data.draw(st.booleans())
    return np.concatenate([array, array.take([0], axis)], axis) if longer and array.size else array[:-1]


def shuffled(array: Any, data: st.DataObject) -> Any:
    """The same entries in another order."""
    flat = np.asarray(array).reshape(-1)
    order = data.draw(st.permutations(range(min(len(flat), 12))))
    flat = np.concatenate([flat[list(order)], flat[len(order) :]])
    return flat.reshape(np.asarray(array).shape)


def finite(array: Any) -> Any:
    """The array with 9 for infinity, in float64."""
    return np.nan_to_num(np.asarray(array, dtype=float), posinf=9, neginf=-9)


def numpy_of(part: Any) -> Any:
    """The array, also of a dtype that NumPy lacks."""
    return part.float().numpy() if isinstance(part, torch.Tensor) and part.dtype == torch.bfloat16 else np.asarray(part)


# Whatever the array means, none of these is a mask, a length, a bound or an index.
NEVER: dict[str, Mutation] = {
    "NaN": lambda array, data: with_value(array, math.nan, data),
    "a half": lambda array, data: with_value(array, 0.5, data),
    "infinity": lambda array, data: with_value(array, math.inf, data),
    "words": lambda array, data: np.full(np.shape(array), "a"),
    "complex": lambda array, data: np.asarray(array).astype(complex),
    "objects": lambda array, data: np.full(np.shape(array), None, dtype=object),
    "ragged": lambda array, data: [np.zeros(2).tolist(), [0.0]],
}
OTHER: dict[str, Mutation] = {
    "negative": lambda array, data: with_value(array, -data.draw(st.integers(1, 9)), data),
    "large": lambda array, data: with_value(array, data.draw(st.sampled_from([2, 7, 99, 2**40])), data),
    "floats": lambda array, data: np.asarray(array).astype(float),
    "float16": lambda array, data: torch.from_numpy(np.asarray(array, dtype=float)).to(torch.bfloat16),
    "integers": lambda array, data: np.clip(np.nan_to_num(np.asarray(array, dtype=float), neginf=-9), -9, 99).astype(
        np.int8
    ),
    "unsigned": lambda array, data: np.clip(np.nan_to_num(np.asarray(array, dtype=float), neginf=9), 0, 99).astype(
        np.uint64
    ),
    "bools": lambda array, data: np.asarray(array).astype(bool),
    "a rank more": lambda array, data: np.asarray(array)[None],
    "a rank less": lambda array, data: np.asarray(array)[0] if np.asarray(array).size else np.zeros(()),
    "no axis": lambda array, data: np.asarray(array).reshape(-1)[0] if np.asarray(array).size else np.zeros(()),
    "flat": lambda array, data: np.asarray(array).reshape(-1),
    "turned": lambda array, data: np.asarray(array).T,
    "empty": lambda array, data: np.asarray(array)[:0] if np.ndim(array) else np.zeros(0),
    "empty within": lambda array, data: np.asarray(array)[..., :0] if np.ndim(array) else np.zeros(0),
    "resized": resized,
    "shuffled": shuffled,
    "a list": lambda array, data: np.asarray(array).tolist(),
}
VALUES = [
    *(None, True, False, 0, 1, -1, -7, 3, 2**40, 10**30, 0.5, 2.0, math.nan, math.inf, "a", "", b"a", 1j),
    *(
        [],
        {},
        (),
        [1, 2],
        (1, 2),
        (0, 0),
        [[1], [1, 2]],
        {"a": 1},
        object(),
        np.zeros(()),
        np.zeros((0, 3)),
        np.int8(2),
    ),
    *(np.ones((2, 2)), np.ones((2, 2), dtype=bool), torch.zeros(3), torch.ones(1, 1, 2, 2, dtype=torch.bool), range(3)),
    *("2024-01-01", np.datetime64(0, "s"), lambda: 0, int),
]
# Splash's masks are objects of JAX, which look at what they are made of themselves.
NAMES = [name for name, of in VARIANTS.items() if of.format != "splash"]


@cache
def held_by(name: str) -> list[am.Plan]:
    """The plans that have this form."""
    of = VARIANTS[name]
    return [plan for plan in PLANS.values() if not import_module(FORMATS[of.format]).refusals(plan, **of.options(plan))]


def outcome(name: str, form: Any, plan: am.Plan) -> am.Plan | None:
    """What a form is read as, which can be written down again; None if it is refused."""
    variant = VARIANTS[name]
    try:
        read = lift(variant.format, form, **variant.hints(plan))
    except am.AttnMaskError:
        return None
    assert read.runs.shape[:2] == read.runs.collapsed().shape[:2]
    assert 0 <= read.pairs <= read.runs.rows * read.K
    options = variant.options(read)
    if import_module(FORMATS[variant.format]).refusals(read, **options):
        return read
    try:
        again = lower(read, variant.format, **options)
    except ArgumentError:  # written out for other items or heads than the broken form has
        return read
    assert lift(variant.format, again, **variant.hints(read)) == read
    return read


def draw_form(name: str, data: st.DataObject) -> tuple[Any, am.Plan]:
    """A valid form, and what it means."""
    plan = data.draw(st.sampled_from(held_by(name)))
    return lower(plan, VARIANTS[name].format, **VARIANTS[name].options(plan)), plan


@settings(max_examples=75, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_array_is_read_as_a_set_or_refused(name: str, data: st.DataObject) -> None:
    form, plan = draw_form(name, data)
    arrays = [path for path in parts_of(form) if is_array(part_at(form, path))]
    if not arrays:
        return
    path, mutation = data.draw(st.sampled_from(arrays)), OTHER[data.draw(st.sampled_from(list(OTHER)))]
    outcome(name, with_part(form, path, mutation(numpy_of(part_at(form, path)), data)), plan)


@settings(max_examples=50, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", NAMES)
def test_what_is_never_a_mask_is_refused(name: str, data: st.DataObject) -> None:
    form, plan = draw_form(name, data)
    arrays = [path for path in parts_of(form) if is_array(part_at(form, path)) and numpy_of(part_at(form, path)).size]
    if not arrays:
        return
    path, (kind, mutation) = data.draw(st.sampled_from(arrays)), data.draw(st.sampled_from([*NEVER.items()]))
    assert outcome(name, with_part(form, path, mutation(numpy_of(part_at(form, path)), data)), plan) is None, (
        path,
        kind,
    )


@settings(max_examples=75, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", NAMES)
def test_any_value_in_place_of_a_part_is_read_as_a_set_or_refused(name: str, data: st.DataObject) -> None:
    form, plan = draw_form(name, data)
    path = data.draw(st.sampled_from(list(parts_of(form))))
    outcome(name, with_part(form, path, data.draw(st.sampled_from(VALUES))), plan)
