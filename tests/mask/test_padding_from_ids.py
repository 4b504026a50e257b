"""Which tokens of a batch of ids are padding. 0 fills; in the ids below 5 and more are words.

The cases that other code gets wrong: the pad id is also the end-of-sequence id and stands inside the text, the
side is not said, a row is nothing but padding.
"""

from __future__ import annotations

import pytest

import attnmask as am
from attnmask.errors import AmbiguousError, ArgumentError

READINGS: dict[str, tuple[list[list[int]], str | None, list[str]]] = {
    "no padding": ([[5, 6, 7]], None, ["111"]),
    "right": ([[5, 6, 0], [5, 0, 0]], None, ["110", "100"]),
    "right, said": ([[5, 6, 0], [5, 0, 0]], "right", ["110", "100"]),
    "left": ([[0, 5, 6], [0, 0, 6]], "left", ["011", "001"]),
    "pad id inside the text, padding right": ([[5, 0, 6, 0, 0]], None, ["11100"]),
    "pad id inside the text, padding left": ([[0, 0, 5, 0, 6]], "left", ["00111"]),
    "pad id inside the text only": ([[5, 0, 6]], None, ["111"]),
    "a decoder's start is the pad id": ([[0, 5, 6, 0]], "right", ["1110"]),
    "an end of text is the pad id, padding left": ([[0, 0, 5, 0]], "left", ["0011"]),
    "nothing but padding": ([[0, 0, 0]], None, ["000"]),
    "nothing but padding, left": ([[0, 0, 0]], "left", ["000"]),
    "one row of many is all padding": ([[5, 6, 0], [0, 0, 0]], None, ["110", "000"]),
    "all padding beside left padding": ([[0, 5, 6], [0, 0, 0]], "left", ["011", "000"]),
}


@pytest.mark.parametrize(("ids", "side", "tokens"), READINGS.values(), ids=READINGS.keys())
def test_only_the_run_of_pad_ids_at_the_padded_end_is_padding(
    ids: list[list[int]], side: str | None, tokens: list[str]
) -> None:
    mask = am.padding(ids=ids, pad_id=0, side=side)
    assert mask == am.padding(attention_mask=[[int(token) for token in row] for row in tokens])


UNCLEAR: dict[str, tuple[list[list[int]], str | None, str]] = {
    "left, not said": (
        [[5, 6], [0, 6]],
        None,
        "row 1 begins with pad id 0: left padding, or a text that begins with that id\n"
        "  where: padding(ids=, pad_id=)\n"
        '  to do: say side="left" or side="right", or give attention_mask= or lengths=, which leave no doubt',
    ),
    "both ends, not said": (
        [[0, 5, 0]],
        None,
        "row 0 begins with pad id 0: left padding, or a text that begins with that id\n"
        "  where: padding(ids=, pad_id=)\n"
        '  to do: say side="left" or side="right", or give attention_mask= or lengths=, which leave no doubt',
    ),
    "right was said, two pads left": (
        [[5, 6, 7], [0, 0, 5]],
        "right",
        "row 1 begins with 2 pad ids 0, but the padding is on the right\n"
        "  where: padding(ids=, pad_id=)\n"
        "  to do: check side=, or give attention_mask= or lengths=, which leave no doubt",
    ),
    "left was said, two pads right": (
        [[5, 0, 0]],
        "left",
        "row 0 ends with 2 pad ids 0, but the padding is on the left\n"
        "  where: padding(ids=, pad_id=)\n"
        "  to do: check side=, or give attention_mask= or lengths=, which leave no doubt",
    ),
}


@pytest.mark.parametrize(("ids", "side", "text"), UNCLEAR.values(), ids=UNCLEAR.keys())
def test_ids_with_two_readings_are_refused(ids: list[list[int]], side: str | None, text: str) -> None:
    with pytest.raises(AmbiguousError) as error:
        am.padding(ids=ids, pad_id=0, side=side)
    assert str(error.value) == text


def test_one_row_of_ids_is_a_batch_of_one() -> None:
    assert am.padding(ids=[5, 0], pad_id=0) == am.padding(ids=[[5, 0]], pad_id=0)


def test_the_padding_of_ids_may_be_of_queries_too() -> None:
    dense = am.compile(am.padding(ids=[5, 6, 0], pad_id=0, of="both"), q=3).runs.to_dense()
    assert dense[0, 0].astype(int).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("pad_id", [-1, 1.0, "0"])
def test_a_pad_id_is_a_whole_number(pad_id: object) -> None:
    with pytest.raises(ArgumentError, match=r"pad_id is "):
        am.padding(ids=[1, 2], pad_id=pad_id)  # type: ignore[arg-type]
