"""Audits of data collators and of metrics."""
