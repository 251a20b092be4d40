"""Options declared once: from them come info, parsing, checks and documentation."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from kapacitor.udf import udf_pb2

T = TypeVar("T")


class Duration(int):
    """A length of time in nanoseconds; in a TICKscript ``5m``, ``300s``."""


_REQUIRED: Final = object()

# Python type, type on the wire, where its value is, its name for people.
_KINDS: Final[dict[type, tuple[int, str, str]]] = {
    bool: (0, "boolValue", "bool"),
    int: (1, "intValue", "int"),
    float: (2, "doubleValue", "double"),
    str: (3, "stringValue", "string"),
    Duration: (4, "durationValue", "duration"),
}
_BY_NUMBER: Final = {number: (kind, where) for kind, (number, where, _) in _KINDS.items()}


class OptionError(ValueError):
    """Options that cannot be used; the message lists everything that is wrong."""


class Option(Generic[T]):
    """An option of a UDF, declared as a class attribute.

    On an instance the attribute is the value; a TICKscript sets it by the same name.

    Parameters
    ----------
    kind : type
        ``bool``, ``int``, ``float``, ``str`` or `Duration`.
    default : optional
        Its value when the TICKscript does not set it; without one it has to be set.
    doc : str
        What it is for, with its unit.
    minimum, maximum : number, optional
        Smallest and largest value accepted.
    above, below : number, optional
        Bounds that are not accepted themselves.
    choices : sequence, optional
        The only values accepted.
    name : str, optional
        Name in the TICKscript if it is another than the attribute's.

    Raises
    ------
    TypeError
        If the kind is none of the five.

    Examples
    --------
    >>> class Example:
    ...     size = Option(int, minimum=2, doc="points kept")
    >>> Example.size.problems_with(1)
    ['must be at least 2, not 1']
    """

    many = False

    def __init__(
        self,
        kind: type[T],
        default: Any = _REQUIRED,
        *,
        doc: str,
        minimum: float | None = None,
        maximum: float | None = None,
        above: float | None = None,
        below: float | None = None,
        choices: Sequence[T] | None = None,
        name: str = "",
    ) -> None:
        if kind not in _KINDS:
            raise TypeError(f"an option is a bool, int, float, str or Duration, not a {kind}")
        self.kind = kind
        self.default = default
        self.doc = doc
        self.minimum, self.maximum = minimum, maximum
        self.above, self.below = above, below
        self.choices = choices
        self.name = name
        self.arity = 1
        self.attribute = name

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute
        self.name = self.name or attribute

    @overload
    def __get__(self, instance: None, owner: type) -> "Option[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        if self.required:
            raise AttributeError(f"option {self.name} is known once the task has started")
        return self.default

    @property
    def required(self) -> bool:
        """Whether the TICKscript has to set it."""
        return self.default is _REQUIRED

    @property
    def type_name(self) -> str:
        """Its type, as a person calls it."""
        return _KINDS[self.kind][2]

    @property
    def bounds(self) -> str:
        """What is accepted, in words; empty if everything of its type is."""
        parts = []
        if self.minimum is not None:
            parts.append(f"at least {self.minimum}")
        if self.above is not None:
            parts.append(f"above {self.above}")
        if self.maximum is not None:
            parts.append(f"at most {self.maximum}")
        if self.below is not None:
            parts.append(f"below {self.below}")
        if self.choices is not None:
            parts.append("one of " + ", ".join(map(repr, self.choices)))
        return ", ".join(parts)

    @property
    def wire_types(self) -> list[int]:
        """Types of its arguments, for the info response."""
        return [_KINDS[self.kind][0]] * self.arity

    def problems_with(self, value: Any) -> list[str]:
        """Return what is wrong with a value, in words."""
        bad = (
            (self.minimum is not None and value < self.minimum)
            or (self.maximum is not None and value > self.maximum)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
            or (self.choices is not None and value not in self.choices)
        )
        if isinstance(value, float) and math.isnan(value):
            return ["must be a number, not NaN"]
        return [f"must be {self.bounds}, not {value!r}"] if bad else []

    def collect(self, given: list[Any]) -> Any:
        """Make the attribute's value of the arguments given, over all its calls."""
        return given[-1]


