"""`python -m gairlib.cli`, where the entry point is not installed."""

import sys

from gairlib.cli import main

sys.exit(main())
