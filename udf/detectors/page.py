"""Page's cumulative sums: small errors on one side that last."""

from __future__ import annotations


class Page:
    """Two sums that grow while scores stay on one side of zero, and shrink otherwise.

    With the score z, cut to ±c, and the step d,

        S⁺ = max(0, S⁺ + (z - a) d),    S⁻ = max(0, S⁻ + (-z - a) d),

    both at most 1.25 times the limit, so that they come back in good time when it is over.

    Parameters
    ----------
    allowance : float
        Score that may last, a.
    cut : float
        Largest score that counts, c, so that one wild value does not decide.
    limit : float
        Sum that is too much.

    Examples
    --------
    >>> page = Page(allowance=0.5, cut=2.0, limit=1.0)
    >>> [page.add(score, 0.25) for score in (9.0, 0.0, 1.5, 1.5, 1.5)]
    [0.375, 0.25, 0.5, 0.75, 1.0]

    References
    ----------
    .. [1] E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954), 100-115.
    """

    __slots__ = ("above", "allowance", "below", "cut", "limit")

    def __init__(self, allowance: float, cut: float, limit: float) -> None:
        if not 0 < allowance < cut or not limit > 0:
            raise ValueError("allowance must be above 0 and below cut, and limit above 0")
        self.allowance = allowance
        self.cut = cut
        self.limit = limit
        self.above = 0.0
        self.below = 0.0

    def add(self, score: float, step: float) -> float:
        """Add one score over a step; return the larger sum as a share of the limit."""
        cut, most = self.cut, 1.25 * self.limit
        score = cut if score > cut else -cut if score < -cut else score
        self.above = min(max(self.above + (score - self.allowance) * step, 0.0), most)
        self.below = min(max(self.below - (score + self.allowance) * step, 0.0), most)
        return self.bias

    @property
    def bias(self) -> float:
        """The larger sum as a share of the limit."""
        return max(self.above, self.below) / self.limit
