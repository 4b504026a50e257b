"""How far two runs differ, and whether a difference means anything."""
