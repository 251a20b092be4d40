"""Hand every point on as it came: where to begin with a processor of your own.

[[processors.execd]]
  command = ["python3", "telegraf/processors/example.py"]
"""

from collections.abc import Iterable

from lineprotocol import Line
from processors.base import Processor, main


class Example(Processor):
    """Look at `line.fields` or `line.tags`, change `line.point`, return what goes on."""

    def process(self, line: Line) -> Iterable[Line]:
        """Return the line itself; return nothing to drop it, or more lines to add some."""
        return (line,)


if __name__ == "__main__":
    main(Example())
