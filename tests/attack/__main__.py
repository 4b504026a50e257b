"""``python -m tests.attack``: see ``campaign.py``."""

import sys

from tests.attack.campaign import main

# The processes that it starts import this file too.
if __name__ == "__main__":
    sys.exit(main())
