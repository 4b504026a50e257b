"""Atoms that are given by values: everything or nothing, an array, a function."""
