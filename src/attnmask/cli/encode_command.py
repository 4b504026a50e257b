"""The command ``encode``: a file of texts in, their embeddings out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from attnmask.cli.command_exits import Terminal, silence_bars_of_transformers
from attnmask.escapes import escaped
from attnmask.files import Texts, check_output, read_texts, write_embeddings
from attnmask.mask.arguments import one_of


def encode(
    file: Annotated[str, typer.Argument(help="A .txt, .jsonl, .csv or .parquet file of texts; - for standard input.")],
    model: Annotated[str, typer.Option(help="Folder of a transformers model and its tokenizer.")],
    out: Annotated[Path, typer.Option(help="A .npy or .parquet file for the embeddings.")],
    column: Annotated[str | None, typer.Option(help="Field or column of the texts, where there are several.")] = None,
    pool: Annotated[str | None, typer.Option(help="mean, cls or last; the folder's own if left out.")] = None,
    on_empty: Annotated[str, typer.Option(help="error, or zero: a row of zeros for each empty text.")] = "error",
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens at which a text is cut.")] = None,
    token_budget: Annotated[int, typer.Option(min=1, help="Tokens of a batch, at most.")] = 2048,
    batch_order: Annotated[str, typer.Option(help="sorted (by length) or keep.")] = "sorted",
) -> None:
    """Embed the texts of a file without padding; rows come out in the order of the texts."""
    check_output(out)

    from attnmask import hf
    from attnmask.hf.inference.encoding import BatchOrder, EmptyTextPolicy
    from attnmask.hf.inference.pooling import Pool

    if pool is not None:
        one_of(Pool, pool, "pool", "encode")
    one_of(EmptyTextPolicy, on_empty, "on_empty", "encode")
    one_of(BatchOrder, batch_order, "batch_order", "encode")
    texts = read_texts(file, column, empty=on_empty == "zero")
    silence_bars_of_transformers()
    encoder, tokenizer = hf.load_encoder(model)
    with _progress(texts) as progress:
        embeddings = hf.encode(
            encoder,
            tokenizer,
            texts.texts,
            pool=pool,
            on_empty=on_empty,
            max_length=max_length,
            token_budget=token_budget,
            batch_order=batch_order,
            progress=progress,
        )
    write_embeddings(out, embeddings, texts)
    typer.echo(f"{len(embeddings)} embeddings of {embeddings.shape[1]} numbers in {escaped(str(out))}")


@contextmanager
def _progress(texts: Texts) -> Generator[Callable[[int, int], None]]:
    """A bar on a terminal's standard error, and warnings above it that name the line of a text."""
    from rich.progress import Progress

    from attnmask.hf import TruncationWarning

    console = Terminal(stderr=True)

    def show_warning(message: Warning | str, *_: object) -> None:
        if isinstance(message, TruncationWarning):
            cut, total = message.count, len(texts.texts)
            first = texts.where(message.first)
            message = f"{cut} of {total} texts were cut to {message.max_length} tokens, first: {first}"
        console.print(f"warning: {escaped(str(message), lines=True)}", markup=False, highlight=False, soft_wrap=True)

    with warnings.catch_warnings(), Progress(console=console, disable=not console.is_terminal) as bar:
        warnings.simplefilter("default")
        warnings.showwarning = show_warning
        task = bar.add_task("texts", total=len(texts.texts))
        yield lambda done, total: bar.update(task, completed=done, total=total)
