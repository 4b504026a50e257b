"""Measurements: ours and the peers' side by side in one run, on the machine at hand."""
