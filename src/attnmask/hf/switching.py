"""A model under ``attn_implementation="attnmask"`` for a while, in several threads at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

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
        found = _implementations(model.config)
        undo.callback(lambda: model.set_attn_implementation(found))
        model.set_attn_implementation(NAME)
        return undo.pop_all()


def _implementations(config: Any) -> dict[str, str]:
    """What each part of a model runs under: its vision tower may run under another than its text."""
    parts: dict[str, Any] = {name: getattr(config, name, None) for name in config.sub_configs}
    found = {"": config} | {name: part for name, part in parts.items() if part is not None}
    return {name: str(part._attn_implementation) for name, part in found.items()}
