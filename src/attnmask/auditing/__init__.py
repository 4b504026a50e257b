"""Audit whether a model obeys its attention mask: ``audit`` runs probes, and ``trace`` records attention calls.

torch is imported only when one of them is called.
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
    """Audit whether a model obeys the attention mask that it is given and the masks that it declares.

    The audit runs on a copy of the model; the weights are unchanged unless ``redraw`` is True. Each probe compares
    outputs that must be equal. It judges the difference relative to that of a legal change of the input (the power)
    and to that of rounding (the noise).

    Args:
        model: an nn.Module that takes ``input_ids`` and ``attention_mask``; or a string: the folder of a saved model, a
            model type of transformers (built tiny), or ``module:function`` that returns a module.
        mask: the declared mask without padding, for all layers or one per layer, such as ``causal()``. For a
            transformers model the default is the mask that its config declares.
        mode: mode of a model type: "causal", "masked", "seq2seq", "base" or "classification".
        forward: a function ``forward(input_ids=, attention_mask=)`` that calls the model as in use and returns the
            outputs of the tokens, for a model with other arguments or outputs. While it runs, the model is replaced
            by the audited copy.
        probes: names of the probes to run; all if left out.
        expect: intended exceptions: reasons by probe or by side of padding, such as {"left_padding": "shifted"}.
        redraw: draw all weights anew, large enough that a wrong mask changes the outputs; for untrained models.
        progress: called with the number of probes done and the total.

    Returns:
        A Report: ``report.bugs``, ``report.exit_code``, ``print(report)``.

    Raises:
        ArgumentError: an unknown model, mode or probe, or a model that does not run on a text without padding.

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
        fix = "leave it out: a mode selects one of the models of a model type"
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
        fix = 'give a dict from a probe or a padding to the reason, such as {"left_padding": "shifted"}'
        raise ArgumentError(f"expect is {shown(expect)}", where="audit(expect=)", fix=fix)
    if not (mask is None or isinstance(mask, Mask) or (_is_list_of(Mask, mask) and len(mask))):
        fix = "give a mask for all layers, or a list of one for each: causal(), or mask_from_text(text)"
        raise ArgumentError(f"mask is {shown(mask)}", where="audit(mask=)", fix=fix)


def _is_list_of(kind: type, values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, kind) for value in cast(list[Any], values))


@public
def trace(model: nn.Module, batch: Mapping[str, Any]) -> Trace:
    """Record which pairs every attention call of a model attends to on a batch, for any attention function.

    Args:
        model: any module. batch: keyword arguments of the module.

    Returns:
        A Trace, whose ``calls`` hold the layer's name and the pairs as a Plan.

    Raises:
        ArgumentError: ``model`` is not a module, or it raises on the batch.

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
    except Exception as error:  # a model's code may raise anything
        fix = "give the arguments that the model is called with"
        what = f"the model raises {type(error).__name__}: {error}"
        raise ArgumentError(what, where="trace(model, batch)", fix=fix) from error
