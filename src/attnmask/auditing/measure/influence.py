"""Measure which token changes which output, for all tokens in one forward pass of a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnmask.auditing.subject.audited_model import Run, Subject, plain_inputs


def influences(subject: Subject, implementation: str) -> NDArray[np.float64]:
    """Return how much changing each token changes each output, float (L, L), outputs x tokens."""
    plain = plain_inputs(subject)
    length = plain["input_ids"].shape[1]
    # Item i has token i changed; the last item is the original.
    ids = plain["input_ids"].repeat(length + 1, 1)
    ids[torch.arange(length), torch.arange(length)] = replacement_ids(subject, plain["input_ids"][0])
    inputs = {name: value.expand(length + 1, *value.shape[1:]) for name, value in plain.items()} | {"input_ids": ids}
    out = subject.run(Run(inputs, implementation)).double()
    change = (out[:-1] - out[-1]).abs().amax(-1) / out[-1].abs().mean()
    return change.T.numpy()


def replacement_ids(subject: Subject, ids: Tensor) -> Tensor:
    """Return a different ordinary id for each id."""
    at = (subject.tokens[None] == ids[:, None]).int().argmax(1)
    return subject.tokens[(at + 1) % len(subject.tokens)]
