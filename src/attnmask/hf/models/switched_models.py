"""A model under ``attn_implementation="attnmask"`` for a while, in several threads at once."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from attnmask.hf.implementation.model_mask import NAME
from attnmask.hf.implementation.registration import register
from attnmask.hf.shared_changes import SharedChanges

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_switched = SharedChanges()


@contextmanager
def under_attnmask(model: PreTrainedModel) -> Generator[None]:
    """Switch a model; the last to leave puts back what the first found.

    The config says which attention runs, and other models may share it: meanwhile the model has a copy of its own.
    """
    register()
    with ExitStack() as undo:
        switch_modules(model, undo)
        yield


def switch_modules(model: PreTrainedModel, undo: ExitStack) -> None:
    """Give a model configs of its own, and set our implementation there, until ``undo`` is closed."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        found = _configs(module)
        if found:
            # A model and its part without the head share these modules, whoever switches them first.
            undo.enter_context(_switched.using(module, lambda own=module, its=found: _copy_configs(own, its, copies)))
    model.set_attn_implementation(NAME)


def give_own_configs(model: PreTrainedModel) -> None:
    """Let a model share no config with others, for good."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        _copy_configs(module, _configs(module), copies)


def _configs(module: nn.Module) -> dict[str, Any]:
    from transformers.configuration_utils import PreTrainedConfig

    return {name: value for name, value in vars(module).items() if isinstance(value, PreTrainedConfig)}


def _copy_configs(module: nn.Module, found: Mapping[str, Any], copies: dict[int, Any]) -> ExitStack:
    """What puts a module's configs back."""
    undo = ExitStack()
    for name, config in found.items():
        setattr(module, name, _copied_config(config, copies))
        undo.callback(setattr, module, name, config)
    return undo


def _copied_config(config: Any, copies: dict[int, Any]) -> Any:
    """The copy of a config, of its parts too; one for all modules that share it."""
    if id(config) not in copies:
        own = copies[id(config)] = copy(config)
        for name in config.sub_configs:
            part = getattr(config, name, None)
            if part is not None:
                setattr(own, name, _copied_config(part, copies))
    return copies[id(config)]
