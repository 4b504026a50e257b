"""Weights of words reach exactly the tokens of those words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.hf.weights.word_weights import Weighting
from tests.hf.trained_models import byte_level, sentence_piece

# (words, text, below each character its weight; 1 where there is a space, and h for a half).
CASES: dict[str, tuple[dict[str, float], str, str]] = {
    "one word": ({"mask": 2.0},
        "an attention mask",
        "             2222"),
    "every occurrence": ({"mask": 3},
        "mask the mask, mask",
        "3333     3333  3333"),
    "in any case": ({"mAsk": 2.0},
        "Mask MASK mask",
        "2222 2222 2222"),
    "no part of a longer word": ({"mask": 2.0},
        "masks unmask masked mask_ mask1 mask",
        "                                2222"),
    "punctuation around": ({"mask": 2.0},
        "(mask), “mask”; mask's",
        " 2222    2222   2222"),
    "a word of several pieces": ({"unmasked": 0.5},
        "unmasked embeddings",
        "hhhhhhhh"),
    "a phrase": ({"attention mask": 2.0},
        "attention to the attention mask",
        "                 22222222222222"),
    "a phrase over lines": ({"attention mask": 2.0},
        "attention\n  mask",
        "222222222" "2222222"),
    "a phrase that overlaps itself": ({"a a": 2.0},
        "ba a a",
        "   222"),
    "the longest wins": ({"mask": 3.0, "attention mask": 2.0},
        "attention mask, mask",
        "22222222222222  3333"),
    "the longest wins from the left too": ({"new york": 2.0, "york city hall": 3.0},
        "new york city hall, new york",
        "    33333333333333  22222222"),
    "0 takes away": ({"not": 0},
        "not a mask",
        "000"),
    "signs at the border": ({"C++": 2.0},
        "C++ and C",
        "222"),
    "accents": ({"CAFÉ": 2.0},
        "a café, cafés",
        "  2222"),
    "a combining accent belongs to the word": ({"cafe": 2.0},
        "cafe\u0301 cafe",
        "    " "  2222"),
    "no spaces between words": ({"日本語": 2.0},
        "日本語の文",
        "222"),
    "beyond the basic plane": ({"mask": 2.0},
        "a 🙂 mask 🙂",
        "    2222"),
}  # fmt: skip
WEIGHT = {" ": 1.0, "0": 0.0, "h": 0.5, "2": 2.0, "3": 3.0}


@pytest.mark.parametrize("kind", ["word pieces", "bytes", "bytes with the space", "sentence pieces"])
@pytest.mark.parametrize("name", CASES)
def test_the_tokens_of_a_word_have_its_weight(name: str, kind: str, minilm: Any) -> None:
    words, text, marks = CASES[name]
    tokenizer = {
        "word pieces": minilm[1],
        "bytes": byte_level(),
        "bytes with the space": byte_level(trim_offsets=False),
        "sentence pieces": sentence_piece(),
    }[kind]
    weights = am.hf.token_weights(tokenizer, text, words)
    expected = []
    for start, stop in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]:
        own = {WEIGHT[mark] for mark in marks.ljust(len(text))[start:stop].replace(" ", "")}
        assert len(own) <= 1, "a token of two words makes the case useless"
        expected.append(max(own, default=1.0))
    assert weights.dtype == np.float32
    assert weights.tolist() == expected
    assert any(weight != 1 for weight in expected)


def test_a_weight_by_hand(minilm: Any) -> None:
    text = "Masking: the attention mask, unmasked."
    assert minilm[1].tokenize(text) == [
        "mask", "##ing", ":", "the", "attention", "mask", ",", "un", "##mas", "##ked", ".",
    ]  # fmt: skip
    weights = am.hf.token_weights(minilm[1], text, {"attention mask": 2.0, "unmasked": 0.5, "masking": 0.0})
    assert weights.tolist() == [1, 0, 0, 1, 1, 2, 2, 1, 0.5, 0.5, 0.5, 1, 1]


def test_a_token_of_two_words_has_the_larger_weight(minilm: Any) -> None:
    class Whole:
        is_fast = True

        def __call__(self, text: str, **_: Any) -> dict[str, Any]:
            return {"offset_mapping": [(0, 0), (0, len(text)), (0, 0)]}

    assert am.hf.token_weights(Whole(), "small large", {"small": 0.5, "large": 2.0}).tolist() == [1, 2, 1]  # type: ignore
    assert am.hf.token_weights(Whole(), "small large", {"small": 0.5}).tolist() == [1, 0.5, 1]  # type: ignore


def test_words_that_do_not_occur_are_named_once(minilm: Any) -> None:
    with pytest.warns(am.hf.WordNotFoundWarning, match="no token belongs to 'Masks', 'of course'") as caught:
        weights = am.hf.token_weights(minilm[1], "a mask of", {"Masks": 2.0, "mask": 2.0, "of course": 3.0})
    assert weights.tolist() == [1, 1, 2, 1, 1]
    assert len(caught) == 1
    assert caught[0].message.words == ("Masks", "of course")
    assert caught[0].filename == __file__


def test_truncation_cuts_the_weights_too(minilm: Any) -> None:
    text = "a mask and another mask"
    assert am.hf.token_weights(minilm[1], text, {"mask": 2.0}, max_length=4).tolist() == [1, 1, 2, 1]
    with pytest.warns(am.hf.WordNotFoundWarning):
        assert am.hf.token_weights(minilm[1], text, {"another": 2.0}, max_length=4).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("x", {"a": -1.0}, "the weight of 'a' is -1.0"),
        ("x", {"a": float("nan")}, "the weight of 'a' is nan"),
        ("x", {"a": float("inf")}, "the weight of 'a' is inf"),
        ("x", {"a": True}, "the weight of 'a' is True"),
        ("x", {"a": "2"}, "the weight of 'a' is '2'"),
        ("x", {" ": 2.0}, "' ' is not a word"),
        ("x", {3: 2.0}, "3 is not a word"),
        ("x", {"A b": 2.0, "a  B": 3.0}, "'A b' and 'a  B' are the same word"),
        ("x", ["a"], "words are list"),
        (["x"], {"a": 2.0}, "text is list"),
    ],
)
def test_unusable_words_are_refused(text: Any, words: Any, message: str, minilm: Any) -> None:
    with pytest.raises(ArgumentError, match=message):
        am.hf.token_weights(minilm[1], text, words)


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ArgumentError, match="Slow does not say which characters a token stands for"):
        Weighting(Slow(), {"a": 2.0})  # type: ignore
