"""The command line: read the arguments, call, print. What it does lies elsewhere."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from attnmask.compile import compile
from attnmask.errors import ArgumentError
from attnmask.escapes import escaped
from attnmask.files import Texts, check_output, check_picture, read_texts, write_embeddings
from attnmask.mask.arguments import one_of
from attnmask.mask.parse import mask_from_text

try:
    import typer

    from attnmask.cli_exit import Commands, Terminal, leave_at_once_if_interrupted, model_code
except ImportError:
    raise SystemExit("the command line needs typer and rich: pip install 'attnmask[cli]'") from None

# Signs of pictures, for terminals that cannot show them.
PLAIN_SIGNS = str.maketrans("■▒·", "#+.")
app = typer.Typer(
    name="attnmask",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Attention masks: describe one, look at it, embed texts under one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # pyright: ignore[reportUnnecessaryComparison]
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files and processes are cleared away
    try:
        app()
    except SystemExit as end:
        leave_at_once_if_interrupted(end)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attnmask {version('attnmask')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def draw(
    expression: Annotated[str | None, typer.Argument(help="Such as 'causal() & window(left=3, right=0)'.")] = None,
    q: Annotated[int | None, typer.Option(help="Number of query rows.")] = None,
    k: Annotated[int | None, typer.Option(help="Number of keys; as many as queries if left out.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch items; what the mask's data say if left out.")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads; likewise.")] = None,
    offset: Annotated[int | None, typer.Option(help="Position of query row 0.")] = None,
    align: Annotated[str | None, typer.Option(help="start or end: how queries and keys line up.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .svg or .pdf file, instead of the terminal.")] = None,
    trace: Annotated[str, typer.Option(help="A model as in audit: draw what each of its layers attends to.")] = "",
) -> None:
    """Draw a mask, or those that a model's layers really attend by."""
    from attnmask.draw import save_image, text_from_plan

    if out is not None:
        check_picture(out)
    if trace:
        beside = {"EXPRESSION": expression, "--q": q, "--k": k, "--batch": batch, "--heads": heads, "--offset": offset}
        _refuse(beside | {"--align": align}, "--trace draws a model's own masks")
        return _draw_layers(trace, out)
    if expression is None or q is None:
        raise ArgumentError("there is nothing to draw", fix="give an expression and --q, or --trace MODEL")
    plan = compile(mask_from_text(expression), q=q, k=k, batch=batch, heads=heads, offset=offset, align=align)
    if out is None:
        _show(text_from_plan(plan))
    else:
        save_image(plan, out)


def _draw_layers(model: str, out: Path | None) -> None:
    from attnmask.audit.tracing import plans_of_model
    from attnmask.draw import save_images, text_from_plan

    with model_code(model):
        plans = plans_of_model(model)
    if out is None:
        _show("\n\n".join(f"{layer}\n{text_from_plan(plan)}" for layer, plan in plans.items()))
    else:
        save_images(plans, out)


def _show(text: str) -> None:
    """Print a picture, in plain signs where standard output knows no others."""
    try:
        "".join(map(chr, PLAIN_SIGNS)).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = text.translate(PLAIN_SIGNS)
    typer.echo(escaped(text, lines=True))


def _refuse(given: Mapping[str, Any], why: str) -> None:
    """Refuse options that would be ignored."""
    names = [name for name, value in given.items() if value]
    if names:
        raise ArgumentError(f"{', '.join(names)} would be ignored: {why}", fix="leave it out")


