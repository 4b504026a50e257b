"""Stage 2, compute: expression + domain -> Plan. NumPy only."""

from attnmask.compile.plan import Plan as Plan
from attnmask.compile.plan import compile as compile
