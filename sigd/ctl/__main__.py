"""`python -m sigd.ctl`."""

import sys

from sigd.ctl import main

if __name__ == "__main__":
    sys.exit(main())
