"""What is timed computes the same, and the command prints and draws it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import attnmask as am
from attnmask.timing import compare, problem_from_plan
from attnmask.timing.interleaved import OURS, medians
from attnmask.timing.timed_peers import sdpa_flag
from benchmarks.attention_masks import CASES
from benchmarks.attention_peers import peers_of

LENGTH = 1024


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_every_peer_computes_what_we_do(name: str, kv_heads: int) -> None:
    case = CASES[name](LENGTH)
    plan = am.compile(case.mask, q=LENGTH, batch=case.batch)
    problem = problem_from_plan(plan, heads=4, dim=16, kv_heads=kv_heads)
    want = am.attention(problem.q, problem.k, problem.v, plan)
    seen = torch.from_numpy(plan.to("dense").any(-1)).expand(plan.B, 4, LENGTH)  # peers disagree on empty rows
    for peer, make in peers_of(case).items():
        run = make(problem) if peer != "flex" else None
        if run is not None:
            torch.testing.assert_close(run()[seen], want[seen], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_rules_written_for_flex_are_the_sets(name: str) -> None:
    case = CASES[name](LENGTH)
    plan = am.compile(case.mask, q=LENGTH, batch=case.batch)
    b, q, k = torch.arange(plan.B)[:, None, None], torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    seen = case.mod(b, torch.tensor(0), q, k)
    assert torch.equal(seen.expand(plan.B, LENGTH, LENGTH), torch.from_numpy(plan.to("dense")[:, 0]))


def test_the_flags_of_torch_are_a_peer_only_where_they_mean_the_same() -> None:
    for mask, means_the_same in ((am.full(), True), (am.causal(), True), (am.window(left=9, right=0), False)):
        assert (sdpa_flag(problem_from_plan(am.compile(mask, q=40), 2, 8)) is not None) is means_the_same


def test_every_run_is_timed_in_every_round() -> None:
    calls: list[str] = []
    times = medians({OURS: lambda: calls.append("ours"), "peer": lambda: calls.append("peer")}, rounds=3, seconds=9)
    assert calls == ["ours", "peer"] * 4
    assert set(times) == {OURS, "peer"}
    assert medians({OURS: lambda: None}, rounds=1000, seconds=0.0)[OURS] >= 0


def test_what_is_slow_and_far_behind_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[medians.__module__], "LONG", 0.01)
    calls: list[str] = []
    runs = {
        OURS: lambda: calls.append("ours"),
        "slow": lambda: (calls.append("slow"), time.sleep(0.02)),
        "near": lambda: calls.append("near"),
    }
    medians(runs, rounds=3, seconds=9)
    assert [calls.count(name) for name in ("ours", "slow", "near")] == [4, 2, 4]


def test_forward_and_backward_are_both_timed() -> None:
    row = compare(
        problem_from_plan(am.compile(am.causal(), q=20), 2, 8), {"sdpa flag": sdpa_flag}, backward=True, rounds=1
    )
    assert set(row.forward) == set(row.backward) == {OURS, "sdpa flag"}


def _command(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("attnmask")), "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_a_plot(tmp_path: Path) -> None:
    out = tmp_path / "plot.png"
    code, said, _ = _command("causal()", "--q", "3", "--heads", "2", "--dim", "16", "--out", str(out))
    assert code == 0
    for word in ("attnmask ms", "sdpa dense ms", "flex ms", "66.7%", "H=2 D=16"):
        assert word in said
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["causal()", "--dtype", "int8"], "dtype is 'int8'"),
        (["causal()", "--q", "-4"], "q is -4"),
        (["windw()"], "there is no mask 'windw'"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str) -> None:
    code, said, error = _command(*arguments)
    assert (code, said) == (2, "")
    assert message in error
    assert "Traceback" not in error


def test_a_table_takes_the_place_of_the_one_with_its_title(tmp_path: Path) -> None:
    from benchmarks.attention import COLUMNS, write_section

    page = tmp_path / "page.md"
    page.write_text("# Page\n\n### one\n\nold\n\n### two\n\nkept\n")
    for title, word in (("one", "new"), ("three", "last")):
        write_section(page, title, [[word] * len(COLUMNS)])
    texts = page.read_text().split("### ")
    assert [text.partition("\n")[0] for text in texts] == ["# Page", "one", "two", "three"]
    assert "old" not in page.read_text()
    assert ("| new |" in texts[1], texts[2], "| last |" in texts[3]) == (True, "two\n\nkept\n\n", True)
