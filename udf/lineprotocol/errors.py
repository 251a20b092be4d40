"""The one error of this package."""


class LineError(ValueError):
    """A line that is not line protocol, or a point that line protocol cannot hold.

    Attributes
    ----------
    reason : str
        What is wrong, in words.
    column : int
        Where, counted in bytes from 1; 0 when the error is about a point and not a line.
    """

    def __init__(self, reason: str, column: int = 0) -> None:
        super().__init__(f"{reason} (column {column})" if column else reason)
        self.reason = reason
        self.column = column

    def __reduce__(self) -> tuple[type["LineError"], tuple[str, int]]:
        return LineError, (self.reason, self.column)
