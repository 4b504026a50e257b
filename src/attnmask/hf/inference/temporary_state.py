"""A model that is run in another state than it was found in, and is as it was afterwards, whatever happens."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from torch import nn

from attnmask.hf.inference.onednn_linear import pack_linears
from attnmask.hf.models.switched_models import under_attnmask
from attnmask.hf.shared_changes import SharedChanges

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Packing reads every weight once and more: a few rows do not earn that back.
LEAST_ROWS = 4


_prepared_models = SharedChanges()


def prepared_for_inference(model: PreTrainedModel, row_tokens: int, rows: int) -> AbstractContextManager[None]:
    """A model in evaluation mode and under ``attn_implementation="attnmask"``, its linear layers packed for many rows.

    Several threads may borrow one model: the last to leave puts back what the first found.

    Args:
        model: of transformers.
        row_tokens: tokens of the rows it will mostly get. rows: how many those are.
    """
    return _prepared_models.using(model, lambda: _prepare(model, row_tokens, rows))


def _prepare(model: PreTrainedModel, row_tokens: int, rows: int) -> ExitStack:
    """What undoes, in the reverse order, what is done to a model here; done at once where a step fails."""
    with ExitStack() as undo:
        undo.enter_context(under_attnmask(model))
        undo.callback(_set_training, [module for module in model.modules() if module.training])
        model.eval()
        if rows >= LEAST_ROWS:
            undo.callback(pack_linears(model, row_tokens))
        return undo.pop_all()


def _set_training(modules: list[nn.Module]) -> None:
    for module in modules:
        module.training = True
