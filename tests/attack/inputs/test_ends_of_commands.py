"""However a command ends, its exit code is true, its files are whole, and no process is left."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

typer_testing = pytest.importorskip("typer.testing")

from attnmask.auditing.report.audit_report import Report  # noqa: E402
from attnmask.auditing.report.verdict import Finding, Verdict  # noqa: E402
from attnmask.cli import app  # noqa: E402

FOUND = "tests.attack.inputs.factories:careless"
QUICK = ("--redraw", "--probe", "padding leak", "--mask", "full()")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error, in this process."""
    result = typer_testing.CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SystemExit | None)
    return result.exit_code, result.stdout, result.stderr


def process(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "attnmask", *arguments], **(usual | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["exits", "exits_at_once", "interrupts", "exhausts_memory", "recurses", "warns", "is_no_python", "raises_all"],
)
def test_whatever_a_factory_does_is_exit_code_2(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_with_a_fault.py").write_text("def is_no_python(:")
    monkeypatch.syspath_prepend(tmp_path)
    module = "module_with_a_fault" if name == "is_no_python" else "tests.attack.inputs.factories"
    code, out, err = run("audit", f"{module}:{name}")
    assert (code, out) == (2, "")
    assert "error: the model does not run: " in err or err == "interrupted\n"


@pytest.mark.parametrize("name", ["exits_later", "exits_at_once_later"])
def test_whatever_a_forward_pass_does_is_exit_code_2(name: str) -> None:
    code, out, err = run("audit", f"tests.attack.inputs.factories:{name}", *QUICK)
    assert (code, out) == (2, "")
    assert "error: the model does not run: SystemExit: 0" in err


@pytest.mark.parametrize("form", ["json", "junit", "html"])
def test_an_unwritable_report_is_exit_code_2_after_the_findings(form: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    code, out, err = run(
        "audit", FOUND, *QUICK, f"--{form}", "/dev/full", *([] if form == "json" else ["--json", str(kept)])
    )
    assert code == 2
    assert "bug: padding leak" in out
    assert err.startswith("error: a report cannot be written\n  where: /dev/full: No space left on device\n")
    assert form == "json" or Report.from_json(kept.read_text()).bugs


def test_a_report_for_which_there_is_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, out, err = run("audit", FOUND, *QUICK, "--html", str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, path.read_text(), os.listdir(tmp_path)) == (2, "old", ["report.html"])
    assert "bug: padding leak" in out
    assert "File too large" in err


def test_a_report_in_a_pipe_is_whole(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert run("audit", FOUND, *QUICK, "--json", str(pipe))[0] == 1
        assert Report.from_json(reader.communicate()[0]).bugs


SHELL = {
    # Of a picture of 400 lines `head` reads one.
    "draw 'causal()' --q 9 --heads 4 --batch 99 | head -n 1 > /dev/null; echo ${PIPESTATUS[0]}": ("0", ""),
    "draw 'causal()' --q 9 > /dev/full; echo $?": ("2", "error: No space left on device\n"),
    "draw 'causal()' --q 9 >&-; echo $?": ("0", ""),
    "draw 'causal()' --q 2 2>&-; echo $?": ("0", ""),
    "draw 'causal(' --q 2 2>/dev/full; echo $?": ("2", ""),
    "encode - --model m --out o.npy <&- ; echo $?": (
        "2",
        "error: cannot be read: it is closed\n  where: standard input\n",
    ),
}


@pytest.mark.parametrize("line", SHELL)
def test_streams_that_are_closed_or_full(line: str, tmp_path: Path) -> None:
    code, err = SHELL[line]
    command = f"{sys.executable} -m attnmask {line}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout.splitlines()[-1], done.stderr) == (code, err)


def test_a_reader_that_has_gone_is_no_message() -> None:
    read, write = os.pipe()
    os.close(read)
    done = process("draw", "causal()", "--q", "9", stdout=write)
    os.close(write)
    assert (done.communicate()[1], done.returncode) == ("", 141)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_another_encoding(encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "20", "NO_COLOR": "1"}
    done = process("draw", "causal()", "--q", "2", env=environment, text=False, encoding=None)
    out, err = done.communicate()
    assert (done.returncode, err) == (0, b"")
    assert out.decode(encoding).splitlines()[3:] == ["    0 # .", "    1 # #", "# attends  . does not"]


@pytest.mark.parametrize("columns", ["1", "2", "10", "x", "0", "-5", "100000"])
def test_a_terminal_of_any_width(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in ("draw", "formats"):
        assert run(command, "causal() & documents(lengths=[20, 20])", "--q", "40")[::2] == (0, "")
    assert run("draw", "--help")[0] == 0


# More types than are audited before the signal comes; a process begun in the background may ignore Ctrl-C.
SWEEP = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import attnmask.cli.audit_run
from attnmask.cli import main
names = "bert roberta electra mpnet gpt2 llama mistral albert distilbert qwen2 gemma gemma2 phi olmo2 granite bloom"
attnmask.cli.audit_run.entries = lambda modes: [(name, "base") for name in names.split()]
main()
"""


def test_a_sweep_ends_at_once_and_goes_on_later(tmp_path: Path) -> None:
    (tmp_path / "mpnet.base.json").write_text(Report("mpnet", ()).to_json())
    command = [sys.executable, "-c", SWEEP, "audit", "--all-transformers", "--folder", str(tmp_path)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as begun:
            _wait_for(lambda pid=begun.pid: len(_processes_of(pid)) >= 3)  # itself, and two that audit
            begun.send_signal(number) if number == signal.SIGTERM else os.killpg(begun.pid, number)
            at = time.monotonic()
            _, err = begun.communicate(timeout=60)
            assert (begun.returncode, err) == (2, "interrupted\n")
            assert time.monotonic() - at < 2
            _wait_for(lambda pid=begun.pid: not _processes_of(pid), 1)
            assert _processes_of(begun.pid) == []
    kept = {path.name for path in tmp_path.iterdir()}
    assert "mpnet.base.json" in kept
    assert all(name.endswith(".json") and Report.from_json((tmp_path / name).read_text()) for name in kept)


def _wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def _processes_of(session: int) -> list[str]:
    """What still runs of a session."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(path.parent.name)
    return found


NASTY = "\x1b[31m\x00\u202e[red]x[/red]\n<b>&"


def nasty_report() -> Report:
    finding = Finding(f"probe {NASTY}", Verdict.BUG, NASTY, {NASTY: NASTY}, 1.0, since=NASTY, cause=NASTY, script=NASTY)
    other = Finding("other", Verdict.OK, NASTY)
    return Report(NASTY, (finding, other), declared=(NASTY,), versions={NASTY: NASTY})


def test_names_are_shown_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnmask.cli.audit_run.audit", lambda *_, **__: nasty_report())
    names = [str(tmp_path / f"r.{form}") for form in ("json", "junit", "html")]
    files = [word for name in names for word in (f"--{name.rpartition('.')[2]}", name)]
    code, out, err = run("audit", f"a{NASTY}:b", *files)
    html = Path(names[2]).read_text(encoding="utf-8")
    assert (code, err) == (1, "")
    assert "[red]x[/red]" in out
    for text in (out, html, Path(names[1]).read_text(encoding="utf-8")):
        assert "\\x1b[31m\\x00\\u202e" in text
        assert all(sign.isprintable() or sign in "\n\t" for sign in text)
    assert "<b>&" not in html.split("<body>")[1].split("<script>")[0]
    assert ElementTree.parse(names[1]).getroot().tag == "testsuites"
    assert Report.from_json(Path(names[0]).read_text(encoding="utf-8")) == nasty_report()


def test_a_new_file_honours_the_umask_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "r.json", tmp_path / "link.json"
    link.symlink_to("r.json")
    before = os.umask(0o027)
    try:
        assert run("audit", FOUND, *QUICK, "--json", str(link))[0] == 1
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o606)
        assert run("audit", FOUND, *QUICK, "--json", str(link))[0] == 1
    finally:
        os.umask(before)
    assert (stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == (0o606, True)


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "matplotlib"):
    sys.modules[name] = None
sys.argv[0] = "attnmask"
from attnmask.cli import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["draw", "causal()", "--q", "4"], 0),
        (["formats", "causal()", "--q", "4"], 0),
        (["-h"], 0),
        (["audit", "-h"], 0),
        (["--version"], 0),
        (["draw", "causal()", "--q", "4", "--out", "a.png"], 2),
        (["draw", "--trace", "bert"], 2),
        (["audit", "bert"], 2),
        (["bench", "causal()", "--out", "a.svg"], 2),
        (["encode", "-", "--model", "m", "--out", "o.npy"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_needs_torch_says_so_and_the_rest_runs_without(arguments: list[str], code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == code, done.stderr
    assert ("pip install" in done.stderr) == (code == 2)
    assert "Traceback" not in done.stderr
