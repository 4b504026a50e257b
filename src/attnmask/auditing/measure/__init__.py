"""Measure how far two runs differ, and whether the difference is significant."""
