"""Checks that every public function shares: a wrong call and a missing package raise a clear error."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar, cast

from attnmask.errors import ArgumentError, missing_extra

Function = TypeVar("Function", bound=Callable[..., Any])


def public(function: Function) -> Function:
    """A function, method or class that people call, whose wrong calls raise ArgumentError and name its arguments.

    A missing package raises MissingExtraError.

    >>> @public
    ... def window(*, left, right=0): ...
    >>> window(3)
    Traceback (most recent call last):
        ...
    attnmask.errors.ArgumentError: too many positional arguments
      where: window
      to do: call window(*, left, right=0); arguments after the * are given by name
    """
    if isinstance(function, type):
        kind: Any = function
        kind.__init__ = _checked(kind.__init__, kind.__name__)
        return kind
    return cast(Function, _checked(function, function.__qualname__))


def _checked(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            # Without a frame below this one, the function was never entered: the arguments do not fit.
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise
            raise _wrong_call(function, name, args, kwargs, error) from None
        except ModuleNotFoundError as error:
            missing = missing_extra(error, name)
            if missing is None:
                raise
            raise missing from error

    return call


def _wrong_call(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError
) -> ArgumentError:
    signature = inspect.signature(function)
    shown = [
        one.replace(annotation=one.empty) for one in signature.parameters.values() if one.name not in ("self", "cls")
    ]
    call = f"{name}{signature.replace(parameters=shown, return_annotation=signature.empty)}"
    named = "; arguments after the * are given by name" if "*, " in call else ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as reason:
        return ArgumentError(str(reason), where=name, fix=f"call {call}{named}")
    return ArgumentError(str(error), where=name, fix=f"call {call}{named}")


def load_attribute(home: str, name: str) -> Any:
    """An attribute of a module that loads a framework; where that is missing, a function that says so when called.

    So a module can be listed and printed by ``dir`` and ``help`` without its extras.
    """
    try:
        return getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        missing = missing_extra(error, name)
        if missing is None:
            raise

        def needs_extra(*_: Any, **__: Any) -> Any:
            raise missing

        needs_extra.__name__ = needs_extra.__qualname__ = name
        needs_extra.__doc__ = str(missing)
        return needs_extra


def warn_caller(warning: Warning) -> None:
    """Warn at the line of the caller's own code, the nearest that is not of this package."""
    frame, level = sys._getframe(1), 2  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "attnmask":
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)
