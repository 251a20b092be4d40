"""What can be learned from a TICKscript's text, and how a case listens to its alerts.

This reads tokens, not the grammar: Kapacitor alone decides whether a script is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kapacitor.udf.harness.durations import parse_duration

_TOKEN = re.compile(
    r"""
      (?P<comment> //[^\n]* )
    | (?P<string>  '''(?:.*?)''' | '(?:\\.|[^'\\])*' )
    | (?P<reference> "(?:\\.|[^"\\])*" )
    | (?P<regex>   (?<=[=!]~)\s*/(?:\\.|[^/\\\n])+/ | (?<=[(,])\s*/(?:\\.|[^/\\\n])+/ )
    | (?P<duration> \d+(?:ns|us|µs|ms|[uµsmhdw])(?:\d+(?:ns|us|µs|ms|[uµsmhdw]))* )
    | (?P<word>    [A-Za-z_]\w* )
    | (?P<operator> ==|!=|=~|!~|<=|>=|[^\s\w] )
    """,
    re.VERBOSE | re.DOTALL,
)


#: The database and policy of a measurement in a query: FROM "db"."policy"."measurement".
_FROM = re.compile(r'\bFROM\s+("[^"]+"|\w+)\.("[^"]+"|\w*)\.(?=["/\w])', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a TICKscript: its kind, its text and where that begins."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the text ends."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A database and one of its retention policies."""

    database: str
    policy: str

    def __str__(self) -> str:
        return f"{self.database}.{self.policy}"


def tokens(script: str) -> Iterator[Token]:
    r"""Yield the tokens of a TICKscript, comments left out.

    Examples
    --------
    >>> [t.text for t in tokens("stream|where(lambda: 'it''s' != \"a\") // why")][-4:]
    ["'s'", '!=', '"a"', ')']
    """
    for match in _TOKEN.finditer(script):
        if match.lastgroup and match.lastgroup != "comment":
            yield Token(match.lastgroup, match.group(), match.start())


def dbrps(script: str) -> list[Source]:
    r"""Return the databases and retention policies that the script's dbrp lines declare.

    Examples
    --------
    >>> [str(s) for s in dbrps('dbrp "telegraf"."autogen"\nstream|from()')]
    ['telegraf.autogen']
    """
    found = []
    listed = list(tokens(script))
    for at, token in enumerate(listed[:-3]):
        names = [listed[at + 1], listed[at + 3]]
        if token.text == "dbrp" and all(n.kind == "reference" for n in names):
            found.append(Source(*(_unquote(n.text) for n in names)))
    return found


def kind(script: str) -> str:
    """Return `batch` for a script that begins a pipeline with the batch node, else `stream`."""
    listed = list(tokens(script))
    for token, after in pairwise(listed):
        if token.text == "batch" and token.kind == "word" and after.text in ("|", "@"):
            return "batch"
    return "stream"


def sources(script: str, values: Mapping[str, str] | None = None, node: str = "") -> list[Source]:
    r"""Return every database (and retention policy) that a node of the script names.

    Parameters
    ----------
    script : str
        A TICKscript.
    values : mapping of str to str, optional
        Values of variables, over those that the script declares.
    node : str, optional
        Look at nodes of this name only.

    Examples
    --------
    >>> script = "var to = 'results'\nx|influxDBOut().database(to).measurement('m')"
    >>> sources(script)
    [Source(database='results', policy='autogen')]
    """
    listed = list(tokens(script))
    known = _declared(listed) | dict(values or {})
    found: list[Source] = []
    database = policy = current = ""
    for at, token in enumerate([*listed, Token("operator", "|", len(script))]):
        if token.text in ("|", "@") and database:
            if not node or node == current:
                found.append(Source(database, policy or "autogen"))
            database = ""
        if token.text in ("|", "@"):
            policy = ""
            current = listed[at + 1].text if at + 1 < len(listed) else ""
        if token.kind == "word" and at and listed[at - 1].text == ".":
            argument = _argument(listed, at)
            text = _text(argument, known) if argument else ""
            if token.text == "database":
                database = text
            elif token.text == "retentionPolicy":
                policy = text
    if kind(script) == "batch":
        for token in listed:
            if token.kind == "string":
                for name, rp in _FROM.findall(_unquote(token.text)):
                    found.append(Source(name.strip('"'), rp.strip('"') or "autogen"))
    return list(dict.fromkeys(found))


def longest_every(script: str) -> int:
    """Return the longest `.every(...)` of the script in ns, 0 if there is none."""
    listed = list(tokens(script))
    found = [0]
    for at, token in enumerate(listed):
        argument = _argument(listed, at) if token.text == "every" else None
        if argument and argument.kind == "duration":
            found.append(parse_duration(argument.text))
    return max(found)


def listen(script: str, log: Callable[[int], str]) -> str:
    """Return the script with every alert node writing its events to a file of its own.

    The log files that the script names are not written: a test leaves no alerts where people
    look for real ones.

    Parameters
    ----------
    script : str
        A TICKscript.
    log : callable
        Gives the path for the n-th alert node, from 0 on.

    Examples
    --------
    >>> listen("s|alert().log('/tmp/a.log').crit(TRUE)", "/x/{}".format)
    "s|alert().log('/x/0').log('/dev/null').crit(TRUE)"
    """
    listed = list(tokens(script))
    changes: list[tuple[int, int, str]] = []
    nodes = 0
    for at, token in enumerate(listed):
        before = listed[at - 1].text if at else ""
        if before == "|" and token.text in ("alert", "deadman"):
            end = _closing(listed, at + 1)
            if end is not None:
                changes.append((end, end, f".log('{log(nodes)}')"))
                nodes += 1
        elif before == "." and token.text == "log":
            path = _argument(listed, at)
            if path and path.kind == "string":
                changes.append((path.start, path.end, "'/dev/null'"))
    for start, end, text in reversed(changes):
        script = script[:start] + text + script[end:]
    return script


def _argument(listed: Sequence[Token], at: int) -> Token | None:
    """Return the only argument of the call whose name is `listed[at]`."""
    call = listed[at + 1 : at + 4]
    if len(call) == 3 and call[0].text == "(" and call[2].text == ")":
        return call[1]
    return None


def _closing(listed: Sequence[Token], at: int) -> int | None:
    """Return where the parenthesis that opens at `listed[at]` has closed."""
    depth = 0
    for token in listed[at:]:
        if token.kind == "operator":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return token.end if token.text == ")" else None
    return None


def _declared(listed: Sequence[Token]) -> dict[str, str]:
    """Return the values of the variables that are set to plain strings."""
    found = {}
    for word, name, equals, value in zip(listed, listed[1:], listed[2:], listed[3:], strict=False):
        if word.text == "var" and equals.text == "=" and value.kind == "string":
            found[name.text] = _unquote(value.text)
    return found


def _text(token: Token, known: Mapping[str, str]) -> str:
    return _unquote(token.text) if token.kind == "string" else known.get(token.text, "")


def _unquote(text: str) -> str:
    if text.startswith("'''"):
        return text[3:-3]
    quote = text[0]
    return text[1:-1].replace(f"\\{quote}", quote)
