"""Switch a model to the state that inference needs, and restore it afterwards, also after an error."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from torch import nn

from attnmask.hf.inference.onednn_linear import pack_linears
from attnmask.hf.models.switched_models import under_attnmask
from attnmask.hf.shared_changes import SharedChanges

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# Packing reads and writes every weight, which costs more than it saves for fewer rows than this.
LEAST_ROWS = 4


_prepared_models = SharedChanges()


def prepared_for_inference(model: PreTrainedModel, row_tokens: int, rows: int) -> AbstractContextManager[None]:
    """Put a model into evaluation mode and under ``attn_implementation="attnmask"``, and pack its linear layers.

    Several threads may use one model at once: the first one changes the model, and the last one restores it.

    Args:
        model: a transformers model.
        row_tokens: the usual number of tokens in a row. rows: the number of rows to run.
    """
    return _prepared_models.using(model, lambda: _prepare(model, row_tokens, rows))


def _prepare(model: PreTrainedModel, row_tokens: int, rows: int) -> ExitStack:
    """Change the model, and return what undoes the changes in reverse order."""
    # If a step fails, leaving this block undoes the steps before it.
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
