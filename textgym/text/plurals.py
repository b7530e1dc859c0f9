"""Numbers of things in sentences: one row, two rows."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """Return a number of things that are given in the plural, the first word of which is one that ends in s.

    >>> counted(1, "rows without a choice"), counted(2000, "rows without a choice")
    ('1 row without a choice', '2,000 rows without a choice')
    """
    name, _, rest = what.partition(" ")
    return f"{count:,} {name.removesuffix('s') if count == 1 else name} {rest}".strip()
