"""The list of probes, one module each. The first finds out whether the model must be reset before each call."""

from __future__ import annotations

from attnmask.auditing.probes.decoding import cached_steps as cached
from attnmask.auditing.probes.decoding import cross_attention, earlier_calls, generation
from attnmask.auditing.probes.numerics import additive_constants as constants
from attnmask.auditing.probes.numerics import implementations
from attnmask.auditing.probes.padded_batches import (
    gradients,
    losses,
    mask_types,
    ones_and_none,
    padding_inequality,
    padding_leak,
    pooled,
)
from attnmask.auditing.probes.structure import batch_coupling as coupling
from attnmask.auditing.probes.structure import future_leak, image_spans, layers, reach
from attnmask.auditing.probes.structure import packed_leak as packed

PROBES = (
    earlier_calls,
    coupling,
    padding_leak,
    padding_inequality,
    future_leak,
    reach,
    layers,
    image_spans,
    packed,
    cross_attention,
    implementations,
    ones_and_none,
    cached,
    generation,
    gradients,
    constants,
    pooled,
    losses,
    mask_types,
)
