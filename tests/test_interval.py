"""The interval of a gain covers the gain as often as it says."""

from intervals import coverage


def test_the_corrected_interval_covers_and_the_naive_one_is_narrower(global_seed):
    found = coverage(global_seed, 500)
    assert found.corrected >= 0.93
    assert found.naive < found.corrected
    assert found.naive_width < found.width
