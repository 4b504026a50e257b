"""Models in the styles in which people write them: what is wrong is found, and what is right is clean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnmask as am
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Verdict
from tests.zoo import styles

PLANTED: list[tuple[type[Any], str, str]] = [
    (styles.MaskedBehind, "padding leak", "weights are masked after the softmax"),
    (styles.MaskKept, "earlier calls matter", "something of an earlier call is kept"),
    (styles.GrowingBuffer, "earlier calls matter", "something of an earlier call is kept"),
    (styles.RefusedInHalf, "additive constant", "without overflow"),
    (styles.AcrossTheBatch, "texts of a batch are coupled", "is the batch where the tokens should be?"),
    (styles.FirstOfPacked, "packed leak", "not all of their tokens"),
    (styles.PassesOn, "padding leak", "no mask arrives"),
]  # fmt: skip


def audit(model: nn.Module, **options: Any) -> Report:
    mask = am.causal() if getattr(model, "causal", False) else am.full()
    return am.audit(model, redraw=True, **{"mask": mask, **options})


@pytest.mark.parametrize(("kind", "probe", "cause"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_planted_is_found_and_its_twin_is_clean(kind: type[Any], probe: str, cause: str) -> None:
    found = [bug for bug in audit(kind(True)).bugs if bug.probe == probe]
    assert found
    assert all(cause in bug.cause for bug in found)
    report = audit(kind(False))
    assert report.exit_code == 0, str(report)


def test_outputs_at_padding_that_are_nan_are_nobodys() -> None:
    assert am.audit("modernbert", mode="masked", probes=["earlier calls matter"]).exit_code == 0


class RefusedAlways(styles.RefusedInHalf):
    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        return self.mixed(self.scores(q, k).masked_fill(~allowed, -1e9).softmax(-1), v)


def test_a_model_that_never_runs_in_half_precision_could_not_run_there() -> None:
    report = audit(RefusedAlways(), probes=["additive constant"])
    assert report.verdicts == {"additive constant": Verdict.COULD_NOT_RUN}
    assert any(found.what.startswith("a constant does not fit into half precision") for found in report.findings)


def test_what_is_kept_explains_all_else() -> None:
    assert {bug.probe for bug in audit(styles.MaskKept(True)).bugs} == {"earlier calls matter"}
    hook_sees = [found for found in audit(styles.MaskKept(True)).findings if found.probe == "gradients"]
    assert {found.verdict for found in hook_sees} == {Verdict.OK}


@pytest.mark.parametrize("form", styles.OUTPUTS)
def test_outputs_are_found_in_whatever_a_model_returns(form: str) -> None:
    report = audit(styles.Returns(True, form), probes=["padding leak"])
    assert report.verdicts == {"padding leak": Verdict.BUG}
    assert audit(styles.Returns(False, form)).exit_code == 0


class Says(styles.Einsum):
    def read(self, x: Tensor, mask: Tensor | None) -> Any:
        return "hello"


def test_a_model_that_returns_no_tensor_is_told_so() -> None:
    with pytest.raises(am.AttnMaskError, match="it returns str, in which there is no tensor"):
        audit(Says())


@pytest.mark.parametrize("how", ["buffer", "parameter", "function"])
def test_positions_that_no_module_makes_shift_by_design(how: str) -> None:
    report = audit(styles.Placed(how))
    assert report.exit_code == 0
    assert report.verdicts["padding inequality"] is Verdict.BY_DESIGN
    pooled = audit(styles.Placed(how, is_pooled=True))
    assert pooled.exit_code == 0
    assert pooled.verdicts["pooling reads padding"] is Verdict.BY_DESIGN


def test_statistics_of_a_batch_leave_no_power_to_see_a_leak_in_training() -> None:
    report = audit(styles.InTraining())
    assert report.exit_code == 0
    causes = [found.cause for found in report.findings if found.verdict is Verdict.BY_DESIGN]
    assert any("statistics of the batch" in cause for cause in causes)
    trained = [found for found in report.findings if found.probe == "padding leak" and "mode" in found.cell]
    assert {found.verdict for found in trained} == {Verdict.NO_POWER}


def nano(model: nn.Module) -> Any:
    return lambda input_ids: model(input_ids, input_ids)[0]


def translator(model: nn.Module) -> Any:
    return lambda input_ids, attention_mask, decoder_input_ids: model(input_ids, decoder_input_ids, attention_mask == 0)


def decoder(model: nn.Module) -> Any:
    def forward(
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> Any:
        return model(input_ids, attention_mask, past_key_values)

    return forward


CALLED: list[tuple[type[Any], Any, Any, str]] = [
    (styles.Nano, nano, am.causal(), "future leak"),
    (styles.Translator, translator, None, "padding leak"),
    (styles.Decoder, decoder, am.causal(), "cache disagrees"),
]


@pytest.mark.parametrize(("kind", "how", "mask", "probe"), CALLED)
def test_a_model_that_is_called_in_its_own_way(kind: type[Any], how: Any, mask: Any, probe: str) -> None:
    model = kind(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = am.audit(model, mask=mask, forward=how(model), redraw=True)
    assert probe in {bug.probe for bug in report.bugs}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    right = kind(False)
    report = am.audit(right, mask=mask, forward=how(right), redraw=True)
    assert report.exit_code == 0, str(report)
    assert Verdict.COULD_NOT_RUN not in report.verdicts.values()


def test_a_forward_is_watched_from_inside() -> None:
    model = styles.Translator(True)
    bug = next(b for b in am.audit(model, forward=translator(model), redraw=True).bugs if b.probe == "padding leak")
    assert bug.since == "transformer.decoder.layers.0.multihead_attn"


def test_a_forward_of_a_name_is_refused() -> None:
    with pytest.raises(am.AttnMaskError, match="forward= calls a model"):
        am.audit("llama", forward=lambda input_ids: input_ids)


def test_a_reproduction_of_each_way_to_attend_prints_the_keys() -> None:
    masks = {"Einsum": am.window(left=3, right=3), "AcrossTheBatch": am.window(left=3, right=3)}
    for name, mask in masks.items():
        report = am.audit(f"tests.zoo.styles:{name}", mask=mask, probes=["mask of a layer"], redraw=True)
        printed = run(report.bugs[0].script)
        assert "query 0 should attend to [0, 1, 2, 3], attends to [0, 1, 2, 3, 4, 5, 6," in printed


def run(script: str) -> str:
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(script, {})
    return printed.getvalue()


def test_a_reproduction_of_what_is_kept_prints_the_difference() -> None:
    report = am.audit("tests.auditing.report.reports:keeping", probes=["earlier calls matter"], redraw=True)
    script = report.bugs[0].script
    assert len(script.splitlines()) <= 20
    assert float(run(script).split(": ")[1]) > 1e-3


def test_a_pooled_vector_is_compared_as_a_whole_in_a_reproduction() -> None:
    report = am.audit("tests.auditing.report.reports:one_number", probes=["pooling reads padding"], redraw=True)
    assert float(run(report.bugs[0].script).split(": ")[1]) > 1e-3
