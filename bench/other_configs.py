"""The comparison of bench.architectures under other configs of each type, kept in a journal so that it can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from attnmask.errors import AttnMaskError
from attnmask.hf.tiny import tiny_config, tiny_model
from bench.architecture_configs import Changes, changes_that_run, drawn_changes, nested, smallest_size
from bench.architectures import LENGTHS, TOLERANCE, Row, compared_in, first_line, first_that_runs, quiet_for

SECONDS = 120
# What can come of a config.
EQUAL, REFUSED, DIFFERS, FAILS, UNTRIED = "equal", "refused", "differs", "fails", "not under eager"
NOTHING = "nothing to change"


@dataclass(frozen=True)
class Found:
    """What came of one other config of a model type.

    Attributes:
        name, seed: which. outcome: one of those above. worst: largest relative difference. why: in words.
        changes: of the config, by dotted path. left_out: changes under which eager attention does not run either.
    """

    name: str
    seed: int
    outcome: str
    worst: float = 0.0
    why: str = ""
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    left_out: int = 0


def found_of(name: str, seed: int) -> Found:
    """Compare both implementations under one other config, with texts longer and shorter than its windows."""
    try:
        with quiet_for(SECONDS):
            drawn = drawn_changes(tiny_config(name), seed)
            changes = changes_that_run(drawn, lambda some: _runs(name, some))
            none = UNTRIED if drawn else NOTHING
            outcome, worst, why = _outcome(name, changes) if changes else (none, 0.0, "")
    except TimeoutError as error:
        return Found(name, seed, UNTRIED, why=str(error))
    shown = {".".join(path): value for path, value in changes.items()}
    return Found(name, seed, outcome, worst, why, shown, len(drawn) - len(changes))


def _runs(name: str, changes: Changes, lengths: Sequence[int] = LENGTHS) -> bool:
    """Whether eager attention gives finite numbers."""
    try:
        model = tiny_model(name, changes=nested(changes))
        with torch.no_grad():
            found = model(**first_that_runs(model, "right", lengths))[0]
    except TimeoutError:
        raise
    except Exception:  # whatever a model's own code raises on such a config
        return False
    return bool(torch.isfinite(found).all())


def _outcome(name: str, changes: Changes) -> tuple[str, float, str]:
    size = smallest_size(changes)
    try:
        short = size, max(1, size // 2)
        rows = [
            compared_in(name, nested(changes), lengths) for lengths in (LENGTHS, short) if _runs(name, changes, lengths)
        ]
    except AttnMaskError as error:
        return REFUSED, 0.0, str(getattr(error, "what", error))
    except TimeoutError:
        raise
    except Exception as error:  # whatever a model's own code raises under our masks
        return FAILS, 0.0, f"{type(error).__name__}: {first_line(error)}"
    return _verdict(rows)


def _verdict(rows: Sequence[Row]) -> tuple[str, float, str]:
    reasons = [row.why for row in rows if row.why and "runs as under eager" not in row.why]
    worst = max(max(row.right, row.left, row.grads) for row in rows)
    if any("differs" in why for why in reasons) or not worst < TOLERANCE:
        return DIFFERS, worst, "; ".join(reasons)
    return (UNTRIED, worst, reasons[0]) if reasons else (EQUAL, worst, "")


def sweep(names: Sequence[str], configs: int, journal: Path) -> list[Found]:
    """What came of so many configs of each type; those in the journal are not run again.

    Args:
        names: model types. configs: of each. journal: a line of JSON for each that was run.
    """
    lines = journal.read_text().splitlines() if journal.exists() else []
    known = [Found(**json.loads(line)) for line in lines]
    done = {(found.name, found.seed) for found in known}
    todo = [(name, seed) for seed in range(1, configs + 1) for name in names if (name, seed) not in done]
    with journal.open("a") as file:
        for found in track(_in_another_process(todo), total=len(todo), description="configs"):
            known.append(found)
            file.write(json.dumps(asdict(found)) + "\n")
            file.flush()
    return known


def _in_another_process(todo: Iterable[tuple[str, int]]) -> Iterable[Found]:
    """One at a time, in a process that is replaced when a model kills it."""
    pool = ProcessPoolExecutor(1)
    for name, seed in todo:
        try:
            yield pool.submit(found_of, name, seed).result()
        except BrokenProcessPool:
            pool = ProcessPoolExecutor(1)
            yield Found(name, seed, FAILS, why="the process died")
    pool.shutdown()
