"""Sweeps and studies: every architecture of transformers, and the history of its mask bugs."""
