"""Check the examples of a data set and convert them to arrays with one value per token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from attnmask.errors import ArgumentError
from attnmask.hf.packing.labels import IGNORED
from attnmask.mask.frozen_array import as_array

WHERE = "PackingCollator"
# The names that transformers' own collators accept for the label of a text.
LABELS = ("labels", "label", "label_ids")
MASKS = ("attention_mask", "decoder_attention_mask")
TOKENS = ("input_ids", "attention_mask", "token_type_ids", "special_tokens_mask", "weights")
# In an encoder-decoder these fields have one value per token of the decoder.
DECODER = ("labels", "decoder_input_ids", "decoder_attention_mask")


class Task(StrEnum):
    """Training task, which decides the labels of a batch."""

    CAUSAL_LM = "causal-lm"
    MASKED_LM = "masked-lm"
    CLASSIFICATION = "classification"
    EMBEDDING = "embedding"
    SEQ2SEQ = "seq2seq"


FIELDS: dict[Task, tuple[str, ...]] = {
    Task.CAUSAL_LM: (*TOKENS, "labels"),
    Task.MASKED_LM: (*TOKENS, "labels"),
    Task.CLASSIFICATION: (*TOKENS, *LABELS),
    Task.EMBEDDING: TOKENS,
    Task.SEQ2SEQ: (*(name for name in TOKENS if name != "weights"), *DECODER),
}


@dataclass(frozen=True)
class Limits:
    """Limits of a model; None where a limit is unknown.

    Attributes:
        vocabulary: size of its vocabulary. positions: maximum number of tokens in a text.
        decoder_positions: maximum number of tokens in a text of the decoder.
        token_types: whether it takes ``token_type_ids``.
    """

    vocabulary: int | None = None
    positions: int | None = None
    decoder_positions: int | None = None
    token_types: bool = True


Columns = dict[str, list[NDArray[Any]]]


def columns_from_examples(
    examples: Sequence[Mapping[str, Any]], task: Task, row_tokens: int, limits: Limits
) -> Columns:
    """Return the fields of examples by name: for each, one array (tokens,) per example.

    Args:
        examples: dicts of one text each. task: the training task. row_tokens: maximum number of tokens in a row.
        limits: limits of the model.

    Returns:
        int64 arrays, float32 for ``weights``. Attention masks are left out, since they are all 1. For the labels of
        classification, which are not per token, see ``labels_from_examples``.

    Raises:
        ArgumentError: examples that are empty, padded or too long, or have invalid values or differing fields.
    """
    _check_are_examples(examples)
    for number, example in enumerate(examples):
        _check_fields(number, example, examples[0], task)
    names = [name for name in FIELDS[task] if name in examples[0] and _is_per_token(name, task)]
    columns = {name: [_values(number, each, name) for number, each in enumerate(examples)] for name in names}
    for number in range(len(examples)):
        _check_text(number, {name: column[number] for name, column in columns.items()}, task, row_tokens, limits)
    return _without_trivial_columns(columns, limits)


def labels_from_examples(examples: Sequence[Mapping[str, Any]]) -> NDArray[Any]:
    """Return the label of each text, (N,) or (N, classes): int64 for integers and bools, else float32.

    Args:
        examples: dicts with ``labels``, ``label`` or ``label_ids``.
    """
    names = [name for name in LABELS if name in examples[0]]
    if len(names) != 1:
        got = f"it has {' and '.join(names)}" if names else "it has no labels"
        raise ArgumentError(got, where=example_location(0), fix='give each one label, or task="embedding"')
    try:
        labels = np.stack([as_array(example[names[0]]) for example in examples])
    except (ValueError, TypeError, RuntimeError):
        labels = np.array(None)
    if labels.dtype.kind not in "biuf" or labels.ndim > 2:
        fix = "give a number each, or lists of numbers, as many in each"
        raise ArgumentError(f"{names[0]} are no array of numbers", where=WHERE, fix=fix)
    return labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64)


def example_location(number: int) -> str:
    """Name an example in an error message."""
    return f"{WHERE}, example {number}"


def _check_are_examples(examples: Any) -> None:
    """Raise unless there is a sequence of examples, each with ``input_ids``."""
    kind = type(examples).__name__
    if isinstance(examples, Mapping | str) or not hasattr(examples, "__getitem__") or not hasattr(examples, "__len__"):
        got = "a dict" if isinstance(examples, Mapping) else f"a {kind}"
        raise ArgumentError(f"it is given {got}", where=WHERE, fix="give a list of dicts, one a text")
    if not len(examples):
        raise ArgumentError("it is given no examples", where=WHERE, fix="give a list of dicts, one a text")
    for number, example in enumerate(examples):
        if not isinstance(example, Mapping) or "input_ids" not in example:
            names = sorted(map(str, cast(Any, example))) if isinstance(example, Mapping) else type(example).__name__
            raise ArgumentError(
                f"it has no input_ids: {names}", where=example_location(number), fix="give tokenizer(text) of each text"
            )


def _check_fields(number: int, example: Mapping[str, Any], first: Mapping[str, Any], task: Task) -> None:
    """Raise unless an example has the same fields as the first one, and no field that cannot be packed."""
    known = FIELDS[task]
    unknown = [str(name) for name in example if name not in known]
    if unknown:
        fix = "positions are counted here: leave them out" if "position_ids" in unknown else "leave the columns out"
        raise ArgumentError(
            f"it has {', '.join(unknown)}, which cannot be packed with task={task.value!r}",
            where=example_location(number),
            fix=f"{fix}, or pad batches that need them; packed are {', '.join(known)}",
        )
    for name in known:
        if (name in example) != (name in first):
            has, other = ("has", "has none") if name in example else ("has no", "has")
            raise ArgumentError(
                f"it {has} {name}, example 0 {other}",
                where=example_location(number),
                fix="give them in all examples or none",
            )


def _is_per_token(name: str, task: Task) -> bool:
    return task is not Task.CLASSIFICATION or name not in LABELS


def _values(number: int, example: Mapping[str, Any], name: str) -> NDArray[Any]:
    """Return the values of one field of one example, (tokens,)."""
    where, weights = example_location(number), name == "weights"
    try:
        values = as_array(example[name])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(f"its {name} are no array: {error}", where=where, fix="give a list of numbers") from None
    if values.ndim != 1:
        fix = "give those of one text: tokenize without return_tensors"
        raise ArgumentError(f"its {name} are {values.shape}", where=where, fix=fix)
    # NumPy kinds: i and u integers, f floats, b bools.
    kinds = "iuf" if weights else "iub" if name in (*MASKS, "special_tokens_mask") else "iu"
    if values.size and values.dtype.kind not in kinds:
        kind = "numbers" if weights else "whole numbers"
        raise ArgumentError(f"its {name} hold {values.dtype} values", where=where, fix=f"give a list of {kind}")
    return values.astype(np.float32 if weights else np.int64)


def _check_text(number: int, text: Mapping[str, NDArray[Any]], task: Task, row_tokens: int, limits: Limits) -> None:
    """Raise unless the fields of an example have equal lengths and fit into a row and the model."""
    where = example_location(number)
    decoder = next((name for name in ("decoder_input_ids", "labels") if name in text), None)
    if task is Task.SEQ2SEQ and decoder is None:
        raise ArgumentError("it has no labels", where=where, fix="give labels, the tokens that the decoder predicts")
    tokens = {name: decoder if task is Task.SEQ2SEQ and name in DECODER else "input_ids" for name in text}
    for name in dict.fromkeys(tokens.values()):
        maximum = limits.positions if name == "input_ids" else limits.decoder_positions
        _check_count(len(text[cast(str, name)]), row_tokens, maximum, where)
    for name, values in text.items():
        if len(values) != len(text[cast(str, tokens[name])]):
            fix = f"give as many as {tokens[name]}"
            raise ArgumentError(f"its {name} are not one a token", where=where, fix=fix)
        _check_values(values, name, limits, where)


def _check_count(count: int, row_tokens: int, maximum: int | None, where: str) -> None:
    if not 0 < count <= row_tokens:
        fix = "leave it out" if not count else "cut it when tokenizing, or give more row_tokens"
        raise ArgumentError(f"it has {count} tokens, a row has {row_tokens}", where=where, fix=fix)
    if maximum is not None and count > maximum:
        raise ArgumentError(
            f"it has {count} tokens, the model has positions for {maximum}", where=where, fix="cut it when tokenizing"
        )


def _check_values(values: NDArray[Any], name: str, limits: Limits, where: str) -> None:
    """Raise unless each value is valid in its field."""
    if name in MASKS and not (values == 1).all() and np.isin(values, (0, 1)).all():
        raise ArgumentError("it is padded", where=where, fix="tokenize with padding=False")
    maximum = limits.vocabulary or np.iinfo(np.int64).max
    right, fix = {
        **dict.fromkeys(MASKS, (values == 1, "give 1 for each token")),
        "special_tokens_mask": (np.isin(values, (0, 1)), "give 1 for a special token, else 0"),
        "weights": (np.isfinite(values) & (values >= 0), "give finite weights, 0 or more"),
        "labels": ((values >= 0) | (values == IGNORED), "give 0 or more, and -100 for what has no label"),
        "token_type_ids": (values >= 0, "give 0 or more"),
    }.get(name, ((values >= 0) & (values < maximum), f"give ids from 0 to {maximum - 1}"))
    if not right.all():
        at = int(np.flatnonzero(~right)[0])
        raise ArgumentError(f"its {name}[{at}] is {values[at]}", where=where, fix=fix)


def _without_trivial_columns(columns: Columns, limits: Limits) -> Columns:
    """Drop attention masks, which are all 1, and token types of 0 for a model that takes no token types."""
    types = columns.get("token_type_ids")
    if types is not None and not limits.token_types:
        for number, values in enumerate(types):
            if values.any():
                raise ArgumentError(
                    "it has token_type_ids, and the model takes none",
                    where=example_location(number),
                    fix="leave them out",
                )
        columns = {name: column for name, column in columns.items() if name != "token_type_ids"}
    return {name: column for name, column in columns.items() if name not in MASKS}
