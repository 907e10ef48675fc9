"""The start of `runbake`, and `python -m runbake`: Ctrl-C is heeded while the commands are imported, too."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Import the commands, which takes a second, and run the one that was asked for."""
    try:
        from runbake.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\ntry:   run the same command again\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
