"""Every atom on grids typed by hand: a person can check them, and no code is shared with what they test.

Queries x keys: square 4 x 4, wide 2 x 5, tall 5 x 2; offset is 3 x 5 with row 0 at position 2; row is 1 x 4 with
its row at position 2.
"""

from __future__ import annotations

import numpy as np
import pytest

import attnmask as am
from attnmask.mask.atoms import ATOMS
from attnmask.mask.domain import Domain
from attnmask.mask.expression import atoms_in
from attnmask.mask.reference import evaluate, grid
from tests.mask.test_grids_of_kinds import KIND_GRIDS
from tests.strategies import dense_of, plan_of, speaks_of_more

DOMAINS = {
    "square": Domain(1, 1, 4, 4),
    "wide": Domain(1, 1, 2, 5),
    "tall": Domain(1, 1, 5, 2),
    "offset": Domain(1, 1, 3, 5, offset=2),
    "row": Domain(1, 1, 1, 4, offset=2),
}
GRIDS: list[tuple[am.Mask, str]] = [
    (
        am.full(),
        """
        square   wide    tall   offset   row
        1111     11111   11     11111    1111
        1111     11111   11     11111
        1111             11     11111
        1111             11
                         11
        """,
    ),
    (
        am.empty(),
        """
        square   wide    tall   offset   row
        0000     00000   00     00000    0000
        0000     00000   00     00000
        0000             00     00000
        0000             00
                         00
        """,
    ),
    (
        am.causal(),
        """
        square   wide    tall   offset   row
        1000     10000   10     11100    1110
        1100     11000   11     11110
        1110             11     11111
        1111             11
                         11
        """,
    ),
    (
        am.window(left=0, right=0),
        """
        square   wide    tall   offset   row
        1000     10000   10     00100    0010
        0100     01000   01     00010
        0010             00     00001
        0001             00
                         00
        """,
    ),
    (
        am.window(left=1, right=0),
        """
        square   wide    tall   offset   row
        1000     10000   10     01100    0110
        1100     11000   11     00110
        0110             01     00011
        0011             00
                         00
        """,
    ),
    (
        am.window(left=0, right=1),
        """
        square   wide    tall   offset   row
        1100     11000   11     00110    0011
        0110     01100   01     00011
        0011             00     00001
        0001             00
                         00
        """,
    ),
    (
        am.window(left=None, right=1),
        """
        square   wide    tall   offset   row
        1100     11000   11     11110    1111
        1110     11100   11     11111
        1111             11     11111
        1111             11
                         11
        """,
    ),
    (
        am.window(left=2, right=None),
        """
        square   wide    tall   offset   row
        1111     11111   11     11111    1111
        1111     11111   11     01111
        1111             11     00111
        0111             01
                         00
        """,
    ),
    (
        am.window(left=None, right=None),
        """
        square   wide    tall   offset   row
        1111     11111   11     11111    1111
        1111     11111   11     11111
        1111             11     11111
        1111             11
                         11
        """,
    ),
    (
        am.prefix(2),
        """
        square   wide    tall   offset   row
        1100     11000   11     11000    1100
        1100     11000   11     11000
        1100             11     11000
        1100             11
                         11
        """,
    ),
    (
        am.padding(lengths=3),
        """
        square   wide    tall   offset   row
        1110     11100   11     11100    1110
        1110     11100   11     11100
        1110             11     11100
        1110             11
                         11
        """,
    ),
    (
        am.padding(lengths=3, side="left"),
        """
        square   wide    tall   offset   row
        0111     00111   11     00111    0111
        0111     00111   11     00111
        0111             11     00111
        0111             11
                         11
        """,
    ),
    (
        am.padding(lengths=3, of="queries"),
        """
        square   wide    tall   offset   row
        1111     11111   11     11111    1111
        1111     11111   11     11111
        1111             11     11111
        0000             00
                         00
        """,
    ),
    (
        am.padding(lengths=1, side="left", of="queries"),
        """
        square   wide    tall   offset   row
        0000     00000   00     00000    1111
        0000     11111   00     00000
        0000             00     11111
        1111             00
                         11
        """,
    ),
    (
        am.padding(lengths=2, of="both"),
        """
        square   wide    tall   offset   row
        1100     11000   11     11000    1100
        1100     11000   11     11000
        0000             00     00000
        0000             00
                         00
        """,
    ),
    (
        am.padding(lengths=2, side="left", of="both"),
        """
        square   wide    tall   offset   row
        0000     00011   00     00000    0011
        0000     00011   00     00011
        0011             00     00011
        0011             11
                         11
        """,
    ),
    (
        am.documents(lengths=[2, 1]),
        """
        square   wide    tall   offset   row
        1100     11000   11     00100    0010
        1100     11000   11     00000
        0010             00     00000
        0000             00
                         00
        """,
    ),
    (
        am.documents(ids=[1, -1, 1, 0]),
        """
        square   wide    tall   offset   row
        1010     10100   10     10100    1010
        0000     00000   00     00010
        1010             10     00000
        0001             00
                         00
        """,
    ),
    (
        am.documents(cu_seqlens=[0, 1, 4]),
        """
        square   wide    tall   offset   row
        1000     10000   10     01110    0111
        0111     01110   01     01110
        0111             01     00000
        0111             01
                         00
        """,
    ),
    (
        am.causal().shift(1),
        """
        square   wide    tall   offset   row
        1100     11000   11     11110    1111
        1110     11100   11     11111
        1111             11     11111
        1111             11
                         11
        """,
    ),
    (
        am.causal().shift(-2),
        """
        square   wide    tall   offset   row
        0000     00000   00     10000    1000
        0000     00000   00     11000
        1000             10     11100
        1100             11
                         11
        """,
    ),
    (
        am.padding(lengths=2, of="queries").shift(-1),
        """
        square   wide    tall   offset   row
        0000     00000   00     00000    0000
        1111     11111   11     11111
        1111             11     11111
        0000             00
                         00
        """,
    ),
    (
        am.padding(lengths=1, side="left", of="queries").shift(1),
        """
        square   wide    tall   offset   row
        0000     11111   00     00000    0000
        0000     00000   00     11111
        1111             00     00000
        0000             11
                         00
        """,
    ),
    (
        am.causal() & am.window(left=1, right=1) | am.prefix(1),
        """
        square   wide    tall   offset   row
        1000     10000   10     11100    1110
        1100     11000   11     10110
        1110             11     10011
        1011             10
                         10
        """,
    ),
    (
        am.causal() - am.window(left=0, right=0),
        """
        square   wide    tall   offset   row
        0000     00000   00     11000    1100
        1000     10000   10     11100
        1100             11     11110
        1110             11
                         11
        """,
    ),
    (
        am.causal() ^ am.prefix(2),
        """
        square   wide    tall   offset   row
        0100     01000   01     00100    0010
        0000     00000   00     00110
        0010             00     00111
        0011             00
                         00
        """,
    ),
]


