"""Segment F1, P_k and WindowDiff: against loops from their definitions, and by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles_segments import boundary_errors, half_a_segment, segment_f1

from mkfusion.evaluation import pk_score, segment_f1_score, window_diff

METRICS = {"segment_f1_score": segment_f1_score, "pk_score": pk_score, "window_diff": window_diff}
ERRORS = {"pk_score": (pk_score, False), "window_diff": (window_diff, True)}

over_metrics = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
over_errors = pytest.mark.parametrize(("metric", "count"), ERRORS.values(), ids=ERRORS)


@st.composite
def labellings(draw):
    """Draw true labels, predicted ones that are mostly the same, and ids that need not adjoin."""
    n = draw(st.integers(1, 30))
    some = st.lists(st.sampled_from("abc"), min_size=n, max_size=n)
    true, other = draw(some), draw(some)
    true = sorted(true) if draw(st.booleans()) else true
    wrong = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    predicted = [o if w == 0 else t for t, o, w in zip(true, other, wrong, strict=True)]
    ids = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return true, predicted, ids


@given(labellings(), st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]), st.sampled_from("im"))
def test_segment_f1_is_that_of_the_definition(case, overlap, kind):
    true, predicted, ids = case
    average = "micro" if kind == "i" else "macro"
    found = segment_f1_score(true, predicted, overlap=overlap, average=average, sequence=ids)
    assert found == pytest.approx(segment_f1(true, predicted, ids, overlap, average), abs=1e-12)


@over_errors
@given(case=labellings(), k=st.sampled_from([None, 1, 2, 5, 40]))
def test_boundary_errors_are_those_of_the_definition(metric, count, case, k):
    true, predicted, ids = case
    width = half_a_segment(true, ids) if k is None else k
    expected = boundary_errors(true, predicted, ids, width, count)
    assert metric(true, predicted, k=k, sequence=ids) == pytest.approx(expected, abs=1e-12)


@given(labellings())
def test_window_diff_is_never_below_pk(case):
    true, predicted, ids = case
    assert window_diff(true, predicted, sequence=ids) >= pk_score(true, predicted, sequence=ids)


@given(labellings())
def test_order_of_sequences_and_names_of_labels_do_not_matter(case):
    true, predicted, ids = map(np.array, case)
    order = np.argsort(-ids, kind="stable")
    renamed = {"a": 7, "b": -1, "c": 0}
    for metric in METRICS.values():
        found = metric(true, predicted, sequence=ids)
        assert metric(true[order], predicted[order], sequence=ids[order]) == found
        numbers = [[renamed[label] for label in labels.tolist()] for labels in (true, predicted)]
        assert metric(*numbers, sequence=ids) == found


def test_a_segment_in_pieces_is_found_once():
    """Of two pieces of one true segment each overlaps by 2/5 and 2/5; one counts."""
    assert segment_f1_score(list("aaaaa"), list("aabaa"), overlap=0.4) == 2 / 4
    # The first piece has 3/7, the second 3/7: the first is right, the second a false positive.
    assert segment_f1_score([1] * 7, [1, 1, 1, 2, 1, 1, 1], overlap=0.4, average="macro") == (
        (2 / 3 + 0) / 2
    )


def test_the_higher_overlap_counts_even_where_it_is_used():
    """Two predicted segments in one true one, which has no label twice: the second is wrong."""
    true, predicted = list("aaaaaaaba"), list("aaacaaaba")
    assert segment_f1_score(true, predicted, overlap=0.1) == pytest.approx(2 * 3 / (3 + 5))


def test_labels_leave_the_background_out():
    true, predicted = list("__aaa___bb"), list("_aaa____bb")
    assert segment_f1_score(true, predicted, overlap=0.5) == 1.0
    assert segment_f1_score(true, predicted, overlap=0.6) == 2 * 2 / 8  # IoU a 2/4, _ 1/2 and 3/4
    assert segment_f1_score(true, predicted, overlap=0.6, labels=["a", "b"]) == 2 * 1 / 4
    assert segment_f1_score(true, predicted, labels=["z"]) == 0.0


def test_segments_do_not_run_from_one_sequence_into_the_next():
    true, predicted = ["a", "a", "a", "a"], ["a", "a", "b", "b"]
    ids = [0, 0, 1, 1]
    assert segment_f1_score(true, predicted, overlap=0.9) == 0.0
    assert segment_f1_score(true, predicted, overlap=0.9, sequence=ids) == 2 / 4
    assert pk_score(true, predicted, k=1) == 1 / 3
    assert pk_score(true, predicted, k=1, sequence=ids) == 0.0


@over_metrics
def test_one_step(metric):
    good = 1.0 if metric is segment_f1_score else 0.0
    assert metric(["a"], ["a"]) == good
    assert metric(["a"], ["b"]) == 0.0  # no pair of steps, and no segment that is found


def test_perfect_and_worst():
    true = list("aabbccaabb")
    assert segment_f1_score(true, true, overlap=1.0) == 1.0
    assert pk_score(true, true) == window_diff(true, true) == 0.0
    assert window_diff(list("aaaa"), list("abab"), k=1) == 1.0
    assert pk_score(list("aaaa"), list("abab"), k=1) == 1.0


def test_a_sequence_that_is_too_short_does_not_count():
    true, predicted, ids = list("aaba"), list("abbb"), [0, 0, 0, 1]
    assert pk_score(true, predicted, k=1, sequence=ids) == 1.0
    assert pk_score(true, predicted, k=3, sequence=ids) == 0.0


@over_metrics
def test_kinds_of_labels(metric):
    true, predicted = list("aabbb"), list("abbbb")
    found = metric(true, predicted)
    assert metric(pd.Series(true, index=range(5, 10)), np.array(predicted)) == found
    assert metric(pd.Categorical(true), pd.array(predicted, dtype="string")) == found
    assert metric(np.array(true) == "a", np.array(predicted) == "a") == found
    assert metric([1, 1, 2, 2, 2], [1.0, 2.0, 2.0, 2.0, 2.0]) == found
    assert type(found) is float


@over_metrics
def test_inputs_that_are_refused(metric):
    with pytest.raises(ValueError, match="y_true has 2, y_pred has 1"):
        metric(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="sequence has 1"):
        metric(["a", "b"], ["a", "b"], sequence=[0])
    with pytest.raises(ValueError, match="there is no step"):
        metric([], [])
    with pytest.raises(ValueError, match=r"y_true is missing for 1 steps \(first at step 1\)"):
        metric(["a", None], ["a", "b"])
    with pytest.raises(ValueError, match="y_pred is missing"):
        metric([0.0, 1.0], [0.0, np.nan])
    with pytest.raises(ValueError, match="sequence is missing"):
        metric([0, 1], [0, 1], sequence=[0, None])
    with pytest.raises(ValueError, match="y_true must have one dimension"):
        metric([[0, 1]], [[0, 1]])


@pytest.mark.parametrize("overlap", [0, 1.5, -0.1, np.nan, "half", None])
def test_overlap_that_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap must be a number above 0 and at most 1"):
        segment_f1_score(["a"], ["a"], overlap=overlap)


def test_average_that_is_refused():
    with pytest.raises(ValueError, match="average must be one of 'micro', 'macro'"):
        segment_f1_score(["a"], ["a"], average="weighted")


@over_errors
@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_k_that_is_refused(metric, count, k):
    with pytest.raises(ValueError, match="k must be a positive whole number of steps"):
        metric(["a", "b"], ["a", "b"], k=k)


@over_metrics
def test_inputs_are_not_written_to(metric):
    arrays = [np.array(list("aab")), np.array(list("abb")), np.array([0, 1, 1])]
    for array in arrays:
        array.setflags(write=False)
    metric(arrays[0], arrays[1], sequence=arrays[2])
