"""Parts of models that mix tokens by other means than attention, and so know no mask."""

from __future__ import annotations

from torch import nn

from attnmask.auditing.subject.audited_model import Subject

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
# Model types whose own design mixes tokens in ways that no module's name tells.
DESIGNS = {
    "cpmant": "all of a text is context that sees itself both ways, unless a span says otherwise",
    "funnel": "its encoder pools neighbouring tokens",
    "led": "it pads rows to whole windows by itself, and its positions count from the start of the row",
    "mobilebert": "its embeddings are those of a token and its two neighbours",
    "perceiver": "its decoder asks for the places of the row, whatever stands there",
    "unlimited_ocr": "tokens that are decoded one by one see a window of each other, those of one forward pass all",
    "xlnet": "its positions are relative to the length of the row, and its targets are permuted",
}
# Of what modules are called that send each token to some experts.
EXPERTS = ("expert", "moe", "router")


def mixing_beside_attention(subject: Subject, padded: bool = True) -> str:
    """What mixes tokens by design beside attention, in words; empty if nothing is known to.

    Args:
        subject: whose model. padded: whether padding is in question: only that do layers without a mask explain.
    """
    design = DESIGNS.get(getattr(subject.config, "model_type", ""), "")
    mixers = list_token_mixers(subject.model) if padded else []
    return design or (f"{', '.join(mixers)} mix tokens without a mask" if mixers else "")


def coupled_by_design(model: nn.Module, train: bool) -> str:
    """What couples the texts of a batch by design, in words; empty if nothing is known to.

    >>> coupled_by_design(nn.BatchNorm1d(4), train=True)
    'statistics of the batch, in training: padding counts in them too'
    """
    names = [type(module).__name__.lower() for module in model.modules()]
    if train and any("batchnorm" in name for name in names):
        return "statistics of the batch, in training: padding counts in them too"
    has_experts = any(part in name for name in names for part in EXPERTS)
    return "experts of a limited capacity may be full of another text" if has_experts else ""


def list_token_mixers(model: nn.Module) -> list[str]:
    """What mixes tokens without attention, in words; empty if nothing is known to.

    >>> list_token_mixers(nn.Sequential(nn.Conv1d(4, 4, 3)))
    ['convolutions']
    """
    found = dict.fromkeys(kind for module in model.modules() if (kind := _kind(module)))
    return list(found)


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv1d | nn.Conv2d) and max(module.kernel_size) == 1:
        return ""
    # GPT-2's Conv1D is a linear layer.
    name = type(module).__name__
    if name == "Conv1D":
        return ""
    return next((words for part, words in NAMES.items() if part in name.lower()), "")
