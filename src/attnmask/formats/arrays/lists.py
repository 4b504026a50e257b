"""Lists of zeros and ones, one for each text, as a tokenizer gives them without tensors."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from attnmask.compiler.plan import Plan
from attnmask.compiler.structure.key_tokens import plan_from_tokens, reasons_against_tokens, tokens_of
from attnmask.conventions import Side
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import attends_by, read_array
from attnmask.formats.shared.writing import batch_items
from attnmask.mask.arguments import keep_mask, one_of

name = "lists"
summary = (
    "list of a list of 0 and 1 for each text, 1 is a token; causal=True for a decoder, which adds causality itself"
)
WHERE = "lift('lists', lists)"


def refusals(plan: Plan, *, causal: bool = False, **options: Any) -> list[str]:
    """What keeps the set from being padding, or with ``causal`` a causal mask of padding."""
    return reasons_against_tokens(plan, causal)


def lower(plan: Plan, *, causal: bool = False, batch: int | None = None) -> list[list[int]]:
    """Say of each token of each text whether it is one.

    Args:
        plan: the set; its query rows are the last Q of the keys, as when decoding with a cache.
        causal: the model is a decoder, which makes the mask causal itself: the plan is causal() & padding.
        batch: texts to write out; needed where the plan is the same for all of several.

    Returns:
        For each text a list of K numbers, 1 is a token, 0 padding.

    Raises:
        ArgumentError: another number of items than the plan has.

    Source: the ``attention_mask`` of a Hugging Face tokenizer without ``return_tensors``.

    >>> import attnmask as am
    >>> am.compile(am.padding(lengths=[3, 1]), q=3).to("lists")
    [[1, 1, 1], [1, 0, 0]]
    """
    keys = tokens_of(plan).astype(int)
    return np.broadcast_to(keys, (batch_items(plan, batch), plan.K)).tolist()


def lift(
    representation: Any,
    *,
    causal: bool = False,
    q: int | None = None,
    side: str | None = None,
    polarity: str | None = None,
) -> Plan:
    """Read lists of zeros and ones, of texts that may differ in length.

    Args:
        representation: for each text a list of 0 and 1, bools, or floats of exactly 0.0 and 1.0.
        causal: the model is a decoder, which makes the mask causal itself.
        q: query rows, the last of the keys; as many as keys if left out.
        side: "right" or "left", where shorter lists are padded; needed if there are shorter lists.
        polarity: "attends" or "masked_out", what a 1 says; needed where the numbers are floats of 0.0 alone.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: lists of several lengths without a side, or floats of 0.0 alone without a polarity.
        ArgumentError: no lists, or other values than 0 and 1.

    Source: as ``lower``.

    >>> lift([[1, 1, 1], [1]], side="right")
    Plan(B=2, H=1, Q=3, K=3, pairs=12, density=0.667, empty_rows=0)
    """
    texts = _texts(representation)
    lengths = [len(text) for text in texts]
    if len(set(lengths)) > 1 and side is None:
        raise AmbiguousError(
            f"lists are {min(lengths)} to {max(lengths)} long, and nothing says where shorter ones are padded",
            where=WHERE,
            fix='give side="right" (as most encoders) or side="left" (as decoders that generate)',
        )
    keep_mask(np.concatenate(texts), "the numbers", WHERE, dims=(1,), polarity_given=polarity is not None)
    at_left = side is not None and one_of(Side, side, "side", "lift") is Side.LEFT
    tokens = np.zeros((len(texts), max(lengths)), dtype=bool)
    for row, text in zip(tokens, texts, strict=True):
        row[slice(len(row) - len(text), None) if at_left else slice(len(text))] = attends_by(text == 1, polarity)
    return plan_from_tokens(tokens, causal, q, WHERE)


def _texts(representation: Any) -> list[NDArray[Any]]:
    given = cast(list[Any], representation) if isinstance(representation, list | tuple) else []
    texts = [read_array(text, f"lists[{number}]") for number, text in enumerate(given)]
    for number, text in enumerate(texts):
        keep_mask(text, f"lists[{number}]", WHERE, dims=(1,), polarity_given=True)
    if not texts:
        raise ArgumentError(
            f"the representation is {representation!r:.50}",
            where=WHERE,
            fix="give a list of a list for each text",
        )
    return texts
