"""Formats that are plain arrays or lists of truth values or additive terms."""
