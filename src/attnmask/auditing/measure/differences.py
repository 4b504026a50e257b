"""Measure how far two runs differ, and decide which difference is significant.

A probe states two runs whose outputs must be equal at some rows (``Comparison``). ``measure_sensitivity`` measures, for
each implementation, how much a legal change of the input changes the outputs (the power), and how much they change
where nothing should (the noise); a ``Sensitivity`` turns a difference into a verdict. If the power is too low, the
verdict is "no power", since a leak would be as invisible as the legal change. ``probe_context`` connects this with
findings and causes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnmask.auditing.report.verdict import Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs

# A difference is a leak if it exceeds both this multiple of the noise and this share of the power.
NOISE_FACTOR = 50
SHARE_OF_POWER = 1e-5
# Texts of a batch are coupled if other texts change the outputs by more than this share of the power.
SHARE_OF_COUPLING = 1e-3
# Minimum power: if a legal change moves the outputs by less, a leak would not be visible either.
MIN_POWER = 1e-3
# Minimum noise in machine epsilons, as if the order of summation had changed.
EPSILONS = 32
# The order of summation in float64 changes outputs by less than this.
BEYOND_FLOAT64 = 1e-10
Rows = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Comparison:
    """Two runs whose outputs must be equal at given rows (item, position)."""

    left: Run
    right: Run
    left_rows: Rows
    right_rows: Rows

    @staticmethod
    def at(left: Run, right: Run, rows: Rows) -> Comparison:
        """Compare the same rows of both runs."""
        return Comparison(left, right, rows, rows)

    def measured(self, subject: Subject) -> float:
        """Return the largest difference at the rows, relative to the mean size of the outputs; inf if not finite."""
        return difference(subject.run(self.left), subject.run(self.right), self.left_rows, self.right_rows)

    def is_never_finite(self, subject: Subject) -> bool:
        """Return whether both sides have outputs that are NaN or infinite, so that they cannot be compared."""
        sides = ((self.left, self.left_rows), (self.right, self.right_rows))
        return not any(bool(torch.isfinite(_at(subject.run(run).detach(), rows)).all()) for run, rows in sides)


@dataclass(frozen=True)
class Sensitivity:
    """How strongly the outputs of a subject react, all relative to their mean size.

    Attributes:
        power: change of the outputs by a legal change of the input. noise: change of a text's outputs by another text
            in its batch. chance: change of the outputs from one run to the next.
    """

    power: float
    noise: float
    chance: float = 0.0

    @property
    def threshold(self) -> float:
        """The largest difference that is not a leak."""
        return max(NOISE_FACTOR * self.noise, SHARE_OF_POWER * self.power)

    @property
    def is_coupled(self) -> bool:
        """Whether a text's outputs depend on the other texts of its batch, without any padding."""
        return self.noise > self.coupling_threshold

    @property
    def coupling_threshold(self) -> float:
        """The largest noise that is not coupling; it has a minimum for models of low power."""
        return SHARE_OF_COUPLING * self.power if self.power > MIN_POWER else MIN_POWER

    def verdict(self, number: float) -> Verdict:
        """Judge a difference that should be 0."""
        if self.power < MIN_POWER:
            return Verdict.NO_POWER
        if number > self.threshold:
            return Verdict.BUG
        return Verdict.OK if self.threshold < self.power else Verdict.NO_POWER


def difference(left: Tensor, right: Tensor, left_rows: Rows, right_rows: Rows) -> float:
    """Return the largest difference of rows, relative to the mean size of the left outputs."""
    a, b = (_at(out.detach(), rows) for out, rows in ((left, left_rows), (right, right_rows)))
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("inf")
    return float((a - b).abs().max() / a.abs().mean().clamp(min=1e-30))


def repeat_tolerance(chance: float) -> float:
    """Return by how much two runs of the same batch may differ, given the difference of two other such runs."""
    return NOISE_FACTOR * max(chance, EPSILONS * torch.finfo(torch.float32).eps)


def _at(out: Tensor, rows: Rows) -> Tensor:
    """Return rows of the output; whole items if the output does not have a row per token."""
    items, places = (list(axis) for axis in zip(*rows, strict=True))
    if max(places) >= out.shape[1]:
        return out[sorted(set(items))].double()
    return out[items, places].double()


def output_rows(subject: Subject, item: int, places: Sequence[int]) -> Rows:
    """Return the output rows of the tokens of an item; for an encoder-decoder, all rows of the decoder."""
    if subject.kind is ModelKind.ENCODER_DECODER:
        # extra_inputs() gives the decoder 9 tokens.
        return [(item, i) for i in range(9)]
    return [(item, place) for place in places]


def measure_sensitivity(subject: Subject, implementation: str = "", train: bool = False) -> Sensitivity:
    """Measure the power (effect of changing the first token) and the noise (effect of another text in the batch)."""
    plain = plain_inputs(subject)
    changed = dict(plain)
    ids = plain["input_ids"].clone()
    ids[:, 0] = subject.tokens[(int((subject.tokens == ids[0, 0]).nonzero()[0, 0]) + 1) % len(subject.tokens)]
    changed["input_ids"] = ids
    run = Run(plain, implementation, train)
    once = subject.run(run)
    changed_out = subject.run(Run(changed, implementation, train))
    one, other = (subject.run(each)[:1] for each in runs_beside_other_texts(subject, implementation, train))
    again = subject.run(run)
    rows = [(0, i) for i in range(once.shape[1])]
    # Rows after the changed token: its own output would change even without attention.
    seeing = rows[1:6] or rows
    size = once.double().abs().mean().clamp(min=1e-30)
    change = (_at(once, seeing) - _at(changed_out, seeing)).abs().amax(-1)
    chance = difference(once, again, rows, rows)
    noise = max(chance, difference(one, other, rows, rows))
    # Some float64 models compute parts in float32; their noise shows it.
    precision = torch.float32 if noise > BEYOND_FLOAT64 else once.dtype
    rounding = EPSILONS * torch.finfo(precision).eps
    return Sensitivity(float(change.median() / size), max(noise, rounding), chance)


def runs_beside_other_texts(subject: Subject, implementation: str = "", train: bool = False) -> tuple[Run, Run]:
    """Return two runs of the same text in a batch of two, each with a different second text."""
    plain = plain_inputs(subject)
    one, other = (Run(_with_other_text(subject, plain, seed), implementation, train) for seed in (51, 52))
    return one, other


def _with_other_text(subject: Subject, plain: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Append the text of a seed to the batch."""
    other = {**plain, "input_ids": subject.text(seed)}
    return {name: torch.cat([value, other[name]]) for name, value in plain.items()}
