"""`python -m llamawire` is the `llamawire` command."""

import sys

from llamawire.cli import main

sys.exit(main())
