"""Texts end to end without padding: the collator, packed masks, labels, and which models allow it."""
