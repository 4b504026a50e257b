"""How far two runs differ, and what difference means anything: power and noise first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attnmask.auditing.report.verdict import Verdict
from attnmask.auditing.subject.audited_model import ModelKind, Run, Subject, plain_inputs

# Above so many times the noise, and above this share of what a legal change does, a difference is a leak.
NOISE_FACTOR = 50
SHARE_OF_POWER = 1e-5
# Other texts that do this share of what a legal change does are seen.
SHARE_OF_COUPLING = 1e-3
# Below this change of the outputs a legal change does not show, and a leak would not either.
MIN_POWER = 1e-3
# Two orders of summing differ by at least so many roundings.
EPSILONS = 32
# No order of summing in float64 differs by so much.
BEYOND_FLOAT64 = 1e-10
Rows = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Comparison:
    """Two runs whose outputs at given rows, (item, position), must be the same."""

    left: Run
    right: Run
    left_rows: Rows
    right_rows: Rows

    @staticmethod
    def at(left: Run, right: Run, rows: Rows) -> Comparison:
        """The same rows of both."""
        return Comparison(left, right, rows, rows)

    def measured(self, subject: Subject) -> float:
        """The largest difference at the rows, relative to the mean size of the outputs; inf where one is not finite."""
        return difference(subject.run(self.left), subject.run(self.right), self.left_rows, self.right_rows)

    def is_never_finite(self, subject: Subject) -> bool:
        """Whether neither side gives numbers: then nothing is learned from their difference."""
        sides = ((self.left, self.left_rows), (self.right, self.right_rows))
        return not any(bool(torch.isfinite(_at(subject.run(run).detach(), rows)).all()) for run, rows in sides)


@dataclass(frozen=True)
class Sensitivity:
    """What differences mean in a subject: of a legal change, of the same thing computed otherwise, and of it again."""

    power: float
    noise: float
    chance: float = 0.0

    @property
    def threshold(self) -> float:
        """What a difference must exceed to be one."""
        return max(NOISE_FACTOR * self.noise, SHARE_OF_POWER * self.power)

    @property
    def is_coupled(self) -> bool:
        """Whether a text's output depends on the other texts of its batch, without any padding."""
        return self.noise > self.coupling_threshold

    @property
    def coupling_threshold(self) -> float:
        """What other texts must do to an output to be more than rounding: also where a text's own tokens do nothing."""
        return SHARE_OF_COUPLING * self.power if self.power > MIN_POWER else MIN_POWER

    def verdict(self, number: float) -> Verdict:
        """Of a difference that should be 0."""
        if self.power < MIN_POWER:
            return Verdict.NO_POWER
        if number > self.threshold:
            return Verdict.BUG
        return Verdict.OK if self.threshold < self.power else Verdict.NO_POWER


def difference(left: Tensor, right: Tensor, left_rows: Rows, right_rows: Rows) -> float:
    """The largest difference of rows, relative to the mean size of the left outputs."""
    a, b = (_at(out.detach(), rows) for out, rows in ((left, left_rows), (right, right_rows)))
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return float("inf")
    return float((a - b).abs().max() / a.abs().mean().clamp(min=1e-30))


def repeat_tolerance(chance: float) -> float:
    """What two runs of the same batch may differ by, if two others differ by chance so much."""
    return NOISE_FACTOR * max(chance, EPSILONS * torch.finfo(torch.float32).eps)


def _at(out: Tensor, rows: Rows) -> Tensor:
    """Rows of the output; the whole item where its rows are not those of the tokens."""
    items, places = (list(axis) for axis in zip(*rows, strict=True))
    if max(places) >= out.shape[1]:
        return out[sorted(set(items))].double()
    return out[items, places].double()


def output_rows(subject: Subject, item: int, places: Sequence[int]) -> Rows:
    """Rows of the output that belong to tokens of an item; of an encoder-decoder, all rows of the decoder."""
    if subject.kind is ModelKind.ENCODER_DECODER:
        return [(item, i) for i in range(9)]
    return [(item, place) for place in places]


def measure_sensitivity(subject: Subject, implementation: str = "", train: bool = False) -> Sensitivity:
    """Power: what changing the first token does to the outputs. Noise: what another batch around a text does."""
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
    # Rows behind the change: its own would change without any attention.
    seeing = rows[1:6] or rows
    size = once.double().abs().mean().clamp(min=1e-30)
    change = (_at(once, seeing) - _at(changed_out, seeing)).abs().amax(-1)
    chance = difference(once, again, rows, rows)
    noise = max(chance, difference(one, other, rows, rows))
    # Some models in float64 compute a part in float32.
    precision = torch.float32 if noise > BEYOND_FLOAT64 else once.dtype
    rounding = EPSILONS * torch.finfo(precision).eps
    return Sensitivity(float(change.median() / size), max(noise, rounding), chance)


def runs_beside_other_texts(subject: Subject, implementation: str = "", train: bool = False) -> tuple[Run, Run]:
    """The plain text as the first of a batch, beside one text and beside another."""
    plain = plain_inputs(subject)
    one, other = (Run(_with_other_text(subject, plain, seed), implementation, train) for seed in (51, 52))
    return one, other


def _with_other_text(subject: Subject, plain: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The plain text, and below it another one."""
    other = {**plain, "input_ids": subject.text(seed)}
    return {name: torch.cat([value, other[name]]) for name, value in plain.items()}
