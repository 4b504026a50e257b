"""Probes of structure: the future, windows, layers, image spans, packed texts, other batch items."""
