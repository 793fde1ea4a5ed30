"""Lengths to bins: which records share a forward pass. Integers only, no tensors, no files.

Packing fills micro-batches; it never changes which records make an optimizer step.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of ``lengths`` in bins of at most ``capacity``, by the best-fit-decreasing heuristic.

    A length above the capacity gets a bin of its own. Deterministic: ties go to the lower index.
    About a million lengths per second: open bins are kept by free space, and the tightest one that
    fits is found as the lowest set bit of an integer.
    """
    bins: list[list[int]] = []
    by_space: list[list[int]] = [[] for _ in range(capacity + 1)]
    spaces = 0  # bit s is set when a bin with s free places is open
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > capacity:
            bins.append([index])
            continue
        fitting = spaces >> length
        if fitting:
            space = length + (fitting & -fitting).bit_length() - 1
            chosen = by_space[space].pop()
            if not by_space[space]:
                spaces ^= 1 << space
        else:
            space, chosen = capacity, len(bins)
            bins.append([])
        bins[chosen].append(index)
        left = space - length
        if left:
            by_space[left].append(chosen)
            spaces |= 1 << left
    return bins


def best_fit_in_order(
    lengths: Sequence[int], capacity: int, open_bins: int = 16
) -> list[list[int]]:
    """Bins filled in the order given, each record into the tightest of the last open bins.

    For blocks of training text: unlike a sort by length, neighbours stay a random sample, so that a
    block does not hold only long or only short documents. Bins come out in the order of opening.
    """
    bins: list[list[int]] = []
    open_: list[tuple[int, int]] = []  # (space left, bin)
    for index, length in enumerate(lengths):
        fitting = [slot for slot in open_ if slot[0] >= length]
        if fitting:
            slot = min(fitting)
            open_.remove(slot)
        else:
            if len(open_) == open_bins:
                open_.remove(min(open_))
            slot = (max(capacity, length), len(bins))
            bins.append([])
        bins[slot[1]].append(index)
        if slot[0] > length:
            open_.append((slot[0] - length, slot[1]))
    return bins


def pieces_of(length: int, max_length: int) -> list[tuple[int, int]]:
    """A document of ``length`` tokens as (start, length) pieces of at most ``max_length``."""
    return [(start, min(max_length, length - start)) for start in range(0, length, max_length)]


def deal(lengths: Sequence[int], hands: int) -> list[list[int]]:
    """Indices dealt to each process: equal counts (within one), similar sums, deterministic."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    dealt: list[list[int]] = [[] for _ in range(hands)]
    for position, index in enumerate(order):  # boustrophedon: 0 1 2 2 1 0 0 1 2 ...
        lap, seat = divmod(position, hands)
        dealt[seat if lap % 2 == 0 else hands - 1 - seat].append(index)
    return [sorted(hand) for hand in dealt]


def micro_batches(lengths: Sequence[int], capacity: int, hands: int = 1) -> list[list[list[int]]]:
    """The records of one optimizer step as micro-batches, per process.

    Every process gets the same number of micro-batches; missing ones are empty and weigh nothing.
    """
    dealt = deal(lengths, hands)
    packed = [
        [
            [hand[i] for i in chosen]
            for chosen in best_fit_decreasing([lengths[j] for j in hand], capacity)
        ]
        for hand in dealt
    ]
    most = max(len(bins) for bins in packed)
    return [bins + [[] for _ in range(most - len(bins))] for bins in packed]


def interleave(counts: Sequence[int]) -> list[int]:
    """Source numbers in an order in which every prefix holds each source in proportion.

    After k items, source s has come less than one time more or less than ``k * counts[s] / n``. Its
    j-th item may come once j - 1 of its share is due and must come before j of it is overdue;
    taking the most urgent one always keeps all of these dates (the chairman assignment problem,
    Tijdeman 1980).
    """
    total = sum(counts)
    taken = [0] * len(counts)
    early = [(1, source) for source, count in enumerate(counts) if count]  # (may come at, source)
    due: list[tuple[int, int]] = []  # (must come at, source)
    order = []
    for position in range(1, total + 1):
        while early and early[0][0] <= position:
            _, source = heappop(early)
            heappush(due, (-(-(taken[source] + 1) * total // counts[source]), source))
        _, source = heappop(due)
        order.append(source)
        taken[source] += 1
        if taken[source] < counts[source]:
            heappush(early, (taken[source] * total // counts[source] + 1, source))
    return order
