"""Recognise model parts that mix tokens without attention, and therefore without a mask."""

from __future__ import annotations

from torch import nn

from attnmask.auditing.subject.audited_model import Subject
from attnmask.hf.models.known_types import known_type

# Substrings of the class names of modules -> how these mix tokens.
NAMES = {
    "mamba": "state-space layers",
    "ssm": "state-space layers",
    "rwkv": "recurrent layers",
    "recurrent": "recurrent layers",
    "lstm": "recurrent layers",
    "deltanet": "linear attention",
    "linearattention": "linear attention",
    "lightningattention": "linear attention",
    "retention": "linear attention",
    "fourier": "Fourier mixing",
    "shortconv": "convolutions",
    "conv1d": "convolutions",
    "conv2d": "convolutions",
    "conv": "convolutions",
}
# Substrings of the class names of mixture-of-experts modules.
EXPERTS = ("expert", "moe", "router")


def mixing_beside_attention(subject: Subject, padded: bool = True) -> str:
    """Describe what mixes tokens by design in addition to attention; empty if nothing known does.

    Args:
        subject: the subject. padded: whether the probe is about padding. Layers without a mask explain only leaks of
            padding.
    """
    design = known_type(getattr(subject.config, "model_type", "")).mixes_tokens
    mixers = list_token_mixers(subject.model) if padded else []
    return design or (f"{', '.join(mixers)} mix tokens without a mask" if mixers else "")


def coupled_by_design(model: nn.Module, train: bool) -> str:
    """Describe what couples the texts of a batch by design; empty if nothing known does.

    >>> coupled_by_design(nn.BatchNorm1d(4), train=True)
    'statistics of the batch, in training: padding counts in them too'
    """
    names = [type(module).__name__.lower() for module in model.modules()]
    if train and any("batchnorm" in name for name in names):
        return "statistics of the batch, in training: padding counts in them too"
    has_experts = any(part in name for name in names for part in EXPERTS)
    return "experts of a limited capacity may be full of another text" if has_experts else ""


def list_token_mixers(model: nn.Module) -> list[str]:
    """Describe the modules that mix tokens without attention; empty if there are none.

    >>> list_token_mixers(nn.Sequential(nn.Conv1d(4, 4, 3)))
    ['convolutions']
    """
    found = dict.fromkeys(kind for module in model.modules() if (kind := _kind(module)))
    return list(found)


def _kind(module: nn.Module) -> str:
    # A convolution of kernel size 1 is a linear layer per token.
    if isinstance(module, nn.Conv1d | nn.Conv2d) and max(module.kernel_size) == 1:
        return ""
    # GPT-2's Conv1D is a linear layer.
    name = type(module).__name__
    if name == "Conv1D":
        return ""
    return next((words for part, words in NAMES.items() if part in name.lower()), "")
