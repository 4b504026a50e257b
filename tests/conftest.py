from __future__ import annotations

import os

# Before torch is first imported, here and in every process that a test begins: threads that wait for each other sleep.
# By default they spin, which takes the cores from the other tests that run at once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
