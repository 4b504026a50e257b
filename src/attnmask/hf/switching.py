"""A model under ``attn_implementation="attnmask"`` for a while, in several threads at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

from attnmask.hf.model_mask import NAME
from attnmask.hf.sharing import Sharing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_switched = Sharing()


def under_attnmask(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Switch a model; the last to leave puts back what the first found."""
    from attnmask.hf.interface import register

    register()
    # A model and its part without the head share a config, and it is what says which attention runs.
    return _switched.using(id(model.config), lambda: _switch(model))


def _switch(model: PreTrainedModel) -> ExitStack:
    """What undoes it; undone at once where it fails halfway."""
    with ExitStack() as undo:
        found = str(model.config._attn_implementation)  # pyright: ignore[reportPrivateUsage]
        undo.callback(lambda: model.set_attn_implementation(found))
        model.set_attn_implementation(NAME)
        return undo.pop_all()