class Field(Option[str]):
    """An option that names the field a UDF reads.

    Parameters
    ----------
    default : str, optional
        Without one it has to be set.
    doc : str
        What it is for.
    name : str, optional
        Name in the TICKscript if it is another than the attribute's.
    """

    def __init__(
        self, default: Any = _REQUIRED, *, doc: str = "field to read", name: str = ""
    ) -> None:
        super().__init__(str, default, doc=doc, name=name)

    def problems_with(self, value: Any) -> list[str]:
        """Return what is wrong with a name."""
        return [] if value else ["must name a field, not be empty"]


class Fields(Option[tuple[str, ...]]):
    """An option that names one or more fields a UDF reads.

    Kapacitor wants as many arguments as the info response says. So ``.field('a')`` may be
    called several times, or the program is declared a second time in ``kapacitor.conf``
    with the argument ``--values field=3`` to be called as ``.field('a', 'b', 'c')``.

    Parameters
    ----------
    default : tuple of str, optional
        Without one it has to be set.
    doc : str
        What it is for.
    name : str, optional
        Name in the TICKscript if it is another than the attribute's.
    """

    many = True

    def __init__(
        self, default: Any = _REQUIRED, *, doc: str = "fields to read", name: str = ""
    ) -> None:
        super().__init__(tuple, default, doc=doc, name=name)

    @property
    def type_name(self) -> str:
        """Its type, as a person calls it."""
        return "string ..."

    @property
    def wire_types(self) -> list[int]:
        """Types of its arguments, for the info response."""
        return [_KINDS[str][0]] * self.arity

    def problems_with(self, value: Any) -> list[str]:
        """Return what is wrong with the names."""
        if not all(value):
            return ["must name fields, not be empty"]
        twice = sorted({name for name in value if value.count(name) > 1})
        return [f"must name each field once; twice: {', '.join(twice)}"] if twice else []

    def collect(self, given: list[Any]) -> Any:
        """Gather the names over all calls."""
        return tuple(given)


_KINDS[tuple] = _KINDS[str]


def declared(owner: type) -> dict[str, Option[Any]]:
    """Return the options of a class and its bases by name, its own first.

    Parameters
    ----------
    owner : type
        A class with options as attributes.
    """
    found: dict[str, Option[Any]] = {}
    for base in owner.__mro__:
        for option in vars(base).values():
            if isinstance(option, Option):
                found.setdefault(option.name, option)
    return found


def parse(
    options: dict[str, Option[Any]], given: Iterable[udf_pb2.Option]
) -> tuple[dict[str, Any], list[str]]:
    """Read the options of an init request.

    Parameters
    ----------
    options : dict of str to Option
        As from `declared`.
    given : iterable of udf_pb2.Option
        From the request.

    Returns
    -------
    values : dict of str to object
        By attribute; defaults included.
    problems : list of str
        Everything that is wrong, each naming its option.
    """
    problems: list[str] = []
    arguments: dict[str, list[Any]] = {}
    broken: set[str] = set()
    for item in given:
        option = options.get(item.name)
        if option is None:
            problems.append(f"{item.name}: no such option; there are {', '.join(sorted(options))}")
            continue
        values = []
        for value in item.values:
            try:
                values.append(_convert(option, value))
            except OptionError as error:
                problems.append(f"{option.name}: {error}")
                broken.add(option.name)
        if not item.values:
            problems.append(f"{option.name}: needs a value")
            broken.add(option.name)
        elif len(item.values) > 1 and not option.many:
            problems.append(f"{option.name}: takes one value, not {len(item.values)}")
            broken.add(option.name)
        arguments.setdefault(option.name, []).extend(values)
    result: dict[str, Any] = {}
    for name, option in options.items():
        if name in broken:
            continue
        if name in arguments:
            value = option.collect(arguments[name])
            problems += [f"{name}: {problem}" for problem in option.problems_with(value)]
        elif option.required:
            problems.append(f"{name}: must be set ({option.doc})")
            continue
        else:
            value = option.default
        result[option.attribute] = value
    return result, problems


def _convert(option: Option[Any], value: udf_pb2.OptionValue) -> Any:
    kind = str if option.many else option.kind
    got, where = _BY_NUMBER.get(value.type, (None, ""))
    if got is None:
        raise OptionError(f"a value of an unknown type {value.type}")
    raw = getattr(value, where)
    if got is kind:
        return kind(raw)
    if kind is float and got is int:
        return float(raw)  # Kapacitor itself loses the point of 1.0 on its way through JSON
    raise OptionError(f"must be a {_KINDS[kind][2]}, not the {_KINDS[got][2]} {raw!r}")
