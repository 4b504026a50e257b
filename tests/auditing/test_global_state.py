"""An audit leaves the process and the model as it found them, also when the model raises."""

from __future__ import annotations

import copy
import logging
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attnmask as am
from attnmask.auditing.recording.model_traces import plans_from_model
from attnmask.errors import AttnMaskError


def state_of_process() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {
        "random": random.getstate(),
        "numpy": (kind, keys.tolist(), rest),
        "torch": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "filters": (list(warnings.filters), warnings.showwarning),
        "logging": logging.root.manager.disable,
    }


@pytest.fixture
def process_kept() -> Iterator[None]:
    """Other settings than the usual ones, which must be there in the end."""
    usual = torch.get_default_dtype(), torch.get_num_threads()
    random.seed(5), np.random.seed(6), torch.manual_seed(7)
    torch.set_num_threads(2)
    with warnings.catch_warnings(), torch.set_grad_enabled(False):
        warnings.simplefilter("error", FutureWarning)
        before = state_of_process()
        yield
        after = state_of_process()
    torch.set_default_dtype(usual[0])
    torch.set_num_threads(usual[1])
    assert [name for name in before if before[name] != after[name]] == []


def disturb() -> None:
    """What people's code does in a forward pass, a factory or a collator."""
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    torch.set_num_threads(1)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("always")


class Net(nn.Module):
    """One attention, a batch norm, dropout; disturbs, and raises from the call on that it is told."""

    def __init__(self, raises_from: int = 10**9) -> None:
        super().__init__()
        self.config = {"p": 0.5}
        self.table = nn.Embedding(100, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.left = raises_from

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        disturb()
        self.calls += 1
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no more calls")
        x = self.drop(self.table(input_ids))
        x = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]
        return self.norm(x.mT.float()).mT


def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
    disturb()
    longest = max(len(one["input_ids"]) for one in examples)
    rows = [one["input_ids"] + [0] * (longest - len(one["input_ids"])) for one in examples]
    return {"input_ids": rows, "attention_mask": [[int(i > 0) for i in row] for row in rows]}


def accuracy(prediction: Any) -> dict[str, float]:
    disturb()
    return {"accuracy": float((prediction[0].argmax(-1) == prediction[1]).mean())}


def broken(_: Any) -> Any:
    disturb()
    raise KeyError("a field")


def inputs() -> dict[str, Tensor]:
    return {"input_ids": torch.arange(1, 6)[None], "attention_mask": torch.ones(1, 5, dtype=torch.long)}


def forward_of(model: nn.Module) -> Callable[..., Any]:
    return lambda input_ids, attention_mask: model(input_ids, attention_mask)


CALLS: dict[str, Callable[[nn.Module], Any]] = {
    "audit": lambda model: am.audit(model, mask=am.full(), probes=["padding leak"]),
    "audit, redrawn": lambda model: am.audit(model, mask=am.full(), probes=["padding leak"], redraw=True),
    "audit by a forward": lambda model: am.audit(
        model, mask=am.full(), forward=forward_of(model), probes=["padding leak"]
    ),
    "audit of a type": lambda _: am.audit("gpt2", probes=["future leak"]),
    "trace": lambda model: am.trace(model, inputs()),
    "plans of a type": lambda _: plans_from_model("bert"),
    "collator": lambda _: am.audit_collator(collate, pad=0),
    "metric": lambda _: am.audit_metric(accuracy),
    "no such probe": lambda model: am.audit(model, probes=["nonesuch"]),
    "no such type": lambda _: am.audit("nonesuch"),
    "no tensor": lambda model: am.trace(model, {}),
    "broken collator": lambda _: am.audit_collator(broken, pad=0),
    "broken metric": lambda _: am.audit_metric(broken),
}


@pytest.mark.parametrize(
    ("raises_from", "training"),
    [(10**9, True), (0, True), (3, False)],
    ids=["runs", "raises", "raises later"],
)
@pytest.mark.parametrize("name", CALLS)
def test_the_process_and_the_model_are_as_before(
    process_kept: None, name: str, raises_from: int, training: bool
) -> None:
    if CALLS[name].__code__.co_varnames[0] != "model" and raises_from < 10**9:
        return  # nothing of its own is told to raise
    model = Net(raises_from).train(training)
    model.drop.eval()
    torch.manual_seed(7)
    before, mode = copy.deepcopy(model.state_dict()), [one.training for one in model.modules()]
    tensors = [id(one) for one in (*model.parameters(), *model.buffers())]
    with suppress(AttnMaskError, RuntimeError if raises_from < 10**9 else AttnMaskError):
        CALLS[name](model)
    assert mode == [one.training for one in model.modules()]
    assert [id(one) for one in (*model.parameters(), *model.buffers())] == tensors
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    assert model.config == {"p": 0.5}
