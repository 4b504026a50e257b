"""A seeded part of the attack, in every run of the tests; ``make attack`` asks as much as one likes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.attack.attention_calls import call_of, check_call
from tests.attack.campaign import Tally, attack_mask, first_of
from tests.attack.formats import ask_format, named_case
from tests.attack.inputs.readers import READERS

SEED = 11
PARTS, MASKS, CALLS = 4, 300, 30


@pytest.mark.parametrize("part", range(PARTS))
def test_random_masks(part: int) -> None:
    tally = Tally()
    for number in range(MASKS):
        attack_mask(first_of(SEED) + MASKS * part + number, tally)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert sum(tally.asked.values()) == MASKS


@pytest.mark.parametrize("name", READERS)
def test_a_format_of_what_it_has_names_for(name: str) -> None:
    said = {ask_format(named_case(number), name) for number in range(20)}
    assert "written" in said


@pytest.mark.parametrize("part", range(PARTS))
def test_random_calls_of_attention(part: int) -> None:
    for number in range(first_of(SEED) + CALLS * part, first_of(SEED) + CALLS * (part + 1)):
        call = call_of(number)
        try:
            check_call(call)
        except Exception as error:
            raise AssertionError(f"python -m tests.attack --call {number}\n{call}") from error


def test_calls_from_many_threads_at_once() -> None:
    calls = [call_of(first_of(SEED) + number) for number in range(25)]
    calls = [call for call in calls if call.q.dtype != torch.float16]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check_call, calls))
