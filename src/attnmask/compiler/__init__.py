"""Stage 2, compute: expression + domain -> Plan. NumPy only."""

from attnmask.compiler.plan import Plan as Plan
from attnmask.compiler.plan import compile as compile
