"""Packing: every record exactly once, no bin too full, the same bins every time."""

from __future__ import annotations

from itertools import chain
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samdan.packing import (
    best_fit_decreasing,
    best_fit_in_order,
    deal,
    interleave,
    micro_batches,
    pieces_of,
)

LENGTHS = st.lists(st.integers(1, 60), max_size=80)
CAPACITIES = st.integers(1, 64)


def filled(bins: list[list[int]], lengths: list[int]) -> list[int]:
    return [sum(lengths[i] for i in chosen) for chosen in bins]


@given(LENGTHS, CAPACITIES)
def test_best_fit_decreasing_places_every_index_once_within_capacity(
    lengths: list[int], capacity: int
) -> None:
    bins = best_fit_decreasing(lengths, capacity)
    assert sorted(chain(*bins)) == list(range(len(lengths)))
    for chosen, load in zip(bins, filled(bins, lengths), strict=True):
        assert load <= capacity or len(chosen) == 1
    assert best_fit_decreasing(lengths, capacity) == bins


@given(LENGTHS, CAPACITIES)
def test_best_fit_decreasing_leaves_no_two_bins_that_would_fit_into_one(
    lengths: list[int], capacity: int
) -> None:
    loads = sorted(filled(best_fit_decreasing(lengths, capacity), lengths))
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


def test_best_fit_decreasing_takes_the_tightest_bin() -> None:
    # After 6, 5 and 4 (beside 6) a 2 fits behind 5 only.
    assert best_fit_decreasing([6, 5, 4, 2], 10) == [[0, 2], [1, 3]]


@given(LENGTHS, CAPACITIES, st.integers(1, 8))
def test_best_fit_in_order_places_every_index_once_within_capacity(
    lengths: list[int], capacity: int, open_bins: int
) -> None:
    bins = best_fit_in_order(lengths, capacity, open_bins)
    assert sorted(chain(*bins)) == list(range(len(lengths)))
    assert all(chosen == sorted(chosen) for chosen in bins)
    assert [chosen[0] for chosen in bins] == sorted(chosen[0] for chosen in bins)
    for chosen, load in zip(bins, filled(bins, lengths), strict=True):
        assert load <= capacity or len(chosen) == 1
    assert best_fit_in_order(lengths, capacity, open_bins) == bins


@pytest.mark.parametrize("seed", range(5))
def test_both_packings_fill_their_bins(seed: int) -> None:
    """Lengths of at most half a bin: 95% of the places are used, but for the bins still open."""
    lengths = [Random(seed * 1000 + i).randint(1, 32) for i in range(400)]
    for pack, still_open in ((best_fit_decreasing, 1), (best_fit_in_order, 16)):
        loads = sorted(filled(pack(lengths, 64), lengths), reverse=True)[:-still_open]
        assert sum(loads) >= 0.95 * 64 * len(loads)


@given(st.integers(0, 500), st.integers(1, 64))
def test_pieces_cover_a_document_without_gap_or_overlap(length: int, most: int) -> None:
    pieces = pieces_of(length, most)
    assert list(chain(*(range(s, s + n) for s, n in pieces))) == list(range(length))
    assert all(0 < n <= most for _, n in pieces)


@given(LENGTHS, st.integers(1, 6))
def test_dealing_gives_equal_counts_and_similar_sums(lengths: list[int], hands: int) -> None:
    dealt = deal(lengths, hands)
    assert sorted(chain(*dealt)) == list(range(len(lengths)))
    counts = [len(hand) for hand in dealt]
    assert max(counts) - min(counts) <= 1
    sums = filled(dealt, lengths)
    assert max(sums) - min(sums) <= max(lengths, default=0)


@given(LENGTHS, CAPACITIES, st.integers(1, 4))
def test_every_process_gets_equally_many_micro_batches(
    lengths: list[int], capacity: int, hands: int
) -> None:
    packed = micro_batches(lengths, capacity, hands)
    assert len(packed) == hands
    assert len({len(bins) for bins in packed}) == 1
    assert sorted(chain(*chain(*packed))) == list(range(len(lengths)))
    for bins in packed:
        for chosen, load in zip(bins, filled(bins, lengths), strict=True):
            assert load <= capacity or len(chosen) == 1


@given(st.lists(st.integers(0, 40), max_size=8))
@example([10, *[1] * 10])
@example([0, 0])
def test_every_prefix_of_the_interleaving_holds_each_source_to_within_one(
    counts: list[int],
) -> None:
    order = interleave(counts)
    assert [order.count(source) for source in range(len(counts))] == counts
    seen = [0] * len(counts)
    for position, source in enumerate(order, 1):
        seen[source] += 1
        for count, have in zip(counts, seen, strict=True):
            assert abs(have - position * count / len(order)) < 1
