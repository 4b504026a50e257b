"""Probes of decoding: caches, generation, cross-attention, calls that depend on earlier ones."""
