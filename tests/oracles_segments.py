"""Measures of segments, from their definitions: lists of segments, and loops over pairs."""

from itertools import pairwise


def segment_list(labels, sequence):
    """Return (sequence, label, set of steps) of each longest run of one label, in order."""
    found = []
    for own in dict.fromkeys(sequence):
        steps = [i for i, one in enumerate(sequence) if one == own]
        last = object()
        for i in steps:
            if not found or found[-1][0] != own or labels[i] != last:
                found.append((own, labels[i], set()))
            found[-1][2].add(i)
            last = labels[i]
    return found


def segment_counts(y_true, y_pred, sequence, overlap):
    """Return {label: [TP, FP, FN]}: predicted segments are matched one after another."""
    true, predicted = segment_list(y_true, sequence), segment_list(y_pred, sequence)
    counts = {label: [0, 0, 0] for _, label, _ in [*true, *predicted]}
    used = set()
    for _, label, steps in predicted:
        best, place = -1.0, None
        for j, (_, other, others) in enumerate(true):
            ratio = len(steps & others) / len(steps | others) if label == other else 0.0
            if ratio > best:
                best, place = ratio, j
        if best >= overlap and place not in used:
            used.add(place)
            counts[label][0] += 1
        else:
            counts[label][1] += 1
    for j, (_, label, _) in enumerate(true):
        counts[label][2] += j not in used
    return counts


def segment_f1(y_true, y_pred, sequence, overlap, average):
    counts = segment_counts(y_true, y_pred, sequence, overlap)
    if average == "macro":
        scores = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in counts.values()]
        return sum(scores) / len(scores)
    tp, fp, fn = (sum(column) for column in zip(*counts.values(), strict=True))
    return 2 * tp / (2 * tp + fp + fn)


def half_a_segment(y_true, sequence):
    """Return half of the mean length of the true segments, a half rounded up, at least 1."""
    lengths = [len(steps) for *_, steps in segment_list(y_true, sequence)]
    return max(1, int(sum(lengths) / len(lengths) / 2 + 0.5))


def boundary_errors(y_true, y_pred, sequence, k, count):
    """Return P_k, or WindowDiff if boundaries are to be counted: a loop over pairs of steps."""
    wrong = pairs = 0
    for own in dict.fromkeys(sequence):
        steps = [i for i, one in enumerate(sequence) if one == own]
        for first in range(len(steps) - k):
            window = steps[first : first + k + 1]
            found = []
            for labels in (y_true, y_pred):
                changes = [labels[a] != labels[b] for a, b in pairwise(window)]
                found.append(sum(changes) if count else any(changes))
            wrong += found[0] != found[1]
            pairs += 1
    return wrong / pairs if pairs else 0.0
