"""`python -m fleetsync_adapters`: the same as `fleetsync`."""

import sys

from fleetsync_adapters.cli import main

if __name__ == "__main__":
    sys.exit(main())
