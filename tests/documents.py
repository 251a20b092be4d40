"""The fenced blocks of the project's documents, which tests run as printed."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Fence:
    """A block: the line of the document it begins at, its language, and what it holds."""

    line: int
    language: str
    content: str


def fences(text: str, language: str = "") -> list[Fence]:
    """Return the blocks of a document, all or those of one language."""
    found = re.finditer(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = [Fence(text.count("\n", 0, m.start()) + 2, m[1], m[2]) for m in found]
    return [block for block in blocks if language in ("", block.language)]


def commands(text: str) -> list[str]:
    """Return the commands of a document; a line that ends with a backslash goes on."""
    blocks = "\n".join(block.content for block in fences(text, "sh"))
    return [command for command in re.split(r"(?<!\\)\n", blocks) if command.strip()]
