"""Tables behind atoms: a row for each item or position, and the key runs of such rows."""
