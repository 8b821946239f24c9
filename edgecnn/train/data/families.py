"""What belongs together, from pairs that do."""

from __future__ import annotations

from collections.abc import Iterable


def joined(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the sets of the indices 0 .. ``count - 1`` that pairs connect, each sorted, in order of their first.

    Source: B. A. Galler, M. J. Fischer, An improved equivalence algorithm, CACM 7(5), 1964.
    """
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, two in pairs:
        parent[root(one)] = root(two)
    families: dict[int, list[int]] = {}
    for index in range(count):
        families.setdefault(root(index), []).append(index)
    return list(families.values())


def joined_by(keys: Iterable[tuple[int, str]]) -> list[tuple[int, int]]:
    """Return pairs that connect the indices of equal keys; an empty key connects nothing."""
    first: dict[str, int] = {}
    return [(first.setdefault(key, index), index) for index, key in keys if key]
