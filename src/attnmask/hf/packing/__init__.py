"""Texts end to end without padding: the collator, packed masks, labels, and the trial of a model."""
