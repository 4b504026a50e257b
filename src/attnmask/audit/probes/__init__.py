"""The probes: one file each, one line here; the first tells whether calls must begin anew for the others."""

from __future__ import annotations

from attnmask.audit.probes import (
    cached,
    constants,
    coupling,
    cross_attention,
    earlier_calls,
    future_leak,
    generation,
    gradients,
    image_spans,
    implementations,
    layers,
    losses,
    mask_types,
    ones_and_none,
    packed,
    padding_inequality,
    padding_leak,
    pooled,
    reach,
)

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
