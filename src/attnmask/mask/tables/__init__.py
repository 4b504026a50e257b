"""Tables that atoms look up: one row an item or a position, and the key runs of such rows."""