def columns_of(block: str) -> dict[str, list[str]]:
    """The grids of a block, each below its name."""
    header, *lines = block.strip("\n").split("\n")
    starts = {name: header.index(name) for name in DOMAINS}
    rows = {name: [line[at:].split(" ")[0] for line in lines] for name, at in starts.items()}
    return {name: [row for row in column if row] for name, column in rows.items()}


def as_text(pairs: np.ndarray) -> list[str]:
    return ["".join(str(int(pair)) for pair in row) for row in pairs]


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize(("mask", "block"), GRIDS, ids=[repr(mask) for mask, _ in GRIDS])
def test_the_grid_typed_by_hand(mask: am.Mask, block: str, name: str) -> None:
    domain, expected = DOMAINS[name], columns_of(block)[name]
    assert len(expected) == domain.Q
    assert as_text(evaluate(mask, domain)[0, 0]) == expected
    if speaks_of_more(mask, domain):
        with pytest.raises(am.AttnMaskError, match="a length of"):
            plan_of(mask, domain)
        return
    assert as_text(dense_of(plan_of(mask, domain), domain)[0, 0]) == expected


def test_a_dense_mask_is_looked_up_by_row_and_not_by_position() -> None:
    mask = am.dense([[1, 0, 1], [0, 1, 0]])
    for offset in (0, 1, -5):
        assert grid(mask, q=2, k=3, offset=offset) == "1 0 1\n0 1 0"
        assert am.compile(mask, q=2, k=3, offset=offset).runs.to_dense()[0, 0].tolist() == [[1, 0, 1], [0, 1, 0]]


def test_rows_that_a_shifted_dense_mask_does_not_have_see_nothing() -> None:
    mask = am.dense([[1, 0, 1], [0, 1, 0]])
    assert am.compile(mask.shift(1), q=2, k=3, offset=0).runs.to_dense()[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert am.compile(mask.shift(-1), q=2, k=3, offset=0).runs.to_dense()[0, 0].tolist() == [[0, 0, 0], [1, 0, 1]]


def test_a_dense_mask_of_items_and_heads() -> None:
    dense = am.compile(am.dense([[[[1, 0]], [[0, 1]]], [[[1, 1]], [[0, 0]]]]), q=1, k=2, offset=0).runs.to_dense()
    assert dense.tolist() == [[[[1, 0]], [[0, 1]]], [[[1, 1]], [[0, 0]]]]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("keys", ["101", "101", "101"]),
        ("queries", ["111", "000", "111"]),
        ("both", ["101", "000", "101"]),
    ],
)
def test_an_attention_mask_says_which_are_tokens(of: str, expected: list[str]) -> None:
    plan = am.compile(am.padding(attention_mask=[1, 0, 1], of=of), q=3)
    assert as_text(plan.runs.to_dense()[0, 0]) == expected


def test_lengths_of_keys_may_differ_from_item_to_item() -> None:
    plan = am.compile(am.padding(lengths=[1, 3, 0]), q=1, k=3, align="end")
    assert as_text(plan.runs.to_dense()[:, 0, 0]) == ["100", "111", "000"]
    plan = am.compile(am.padding(lengths=[1, 3, 0], side="left"), q=1, k=3, align="end")
    assert as_text(plan.runs.to_dense()[:, 0, 0]) == ["001", "111", "000"]


def test_prefixes_may_differ_from_item_to_item() -> None:
    plan = am.compile(am.prefix([0, 2]), q=1, k=3, align="end")
    assert as_text(plan.runs.to_dense()[:, 0, 0]) == ["000", "110"]


@pytest.mark.parametrize("mask", [mask for mask, _ in GRIDS], ids=repr)
@pytest.mark.parametrize(("q", "k"), [(2, 0), (0, 3), (0, 0)], ids=["no key", "no query", "neither"])
def test_without_keys_or_queries_there_is_no_pair(mask: am.Mask, q: int, k: int) -> None:
    if speaks_of_more(mask, Domain(1, 1, q, k, 1)):
        pytest.skip("the mask speaks of tokens that are not there")
    plan = am.compile(mask, q=q, k=k, offset=1)
    assert (plan.pairs, plan.empty_rows) == (0, q)
    assert plan.runs.to_dense().shape == evaluate(mask, Domain(1, 1, q, k, 1)).shape == (1, 1, q, k)


def test_every_atom_has_a_grid() -> None:
    typed = {repr(atom).split("(")[0] for mask, _ in GRIDS for atom in atoms_in(mask)}
    assert typed | set(KIND_GRIDS) | {"dense"} >= set(ATOMS)
