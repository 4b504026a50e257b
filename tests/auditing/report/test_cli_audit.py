"""``attnmask audit`` and ``attnmask draw --trace``: exit codes, files, messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

typer_testing = pytest.importorskip("typer.testing")

from attnmask import hf  # noqa: E402
from attnmask.auditing import sweep  # noqa: E402
from attnmask.auditing.report.audit_report import Report  # noqa: E402
from attnmask.cli import app  # noqa: E402

MODELS = "tests.auditing.report.reports"
LEAK = ("--redraw", "--probe", "padding leak")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = typer_testing.CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_a_bug_is_exit_code_1_and_shown() -> None:
    code, out, err = run("audit", f"{MODELS}:skipping", *LEAK)
    assert (code, err) == (1, "")
    assert "bug: padding leak" in out
    assert "since  layers.0.self_attn; 2 of 2 layers" in out
    assert f"from {MODELS} import skipping" in out


def test_a_clean_model_is_exit_code_0() -> None:
    code, out, _ = run("audit", f"{MODELS}:repaired", *LEAK, "--mask", "full()")
    assert code == 0
    assert out.startswith("Encoder: no bug found by 1 probe")
    assert "declared: full() in 2 layers" in out


def test_a_declared_exception_is_exit_code_0_and_shown() -> None:
    exceptions = ("--expect", "left_padding=never used", "--expect", "padding_leak=one text is never padded")
    code, out, _ = run("audit", f"{MODELS}:skipping", *LEAK, *exceptions)
    assert code == 0
    assert "declared: one text is never padded" in out
    assert "declared: never used" in out


def test_nothing_that_came_to_a_result_is_exit_code_2() -> None:
    code, out, _ = run("audit", f"{MODELS}:repaired", "--probe", "pooling reads padding")
    assert code == 2
    assert "could not be audited" in out
    assert "the model gives an output for every token" in out


def test_a_model_that_raises_is_exit_code_2_not_1() -> None:
    code, out, err = run("audit", f"{MODELS}:broken")
    assert (code, out) == (2, "")
    assert "tests/auditing/report/reports.py" in err
    assert err.endswith(
        "error: the model does not run: RuntimeError: no such file of weights\n"
        "  where: tests.auditing.report.reports:broken\n"
    )


def test_the_three_files_are_written(tmp_path: Path) -> None:
    files = [argument for form in ("json", "junit", "html") for argument in (f"--{form}", str(tmp_path / f"r.{form}"))]
    code, _, _ = run("audit", f"{MODELS}:skipping", *LEAK, *files)
    assert code == 1
    report = Report.from_json((tmp_path / "r.json").read_text())
    assert [bug.probe for bug in report.bugs] == ["padding leak"] * 2
    assert "<failure" in (tmp_path / "r.junit").read_text()
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")


def test_a_folder_is_audited_in_a_mode_and_under_a_mask(tmp_path: Path) -> None:
    hf.tiny_model("bert").save_pretrained(tmp_path)
    code, out, err = run("audit", str(tmp_path), "--mode", "base", *LEAK, "--mask", "full()")
    assert (code, err) == (0, "")
    assert out.startswith("BertModel: no bug found by 1 probe")
    assert "declared: full() in 2 layers" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonesuch"], "transformers has no model type 'nonesuch'"),
        (["llama", "--mode", "masked"], "llama has no mode 'masked'"),
        ([f"{MODELS}:absent"], "cannot be imported"),
        ([":repaired"], "cannot be imported"),
        (["./nonesuch"], "there is no such folder"),
        (["tests/auditing"], "the folder holds no model"),
        ([f"{MODELS}:named"], "returns a value of type dict"),
        ([f"{MODELS}:of_a_path"], "must be given path"),
        ([f"{MODELS}:MODEL"], "is of type str"),
        ([f"{MODELS}:skipping_class"], "returns the class Encoder"),
        (["torch.nn:Identity"], "raises on a text of 20 tokens"),
        ([f"{MODELS}:repaired", "--mode", "base"], "makes one model"),
        (["llama", "--probe", "leak"], "there is no probe 'leak'"),
        (["llama", "--mask", "casual()"], "there is no mask 'casual'"),
        (["llama", "--expect", "left_padding"], "'left_padding' does not say why"),
        (["llama", "--expect", "leftpadding=x"], "there is no probe or padding 'leftpadding'"),
        (["llama", "--json", "absent/report.json"], "the folder of the file does not exist"),
        (["--all-transformers", "--mode", "chat"], "there is no mode 'chat' of a sweep"),
    ],
)
def test_an_error_is_one_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    code, out, err = run("audit", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


@pytest.mark.parametrize("arguments", [[], ["llama", "--all-transformers"]])
def test_a_model_or_all_of_them(arguments: list[str]) -> None:
    code, _, err = run("audit", *arguments)
    assert code == 2
    assert "give a model, or --all-transformers" in err


def test_a_sweep_keeps_the_reports_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnmask.cli.audit_run.entries", lambda modes: [("gpt2", "causal"), ("nonesuch", "base")])
    kept = Report("gpt2 (causal)", ()).to_json()
    (tmp_path / "nonesuch.base.part").write_text('{"half": ')
    (tmp_path / "gpt2.causal.json").write_text(kept)
    code, out, _ = run("audit", "--all-transformers", "--folder", str(tmp_path), "--processes", "1")
    assert (tmp_path / "gpt2.causal.json").read_text() == kept
    assert "no model type" in json.loads((tmp_path / "nonesuch.base.json").read_text())["why"]
    assert code == 2
    assert "0 of 2 architectures ran, 0 with bugs" in out


def test_a_sweep_of_one_mode_asks_for_that_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("attnmask.cli.audit_run.entries", lambda modes: asked.append(modes) or [])
    run("audit", "--all-transformers", "--folder", str(tmp_path), "--mode", "seq2seq")
    run("audit", "--all-transformers", "--folder", str(tmp_path))
    assert asked == [("seq2seq",), sweep.MODES]


def test_draw_prints_what_the_layers_attend_to() -> None:
    code, out, err = run("draw", "--trace", "gemma3_text")
    assert (code, err) == (0, "")
    assert out.count("pairs attend") == 2
    window, everything = (part for part in out.split("model.layers.")[1:])
    # A window of 8: the last query does not see the first token of its text, at key 7.
    assert window.strip().splitlines()[-2].split() == ["19", *"·" * 12, *"■" * 8]
    assert everything.strip().splitlines()[-2].split() == ["19", *"·" * 7, *"■" * 13]


def test_draw_makes_a_picture_of_the_layers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("draw", "--trace", f"{MODELS}:repaired", "--out", str(tmp_path / "layers.svg")) == (0, "", "")
    assert "layers.0.self_attn and 1 more" in (tmp_path / "layers.svg").read_text()


def test_draw_needs_something_to_draw() -> None:
    code, _, err = run("draw")
    assert code == 2
    assert "--trace" in err
