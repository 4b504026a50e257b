"""Models that nobody has written down are tried on a small copy, and then encode each text as alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import attnmask as am
from tests.hf.inference.test_encode import TEXTS, TOLERANCE, alone, relative
from tests.hf.small_models import TRIED, tiny


@pytest.mark.parametrize("name", TRIED)
def test_a_model_of_a_type_that_is_not_known_is_tried_and_encodes_each_text_as_alone(name: str, minilm: Any) -> None:
    model, tokenizer, state = tiny(name), minilm[1], torch.get_rng_state()
    vectors = am.hf.encode(model, tokenizer, TEXTS, "mean", 64)
    assert torch.equal(torch.get_rng_state(), state)
    part = model.get_encoder() if model.config.is_encoder_decoder else model
    assert relative(vectors, np.stack([alone(part, tokenizer, text) for text in TEXTS])) < 10 * TOLERANCE


class Custom(tf.BertModel):
    """A model of somebody's own, that does nothing else."""


def test_a_model_of_ones_own_is_tried(minilm: Any) -> None:
    model, tokenizer = Custom(tiny("bert").config).eval(), minilm[1]
    vectors = am.hf.encode(model, tokenizer, TEXTS, "cls", 64)
    assert relative(vectors, np.stack([alone(model, tokenizer, text, "cls") for text in TEXTS])) < TOLERANCE
