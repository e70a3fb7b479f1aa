"""`python -m tests.fuzz --mutants 1000000 --seed 7`: many rounds; see `long`."""

from __future__ import annotations

import sys

from tests.fuzz.long import main

if __name__ == "__main__":
    sys.exit(main())
