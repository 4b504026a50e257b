"""Tiles are what counting the pairs of every tile gives."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.compiler.tiles import tile_lists
from attnmask.conventions import TileState
from attnmask.mask.domain import Domain
from tests.compiler.test_against_reference import check_canonical
from tests.strategies import cases, plan_of

SIZES = st.integers(1, 9)


def states_by_counting(dense: NDArray[np.bool_], rows: int, keys: int) -> NDArray[np.int8]:
    b, h, q, k = dense.shape
    states = np.zeros((b, h, -(-q // rows), -(-k // keys)), np.int8)
    for row, column in np.ndindex(*states.shape[2:]):
        tile = dense[:, :, row * rows : (row + 1) * rows, column * keys : (column + 1) * keys]
        full, touched = tile.all(axis=(2, 3)), tile.any(axis=(2, 3))
        states[:, :, row, column] = np.where(full, TileState.FULL, np.where(touched, TileState.PARTIAL, 0))
    return states


@settings(max_examples=400, deadline=None)
@given(cases(), SIZES, SIZES)
def test_tiles_are_what_counting_gives(case: tuple[Domain, am.Mask], rows: int, keys: int) -> None:
    domain, mask = case
    plan = plan_of(mask, domain)
    tiles = plan.tiles(rows, keys)
    np.testing.assert_array_equal(tiles.states(), states_by_counting(plan.runs.to_dense(), rows, keys))
    for runs in (tiles.touched, tiles.full, tiles.partial):
        check_canonical(runs)


@settings(max_examples=200, deadline=None)
@given(cases(), SIZES, SIZES)
def test_tile_lists_name_the_columns_of_every_row(case: tuple[Domain, am.Mask], rows: int, keys: int) -> None:
    domain, mask = case
    touched = plan_of(mask, domain).tiles(rows, keys).touched
    indptr, columns = tile_lists(touched)
    dense = touched.to_dense().reshape(touched.rows, touched.keys)
    listed = [columns[start:stop].tolist() for start, stop in itertools.pairwise(indptr)]
    assert listed == [np.flatnonzero(row).tolist() for row in dense]


def test_tiles_by_hand() -> None:
    states = am.compile(am.causal(), q=5).tiles(rows=2, keys=2).states()
    assert states[0, 0].tolist() == [[1, 0, 0], [2, 1, 0], [2, 2, 2]]


def test_a_smaller_last_tile_is_full_when_all_that_it_has_attends() -> None:
    states = am.compile(am.full(), q=3, k=5, align="start").tiles(rows=2, keys=4).states()
    assert states[0, 0].tolist() == [[2, 2], [2, 2]]