@app.command()
def targets(
    expression: Annotated[str, typer.Argument(help="Such as 'causal() & documents(lengths=[512, 512])'.")],
    q: Annotated[int, typer.Option(help="Number of query rows.")],
    k: Annotated[int | None, typer.Option(help="Number of keys; as many as queries if left out.")] = None,
    batch: Annotated[int | None, typer.Option(help="Batch items; what the mask's data say if left out.")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads; likewise.")] = None,
    offset: Annotated[int | None, typer.Option(help="Position of query row 0.")] = None,
    align: Annotated[str | None, typer.Option(help="start or end: how queries and keys line up.")] = None,
) -> None:
    """Say which libraries can hold a mask, in how many bytes, and why others cannot."""
    from attnmask.targets.table import table_of

    mask = mask_from_text(expression)
    plan = compile(mask, q=q, k=k, batch=batch, heads=heads, offset=offset, align=align)
    Terminal(soft_wrap=True).print(table_of(plan, repr(plan)))


@app.command()
def audit(
    model: Annotated[str | None, typer.Argument(help="A model's folder, a model type, or module:function.")] = None,
    mode: Annotated[str, typer.Option(help="causal, masked, seq2seq, base or classification.")] = "",
    mask: Annotated[str, typer.Option(help="What it is declared to obey beside padding, such as 'causal()'.")] = "",
    expect: Annotated[
        list[str] | None, typer.Option(help="An exception, such as left_padding=shifted; may be repeated.")
    ] = None,
    probe: Annotated[list[str] | None, typer.Option(help="Only this probe; may be repeated.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write it as JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as a page with pictures.")] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw all weights anew: the model is not trained.")] = False,
    all_transformers: Annotated[
        bool, typer.Option("--all-transformers", help="Every text architecture of the installed transformers.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where their reports are kept; those there are not made anew. Default: audit-transformers"),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Architectures audited at once. Default: 2")
    ] = None,
) -> None:
    """Find out whether a model obeys its mask. Exit code: 0 clean, 1 bugs found, 2 could not run."""
    if all_transformers == (model is not None):
        raise ArgumentError("it is not clear what to audit", fix="give a model, or --all-transformers")
    files = {"json": json, "junit": junit, "html": html}
    if model is None:
        one = {"--mask": mask, "--expect": expect, "--probe": probe, "--redraw": redraw}
        _refuse(one | {f"--{form}": path for form, path in files.items()}, "--all-transformers audits many models")
    else:
        _refuse({"--folder": folder, "--processes": processes}, "these belong to --all-transformers")

    from attnmask.cli_audit import audit_all, audit_one

    if model is None:
        raise typer.Exit(audit_all(folder or Path("audit-transformers"), processes or 2, mode))
    if Path(model).is_dir():
        _silence_bars_of_transformers()
    raise typer.Exit(audit_one(model, mode, mask, expect or [], probe or [], redraw, files))


@app.command()
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
    from attnmask.hf.encoding import BatchOrder, Empty
    from attnmask.hf.pooling import Pool

    if pool is not None:
        one_of(Pool, pool, "pool", "encode")
    one_of(Empty, on_empty, "on_empty", "encode")
    one_of(BatchOrder, batch_order, "batch_order", "encode")
    texts = read_texts(file, column, empty=on_empty == "zero")
    _silence_bars_of_transformers()
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


@app.command()
def bench(
    expression: Annotated[str, typer.Argument(help="Such as 'causal() & window(left=511, right=0)'.")],
    q: Annotated[int, typer.Option(help="Tokens; an eighth, a quarter and half of it run too.")] = 4096,
    heads: Annotated[int, typer.Option(min=1, help="Query heads; the mask's own if it has several.")] = 8,
    kv_heads: Annotated[int | None, typer.Option(min=1, help="Heads of keys and values; as many if left out.")] = None,
    dim: Annotated[int, typer.Option(min=1, help="Width of a head.")] = 64,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backward: Annotated[bool, typer.Option("--backward", help="Time forward and backward together.")] = False,
    out: Annotated[Path, typer.Option(help="A .png file for the plot of time against length.")] = Path("attention.png"),
) -> None:
    """Time attention under a mask, beside torch's dense attention and compiled FlexAttention."""
    check_picture(out)
    mask = mask_from_text(expression)

    from attnmask.bench import problems_of, save_plot, table_of, times_of

    title = f"{expression}, {'forward + backward' if backward else 'forward'}, {dtype}, H={heads} D={dim}, {device}"
    problems = problems_of(mask, q, heads, dim, kv_heads, dtype, device)
    times = dict(times_of(problems, backward))
    Terminal(soft_wrap=True).print(table_of(times, title))
    save_plot(times, title, out)
    typer.echo(f"time against length in {escaped(str(out))}")


def _silence_bars_of_transformers() -> None:
    # It draws one for the weights even into a file.
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


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
