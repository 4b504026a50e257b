"""Facts are never wrong, and they are there where there is one: checked against trying every parameter."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import attnmask as am
from attnmask.compiler.runs import Runs, runs_from_dense
from attnmask.compiler.structure import facts
from attnmask.compiler.structure.recognise import is_block_diagonal
from attnmask.mask.domain import Domain
from attnmask.mask.reference import evaluate
from tests.strategies import cases, plan_of

MANY = settings(max_examples=300, deadline=None)
KINDS = st.sampled_from(
    [
        am.causal(),
        am.full(),
        am.empty(),
        am.window(left=0, right=0),
        am.window(left=2, right=1),
        am.window(left=None, right=0),
        am.window(left=1, right=None),
        am.causal() & am.window(left=3, right=3),
        ~am.causal(),
        am.causal() - am.window(left=0, right=0),
    ]
)


@st.composite
def kinds_and_others(draw: st.DrawFn) -> tuple[Domain, am.Mask]:
    """A kind that facts know, exactly or with something done to it; or any mask."""
    domain, mask = draw(cases())
    domain = Domain(domain.B, domain.H, domain.Q, domain.K, draw(st.integers(-12, 12)))
    return domain, draw(st.sampled_from([mask, draw(KINDS), draw(KINDS), draw(KINDS)]))


def set_of(mask: am.Mask, domain: Domain) -> NDArray[np.bool_]:
    return evaluate(mask, domain)


def rows_and_keys(domain: Domain) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.arange(domain.Q)[:, None], np.arange(domain.K)


@MANY
@given(kinds_and_others())
def test_full_is_what_it_says(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    runs, dense = plan_of(mask, domain).runs, set_of(mask, domain)
    assert facts.is_full(runs) == dense.all()


@MANY
@given(kinds_and_others())
def test_the_causal_offset_is_the_one_nearest_to_0_of_all_that_fit(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    dense = set_of(mask, domain)
    rows, keys = rows_and_keys(domain)
    fits = [n for n in range(-20, 21) if (dense == (keys <= rows + n)).all()]
    found = facts.causal_offset(plan_of(mask, domain).runs)
    assert (found is None) == (not fits)
    assert found is None or (found in fits and abs(found) == min(map(abs, fits)))


@settings(max_examples=200, deadline=None)
@given(kinds_and_others())
def test_the_window_sides_describe_the_set_and_are_found_where_it_is_a_window(
    case: tuple[Domain, am.Mask],
) -> None:
    domain, mask = case
    dense = set_of(mask, domain)
    found = facts.window_sides(plan_of(mask, domain).runs, domain.offset)
    if found is not None:
        assert (set_of(am.window(*found), domain) == dense).all()
        return
    assume(dense.any())  # an empty set is a window only by accident of the offset
    sides = [None, *range(24)]
    assert not any((set_of(am.window(*pair), domain) == dense).all() for pair in itertools.product(sides, sides))


@MANY
@given(cases(), st.booleans())
def test_the_key_mask_is_the_row_that_all_rows_share(case: tuple[Domain, am.Mask], padded: bool) -> None:
    domain, mask = case
    if padded:
        mask = am.padding(lengths=np.minimum([3, 1, 2][: domain.B], domain.K))
    dense = set_of(mask, domain)
    shared = domain.Q > 0 and (dense == dense[:, :1, :1]).all()
    found = facts.key_mask(plan_of(mask, domain).runs)
    assert (found is not None) == shared
    if found is not None:
        np.testing.assert_array_equal(np.broadcast_to(found, (domain.B, domain.K)), dense[:, 0, 0])


@MANY
@given(cases(), st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=3))
def test_document_ids_make_the_same_set(case: tuple[Domain, am.Mask], lengths: list[list[int]]) -> None:
    domain, mask = case
    ids = facts.document_ids(plan_of(mask, domain).runs)
    if ids is not None:
        assert domain.Q == domain.K
        same = (ids[:, :, None] == ids[:, None, :]) & (ids[:, :, None] >= 0)
        np.testing.assert_array_equal(
            np.broadcast_to(same[:, None], (domain.B, domain.H, domain.Q, domain.K)), set_of(mask, domain)
        )
    packed = am.compile(am.documents(lengths=lengths), q=9)
    found = facts.document_ids(packed.runs)
    assert found is not None, "documents side by side are documents"
    assert am.compile(am.documents(ids=found), q=9) == packed


def test_facts_by_hand() -> None:
    causal = am.compile(am.causal(), q=2, k=5, align="end").runs
    assert facts.causal_offset(causal) == 3
    assert facts.window_sides(causal, offset=3) == (None, 0)
    assert facts.window_sides(am.compile(am.window(left=1, right=2), q=6).runs, offset=0) == (1, 2)
    assert facts.causal_offset(am.compile(am.causal() & am.window(left=1, right=0), q=4).runs) is None
    ids = facts.document_ids(am.compile(am.documents(ids=[[7, 7, -1, 3], [0, 1, 1, 1]]), q=4).runs)
    assert ids is not None
    assert ids.tolist() == [[0, 0, -1, 1], [0, 1, 1, 1]]
    assert facts.document_ids(am.compile(am.documents(ids=[1, 0, 1]), q=3).runs) is None
    assert facts.key_mask(am.compile(am.causal(), q=2).runs) is None


def first_item(domain: Domain, mask: am.Mask) -> tuple[NDArray[np.bool_], Runs]:
    """The set of the first item and head, pair by pair (Q, K) and as runs."""
    assume(domain.Q and domain.K)
    dense = set_of(mask, domain)[0, 0]
    return dense, runs_from_dense(dense[None, None])


@MANY
@given(kinds_and_others(), st.sampled_from([None, am.chunked(2), am.causal() & am.chunked(3), am.chunked(1)]))
def test_chunk_size_is_one_that_gives_the_set(case: tuple[Domain, am.Mask], known: am.Mask | None) -> None:
    domain, mask = case[0], case[1] if known is None else known
    dense, runs = first_item(domain, mask)
    found = facts.chunk_size(runs, domain.offset)
    rows, keys = rows_and_keys(domain)
    fitting: list[int] = []
    for size in range(1, domain.K + 2):
        same = (rows + domain.offset) // size == keys // size
        if any((dense == pairs).all() for pairs in (same, same & (keys <= rows + domain.offset))):
            fitting.append(size)
    assert found in [*fitting, None]
    # Where only one chunk begins inside, its size need not show; from position 0 on it does.
    assert found is not None or not fitting or domain.offset or not dense[:, 1:][~dense[:, :-1]].any()


@MANY
@given(kinds_and_others(), st.booleans())
def test_block_diagonal_is_what_it_says(case: tuple[Domain, am.Mask], known: bool) -> None:
    domain, mask = case[0], am.documents(lengths=[2, 1, 3]) if known else case[1]
    dense, runs = first_item(domain, mask)
    rows = [np.flatnonzero(row) for row in dense]
    stretches = all(len(row) == 0 or row[-1] - row[0] == len(row) - 1 for row in rows)
    filled = [(index, row) for index, row in enumerate(rows) if len(row)]
    steps = itertools.pairwise(filled)
    ordered = all(b[0] > a[-1] or (j == i + 1 and np.array_equal(a, b)) for (i, a), (j, b) in steps)
    assert is_block_diagonal(runs) == (stretches and ordered)


@MANY
@given(kinds_and_others())
def test_runs_a_row_and_masked_runs_a_column_are_counted(case: tuple[Domain, am.Mask]) -> None:
    domain, mask = case
    dense, runs = set_of(mask, domain), plan_of(mask, domain).runs
    along_keys = np.pad(dense, ((0, 0), (0, 0), (0, 0), (1, 0))).astype(int)
    along_queries = np.pad(~dense, ((0, 0), (0, 0), (1, 0), (0, 0))).astype(int)
    assert facts.most_runs_per_row(runs) == (np.diff(along_keys) > 0).sum(axis=3).max(initial=0)
    assert facts.most_masked_runs_per_column(runs) == (np.diff(along_queries, axis=2) > 0).sum(axis=2).max(initial=0)
