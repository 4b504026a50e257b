"""What a report says: as JSON, as an exit code, in words and on a terminal."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest
import transformers
from rich.console import Console

import attnmask as am
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.summary import bug_groups, headline, text_from_report
from attnmask.auditing.report.terminal_text import print_report, print_sweep
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.errors import ArgumentError
from tests.auditing.report.reports import SCRIPT, full_report, masks, repaired, report_of, skipping


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def test_json_comes_back_as_it_was() -> None:
    report = full_report()
    again = Report.from_json(report.to_json())
    assert again == report
    assert again.to_json() == report.to_json()
    assert (again.layers, again.findings[0].layers, again.findings[0].expected) == (
        report.layers, report.findings[0].layers, report.findings[0].expected,
    )  # fmt: skip


def test_the_schema_is_version_1() -> None:
    values = json.loads(full_report().to_json(), parse_constant=_refuse)
    assert values["schema"] == 1
    assert list(values) == [
        "schema", "model", "exit_code", "seconds", "versions", "declared", "layers", "findings",
    ]  # fmt: skip
    assert list(values["findings"][0]) == [
        "probe", "verdict", "what", "cell", "number", "threshold", "power", "since", "cause", "script", "expected",
        "received", "layers",
    ]  # fmt: skip
    assert list(values["layers"][0]) == ["layer", "expected", "received", "is_exact"]
    assert values["findings"][4]["number"] == "inf"
    assert {one["verdict"] for one in values["findings"]} == {
        "ok", "bug", "by design", "no power", "not applicable", "could not run",
    }  # fmt: skip
    assert all(name in (Report.to_json.__doc__ or "") for name in [*values, *values["findings"][0]])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"no report|schema is 2"):
        Report.from_json(text)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([Verdict.OK, Verdict.NOT_APPLICABLE], 0),
        ([Verdict.BY_DESIGN], 0),
        ([Verdict.OK, Verdict.COULD_NOT_RUN, Verdict.BUG], 1),
        ([Verdict.NO_POWER, Verdict.COULD_NOT_RUN, Verdict.NOT_APPLICABLE], 2),
        ([], 2),
    ],
)
def test_the_exit_code_says_clean_only_where_something_was_seen(verdicts: list[Verdict], code: int) -> None:
    assert report_of(*(Finding("p", verdict, "") for verdict in verdicts)).exit_code == code


def test_extra_and_missing_pairs_are_counted_and_a_bound_forgives_missing_ones() -> None:
    right, wrong, fewer = masks()
    assert (right.extra, right.missing) == (0, 0)
    # Of the second item: keys 4 and 5 are pads, and key 0 is missing in the last row of both.
    assert (wrong.extra, wrong.missing) == (3, 2)
    assert (fewer.extra, fewer.missing) == (0, 0)


def test_bugs_whose_layer_is_known_come_first() -> None:
    assert next((bug.probe, bug.first.since) for bug in bug_groups(full_report())) == ("padding leak", "layers.1")


def test_a_place_names_what_is_wrong_and_what_is_not() -> None:
    known, *_, other = bug_groups(full_report())
    assert known.where == "padding left/right, implementation sdpa (not eager)"
    # The cell that is fine differs in the implementation, too.
    assert other.where == "padding hole"


def test_the_text_says_what_since_when_why_where_and_how_to_reproduce() -> None:
    text = text_from_report(full_report())
    for part in ("3 bugs in 4 cells", "pads change tokens", "layers.1; 1 of 3 layers", "no mask arrives", SCRIPT):
        assert part in text
    assert "an output is not finite" in text


def test_the_text_of_a_model_that_could_not_be_audited_says_why() -> None:
    report = report_of(Finding("gradients", Verdict.COULD_NOT_RUN, "RuntimeError: no such shape"))
    assert "could not be audited" in text_from_report(report)
    assert "no such shape" in text_from_report(report)


def test_the_headline_counts_only_probes_that_looked() -> None:
    report = report_of(Finding("a", Verdict.OK, ""), Finding("b", Verdict.NOT_APPLICABLE, ""))
    assert headline(report) == "Net: no bug found by 1 probe, 0.0 s"


def printed(report: Report, width: int = 100) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        print_report(report, console)
    return console.export_text()


def test_the_terminal_shows_every_verdict_with_its_reason() -> None:
    shown = " ".join(printed(full_report()).split())
    for part in (
        "bug: padding leak", "since layers.1", "cause no mask arrives",
        "could not run gradients RuntimeError: no such shape",
        "no power reach", "--redraw", "by design padding inequality declared: shifted", "ok 1 probe future leak",
        "not applicable 1 probe packed leak", "causal() in 2 layers, full() in 1 layer", '--probe "padding leak"',
    ):  # fmt: skip
        assert part in shown, part


def test_a_script_is_printed_as_it_is_however_narrow_the_terminal() -> None:
    assert SCRIPT in printed(full_report(), width=40)


def test_a_clean_model_takes_a_few_lines() -> None:
    report = report_of(*(Finding(f"probe {i}", Verdict.OK, "what") for i in range(9)))
    assert len(printed(report).strip().splitlines()) <= 5


def test_a_bug_takes_a_screen() -> None:
    report = am.audit(skipping(), mask=am.full(), redraw=True)
    assert report.exit_code == 1
    assert len(printed(report, width=120).splitlines()) <= 50
    assert {(bug.probe, bug.first.since) for bug in bug_groups(report) if bug.first.since} == {
        ("padding leak", "layers.0.self_attn"), ("padding inequality", "layers.0.self_attn"),
    }  # fmt: skip
    assert all("batch 1 (not 2)" in bug.where for bug in bug_groups(report) if bug.first.since)
    assert [(mask.layer, mask.extra) for mask in bug_groups(report)[0].layers] == [
        ("layers.0.self_attn", 91), ("layers.1.self_attn", 91),
    ]  # fmt: skip


def test_the_repaired_twin_is_clean_and_shows_its_layers() -> None:
    report = am.audit(repaired(), mask=am.full(), redraw=True)
    assert report.exit_code == 0
    assert [(mask.layer, mask.extra, mask.missing) for mask in report.layers] == [
        ("layers.0.self_attn", 0, 0), ("layers.1.self_attn", 0, 0),
    ]  # fmt: skip


def test_without_power_nothing_is_called_clean() -> None:
    report = am.audit(_still(), mask=am.full(), probes=["padding leak"])
    assert (report.verdicts, report.exit_code) == ({"padding leak": Verdict.NO_POWER}, 2)


def _still() -> object:
    """A model whose attention adds nothing."""
    model = repaired()
    for name, parameter in model.named_parameters():
        if "layers" in name and "norm" not in name:
            parameter.data.zero_()
    return model


def test_an_exception_that_names_nothing_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no probe or padding 'left_paddin'"):
        am.audit(repaired(), expect={"left_paddin": "shifted"})


def test_a_sweep_is_summed_up() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    fine = report_of(Finding("future leak", Verdict.OK, ""))
    with console.file:
        code = print_sweep(
            [("a", "causal", full_report(), ""), ("b", "base", None, "no shape"), ("c", "base", fine, "")], console
        )
    shown = " ".join(console.export_text().split())
    assert code == 1
    assert "a causal padding leak layers.1 no mask arrives" in shown
    assert "could not run: b base: no shape" in shown
    assert shown.endswith("2 of 3 architectures ran, 1 with bugs")


def test_a_model_that_is_loaded_with_sdpa_is_as_clean_as_one_with_eager() -> None:
    # Eager attention in float64 makes NaN where sdpa makes none.
    config = transformers.LlamaConfig(
        vocab_size=200, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    report = am.audit(transformers.LlamaForCausalLM(config), probes=["padding leak"], redraw=True)
    assert report.exit_code == 0
    assert {finding.cell["implementation"] for finding in report.findings} == {"eager", "sdpa", "attnmask"}


def test_a_declared_exception_is_shown() -> None:
    expect = {"padding_leak": "one text is never padded", "left padding": "not used"}
    report = am.audit(skipping(), mask=am.full(), redraw=True, probes=["padding leak"], expect=expect)
    assert report.exit_code == 0
    assert "declared: one text is never padded" in printed(report)
