"""What atoms say to arguments that they cannot use: the texts are part of the interface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import attnmask as am
from attnmask.errors import AmbiguousError, ArgumentError, AttnMaskError
from attnmask.mask.domain import Domain

ARGUMENT_ERRORS: list[tuple[Callable[[], object], str]] = [
    (
        lambda: am.window(left=-1, right=0),
        "left is -1\n  where: window(left=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        lambda: am.window(left=0, right=1.5),
        "right is 1.5\n  where: window(right=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        lambda: am.window(left=True, right=0),
        "left is True\n  where: window(left=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        lambda: am.window(left=2**31, right=0),
        "left is 2147483648\n  where: window(left=)\n  to do: give a whole number, 0 or more, below 2**31",
    ),
    (
        lambda: am.prefix([3, -1]),
        "lengths[1] is -1\n  where: prefix(lengths=)\n  to do: counts of tokens are 0 or more, below 2**31",
    ),
    (
        lambda: am.prefix(2.0),
        "lengths holds float64 values\n  where: prefix(lengths=)\n  to do: give whole numbers",
    ),
    (
        lambda: am.prefix([[1, 2]]),
        "lengths has shape (1, 2)\n  where: prefix(lengths=)\n  to do: give one number or a list of them",
    ),
    (
        lambda: am.prefix([]),
        "lengths has shape (0,)\n  where: prefix(lengths=)\n  to do: give one number or a list of them",
    ),
    (
        lambda: am.prefix("3"),
        "lengths holds <U1 values\n  where: prefix(lengths=)\n  to do: give numbers, in rows of one length",
    ),
    (
        lambda: am.padding(),
        "got none\n  where: padding\n  to do: give exactly one of lengths, attention_mask, ids",
    ),
    (
        lambda: am.padding(lengths=1, attention_mask=[1]),
        "got lengths and attention_mask\n  where: padding\n  to do: give exactly one of lengths, attention_mask, ids",
    ),
    (
        lambda: am.padding(lengths=1, of="rows"),
        "of is 'rows'\n  where: padding(of=)\n  to do: give one of 'keys', 'queries', 'both'",
    ),
    (
        lambda: am.padding(lengths=1, side="top"),
        "side is 'top'\n  where: padding(side=)\n  to do: give one of 'right', 'left'",
    ),
    (
        lambda: am.padding(ids=[1, 2]),
        "ids and pad_id go together\n  where: padding(ids=)\n  to do: give ids= with pad_id=, or neither",
    ),
    (
        lambda: am.padding(lengths=1, pad_id=0),
        "ids and pad_id go together\n  where: padding(lengths=)\n  to do: give ids= with pad_id=, or neither",
    ),
    (
        lambda: am.padding(attention_mask=[1], side="left"),
        "side is not used with attention_mask\n  where: padding(attention_mask=)\n  to do: leave side out",
    ),
    (
        lambda: am.padding(attention_mask=[1, 2]),
        "attention_mask[1] is 2, neither 1 (a token) nor 0 (padding)\n"
        "  where: padding(attention_mask=)\n"
        "  to do: of a mask added to the scores give mask == 0; weights of tokens are for hf.weighted and hf.pool",
    ),
    (
        lambda: am.padding(attention_mask=[[[1]]]),
        "attention_mask has shape (1, 1, 1)\n  where: padding(attention_mask=)\n"
        "  to do: give (L,) or (B, L), B 1 or more, 1 for a token",
    ),
    (
        lambda: am.dense([1, 0]),
        "array has shape (2,)\n  where: dense(array=)\n  to do: give 2 or 4 axes",
    ),
    (
        lambda: am.documents(),
        "got none\n  where: documents\n  to do: give exactly one of lengths, ids, cu_seqlens",
    ),
    (
        lambda: am.documents(cu_seqlens=[1, 3]),
        "cu_seqlens is [1, 3]\n"
        "  where: documents(cu_seqlens=)\n"
        "  to do: give non-decreasing borders that begin with 0: 0, n1, n1 + n2, ...",
    ),
    (
        lambda: am.documents(cu_seqlens=[0, 3, 2]),
        "cu_seqlens is [0, 3, 2]\n"
        "  where: documents(cu_seqlens=)\n"
        "  to do: give non-decreasing borders that begin with 0: 0, n1, n1 + n2, ...",
    ),
    (
        lambda: am.documents(ids=np.zeros((1, 1, 1), int)),
        "ids has shape (1, 1, 1)\n  where: documents(ids=)\n  to do: give (S,) or (B, S)",
    ),
    (
        lambda: am.documents(ids=[0.5, 1.0]),
        "ids holds float64 values\n  where: documents(ids=)\n  to do: give whole numbers",
    ),
    (
        lambda: am.causal().shift(1.0),
        "n is 1.0\n  where: mask.shift(n)\n  to do: give a whole number of positions, within 2**31",
    ),
    (
        lambda: am.causal().shift(True),
        "n is True\n  where: mask.shift(n)\n  to do: give a whole number of positions, within 2**31",
    ),
    (
        lambda: am.causal() & 3,  # type: ignore[operator]
        "a mask cannot be combined with int 3\n  where: & | ^ -\n  to do: wrap an array with dense(array)",
    ),
    (
        lambda: am.causal() - [1],  # type: ignore[operator]
        "a mask cannot be combined with list [1]\n  where: & | ^ -\n  to do: wrap an array with dense(array)",
    ),
    (
        lambda: am.chunked(-2),
        "size is -2\n  where: chunked(size=)\n  to do: give a whole number, 1 or more, below 2**31",
    ),
    (
        lambda: Domain(0, 1, 1, 1),
        "B is 0\n  where: Domain\n  to do: B is 1 or more",
    ),
    (
        lambda: Domain(1, 1, 1, -1),
        "K is -1\n  where: Domain\n  to do: K is 0 or more",
    ),
]


@pytest.mark.parametrize(("act", "text"), ARGUMENT_ERRORS, ids=[text.split("\n")[0] for _, text in ARGUMENT_ERRORS])
def test_an_unusable_argument_is_named_with_what_to_do(act: Callable[[], object], text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        act()
    assert str(error.value) == text


@pytest.mark.parametrize("array", [[[0.0, 1.0]], [[0.0, -np.inf]]], ids=["0 and 1", "additive"])
def test_pairs_as_floats_are_refused_because_0_may_mean_either(array: object) -> None:
    with pytest.raises(AmbiguousError, match="holds floats, which may mean 1 for a pair that attends or 0 for one"):
        am.dense(array)


def test_a_ragged_array_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"(?s)ids is no array.*make all rows equally long"):
        am.documents(ids=[[0, 1], [0]])


def test_every_error_is_a_value_error_too() -> None:
    for kind in (AttnMaskError, ArgumentError, AmbiguousError):
        assert issubclass(kind, ValueError)
