"""Which data breaks can be told: a rule on the reference alone, asked before a window is judged.

- A stuck sensor is told from rest unless the reference kept the value for a whole window. A value
  that it never had is as long a rest as any that the feature had.
- Exchanged columns are told unless they are alike: in some contiguous block of the reference they
  fit each other's places about as well as their own (train/model/separation.py).
- A turned sign is told unless the column has both signs, and is alike with its sign turned.
"""

from __future__ import annotations

from train.model.reference import Reference


def tells_stuck(
    reference: Reference,
    j: int,
    value: float,
) -> bool:
    """Return whether feature `j` that keeps a value for a window can be told to be stuck."""
    return reference.longest_rest(j, value) < reference.window_rows


def tells_swap(
    reference: Reference,
    i: int,
    j: int,
) -> bool:
    """Return whether two columns in each other's places can be told."""
    traits = reference.traits
    return traits is not None and traits.tells_apart(i, j)


def tells_sign(reference: Reference, j: int) -> bool:
    """Return whether a column with its sign turned can be told."""
    traits = reference.traits
    has_one_side = bool(reference.sides[j] != 0)
    return has_one_side or (traits is not None and traits.tells_sign(j))
