"""Probes of numbers: additive constants, and implementations that disagree."""
