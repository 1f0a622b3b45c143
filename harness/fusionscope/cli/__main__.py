"""``python -m fusionscope.cli``, which `run` uses to start each stage in a process of its own."""

import sys

from fusionscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
