"""The comparison of studies.architectures under other configs of each type that agrees there.

``python -m studies.other_configs`` adds a column to docs/architectures.md. It takes about a second of one core for a
config; what was found is kept in a journal, so that it can be stopped and goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from attnmask.errors import AttnMaskError
from attnmask.hf.models.tiny_models import tiny_config, tiny_model
from studies.architecture_configs import Changes, changes_that_run, drawn_changes, nested, smallest_size
from studies.architectures import LENGTHS, PAGE, TOLERANCE, Row, compared_in, first_line, first_that_runs, quiet_for

SECONDS = 120
JOURNAL = Path("build") / "other_configs.jsonl"
ROW = re.compile(r"^\| ([\w.-]+) \| \d+ \|(?: [\d.e-]+ \|){3}", re.MULTILINE)
COLUMN = "| model type | calls | right | left | gradients |"
TEXT = """\
"Other configs" counts what came of {tried} configs, up to {each} of a type, in which windows, chunks, top-ks, heads,
kinds of layers and switches take other values, with texts longer and shorter than these: {counts}.
Of {drawn} changes {left_out} were left out, under which eager attention does not run either.
Written by `python -m studies.other_configs`.

"""
# What can come of a config.
EQUAL, REFUSED, DIFFERS, FAILS, UNTRIED = "equal", "refused", "differs", "fails", "not under eager"
NOTHING, SLOW = "nothing to change", "out of time"
OUTCOMES = EQUAL, REFUSED, DIFFERS, FAILS, UNTRIED, SLOW, NOTHING


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
    except TimeoutError:
        return Found(name, seed, SLOW)
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
    both = [lengths for lengths in (LENGTHS, (size, max(1, size // 2))) if _runs(name, changes, lengths)]
    try:
        found = _verdict([compared_in(name, nested(changes), lengths) for lengths in both])
        if found[0] != DIFFERS:
            return found
        # Large weights can make much of rounding, which float64 does not have; a wrong pair stays as wrong in it.
        return _verdict([compared_in(name, nested(changes), lengths, torch.float64) for lengths in both])
    except AttnMaskError as error:
        return REFUSED, 0.0, str(getattr(error, "what", error))
    except TimeoutError:
        raise
    except Exception as error:  # whatever a model's own code raises under our masks
        return FAILS, 0.0, f"{type(error).__name__}: {first_line(error)}"


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


def page_with(page: str, found: Sequence[Found]) -> str:
    """The page with a column for other configs, and the reasons for those that are refused.

    Args:
        page: as studies.architectures writes it, or as this function returned it. found: what came of the configs.
    """
    page = re.sub(r'"Other configs" counts.*?\n\n', "", page, flags=re.DOTALL)
    page = re.sub(r"\n## Other configs that.*?(?=\n## )", "", page, flags=re.DOTALL)
    page = re.sub(re.escape(COLUMN) + r".*\n.*\n", f"{_text(found)}{COLUMN} other configs |\n{'|---' * 6}|\n", page)
    page = re.sub(
        ROW.pattern + ".*$", lambda row: f"{ROW.match(row[0])[0]} {_cell(row[1], found)} |", page, flags=re.MULTILINE
    )  # pyright: ignore
    return page.replace("\n## Not covered", f"{_reasons(found)}\n## Not covered")


def _text(found: Sequence[Found]) -> str:
    drawn = sum(len(one.changes) + one.left_out for one in found)
    each = max((one.seed for one in found), default=0)
    counts = _counts(found)
    return TEXT.format(tried=len(found), each=each, counts=counts, left_out=sum(f.left_out for f in found), drawn=drawn)


def _cell(name: str, found: Iterable[Found]) -> str:
    return _counts([one for one in found if one.name == name]) or "not tried"


def _counts(found: Iterable[Found]) -> str:
    counts = Counter(one.outcome for one in found)
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])


def _reasons(found: Iterable[Found]) -> str:
    rows = [
        one for one in sorted(found, key=lambda one: (one.name, one.seed)) if one.outcome in (REFUSED, DIFFERS, FAILS)
    ]
    head = "\n## Other configs that are not equal, and why\n\n| model type | changes | why |\n|---|---|---|\n"
    lines = [
        f"| {one.name} | {_shown(one.changes)} | {one.outcome}: {one.why or f'{one.worst:.1e}'} |\n" for one in rows
    ]
    return head + "".join(lines) if lines else ""


def _shown(changes: dict[str, Any]) -> str:
    return ", ".join(f"{path}={value}" for path, value in changes.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="model types; all that the page covers if left out")
    parser.add_argument("--configs", type=int, default=3, help="of each type")
    parser.add_argument("--journal", type=Path, default=JOURNAL)
    arguments = parser.parse_args()
    page = PAGE.read_text()
    arguments.journal.parent.mkdir(parents=True, exist_ok=True)
    covered = [row[1] for row in ROW.finditer(page)]
    found = sweep(arguments.names or covered, arguments.configs, arguments.journal)
    PAGE.write_text(page_with(page, found))


if __name__ == "__main__":
    main()
