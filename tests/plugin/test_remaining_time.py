"""How long the rest takes."""

from __future__ import annotations

import pytest

from napari_invrecon.plugin.remaining_time import RemainingTime, in_words


def after(times, n_steps, first=0):
    remaining = RemainingTime()
    for step, now in enumerate(times, first):
        left = remaining.update(step, n_steps, now)
    return left


def test_nothing_is_claimed_before_the_second_step():
    assert after([0.0], 10) is None
    assert after([0.0, 5.0], 10) is None


def test_first_step_which_compiles_does_not_count():
    assert after([0, 8, 9], 10) == pytest.approx(8)
    assert after([0, 8, 9, 10], 10) == pytest.approx(7)


def test_one_slow_step_does_not_count():
    assert after([0, 8, 9, 10, 60, 61, 62], 100) == pytest.approx(94)


def test_it_follows_a_machine_that_becomes_slow():
    times = [0.1 * i for i in range(30)]
    times += [times[-1] + i for i in range(1, 30)]
    assert after(times, 100) == pytest.approx(100 - 58)


def test_skipped_steps_and_repeated_ones():
    remaining = RemainingTime()
    for step, now in [(0, 0), (10, 1), (20, 2), (20, 2.5)]:
        left = remaining.update(step, 100, now)
    assert left == pytest.approx(8)


def test_a_new_stage_starts_afresh():
    remaining = RemainingTime()
    for step in range(5):
        remaining.update(step, 5, float(step))
    assert remaining.update(0, 5, 5.0) is None
    assert remaining.update(1, 7, 6.0) is None


def test_more_steps_than_announced():
    assert after(range(15), 10) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "< 1 s"),
        (0.4, "< 1 s"),
        (0.6, "1 s"),
        (8.4, "8 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (130, "2 min 10 s"),
        (594, "9 min 50 s"),
        (596, "10 min"),
        (3599, "1 h 0 min"),
        (3900, "1 h 5 min"),
    ],
)
def test_in_words(seconds, words):
    assert in_words(seconds) == words
