"""A schedule computes exactly the pairs of the set, leaves empty parts out, and masks only what is partial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import attnmask as am
from attnmask.execute.tiles.schedule import Kind, Schedule, flat_runs, schedule_from_runs
from attnmask.mask.domain import Domain
from tests.execute.peers import BATCH, LENGTH, masks
from tests.strategies import cases


def _schedule(mask: am.Mask, **lengths: int) -> Schedule:
    return schedule_from_runs(flat_runs(am.compile(mask, **lengths).runs))


def _computed(schedule: Schedule) -> np.ndarray:
    """How often each pair is computed."""
    times = np.zeros((schedule.runs.rows, schedule.runs.keys), dtype=int)
    for group in schedule.groups:
        whole = np.ones((group.height, group.width), dtype=bool)
        pairs = {Kind.FULL: whole, Kind.CAUSAL: np.tril(whole)}.get(group.kind)
        pairs = schedule.pairs_of(group) if pairs is None else pairs
        for row, key in zip(group.rows, group.keys, strict=True):
            times[row : row + group.height, key : key + group.width] += pairs
    return times


@pytest.mark.parametrize("name", masks())
def test_every_pair_is_computed_once_and_no_other(name: str) -> None:
    schedule = _schedule(masks()[name], q=LENGTH, batch=BATCH, heads=4)
    assert (_computed(schedule) == schedule.runs.to_dense()[0, 0]).all()


@given(case=cases())
@settings(max_examples=200, deadline=None)
def test_every_pair_of_any_mask_is_computed_once_and_no_other(case: tuple[Domain, am.Mask]) -> None:
    at, mask = case
    schedule = _schedule(mask, q=at.Q, k=at.K, batch=at.B, heads=at.H, offset=at.offset)
    assert (_computed(schedule) == schedule.runs.to_dense()[0, 0]).all()


@pytest.mark.parametrize("name", masks())
def test_calls_of_a_group_share_no_row(name: str) -> None:
    for group in _schedule(masks()[name], q=LENGTH, batch=BATCH, heads=4).groups:
        starts = np.sort(group.rows)
        assert (np.diff(starts) >= group.height).all()


def test_structure_needs_no_mask() -> None:
    for mask in (am.full(), am.causal(), am.documents(lengths=[40, 50, 30]), am.padding(lengths=[90, 120])):
        groups = _schedule(mask, q=120).groups
        assert all(group.kind is not Kind.MASKED for group in groups), mask


def test_documents_of_one_length_are_one_call() -> None:
    (group,) = _schedule(am.documents(lengths=[30] * 10), q=300).groups
    assert (group.kind, group.height, group.width, len(group.rows)) == (Kind.FULL, 30, 30, 10)


def test_work_is_near_the_pairs_of_the_set() -> None:
    schedule = _schedule(am.causal() & am.window(left=1023, right=0), q=16384)
    work = sum(g.height * g.width * len(g.rows) for g in schedule.groups)
    assert work < 1.2 * schedule.runs.pairs
