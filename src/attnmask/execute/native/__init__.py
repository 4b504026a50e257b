"""Attention over runs in C++: compiled on first use, for the processor at hand, and kept."""
