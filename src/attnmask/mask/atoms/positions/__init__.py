"""Atoms that compare the positions of a query and a key."""
