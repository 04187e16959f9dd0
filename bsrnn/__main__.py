"""`python -m bsrnn`."""

import sys

from bsrnn.cli import main

sys.exit(main())
