"""Make labels from a mask, and check labels against a mask: padding must have the label -100."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from attnmask.calls import public
from attnmask.errors import ArgumentError
from attnmask.hf.implementation.token_mask import described, read_token_mask
from attnmask.hf.packing.packed_mask import PackedMask
from attnmask.mask.arguments import one_of

IGNORED = -100
CHECK = "check_labels(labels, attention_mask)"
SET_IGNORED = "set labels[attention_mask == 0] = -100, or make them with labels_from_mask"


class LabelTask(StrEnum):
    """Training tasks: they differ in which tokens have a label, and whether the model shifts labels by one."""

    CAUSAL_LM = "causal-lm"
    COMPLETION = "completion"
    MASKED_LM = "masked-lm"


@public
def labels_from_mask(input_ids: Tensor, attention_mask: Any) -> Tensor:
    """Return labels for a causal language model: the token ids, and -100 exactly at padding.

    The model shifts the labels itself: each token is predicted from the one before it. With left padding, the first
    token of a text is therefore predicted from a pad; with right padding, it has no prediction.

    Args:
        input_ids: int64 (B, L).
        attention_mask: (B, L), 1 or True for a token; or a PackedMask, where the first token of each document also
            gets -100, since it would be predicted from the previous document.

    Returns:
        int64 (B, L).

    Raises:
        ArgumentError: shapes or values that do not fit.

    Source: the ``labels`` of Hugging Face transformers' models with a language-model head.

    >>> import torch
    >>> labels_from_mask(torch.tensor([[7, 8, 9], [5, 0, 0]]), torch.tensor([[1, 1, 1], [1, 0, 0]])).tolist()
    [[7, 8, 9], [5, -100, -100]]
    """
    where = "labels_from_mask(input_ids, attention_mask)"
    tokens = _checked_token_mask(attention_mask, input_ids, "input_ids", where)
    labels = input_ids.masked_fill(~tokens, IGNORED)
    if isinstance(attention_mask, PackedMask):
        labels = labels.masked_fill(_first_tokens(attention_mask).to(labels.device), IGNORED)
    return labels


@public
def check_labels(labels: Tensor, attention_mask: Any, task: str = "causal-lm") -> None:
    """Raise unless labels are -100 at padding, and elsewhere only where the task allows it.

    Args:
        labels: int64 (B, L), -100 for no label.
        attention_mask: (B, L), 1 or True for a token; or a PackedMask.
        task: "causal-lm" (every token has a label), "completion" (the same, except that prompts have none), or
            "masked-lm" (only masked tokens have one; also for token classification). Models of the first two tasks
            shift labels, so the first token of a packed document must have none, unless it begins its row.

    Raises:
        ArgumentError: padding with a label, a token without one, or a label predicted from the previous document; the
            message counts them and locates the first. Also if no label is a prediction target (the loss would be NaN),
            or if the shapes do not fit.

    Source: attnmask.

    >>> import torch
    >>> mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    >>> check_labels(torch.tensor([[7, 8, 9], [5, 6, -100]]), mask)
    >>> check_labels(torch.tensor([[-100, 8, -100], [5, -100, -100]]), mask, "masked-lm")
    >>> check_labels(torch.tensor([[7, 8, 9], [5, 6, 0]]), mask)
    Traceback (most recent call last):
        ...
    attnmask.errors.ArgumentError: pads with a label: 1 of 1, the first is labels[1, 2] = 0
      where: check_labels(labels, attention_mask)
      to do: set labels[attention_mask == 0] = -100, or make them with labels_from_mask
    """
    wanted = one_of(LabelTask, task, "task", "check_labels")
    tokens = _checked_token_mask(attention_mask, labels, "labels", CHECK)
    labelled = labels != IGNORED
    _check_none("pads with a label", labelled & ~tokens, ~tokens, labels, SET_IGNORED)
    first = torch.zeros_like(tokens)
    if isinstance(attention_mask, PackedMask) and wanted is not LabelTask.MASKED_LM:
        first = _first_tokens(attention_mask).to(labels.device)
        crossing = labelled & first
        # The model's shift drops the first label of a row, so it is never predicted from another document.
        crossing[:, 0] = False
        fix = "set the label of each document's first token to -100"
        _check_none("documents whose first label is predicted from the previous one", crossing, first, labels, fix)
    if wanted is LabelTask.CAUSAL_LM:
        fix = 'label each token; task="completion" allows for prompts, "masked-lm" for all that is not masked'
        _check_none("tokens without a label", tokens & ~labelled & ~first, tokens, labels, fix)
    # A model that shifts labels ignores the first label of each row.
    targets = labelled if wanted is LabelTask.MASKED_LM else labelled[:, 1:]
    if not bool(targets.any()):
        raise ArgumentError("no token is a prediction target: the loss is NaN", where=CHECK, fix="leave the batch out")


def _checked_token_mask(attention_mask: Any, labels: Tensor, name: str, where: str) -> Tensor:
    tokens = read_token_mask(attention_mask, where)
    if not isinstance(labels, Tensor) or labels.shape != tokens.shape or labels.dtype != torch.int64:
        raise ArgumentError(
            f"{name} are {described(labels)}, attention_mask {tuple(tokens.shape)}",
            where=where,
            fix="give int64 (B, L) and (B, L)",
        )
    return tokens.to(labels.device)


def _first_tokens(mask: PackedMask) -> Tensor:
    """Return which positions are first tokens of documents, bool (B, T)."""
    first = torch.zeros(mask.shape, dtype=torch.bool)
    first[torch.from_numpy(mask.documents.rows), torch.from_numpy(mask.documents.starts)] = True
    return first


def _check_none(what: str, wrong: Tensor, of: Tensor, labels: Tensor, fix: str) -> None:
    found = wrong.nonzero()
    if len(found):
        b, at = (int(i) for i in found[0])
        raise ArgumentError(
            f"{what}: {len(found)} of {int(of.sum())}, the first is labels[{b}, {at}] = {int(labels[b, at])}",
            where=CHECK,
            fix=fix,
        )
