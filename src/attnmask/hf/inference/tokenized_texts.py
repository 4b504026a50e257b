"""Tokenize texts to token ids, end to end and without padding, with a warning about texts that were cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attnmask.calls import warn_caller
from attnmask.errors import ArgumentError
from attnmask.hf.warnings_issued import TruncationWarning
from attnmask.hf.weights.word_weights import Weighting
from attnmask.mask.arguments import whole_number
from attnmask.mask.tables.lookup_tables import ragged_indices

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 1024  # a tokenizer returns lists of Python integers: convert them to arrays part by part
SHOWN = 5  # number of texts that an error names


@dataclass(frozen=True)
class TokenizedTexts:
    """The tokens of N texts, text after text.

    Attributes:
        lengths: int64 (N,), number of tokens of each text.
        ids, types: int32 (T,), token ids and token types.
        weights: float32 (T,); None where all are 1.
    """

    lengths: NDArray[np.int64]
    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    weights: NDArray[np.float32] | None

    def places(self, texts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of the tokens of some texts, text after text."""
        firsts = np.cumsum(self.lengths) - self.lengths
        return ragged_indices(firsts[texts], self.lengths[texts])


def tokenize_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    positions: int,
    max_length: int | None,
    weighting: Weighting | None,
    who: str = "encode",
    *,
    change: Callable[[str], str] | None = None,
    skips_empty: bool = False,
) -> TokenizedTexts:
    """Tokenize texts, including special tokens.

    Args:
        tokenizer: the model's tokenizer. texts: N strings.
        positions: number of positions that the model has.
        max_length: number of tokens at which a text is cut; None for the limit of tokenizer and model.
        weighting: weights of words, if any.
        who: name of the calling function, for errors.
        change: function that is applied to each text first.
        skips_empty: whether empty texts get no tokens instead of raising an error.

    Raises:
        ArgumentError: not a list of strings, empty texts, a text without tokens or whose weights are all 0, or an
            invalid limit.

    Warns:
        TruncationWarning, WordNotFoundWarning.
    """
    _check_texts(texts, who)
    if not skips_empty:
        _check_filled(np.array([_is_blank(text) for text in texts], dtype=bool), "empty", who)
    limit = _limit(tokenizer, positions, max_length, who)
    parts: list[TokenizedTexts] = []
    cut: list[int] = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        part, too_long = _part(tokenizer, list(texts[first : first + TEXTS_AT_ONCE]), limit, weighting, change)
        parts.append(part)
        cut += [first + i for i in too_long]
    tokens = _joined(parts)
    _check_tokens(tokens, who, skips_empty)
    if cut:
        warn_caller(TruncationWarning(len(cut), cut[0], limit, len(texts)))
    if weighting is not None:
        weighting.warn_of_words_not_found()
    return tokens


def _part(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    limit: int,
    weighting: Weighting | None,
    change: Callable[[str], str] | None,
) -> tuple[TokenizedTexts, list[int]]:
    """Tokenize some texts; return their tokens, none for blank texts, and the indices of texts that were cut."""
    blank = [i for i, text in enumerate(texts) if _is_blank(text)]
    texts = texts if change is None else [*map(change, texts)]
    options: dict[str, Any] = {
        "verbose": False,
        "return_attention_mask": False,
        "return_offsets_mapping": weighting is not None,
    }
    columns: dict[str, list[list[Any]]] = dict(tokenizer(texts, **options))
    for column in columns.values():
        for i in blank:
            column[i] = []
    cut = [i for i, ids in enumerate(columns["input_ids"]) if len(ids) > limit]
    if cut:
        # Tokenize these again with truncation: the special tokens at the end of a cut text depend on the tokenizer.
        shorter = tokenizer([texts[i] for i in cut], truncation=True, max_length=limit, **options)
        for name, column in columns.items():
            for i, values in zip(cut, shorter[name], strict=True):
                column[i] = values
    ids, types = columns["input_ids"], columns.get("token_type_ids")
    weights = None if weighting is None else [*map(weighting.of, texts, columns["offset_mapping"])]
    flat_ids = np.fromiter(chain.from_iterable(ids), np.int32)
    tokens = TokenizedTexts(
        lengths=np.array([len(one) for one in ids], dtype=np.int64),
        ids=flat_ids,
        types=np.zeros_like(flat_ids) if types is None else np.fromiter(chain.from_iterable(types), np.int32),
        weights=None if weights is None else np.concatenate(weights),
    )
    return tokens, cut


def _joined(parts: list[TokenizedTexts]) -> TokenizedTexts:
    weights = [part.weights for part in parts if part.weights is not None]
    joined = np.concatenate(weights) if weights else None
    return TokenizedTexts(
        lengths=np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]),
        ids=np.concatenate([np.zeros(0, np.int32), *(part.ids for part in parts)]),
        types=np.concatenate([np.zeros(0, np.int32), *(part.types for part in parts)]),
        weights=joined if joined is not None and (joined != 1).any() else None,
    )


def _limit(tokenizer: PreTrainedTokenizerBase, positions: int, max_length: int | None, who: str) -> int:
    if max_length is None:
        return int(min(positions, tokenizer.model_max_length))  # pyright: ignore[reportUnknownArgumentType]
    least, limit = tokenizer.num_special_tokens_to_add() + 1, whole_number(max_length, "max_length", who)
    if not least <= limit <= positions:
        raise ArgumentError(
            f"max_length is {limit}",
            where=f"{who}(max_length=)",
            fix=f"give {least} to {positions}: one token besides the special ones, and no more than the model places",
        )
    return limit


def _check_texts(texts: Sequence[str], who: str) -> None:
    where = f"{who}(texts=)"
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ArgumentError(f"texts is {type(texts).__name__}", where=where, fix="give a list of strings")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ArgumentError(f"texts[{i}] is {type(text).__name__}", where=where, fix="give a list of strings")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ArgumentError(
                f"texts[{i}] holds half a character, a lone surrogate", where=where, fix="decode as UTF-8"
            )


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _check_filled(empty: NDArray[np.bool_], what: str, who: str) -> None:
    """Raise an error that names the texts for which ``empty`` is True."""
    first, *others = np.flatnonzero(empty).tolist() or [None]
    if first is None:
        return
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    too = f", and so are {', '.join(f'texts[{i}]' for i in others[:SHOWN])}{more}" if others else ""
    zero = ', or give on_empty="zero"' if who == "encode" else ""
    raise ArgumentError(f"texts[{first}] is {what}{too}", where=f"{who}(texts=)", fix=f"leave such texts out{zero}")


def _check_tokens(tokens: TokenizedTexts, who: str, skips_empty: bool) -> None:
    if not skips_empty:
        _check_filled(tokens.lengths == 0, "without a token", who)
    if tokens.weights is not None and len(tokens.weights):
        firsts = (np.cumsum(tokens.lengths) - tokens.lengths)[tokens.lengths > 0]
        weighted = np.add.reduceat(tokens.weights, firsts) > 0
        if not weighted.all():
            at = int(np.flatnonzero(tokens.lengths)[np.flatnonzero(~weighted)[0]])
            raise ArgumentError(
                f"all tokens of texts[{at}] weigh 0", where="encode(token_weights=)", fix="leave such texts out"
            )
