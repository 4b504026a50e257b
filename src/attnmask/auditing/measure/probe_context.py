"""The context that probes share: the subject, its sensitivity, and how a measurement becomes a finding.

A probe calls ``ProbeContext.compare`` with a ``differences.Comparison``. If the difference exceeds the threshold of the
subject's sensitivity, the context records the mask that each layer received (``recording.layer_sets``) and reports the
first layer whose mask is wrong. If all layers are right, ``_explain`` looks for another cause, which may be by design.
It also adds the reproduction script (``report.reproduction``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.expected.token_mixers import mixing_beside_attention
from attnmask.auditing.measure.differences import Comparison, Sensitivity, measure_sensitivity
from attnmask.auditing.recording.attention_calls import AttentionCall
from attnmask.auditing.recording.layer_sets import Mismatch, layer_masks, mismatches, record_calls
from attnmask.auditing.report.reproduction import comparison_script
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.absolute_positions import is_position_shift, padded_and_alone
from attnmask.auditing.subject.audited_model import Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch

NEVER_FINITE = "the outputs are NaN or infinite, whatever is changed"
MASKED_AFTER_SOFTMAX = "weights are masked after the softmax: the dropped weights still count in their sum"
# Only in these probes may layers that mix tokens without a mask explain a difference: a cache must agree even so.
PADDING_PROBES = ("padding leak", "padding inequality", "packed leak", "additive constant", "pooling reads padding")


@dataclass
class ProbeContext:
    """A subject under audit, with its sensitivity by (implementation, whether in training mode)."""

    subject: Subject
    sensitivities: dict[tuple[str, bool], Sensitivity] = field(default_factory=dict[tuple[str, bool], Sensitivity])

    def sensitivity(self, implementation: str = "", train: bool = False) -> Sensitivity:
        """Return the power and noise of an implementation; they are measured once."""
        key = implementation, train
        if key not in self.sensitivities:
            self.sensitivities[key] = measure_sensitivity(self.subject, implementation, train)
        return self.sensitivities[key]

    def compare(
        self,
        probe: str,
        comparison: Comparison,
        cell: Mapping[str, str],
        what: str,
        batch: PaddedBatch | None = None,
        sensitivity: Sensitivity | None = None,
    ) -> Finding:
        """Run a comparison whose sides must be equal, and judge it.

        Args:
            probe: name of the probe. comparison: the two runs. cell: the settings that the probe varies.
            what: what a difference means. batch: the padded batch of the left side, if its layers can be checked.
            sensitivity: used instead of that of the subject.
        """
        left = comparison.left
        try:
            sensitivity = sensitivity or self.sensitivity(left.implementation, left.train)
            number = comparison.measured(self.subject)
        except CouldNotRunError as error:
            return Finding(probe, Verdict.COULD_NOT_RUN, str(error), cell)
        if number == math.inf and comparison.is_never_finite(self.subject):
            return Finding(probe, Verdict.COULD_NOT_RUN, NEVER_FINITE, cell)
        measured: dict[str, Any] = {"number": number, "threshold": sensitivity.threshold, "power": sensitivity.power}
        verdict = sensitivity.verdict(number)
        if verdict is not Verdict.BUG:
            return Finding(probe, verdict, what, cell, **measured)
        measured["script"] = comparison_script(self.subject, comparison)
        measured["layers"] = self.layers(left, batch) if batch is not None else ()
        wrong = self.first_mismatch(left, batch) if batch is not None else None
        if wrong is not None:
            measured |= {"expected": wrong.expected, "received": wrong.received}
            return Finding(probe, verdict, what, cell, **measured, since=wrong.where, cause=wrong.cause)
        verdict, since, cause = self._explain(probe, left, number, batch is not None)
        return Finding(probe, verdict, what, cell, **measured, since=since, cause=cause)

    def _explain(self, probe: str, run: Run, number: float, padded: bool) -> tuple[Verdict, str, str]:
        """Find the cause of a difference if every layer receives the declared mask: verdict, layer and cause."""
        if number == math.inf:
            return Verdict.BUG, "", f"the outputs of tokens are NaN or infinite{self.empty_rows(run)}"
        short = self.layer_with_short_sums(run) if padded else ""
        if short:
            return Verdict.BUG, short, MASKED_AFTER_SOFTMAX
        beside = mixing_beside_attention(self.subject, padded=probe in PADDING_PROBES)
        if beside:
            return Verdict.BY_DESIGN, "", f"attention is as declared; {beside}"
        return Verdict.BUG, "", "attention is as declared: something else mixes tokens" if padded else ""

    def empty_rows(self, run: Run) -> str:
        """Describe that some queries attend to no key, if a layer has such queries."""
        empty = self.first_layer(run, lambda call: call.plan.empty_rows > 0)
        return f": queries in {empty} attend to no key, and their outputs spread" if empty else ""

    def layer_with_short_sums(self, run: Run) -> str:
        """Return the first layer that masks weights after its softmax, so that dropped weights count in the sum."""
        return self.first_layer(run, lambda call: call.sums_below_one)

    def first_layer(self, run: Run, is_so: Callable[[AttentionCall], bool]) -> str:
        """Return the first layer with an attention call that fulfils a condition; empty if none or not recordable."""
        try:
            return next((call.layer or "model" for call in record_calls(self.subject, run) if is_so(call)), "")
        except Exception:  # as in first_mismatch
            return ""

    def shifts_positions(self, implementation: str) -> bool:
        """Return whether left padding shifts absolute positions, and has no other effect."""
        comparison, own = padded_and_alone(self.subject, "left", implementation, 2, "default")
        return is_position_shift(self.subject, comparison, own, self.sensitivity(implementation).threshold)

    def first_mismatch(self, run: Run, batch: PaddedBatch) -> Mismatch | None:
        """Return the first layer that receives another mask than declared; None if all are right or not recordable."""
        try:
            return next(mismatches(self.subject, run, batch), None)
        except Exception:  # recording only adds a cause: the difference of the outputs has been measured already
            return None

    def layers(self, run: Run, batch: PaddedBatch) -> tuple[LayerMask, ...]:
        """Return the masks of every layer, for pictures; empty if they are not recordable."""
        try:
            return tuple(layer_masks(self.subject, run, batch))
        except Exception:  # as in first_mismatch
            return ()
