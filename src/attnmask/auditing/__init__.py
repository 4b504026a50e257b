"""Does this model obey its mask? Probes from outside, recordings from inside, and a report that proves what it says.

``audit`` and ``trace`` are the way in; torch is imported when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from attnmask.auditing.global_state import global_state_restored, model_state_restored
from attnmask.calls import public
from attnmask.errors import ArgumentError, AttnMaskError
from attnmask.mask.arguments import flag, instance_of, shown
from attnmask.mask.expression import Mask

if TYPE_CHECKING:
    from torch import nn

    from attnmask.auditing.recording.attention_calls import Trace
    from attnmask.auditing.report.audit_report import Report


@public
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
    from attnmask.auditing.run_probes import audit_subject, check_options
    from attnmask.auditing.subject.subject_from_name import quiet, subject_from_model, subject_from_text

    if isinstance(model, str) and forward is not None:
        raise ArgumentError("forward= calls a model", where="audit(forward=)", fix="give that model, not its name")
    if not isinstance(model, str) and not (isinstance(mode, str) and mode == ""):
        fix = "leave it out: a mode is of a model type, of which several models can be made"
        raise ArgumentError(f"mode is {shown(mode)}, and a model is given", where="audit(mode=)", fix=fix)
    _check_options(mask, mode, forward, probes, expect, redraw, progress)
    check_options(probes, expect or {})
    with global_state_restored():
        with quiet():
            subject = (
                subject_from_text(model, mode, mask, redraw)
                if isinstance(model, str)
                else subject_from_model(model, mask, forward, redraw_weights=redraw)
            )
        return audit_subject(subject, probes, expect, progress)


def _check_options(mask: Any, mode: Any, forward: Any, probes: Any, expect: Any, redraw: Any, progress: Any) -> None:
    instance_of(str, mode, "mode", "audit", 'give a text, such as "causal"')
    flag(redraw, "redraw", "audit")
    for name, value in (("forward", forward), ("progress", progress)):
        if value is not None and not callable(value):
            raise ArgumentError(f"{name} is {shown(value)}", where=f"audit({name}=)", fix="give a function")
    if isinstance(probes, str) or not _is_list_of(str, probes):
        fix = 'give a list of names, such as ["future leak"]'
        raise ArgumentError(f"probes is {shown(probes)}", where="audit(probes=)", fix=fix)
    if expect is not None and not (isinstance(expect, Mapping) and _is_list_of(str, [*expect, *expect.values()])):
        fix = 'give a dict from a probe or a padding to why, such as {"left_padding": "shifted"}'
        raise ArgumentError(f"expect is {shown(expect)}", where="audit(expect=)", fix=fix)
    if not (mask is None or isinstance(mask, Mask) or (_is_list_of(Mask, mask) and len(mask))):
        fix = "give a mask for all layers, or a list of one for each: causal(), or mask_from_text(text)"
        raise ArgumentError(f"mask is {shown(mask)}", where="audit(mask=)", fix=fix)


def _is_list_of(kind: type, values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in cast(list[Any], values))


@public
def trace(model: nn.Module, batch: Mapping[str, Any]) -> Trace:
    """Record what every attention of a model attends to on a batch, whatever computes it.

    Args:
        model: any module. batch: its keyword arguments.

    Returns:
        A Trace, whose ``calls`` hold the layer's name and the pairs as a Plan.

    Raises:
        ArgumentError: no module, or a batch on which it raises.

    Source: attnmask.

    >>> import attnmask as am, torch
    >>> seen = trace(am.hf.tiny_model("llama"), {"input_ids": torch.tensor([[5, 6, 7]])})
    >>> seen.calls[0].plan == am.compile(am.causal(), q=3)
    True
    """
    from torch import nn

    from attnmask.auditing.recording import attention_calls as recording

    instance_of(nn.Module, model, "model", "trace", "give an nn.Module")
    instance_of(Mapping, batch, "batch", "trace", 'give keyword arguments by name, such as {"input_ids": ids}')
    try:
        with global_state_restored(), model_state_restored(model):
            return recording.trace(model, batch)
    except AttnMaskError:
        raise
    except Exception as error:  # whatever a model's own code raises
        fix = "give the arguments that the model is called with"
        what = f"the model raises {type(error).__name__}: {error}"
        raise ArgumentError(what, where="trace(model, batch)", fix=fix) from error
