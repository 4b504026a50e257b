"""The tiled backend: a schedule of dense kernel calls over rectangles of the set."""
