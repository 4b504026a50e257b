"""Does this model obey its mask? Probes from outside, recordings from inside, and a report that proves what it says.

``audit`` and ``trace`` are the way in; torch is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attnmask.audit.global_state import global_state_kept, model_kept
from attnmask.errors import ArgumentError

if TYPE_CHECKING:
    from torch import nn

    from attnmask.audit.recording import Trace
    from attnmask.audit.report import Report
    from attnmask.mask.expr import Mask


def audit(
    model: nn.Module | str,
    *,
    mask: Mask | Sequence[Mask] | None = None,
    mode: str = "",
    forward: Callable[..., Any] | None = None,
    probes: Sequence[str] = (),
    expect: Mapping[str, str] | None = None,
    redraw: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Find out whether a model obeys the mask it is given and the one it declares.

    The model is copied; its weights stay as they are unless ``redraw`` says that they mean nothing. Each probe
    measures how much a legal change does (its power) and how much rounding does, and judges relative to both.

    Args:
        model: an nn.Module that takes ``input_ids`` and ``attention_mask``; or text: the folder of a saved model, a
            model type of transformers (made tiny), or ``module:function`` that returns a module.
        mask: what the model is declared to obey beside padding, for all layers or one for each, such as ``causal()``.
            A config of transformers declares its own.
        mode: of a model type: "causal", "masked", "seq2seq", "base" or "classification".
        forward: ``forward(input_ids=, attention_mask=)``, a function that calls this model as it is called in use and
            returns the outputs of the tokens, where the model takes or returns something else. While it runs, the
            audited copy stands in for the model.
        probes: names of those to run; all if left out.
        expect: exceptions that are meant, from a probe or a padding to why, such as {"left_padding": "shifted"}.
        redraw: draw all weights anew, large enough for masks to show: for models that are not trained.
        progress: called with probes done and in all.

    Returns:
        A Report: ``report.bugs``, ``report.exit_code``, ``print(report)``.

    Raises:
        ArgumentError: no such model, mode or probe, or a model that does not run on a plain text.

    Source: attnmask.

    >>> report = audit("gpt2", probes=["future leak"])
    >>> report.exit_code, report.verdicts
    (0, {'future leak': <Verdict.OK: 'ok'>})
    """
    from attnmask.audit.auditing import check_options, report_of
    from attnmask.audit.build import quiet, subject_from_text, subject_of

    if isinstance(model, str) and forward is not None:
        raise ArgumentError("forward= calls a model", where="audit(forward=)", fix="give that model, not its name")
    check_options(probes, expect or {})
    with global_state_kept():
        with quiet():
            subject = (
                subject_from_text(model, mode, mask, redraw)
                if isinstance(model, str)
                else subject_of(model, mask, forward, redraw_weights=redraw)
            )
        return report_of(subject, probes, expect, progress)


def trace(model: nn.Module, batch: Mapping[str, Any]) -> Trace:
    """Record what every attention of a model attends to on a batch, whatever computes it.

    Args:
        model: any module. batch: its keyword arguments.

    Returns:
        A Trace, whose ``calls`` hold the layer's name and the pairs as a Plan.

    Source: attnmask.

    >>> import attnmask as am, torch
    >>> seen = trace(am.hf.tiny_model("llama"), {"input_ids": torch.tensor([[5, 6, 7]])})
    >>> seen.calls[0].plan == am.compile(am.causal(), q=3)
    True
    """
    from attnmask.audit import recording

    with global_state_kept(), model_kept(model):
        return recording.trace(model, batch)
