"""Audit every text architecture of the installed transformers, in parallel; an interrupted sweep can be resumed."""

from __future__ import annotations

import inspect
import json
import os
import signal
import tempfile
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, cast

from attnmask.auditing.report.audit_report import Report
from attnmask.errors import ArgumentError
from attnmask.escapes import escaped
from attnmask.files import write_whole

MODES = ("causal", "masked", "seq2seq", "base")
SECONDS_PER_AUDIT = 90
# Workers are replaced after so many tasks: imported model code and its caches stay in memory.
TASKS_PER_WORKER = 50


def entries(modes: Sequence[str] = MODES) -> list[tuple[str, str]]:
    """Return (model type, mode) of every architecture that reads ids; "base" only if it has no other mode."""
    from transformers import CONFIG_MAPPING

    from attnmask.auditing.subject.subject_from_name import available_modes

    found: list[tuple[str, str]] = []
    for model_type in sorted(cast(Any, CONFIG_MAPPING).keys()):
        own = [mode for mode in available_modes(model_type) if mode in modes]
        heads = [mode for mode in own if mode != "base"]
        found += [(model_type, mode) for mode in heads or own if mode != "base" or _reads_ids(model_type)]
    return found


def _reads_ids(model_type: str) -> bool:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name: Any = MODEL_MAPPING_NAMES[model_type]
    try:
        model: Any = getattr(transformers, name if isinstance(name, str) else name[0])
        return "input_ids" in inspect.signature(model.forward).parameters
    except Exception:  # optional dependencies of the architecture are missing
        return False


def check_folder(folder: Path) -> None:
    """Create the folder of a sweep's reports, and check that reports can be written to it and read from it.

    Raises:
        ArgumentError: the folder cannot be created or written to, or holds an invalid report.
    """
    where = escaped(str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArgumentError(f"the folder of the reports cannot be used: {why}", where=where) from error
    for _ in read_reports(folder):
        pass


def sweep(folder: Path, wanted: Sequence[tuple[str, str]], processes: int = 2) -> Iterator[tuple[int, str]]:
    """Audit the entries that have no report in the folder, and write one JSON file for each.

    Args:
        folder: folder of the reports; created if it does not exist. wanted: (model type, mode) of each entry.
        processes: number of worker processes.

    Yields:
        The number of entries done, and the name of the last one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [entry for entry in wanted if not report_path(folder, *entry).exists()]
    done = len(wanted) - len(missing)
    for start in range(0, len(missing), processes * TASKS_PER_WORKER):
        for entry in _audit_in_workers(folder, missing[start : start + processes * TASKS_PER_WORKER], processes):
            done += 1
            yield done, " ".join(entry)


def _audit_in_workers(folder: Path, some: Sequence[tuple[str, str]], processes: int) -> Iterator[tuple[str, str]]:
    """Audit entries in new processes, and retry those without a report one by one.

    If a worker dies, for example for lack of memory, the pool fails all its pending entries.
    """
    with _workers(processes) as pool:
        with _interrupts_blocked():
            futures = {pool.submit(_audit_to_file, folder, *entry): entry for entry in some}
        for future in as_completed(futures):
            if future.exception() is None:
                yield futures[future]
    for entry in some:
        path = report_path(folder, *entry)
        if not path.exists() and len(some) > 1:
            yield from _audit_in_workers(folder, [entry], 1)
        elif not path.exists():
            write_whole(path, json.dumps({"why": "its process died"}))
            yield entry


@contextmanager
def _workers(processes: int) -> Generator[ProcessPoolExecutor]:
    """Open a pool of new processes, which are killed if the sweep is interrupted, and exit if its process dies."""
    others = set(active_children())
    # Not forked: a fork copies locks that torch's threads may hold, but not the threads.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_exit_with_parent)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        own = set(active_children()) - others
        for worker in own:
            worker.kill()
        for worker in own:
            worker.join()
        raise
    pool.shutdown()


@contextmanager
def _interrupts_blocked() -> Generator[None]:
    """Start processes with SIGINT blocked, so that Ctrl-C reaches the sweep alone, which then kills its workers.

    A terminal sends SIGINT to all processes of its group, and the signal mask is inherited.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with_parent() -> None:
    def wait() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def report_path(folder: Path, model_type: str, mode: str) -> Path:
    """Return the path of an entry's report."""
    return folder / f"{model_type}.{mode}.json"


def read_reports(folder: Path) -> Iterator[tuple[str, str, Report | None, str]]:
    """Yield (model type, mode, report, reason) for each file; the reason says why there is no report.

    Raises:
        ArgumentError: a file is not a report.
    """
    for path in sorted(folder.glob("*.json")):
        model_type, _, mode = path.stem.rpartition(".")
        if model_type and mode in MODES:
            report, why = _read(path)
            yield model_type, mode, report, why


def _read(path: Path) -> tuple[Report | None, str]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
        return (None, str(values["why"])) if "why" in values else (Report.from_json(text), "")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        fix = "remove it, and the sweep makes a new one"
        raise ArgumentError(f"the file is no report: {error}", where=escaped(str(path)), fix=fix) from error


def _audit_to_file(folder: Path, model_type: str, mode: str) -> None:
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _raise_time_limit)
    signal.alarm(SECONDS_PER_AUDIT)
    try:
        text = _audit_type(model_type, mode).to_json()
    except _TimeLimitExceeded:
        text = json.dumps({"why": f"more than {SECONDS_PER_AUDIT} s"})
    except Exception as error:  # a model's code may raise anything on an unusual config
        line = next(iter(str(error).strip().splitlines()), "")[:160]
        text = json.dumps({"why": f"its tiny copy does not run: {type(error).__name__}: {line}"})
    finally:
        signal.alarm(0)
    write_whole(report_path(folder, model_type, mode), text)


def _audit_type(model_type: str, mode: str) -> Report:
    from attnmask.auditing.run_probes import audit_subject
    from attnmask.auditing.subject.subject_from_name import quiet, subject_from_type

    with quiet(), warnings.catch_warnings():
        return audit_subject(subject_from_type(model_type, mode))


class _TimeLimitExceeded(BaseException):
    """A BaseException, so that a probe's ``except Exception`` does not take the time limit for a model's error."""


def _raise_time_limit(*_: Any) -> None:
    raise _TimeLimitExceeded
