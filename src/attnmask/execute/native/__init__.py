"""Attention over runs in C++: compiled on first use for this processor, then cached."""
