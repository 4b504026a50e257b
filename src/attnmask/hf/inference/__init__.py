"""Encoding and scoring of texts without padding."""
