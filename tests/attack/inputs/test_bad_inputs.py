"""No bad input of many thousands ends in anything but an answer or an AttnMaskError."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import attnmask as am
from tests.attack.inputs import bad_inputs
from tests.attack.inputs.bad_inputs import POOL, Subject, raw_error

GROUPS = {
    "atoms": (bad_inputs.atoms, 2500),
    "core": (bad_inputs.core, 1000),
    "formats": (bad_inputs.formats, 5000),
    "in transformers": (bad_inputs.in_transformers, 1500),
    "audits": (bad_inputs.audits, 1000),
    "drawing": (bad_inputs.drawing, 200),
    "attention": (bad_inputs.attention, 500),
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_bad_input_is_answered_or_refused_in_words(group: str) -> None:
    subjects, least = GROUPS[group]
    calls = [each for subject in subjects() for each in subject.bad_calls(POOL)]
    errors = {name: error for name, call in calls if (error := raw_error(call)) is not None}
    assert {name: f"{type(error).__name__}: {error}" for name, error in errors.items()} == {}
    assert len(calls) >= least


def test_the_attack_sees_raw_errors_and_empty_ones() -> None:
    def careless(n: int) -> None:
        if n == 1:
            raise am.AttnMaskError("")
        [0, 0, 0][n]

    assert isinstance(raw_error(lambda: careless(3)), IndexError)
    assert isinstance(raw_error(lambda: careless(1)), am.AttnMaskError)
    assert raw_error(lambda: careless(2)) is None
    calls = dict(Subject("careless", careless, {"n": 0}).bad_calls({"9": lambda: 9}))
    assert [type(raw_error(call)) for call in calls.values()] == [IndexError, TypeError, TypeError, TypeError]


def attacked() -> Iterator[str]:
    for subjects, _ in GROUPS.values():
        yield from (subject.name.split()[0].removeprefix("hf.") for subject in subjects())


OTHERS = {  # whose bad inputs have tests of their own, beside those of what they do
    "encode", "score", "PackingCollator", "register", "unregister", "token_weights", "hf", "Mask", "Plan",
}  # fmt: skip


def test_no_public_function_is_left_out() -> None:
    public: set[str] = {*am.__all__, *am.hf.__all__}
    functions = {name for name in public if _is_called(getattr(am, name, None) or getattr(am.hf, name))}
    assert functions - set(attacked()) - OTHERS == set()


def _is_called(value: object) -> bool:
    return isinstance(value, Callable) and not isinstance(value, type)
