"""Asks random masks random questions, on all cores, and says how to see each wrong answer again."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import platform
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.attack.formats import ask_format, format_case
from tests.attack.inputs.readers import READERS
from tests.attack.questions import QUESTIONS, ask_dense
from tests.attack.random_masks import Case, case_of

AT_ONCE = 250
# One call of attention, which costs as much as some masks, for so many of them.
MASKS_PER_CALL = 200
MOST_SHOWN = 20


@dataclass
class Tally:
    """What was asked, and what was wrong."""

    asked: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.asked += other.asked
        self.wrong += other.wrong


def attack_mask(number: int, tally: Tally) -> None:
    """One mask: its set, and one more question; which one, the number says."""
    chance = random.Random(f"question {number}")
    if chance.random() < 0.2:
        name = chance.choice(tuple(READERS))
        _ask(f"format {name}", number, format_case, lambda case: ask_format(case, name), tally)
        return
    question = chance.choices(tuple(QUESTIONS), tuple(QUESTIONS.values()))[0]

    def both(case: Case) -> None:
        ask_dense(case)
        question(case)

    _ask(question.__name__.removeprefix("ask_"), number, case_of, both, tally)


def attack_call(number: int, tally: Tally) -> None:
    """One call of attention."""
    from tests.attack.attention_calls import call_of, check_call

    made = None
    try:
        made = call_of(number)
        check_call(made)
    except Exception as error:
        tally.wrong.append(_reproduction(f"--call {number}", error, made))
    tally.asked[f"attention {made.backend if made else ''}".strip()] += 1


def _ask(
    name: str, number: int, make: Callable[[int], Case], question: Callable[[Case], str | None], tally: Tally
) -> None:
    case, answer = None, "wrong"
    try:
        case = make(number)
        answer = question(case)
    except Exception as error:
        tally.wrong.append(_reproduction(str(number), error, case))
    tally.asked[f"{name} {answer}" if answer else name] += 1


def _reproduction(arguments: str, error: Exception, made: object) -> str:
    lines = traceback.format_exception(error)[-2:] if not isinstance(error, AssertionError) else [str(error)]
    return f"python -m tests.attack {arguments}\n  {''.join(lines).strip()}\n  {made}"


def _attack_range(first: int, masks: int) -> Tally:
    tally = Tally()
    # What the modules hold is not garbage: looking through it costs a tenth of the time.
    gc.freeze()
    for number in range(first, first + masks):
        attack_mask(number, tally)
        if number % MASKS_PER_CALL == 0:
            attack_call(number, tally)
    return tally


def _quiet_torch() -> None:
    # Each process has one core, and most of them never need torch.
    os.environ["OMP_NUM_THREADS"] = "1"


def tallies(masks: int, first: int, processes: int) -> Iterator[tuple[int, Tally]]:
    """How many masks are done, and the tally of the last of them."""
    starts = [(start, min(AT_ONCE, first + masks - start)) for start in range(first, first + masks, AT_ONCE)]
    if processes == 1:
        yield from ((count, _attack_range(start, count)) for start, count in starts)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _quiet_torch) as pool:
        yield from pool.imap_unordered(_attack_one, starts)


def _attack_one(of: tuple[int, int]) -> tuple[int, Tally]:
    return of[1], _attack_range(*of)


def first_of(seed: int) -> int:
    """The number of the first mask of a seed; seeds do not overlap below a billion masks."""
    return seed * 10**9


def run(masks: int, seed: int, processes: int) -> int:
    """A whole attack, told as it goes; the exit code."""
    print(f"{masks:,} masks from seed {seed}, {processes} processes, {_machine()}", flush=True)
    total, done, begun, told = Tally(), 0, time.monotonic(), 0.0
    for count, tally in tallies(masks, first_of(seed), processes):
        for wrong in tally.wrong[: max(MOST_SHOWN - len(total.wrong), 0)]:
            print(wrong, flush=True)
        total.add(tally)
        done += count
        if time.monotonic() - told > 10:
            told = time.monotonic()
            rate = done / (told - begun)
            print(f"  {done:,} masks, {len(total.wrong)} mismatches, {rate:.0f} masks/s", flush=True)
    _report(total, done, seed, time.monotonic() - begun, processes)
    return 1 if total.wrong else 0


def _report(total: Tally, masks: int, seed: int, seconds: float, processes: int) -> None:
    print("asked:")
    for name, count in sorted(total.asked.items()):
        print(f"  {name:<32}{count:>10,}")
    calls = sum(count for name, count in total.asked.items() if name.startswith("attention"))
    print(
        f"{masks:,} masks, {sum(total.asked.values()) - calls:,} questions beside the set itself, {calls:,} calls of "
        f"attention, {len(total.wrong)} mismatches; seed {seed}, {seconds:.0f} s, {processes} processes, {_machine()}"
    )


def _machine() -> str:
    import numpy

    return f"{os.cpu_count()} cores, {platform.machine()}, Python {sys.version.split()[0]}, NumPy {numpy.__version__}"


def again(number: int, call: bool) -> int:
    """One mask, with every question and format, or one call."""
    tally = Tally()
    if call:
        from tests.attack.attention_calls import call_of

        print(call_of(number))
        attack_call(number, tally)
    else:
        print(case_of(number))
        attack_mask(number, tally)
        for question in (ask_dense, *QUESTIONS):
            _ask(question.__name__, number, case_of, question, tally)
        for name in READERS:
            _ask(f"format {name}", number, format_case, lambda case, name=name: ask_format(case, name), tally)
    print("\n".join(tally.wrong) or "right")
    return 1 if tally.wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("number", type=int, nargs="?", help="one mask again, with every question")
    parser.add_argument("--call", type=int, help="one call of attention again")
    parser.add_argument("--masks", type=int, default=10_000, help="how many random masks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    given = parser.parse_args()
    if given.call is not None or given.number is not None:
        return again(given.number if given.call is None else given.call, given.call is not None)
    return run(given.masks, given.seed, given.processes)
