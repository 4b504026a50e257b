"""Weights of words reach exactly the tokens of those words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import attnmask as am
from attnmask.errors import ArgumentError
from attnmask.hf.weighting import Weighting
from tests.hf.tokenizers import byte_level, sentence_piece

# (text, words, {part of the text as it stands: its weight}); what is not named has weight 1.
CASES: dict[str, tuple[str, dict[str, float], dict[str, float]]] = {
    "one word": ("an attention mask", {"mask": 2.0}, {"mask": 2}),
    "every occurrence": ("mask the mask, mask", {"mask": 3}, {"mask": 3}),
    "in any case": ("Mask MASK mask", {"mAsk": 2.0}, {"Mask": 2, "MASK": 2, "mask": 2}),
    "no part of a longer word": ("masks unmask masked mask_ mask1", {"mask": 2.0}, {}),
    "punctuation around": ("(mask), “mask”; mask's", {"mask": 2.0}, {"mask": 2}),
    "a word of several pieces": ("unmasked embeddings", {"unmasked": 0.5}, {"unmasked": 0.5}),
    "a phrase": ("attention to the attention mask", {"attention mask": 2.0}, {"attention mask": 2}),
    "a phrase over lines": ("attention\n   mask", {"attention mask": 2.0}, {"attention": 2, "mask": 2}),
    "the longest wins": (
        "attention mask, mask", {"mask": 3.0, "attention mask": 2.0}, {"attention mask": 2, ", mask": 3}
    ),
    "the longest wins from the left too": (
        "new york city hall", {"new york": 2.0, "york city hall": 3.0}, {"york city hall": 3}
    ),
    "0 takes away": ("not a mask", {"not": 0}, {"not": 0}),
    "signs at the border": ("C++ and C", {"C++": 2.0}, {"C++": 2}),
    "accents": ("a café, cafés", {"CAFÉ": 2.0}, {"café": 2}),
    "a combining accent belongs to the word": ("cafe\u0301 cafe", {"cafe": 2.0}, {" cafe": 2}),
    "no spaces between words": ("日本語の文", {"日本語": 2.0}, {"日本語": 2}),
    "beyond the basic plane": ("a 🙂 mask 🙂", {"mask": 2.0}, {"mask": 2}),
}  # fmt: skip


def expected(text: str, parts: dict[str, float], offsets: Any) -> np.ndarray:
    """By character: each named part of the text, a space at a part's front aside, gives its tokens their weight."""
    of_character = np.ones(len(text))
    for part, weight in parts.items():
        at = -1
        while (at := text.find(part, at + 1)) >= 0:
            border = [c for c in (text[:at][-1:], text[at + len(part) :][:1]) if c.isalnum() or c == "_" or c == "\u0301"]
            if not border or not part.isascii():
                of_character[at + len(part) - len(part.lstrip(" ,")) : at + len(part)] = weight
    weights = np.ones(len(offsets))
    for i, (start, stop) in enumerate(offsets):
        own = {w for c, w in zip(text[start:stop], of_character[start:stop], strict=True) if not c.isspace()} - {1}
        weights[i] = max(own, default=1)
    return weights


@pytest.mark.parametrize("kind", ["word pieces", "bytes", "bytes with the space", "sentence pieces"])
@pytest.mark.parametrize("name", CASES)
def test_the_tokens_of_a_word_have_its_weight(name: str, kind: str, minilm: Any) -> None:
    text, words, parts = CASES[name]
    tokenizer = {
        "word pieces": minilm[1],
        "bytes": byte_level(),
        "bytes with the space": byte_level(trim_offsets=False),
        "sentence pieces": sentence_piece(),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not parts else "error")
        weights = am.hf.token_weights(tokenizer, text, words)
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert weights.dtype == np.float32
    assert weights.tolist() == expected(text, parts, encoded["offset_mapping"]).tolist()
    assert weights[0] == weights[-1] == 1


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
        ("x", {" ": 2.0}, "' ' is no word"),
        ("x", {3: 2.0}, "3 is no word"),
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
