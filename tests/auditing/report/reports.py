"""Reports to show: one made by hand that says everything that a report can say, and a model with a real bug."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

import attnmask as am
from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict
from tests.zoo.styles import MaskKept, QueriesForKeys

SCRIPT = "import torch\nprint('number:', 2.5, '<&>')  # " + "a line that no terminal is wide enough for " * 5


def masks() -> tuple[LayerMask, ...]:
    """A right layer; one that attends to two pads and misses a token; one of which only a bound is known."""
    declared = am.compile(am.causal() & am.padding(lengths=[6, 4]), q=6)
    wrong = am.compile((am.causal() - am.dense(_pairs((5, 0)))) & am.padding(lengths=[6, 6]), q=6)
    fewer = am.compile(am.window(left=1, right=0) & am.padding(lengths=[6, 4]), q=6)
    return (
        LayerMask("layers.0", declared, declared),
        LayerMask("layers.1", declared, wrong),
        LayerMask("layers.2", declared, fewer, is_exact=False),
    )


def _pairs(*pairs: tuple[int, int]) -> list[list[bool]]:
    return [[(q, k) in pairs for k in range(6)] for q in range(6)]


def full_report() -> Report:
    """Every verdict, two bugs in one probe, and a number that is not finite."""
    layers = masks()
    measured = {"threshold": 1e-6, "power": 0.5}
    leak = Finding("padding leak", Verdict.BUG, "pads change tokens", {"padding": "hole"}, 10.5, **measured)
    known = replace(leak, since="layers.1", cause="no mask arrives", script=SCRIPT)
    findings = (
        replace(
            known, cell={"padding": "left", "implementation": "sdpa"}, number=2.5, expected=layers[1].expected,
            received=layers[1].received, layers=layers,
        ),
        replace(known, cell={"padding": "right"}, number=0.25),
        replace(leak, cause="another cause", script="print(1)"),
        replace(leak, verdict=Verdict.OK, cell={"padding": "left", "implementation": "eager"}, number=0.0),
        Finding("additive constant", Verdict.BUG, "outputs are NaN", {"dtype": "float16"}, float("inf")),
        Finding("future leak", Verdict.OK, "later tokens change earlier ones", {"implementation": ""}, 0.0, **measured),
        Finding(
            "padding inequality", Verdict.BY_DESIGN, "differs", {"padding": "left"}, 1.0, **measured,
            cause="declared: shifted",
        ),
        Finding("reach", Verdict.NO_POWER, "too far", {}, 0.0, 1e-6, 1e-9),
        Finding("packed leak", Verdict.NOT_APPLICABLE, "the model takes no position ids"),
        Finding("gradients", Verdict.COULD_NOT_RUN, "RuntimeError: no such shape"),
    )  # fmt: skip
    return Report("Net <b>", findings, 1.5, {"torch": "2.13.0"}, ("causal()", "causal()", "full()"), layers)


def report_of(*findings: Finding) -> Report:
    """A report of some findings."""
    return Report("Net", findings)


class Encoder(nn.Module):
    """A small encoder that people really write: with one text in the batch it leaves the mask out."""

    def __init__(self, skips_mask: bool) -> None:
        super().__init__()
        self.skips_mask = skips_mask
        self.embed = nn.Embedding(50, 32)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True) for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = self.embed(input_ids)
        padding = None if attention_mask is None or (self.skips_mask and len(input_ids) == 1) else attention_mask == 0
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        return hidden


def skipping() -> nn.Module:
    """The encoder with the bug, for ``module:function``."""
    torch.manual_seed(0)
    return Encoder(skips_mask=True)


def repaired() -> nn.Module:
    """Its twin without."""
    torch.manual_seed(0)
    return Encoder(skips_mask=False)


def broken() -> nn.Module:
    """A model that cannot be made."""
    raise RuntimeError("no such file of weights")


def keeping() -> nn.Module:
    """A model that keeps the mask of an earlier call."""
    return MaskKept(True)


class OneNumber(QueriesForKeys):
    """A number for each text, read off the last place."""

    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.head(x[:, -1])[:, 0]


def one_number() -> nn.Module:
    """That."""
    return OneNumber()


def named() -> dict[str, int]:
    """No model."""
    return {}


def of_a_path(path: str) -> nn.Module:
    """A model that needs to be told something."""
    raise NotImplementedError(path)


def skipping_class() -> type[nn.Module]:
    """A class, where a model is wanted."""
    return Encoder


MODEL = "no function"
