"""What kernel weights bring on the bundled digits, and what they do with noise.

300 samples train and 1700 test, five stratified draws; the mean accuracy is printed, and the
standard deviation of the draws in the last digits. Columns are standardised on the training
samples, kernels are RBF(gamma="scale"), and C is fixed, to 1 and to 10 where nothing else is
said: nothing is tuned, neither on test samples nor on others.

  views    the six views; concatenated columns and the best single view by an SVC
  noise    six views more that are pure noise, of five columns each
  weak     only fou, zer and mor
  linear   0-4 against 5-9 by linear kernels on fou, kar, pix and zer, as Goenen and Alpaydin
           (2011) compare them; also on all six
  ridge    the weight of one view of noise, 50 columns, by C and by the share of wrong labels

Run: python tests/benchmarks/bench_mkl_accuracy.py [TABLE ...]
"""

import argparse
import warnings
from itertools import pairwise

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mkfusion.datasets import load_multiple_features
from mkfusion.kernels import RBF, Linear
from mkfusion.mkl import MKLClassifier

SEEDS = range(5)
BUNCH = load_multiple_features()
DIGITS = BUNCH.target.to_numpy().astype(int)
SIX = tuple(BUNCH.modalities)
WEAK = ("fou", "zer", "mor")
FOUR = ("fou", "kar", "pix", "zer")
WAYS = {
    "exact, p = 1": {},
    "exact, p = 1, weights by class": {"multi_class": "per_class"},
    "exact, p = 2": {"norm": 2},
    "uniform": {"weighting": "uniform"},
    "alignf": {"weighting": "alignf"},
    "easy": {"weighting": "easy"},
    "product": {"weighting": "product"},
    "quadratic": {"weighting": "quadratic"},
}


def draws(names, noise=()):
    """Yield training and test blocks by view, and who trains and who tests."""
    for seed in SEEDS:
        train, test = train_test_split(
            np.arange(len(DIGITS)), train_size=300, stratify=DIGITS, random_state=seed
        )
        blocks = {}
        for name in names:
            X = BUNCH.data[BUNCH.modalities[name]].to_numpy()
            blocks[name] = StandardScaler().fit(X[train]).transform(X)
        rng = np.random.default_rng(seed)
        for k, width in enumerate(noise):
            blocks[f"noise{k}"] = rng.normal(size=(len(DIGITS), width))
        yield seed, blocks, train, test


def fusion(blocks, **parameters):
    ends = np.cumsum([0] + [X.shape[1] for X in blocks.values()])
    modalities = {
        name: list(range(*pair)) for name, pair in zip(blocks, pairwise(ends), strict=True)
    }
    return MKLClassifier(modalities=modalities, **parameters)


def fused(y, names, noise=(), **parameters):
    """Return the accuracies of the draws."""
    found = []
    for _, blocks, train, test in draws(names, noise):
        X = np.hstack(list(blocks.values()))
        learnt = fusion(blocks, **parameters).fit(X[train], y[train])
        found.append(learnt.score(X[test], y[test]))
    return found


def single(y, names, C, noise=()):
    """Return the accuracies of an SVC on the concatenated columns."""
    found = []
    for _, blocks, train, test in draws(names, noise):
        X = np.hstack(list(blocks.values()))
        found.append(SVC(C=C).fit(X[train], y[train]).score(X[test], y[test]))
    return found


def title(text, columns):
    print(f"\n{text:44}" + "".join(f"{column:>14}" for column in columns))


def row(name, columns):
    cells = [f"{np.mean(each):.4f} ({1e4 * np.std(each):.0f})" for each in columns]
    print(f"{name:44}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def of_views(text, names, noise=()):
    Cs = (1, 10)
    title(text, [f"C={C}" for C in Cs])
    for name, way in WAYS.items():
        kernel = RBF(gamma="scale")
        row(name, [fused(DIGITS, names, noise, kernel=kernel, C=C, **way) for C in Cs])
    row("SVC on the concatenated columns", [single(DIGITS, names, C, noise) for C in Cs])
    alone = {name: [single(DIGITS, (name,), C) for C in Cs] for name in names}
    best = max(alone, key=lambda name: np.mean(alone[name]))
    row(f"SVC on the best view, {best}", alone[best])


def table_views():
    of_views("six views", SIX)


def table_noise():
    of_views("six views, and six of noise", SIX, (5,) * 6)


def table_weak():
    of_views("fou, zer and mor", WEAK)


def table_linear():
    Cs, y = (0.1, 1, 10), (DIGITS >= 5).astype(int)
    for names in (FOUR, SIX):
        title(f"0-4 against 5-9, linear, {len(names)} views", [f"C={C}" for C in Cs])
        for name, way in WAYS.items():
            if way != {"multi_class": "per_class"}:  # there are two classes
                row(name, [fused(y, names, kernel=Linear(), C=C, **way) for C in Cs])


def table_ridge():
    Cs = (0.1, 1, 10, 100)
    tasks = {
        "0-4 against 5-9, six views": (SIX, (DIGITS >= 5).astype(int)),
        "ten classes, zer and mor": (("zer", "mor"), DIGITS),
    }
    for text, (names, y) in tasks.items():
        title(f"weight of noise: {text}", [f"C={C}" for C in Cs])
        for share in (0.0, 0.1, 0.2):
            columns = [[] for _ in Cs]
            for seed, blocks, train, _ in draws(names, (50,)):
                rng = np.random.default_rng([seed, 1])
                wrong = rng.random(len(train)) < share
                others = (y[train] + rng.integers(1, y.max() + 1, len(train))) % (y.max() + 1)
                labels = np.where(wrong, others, y[train])
                X = np.hstack(list(blocks.values()))
                for C, column in zip(Cs, columns, strict=True):
                    learnt = fusion(blocks, kernel=RBF(gamma="scale"), C=C).fit(X[train], labels)
                    column.append(learnt.modality_weights_["noise0"])
            row(f"{share:.0%} of the labels wrong", columns)


TABLES = {name[6:]: made for name, made in globals().items() if name.startswith("table_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], default=[])
    warnings.simplefilter("ignore")  # samples without any modality, kernels without alignment
    for name in parser.parse_args().tables or TABLES:
        TABLES[name]()


if __name__ == "__main__":
    main()
