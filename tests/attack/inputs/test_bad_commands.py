"""Command lines that cannot work: each ends with exit code 2 and one message, never with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

typer_testing = pytest.importorskip("typer.testing")

from typer.main import get_command  # noqa: E402

from attnmask.cli import app  # noqa: E402

LONG = "9" * 5000
EXPRESSIONS = [
    "", " ", "\n", "causal", "causal(", "causal)", "causal()()", "causal(1)", "causal(x=1)", "causal(**{})",
    "causal(*[])", "[causal()]", "causal(); full()", "causal() and full()", "not causal()", "causal() + full()",
    "causal() * 2", "causal() & 1", "~1", "-causal()", "causal() < full()", "causal() if True else full()", "lambda: 1",
    "(x := causal())", "windw(left=1, right=0)", "window()", "window(left=-1, right=0)", "window(left='a', right=0)",
    "window(left=1.5, right=0)", "window(left=1e400, right=0)", "window(left=True, right=0)",
    "window(left=[1], right=0)",
    "window(left=nan, right=0)", f"window(left={LONG}, right=0)", "prefix([-1])", "prefix(['a'])", "prefix([1.5])",
    "prefix([[1, 2]])", "prefix({})", "documents()", "documents(lengths=[-1, 5])", "documents(lengths=['a'])",
    "documents(ids=[0.5])", "documents(lengths=[4], ids=[0, 0, 0, 0])",
    "padding()", "padding(attention_mask=[[0.5, 1, 1, 1]])", "padding(attention_mask=[[2, 1, 1, 1]])",
    "padding(lengths=[-1])", "padding(lengths=[2], side='up')", "padding(lengths=[2], of='both of them')", "chunked(0)",
    "chunked(-1)", "chunked('a')", "dilated(0)", "dilated(-2)", "sinks(-1)", "sinks('a')", "global_tokens([-1])",
    "global_tokens(['a'])", "grid(0, 0, 0)", "grid(2, 2, -1)", "grid(2, 2)", "blocks([[1]], 0)", "blocks([1], 2)",
    "blocks([[2]], 2)", "blocks([[1], [1, 0]], 2)", "tree([5])", "tree([1, 0])", "tree([-7])", "dense([[1, 2]])",
    "dense([[1], [1, 0]])", "dense('a')", "per_head([])", "per_head([1])", "per_head(causal())",
    "predicate(lambda b, h, q, k: True)", "__import__('os').system('true')", "causal().__class__", "().__class__",
    "open('x')", "1", "'text'", "None", "True", "...", "causal().shift('a')", "causal().shift(1.5)", "causal().shift()",
    "causal().to_json()", "f()", "causal()\x00", "causal()\x1b[31m", "\u202ecausal()", "\udcff()",
    "causal() & " * 3000 + "causal()", "~" * 5000 + "causal()", "(" * 300 + "causal()" + ")" * 300, LONG,
    f"sinks({LONG})",
]  # fmt: skip
NUMBERS = ["", "x", "1.5", "-1", "1e3", "0x10", "nan", "4,4", "[4]", "\x1b[31m4", "9" * 30, "None"]
SIZES = ["--k", "--batch", "--heads"]


def commands(folder: Path) -> Iterator[list[str]]:
    yield from ([command, text, "--q", "4"] for command in ("draw", "formats") for text in EXPRESSIONS)
    yield from drawing(folder)
    yield from benchmarks(folder)
    yield from audits(folder)
    yield from encodings(folder)
    yield from (["nonesuch"], ["--nonesuch"], ["draw\x1b[31m"], ["--version=3"], ["dra"], ["--", "draw"])


def drawing(folder: Path) -> Iterator[list[str]]:
    for command in ("draw", "formats"):
        yield from ([command, "causal()", "--q", number] for number in NUMBERS)
        yield from ([command, "causal()", "--q", "4", size, number] for size in SIZES for number in NUMBERS)
        yield from ([command, "causal()", "--q", "4", "--offset", number] for number in NUMBERS if number != "-1")
        yield from ([command, "causal()", "--q", "4", "--align", value] for value in ("", "middle", "START", "\x07"))
        yield [command, "causal()", "--q", "4", "--k", "6"]
        yield [command, "causal()", "--q", "4", "--k", "6", "--offset", "1", "--align", "end"]
        yield [command, "prefix([1, 2])", "--q", "4", "--batch", "3"]
        yield [command, "per_head([causal(), full()])", "--q", "4", "--heads", "3"]
        yield from ([command], [command, "causal()"], [command, "--q", "4"], [command, "causal()", "--q"])
        yield [command, "causal()", "full()", "--q", "4"]
        yield [command, "causal()", "--q", "4", "--nonesuch"]
        yield [command, "causal()", "--q", "4", "--\x1b[31m"]
    for out in (
        *bad_files(folder),
        *(str(folder / name) for name in ("a.gif", "a", "a.png.txt", ".png", "a.\x1b[31m")),
    ):
        yield ["draw", "causal()", "--q", "4", "--out", out]
    for given in (["causal()"], ["--q", "4"], ["--k", "4"], ["--align", "end"], ["--heads", "2"], ["--batch", "2"]):
        yield ["draw", "--trace", "bert", *given]
    yield from (["draw", "--trace", model] for model in MODELS)
    yield ["draw", "--trace", "bert", "--out", str(folder / "a.gif")]


def bad_files(folder: Path) -> list[str]:
    return [
        str(folder / "absent" / "a.png"), str(folder / "folder.png"), str(folder / "file" / "a.png"),
        str(folder / ("n" * 300 + ".png")), str(folder / "circle.png"), str(folder / "absent\x1b[31m" / "a.png"), "",
    ]  # fmt: skip


def benchmarks(folder: Path) -> Iterator[list[str]]:
    out = str(folder / "plot.png")
    for option in ("--q", "--heads", "--kv-heads", "--dim"):
        yield from (["bench", "causal()", option, number, "--out", out] for number in (*NUMBERS, "0"))
    for option, value in (
        ("--dtype", "int8"), ("--dtype", ""), ("--dtype", "float64"), ("--device", "nope"), ("--device", ""),
        ("--device", "cuda:99"), ("--device", "cpu:x"), ("--kv-heads", "3"), ("--dim", "99999999999"),
        ("--heads", "99999999999"), ("--backward", "yes"),
    ):  # fmt: skip
        yield ["bench", "causal()", "--q", "64", option, value, "--out", out]
    for bad in (*bad_files(folder), str(folder / "a.gif"), str(folder / "a")):
        yield ["bench", "causal()", "--q", "64", "--out", bad]
    for expression in (*EXPRESSIONS[:12], "empty()"):
        yield ["bench", expression, "--q", "64", "--out", out]


MODELS = [
    "nonesuch", "./nonesuch", "absent/model", ":", "a:", ":b", "a:b:c", "..a:b", ".a:b", "os:nonesuch", "os:path",
    "os:sep",
    "os.path:join", "torch.nn:Linear", "torch.nn:Module", "\x1b[31mbert", "bert\n", "a b", " ", "builtins:object",
]  # fmt: skip


def audits(folder: Path) -> Iterator[list[str]]:
    yield from (["audit", model] for model in MODELS)
    yield from (["audit", "bert", "--mode", mode] for mode in ("x", "causal\x1b", "BASE", "chat", " "))
    yield from (["audit", "bert", "--mask", text] for text in EXPRESSIONS[3:12])
    yield from (
        ["audit", "bert", "--expect", text] for text in ("", "x", "=", "x=y", "left_padding=", "=why", "\x1b=a")
    )
    yield from (["audit", "bert", "--probe", text] for text in ("", "x", "padding", "PADDING LEAK", "\x1b[31m"))
    for form in ("--json", "--junit", "--html"):
        yield from (["audit", "bert", form, bad] for bad in bad_files(folder))
    yield ["audit", "bert", "--json", str(folder / "same"), "--html", str(folder / "same")]
    yield from (["audit", "bert", "--all-transformers"], ["audit", "bert", "gpt2"], ["audit", "--redraw"])
    yield from (["audit", "bert", "--folder", str(folder)], ["audit", "bert", "--processes", "3"])
    sweep = ["audit", "--all-transformers", "--folder", str(folder / "sweep")]
    yield from ([*sweep, "--processes", number] for number in (*NUMBERS, "0", "100000"))
    yield from ([*sweep, "--mode", mode] for mode in ("x", "classification", "\x1b"))
    for option in (["--json", "a"], ["--junit", "a"], ["--html", "a"], ["--redraw"], ["--mask", "causal()"]):
        yield [*sweep, *option]
    yield from ([*sweep, "--expect", "a=b"], [*sweep, "--probe", "reach"])
    for bad in ("file", "file/deeper", "circle.png", "n" * 300, "broken"):
        yield ["audit", "--all-transformers", "--folder", str(folder / bad)]


def encodings(folder: Path) -> Iterator[list[str]]:
    texts, out, model = str(folder / "texts.txt"), str(folder / "a.npy"), str(folder / "no model")
    usual = ["--model", model, "--out", out]
    yield from (["encode", str(folder / name), *usual] for name in BAD_TEXTS)
    yield from (
        ["encode", str(folder / name), *usual] for name in ("absent.txt", "folder.png", "file", "absent\x1b.csv")
    )
    yield from (["encode", name, *usual] for name in ("", "/dev/null", str(folder / ("n" * 300 + ".txt")), "a\x00.txt"))
    yield from (
        ["encode", texts, "--model", bad, "--out", out] for bad in ("", "absent", str(folder), texts, "\x1b[31m")
    )
    for bad in (*bad_files(folder), str(folder / "a.csv"), str(folder / "a"), str(folder / "absent" / "a.npy")):
        yield ["encode", texts, "--model", model, "--out", bad]
    for option in ("--max-length", "--token-budget"):
        yield from (["encode", texts, *usual, option, number] for number in (*NUMBERS, "0"))
    for option, value in (("--pool", "max"), ("--pool", ""), ("--batch-order", "x"), ("--column", "text")):
        yield ["encode", texts, *usual, option, value]
    yield from (["encode", str(folder / "two.csv"), *usual, "--column", name] for name in ("", "c", "\x1b[31m", "A"))
    yield from (["encode"], ["encode", texts], ["encode", texts, "--model", model], ["encode", texts, texts, *usual])


BAD_TEXTS = {
    "empty.txt": b"", "blank.txt": b"\n", "spaces.txt": b"a\n  \nb\n", "latin.txt": b"a\n\xff\n",
    "utf16.txt": b"\xff\xfea\x00",
    "nul.jsonl": b'"a"\n\x00\n', "half.jsonl": b'{"text": "a"\n', "number.jsonl": b"7\n", "null.jsonl": b"null\n",
    "mixed.jsonl": b'"a"\n{"text": "b"}\n', "absent.jsonl": b'{"text": "a"}\n{"other": "b"}\n',
    "many.jsonl": b'{"a":"x","b":"y"}\n',
    "surrogate.jsonl": b'"\\ud800"\n', "huge.jsonl": b"9" * 5000 + b"\n", "deep.jsonl": b"[" * 100_000 + b"\n",
    "object.jsonl": b'{"text": {"a": 1}}\n', "blank.jsonl": b'"a"\n\n"b"\n', "bom.jsonl": b'"a"\n\xef\xbb\xbf"b"\n',
    "empty.csv": b"", "header.csv": b"text\n", "fields.csv": b"a,b\n1\n", "quote.csv": b'text\n"never closed\n',
    "two.csv": b"a,b\nx,y\n", "twice.csv": b"a,a\nx,y\n", "semicolon.csv": b"a;b\nx;y\n", "cr.csv": b"text\ra\rb\r",
    "nul.csv": b"text\n\x00\n\xff\n",
    "escape.csv": b"\x1b[31mred,b\nx,y\n", "blank.csv": b"text\n\nb\n", "no.parquet": b"PAR1", "none.parquet": b"",
    "wrong.parquet": b"text\na\n",
    "texts.tsv": b"a\tb\n", "texts": b"a\n", "latin.csv": "text\ncafé\n".encode("latin-1"), "many.txt": b"\n" * 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command lines name."""
    folder = tmp_path_factory.mktemp("bad commands")
    (folder / "folder.png").mkdir()
    (folder / "file").write_text("text")
    (folder / "texts.txt").write_text("to be\nor not\n")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "broken").mkdir()
    (folder / "broken" / "bert.base.json").write_text('{"half": ')
    for name, content in BAD_TEXTS.items():
        (folder / name).write_bytes(content)
    return folder


