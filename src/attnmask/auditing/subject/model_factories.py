"""Create a model by a function that the user names as ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from attnmask.auditing.subject.audited_model import PASSED_ON
from attnmask.errors import ArgumentError

WHERE = "audit(model=)"


def model_from_factory(text: str) -> tuple[nn.Module, Sequence[str]]:
    """Call ``package.module:function``; return the model and the lines of a script that make it.

    Raises:
        ArgumentError: the function does not exist, needs arguments, or does not return an nn.Module.

    >>> model_from_factory("torch.nn:Identity")
    (Identity(), ('import torch', 'from torch.nn import Identity', 'model = Identity().eval()'))
    """
    module_name, _, name = text.partition(":")
    # The console script, unlike ``python -m``, does not have the current folder on the path.
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ArgumentError(f"{text} cannot be imported: {error}", where=WHERE, fix="give module:function") from error
    finally:
        sys.path.pop(0)
    _check_callable(factory, text)
    lines = ("import torch", f"from {module_name} import {name}", f"model = {name}().eval()")
    return _checked(factory(), text), lines


def _check_callable(factory: Any, text: str) -> None:
    if not callable(factory):
        raise ArgumentError(f"{text} is of type {type(factory).__name__}", where=WHERE, fix="name a function")
    required = [one.name for one in _parameters(factory) if one.default is one.empty and one.kind not in PASSED_ON]
    if required:
        fix = "name a function that takes nothing and returns the model"
        raise ArgumentError(f"{text} must be given {', '.join(required)}", where=WHERE, fix=fix)


def _parameters(factory: Callable[..., Any]) -> Sequence[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except ValueError:  # functions written in C may have no signature
        return []


def _checked(made: Any, text: str) -> nn.Module:
    if isinstance(made, nn.Module):
        return made
    found = f"the class {made.__name__}" if isinstance(made, type) else f"a value of type {type(made).__name__}"
    raise ArgumentError(f"{text} returns {found}", where=WHERE, fix="return an nn.Module")
