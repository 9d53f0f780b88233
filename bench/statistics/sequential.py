"""The times at which an interval is looked at, so that it still holds after several looks.

Windows are added until an interval is narrow enough. A 95 % interval that is looked at after every window is too narrow in the
end: the looks stop just when the spread of the values happens to look small. So the looks are few and fixed beforehand, after
8, 16, 32, ... windows and at the limit, and each of n looks has an n-th of the 5 % (Bonferroni's inequality). All intervals
that were seen on the way then hold together in 95 % of runs, whatever made the run end. Jennison and Turnbull (Interim
analyses: the repeated confidence interval approach, Journal of the Royal Statistical Society B 51:3, 1989) call such intervals
repeated ones; looks that double lose little to their exact constants.
"""

from __future__ import annotations

#: Windows at the first look.
FIRST_LOOK = 8
#: A doubling that is nearer to the limit than this share of it is no look of its own.
_NEAR = 2 / 3


def looks(limit: int) -> tuple[int, ...]:
    """After how many windows an interval is looked at, the limit last."""
    found, n = [], FIRST_LOOK
    while n <= limit * _NEAR:
        found.append(n)
        n *= 2
    return (*found, limit)
