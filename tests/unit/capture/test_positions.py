from __future__ import annotations

import pytest

from pipelines.capture.positions import Progress, Span, starts
from pipelines.capture.records import Partition
from pipelines.errors import OffsetsLostError

A, B, C = Partition("a", 0), Partition("b", 1), Partition("c", 2)


def span(low: int, high: int) -> Span:
    return Span(low=low, high=high, end=high)


def test_reading_starts_as_wanted_or_at_the_first_offset():
    begin, losses = starts({A: 7, B: None}, {A: span(0, 9), B: span(3, 9), C: span(0, 0)})
    assert (begin, losses) == ({A: 7, B: 3, C: 0}, [])


@pytest.mark.parametrize("wanted", [3, 9])
def test_both_ends_of_a_partition_are_there(wanted):
    assert starts({A: wanted}, {A: span(3, 9)}) == ({A: wanted}, [])


def test_every_partition_that_lost_offsets_is_named():
    with pytest.raises(OffsetsLostError) as raised:
        starts({A: 2, B: 10, C: 4}, {A: span(3, 9), B: span(0, 9), C: span(0, 9)})
    text = str(raised.value)
    assert "a[0]: offsets 2 to 2 were removed" in text
    assert "b[1]: the topic ends before offset 9, but it was read up to 10" in text
    assert "c[2]" not in text
    assert "--accept-loss" in text


def test_accepted_loss_goes_on_at_the_first_offset():
    begin, losses = starts({A: 2, B: 10}, {A: span(5, 9), B: span(1, 9)}, accept_loss=True)
    assert begin == {A: 5, B: 1}
    assert [loss.count for loss in losses] == [3, 0]


def test_a_batch_starts_where_the_one_before_it_ended():
    progress = Progress()
    progress.begin(A, 5)
    progress.passed(A, 8)
    assert progress.turn({A: 3}) == ({A: 5}, {A: 8}, [])
    assert not progress.moved
    progress.passed(A, 20)
    began, following, (gap,) = progress.turn({A: 2})
    assert (began, following, gap.count) == ({A: 8}, {A: 20}, 10)


def test_what_lies_behind_the_end_is_not_wanted():
    progress = Progress()
    progress.begin(A, 0, 5)
    assert progress.wants(A, 4)
    assert not progress.wants(A, 5)
    assert not progress.wants(B, 0)
    progress.ended(A, 7)  # records 5 and 6 came after the run began
    assert progress.finished
    assert progress.turn({A: 5})[1] == {A: 5}


def test_an_end_below_the_one_expected_ends_reading_too():
    progress = Progress()
    progress.begin(A, 0, 5)
    progress.ended(A, 3)
    assert progress.finished


def test_lost_offsets_are_no_gap():
    progress = Progress()
    progress.begin(A, 2, 10)
    progress.jumped(A, 6)
    progress.passed(A, 10)
    assert progress.turn({A: 4}) == ({A: 2}, {A: 10}, [])


def test_a_topic_that_was_cut_is_read_from_its_first_offset():
    progress = Progress()
    progress.begin(A, 50, 9)
    assert progress.finished
    progress.jumped(A, 1)
    assert not progress.finished
    progress.passed(A, 9)
    assert progress.turn({A: 8}) == ({A: 1}, {A: 9}, [])


def test_a_partition_taken_away_leaves_no_trace():
    progress = Progress()
    progress.begin(A, 0)
    progress.passed(A, 3)
    progress.forget([A])
    progress.passed(A, 4)
    assert not progress.moved
    assert progress.position(A) is None
