"""Switch a model to ``attn_implementation="attnmask"`` temporarily, also in several threads at once."""

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
    """Switch a model; if several threads use it at once, the last one restores it.

    The attention implementation is stored in the config, which other models may share, so that the model gets a copy of
    its config meanwhile.
    """
    register()
    with ExitStack() as undo:
        switch_modules(model, undo)
        yield


def switch_modules(model: PreTrainedModel, undo: ExitStack) -> None:
    """Give a model its own copies of its configs, and set the implementation there, until ``undo`` is closed."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        found = _configs(module)
        if found:
            # A model and its base model share modules, and each may be switched first: so switch by module.
            undo.enter_context(_switched.using(module, lambda own=module, its=found: _copy_configs(own, its, copies)))
    model.set_attn_implementation(NAME)


def give_own_configs(model: PreTrainedModel) -> None:
    """Replace the configs of a model by copies permanently, so that it shares none with other models."""
    copies: dict[int, Any] = {}
    for module in model.modules():
        _copy_configs(module, _configs(module), copies)


def _configs(module: nn.Module) -> dict[str, Any]:
    from transformers.configuration_utils import PreTrainedConfig

    return {name: value for name, value in vars(module).items() if isinstance(value, PreTrainedConfig)}


def _copy_configs(module: nn.Module, found: Mapping[str, Any], copies: dict[int, Any]) -> ExitStack:
    """Replace the configs of a module by copies; return what restores them."""
    undo = ExitStack()
    for name, config in found.items():
        setattr(module, name, _copied_config(config, copies))
        undo.callback(setattr, module, name, config)
    return undo


def _copied_config(config: Any, copies: dict[int, Any]) -> Any:
    """Copy a config and its sub-configs; modules that share a config get the same copy."""
    if id(config) not in copies:
        own = copies[id(config)] = copy(config)
        for name in config.sub_configs:
            part = getattr(config, name, None)
            if part is not None:
                setattr(own, name, _copied_config(part, copies))
    return copies[id(config)]
