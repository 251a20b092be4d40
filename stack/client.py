"""``python -m stack.client kapacitor ...``: an engine's own client on the running stack.

The same as ``python -m stack kapacitor ...``, started in less time: only what it needs is imported.
"""

from __future__ import annotations

import sys

from stack import choose
from stack.errors import StackError


def main() -> None:
    """Run the client that the first argument names with those after it."""
    program, *arguments = sys.argv[1:]
    try:
        sys.exit(choose.running_live().client(program, arguments).returncode)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
