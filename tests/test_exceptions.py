"""Every exception and warning of the package survives pickle, copy and deepcopy with all its attributes."""

from __future__ import annotations

import copy
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import attnmask as am
from attnmask.errors import EXTRAS, CannotExpressError, MissingExtraError

VALUES = {"str": "a text", "int": 3, "Sequence[str]": ["one", "two"], "str | None": "a text"}


def classes() -> Iterator[type[BaseException]]:
    for module in pkgutil.walk_packages(am.__path__, "attnmask."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        for found in vars(import_module(module.name)).values():
            if isinstance(found, type) and issubclass(found, BaseException) and found.__module__ == module.name:
                yield found


CLASSES = sorted(set(classes()), key=lambda kind: kind.__qualname__)


def made(kind: type[BaseException]) -> BaseException:
    """One of the class, every argument given; its annotations say what they take."""
    if "__init__" not in {
        name for base in kind.__mro__ if base.__module__.startswith("attnmask") for name in vars(base)
    }:
        return kind("a text", 3)
    if kind is MissingExtraError:
        return MissingExtraError("torch", "attention")
    parameters = inspect.signature(kind).parameters.values()
    given: dict[str, Any] = {one.name: VALUES[one.annotation] for one in parameters}
    return kind(**given)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__qualname__)
def test_it_comes_back_as_it_was(kind: type[BaseException]) -> None:
    error = made(kind)
    error.add_note("seen on the way")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert again.args == error.args
        assert vars(again) == vars(error)


def test_the_classes_are_found() -> None:
    names = {kind.__name__ for kind in CLASSES}
    assert {
        "AttnMaskError",
        "CannotExpressError",
        "TruncationWarning",
        "CouldNotRunError",
        "MissingExtraError",
    } <= names
    assert len(CLASSES) >= 14


def test_a_refusal_that_was_really_raised_comes_back() -> None:
    with pytest.raises(CannotExpressError) as caught:
        am.compile(am.dilated(2), q=4).to("hf_2d")
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.reasons == caught.value.reasons
    assert again.reasons
    assert str(again) == str(caught.value)


@pytest.mark.parametrize("package", EXTRAS)
def test_every_extra_that_is_named_is_there(package: str) -> None:
    from importlib.metadata import metadata

    assert EXTRAS[package] in (metadata("attnmask").get_all("Provides-Extra") or [])