def fault_of(arguments: list[str]) -> str:
    """What is wrong with the end of a command; "" for a message and exit code 2."""
    result = typer_testing.CliRunner().invoke(app, arguments)
    if not isinstance(result.exception, SystemExit):
        return f"raises {result.exception!r}"[:200]
    shown = result.stderr
    hidden = [sign for sign in shown if not sign.isprintable() and sign != "\n"]
    faults = {
        f"exit code {result.exit_code}": result.exit_code != 2,
        f"prints {result.stdout!r}": result.stdout,
        "says nothing": not shown.strip(),
        "shows a traceback": "Traceback" in shown,
        "says that nobody foresaw it": "error: unexpected" in shown,
        "is not one message": not shown.startswith("error: ") and arguments,
        f"shows control characters {hidden}": hidden,
        "is longer than a screen": len(shown) > 4000,
    }
    return "; ".join(fault for fault, is_so in faults.items() if is_so)


def test_a_bad_command_line_is_one_message_and_exit_code_2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a process, the commands are made of their functions once, not for every line.
    monkeypatch.setattr(typer_testing, "_get_command", cache(get_command))
    lines = list(commands(folder))
    assert len(lines) >= 250
    faults = [f"{str(line)[:150]}: {fault}" for line in lines if (fault := fault_of(line))]
    assert not faults, f"{len(faults)} of {len(lines)}:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    "arguments",
    [
        ["draw", "windw(1, 0)", "--q", "3"],
        ["draw", "causal()", "--q", "x"],
        ["bench", "causal()", "--dim", "0"],
        ["audit", "--all-transformers", "--processes", "0"],
        ["nonesuch"],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_the_same_of_a_process_of_its_own(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attnmask", *arguments], capture_output=True, text=True, cwd=tmp_path, env=os.environ
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
