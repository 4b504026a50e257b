"""Formats that are plain arrays or lists: bools, integers, or terms added to the scores."""
