"""What several formats need: readers of foreign arrays, writers, and the units of windows."""
