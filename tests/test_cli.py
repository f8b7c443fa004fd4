"""The command line: what it prints, one line for what it refuses, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from mkfusion import __version__
from mkfusion.cli import main


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.choice(["cat", "dog"], size=60)
    pitch, hue = (rng.normal(size=60) + (y == "dog") for _ in range(2))
    subject = np.repeat(np.arange(12), 5)
    return pd.DataFrame({"a_pitch": pitch, "v_hue": hue, "subject": subject, "label": y})


@pytest.fixture
def file(table, tmp_path):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    return path


MODALITIES = ["--modalities", "audio=a_*", "video=v_*"]


def compare(*arguments):
    return main(["compare", *map(str, arguments)])


def mkfusion(*arguments, **more):
    command = [sys.executable, "-m", "mkfusion", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def refused(capsys):
    """Return the one line on standard error."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mkfusion: ")
    assert err.count("\n") == 1
    return err


def test_table_and_verdict(file, capsys):
    assert compare(file, "--target", "label", "--groups", "subject", *MODALITIES) == 0
    out = capsys.readouterr().out
    assert "60 rows, classification (guessed; --task says otherwise), 5 splits" in out
    assert "modalities (columns): audio (1), video (1)" in out
    for row in ("single (chosen)", "fusion (chosen)", "single:audio", "early", "late:bayes"):
        assert f"\n{row} " in out
    assert out.rstrip().splitlines()[-1].startswith("Fusion ")


def test_prefixes_are_read(table, tmp_path, capsys):
    names = {"a_pitch": "audio__pitch", "v_hue": "video__hue"}
    table.drop(columns="subject").rename(columns=names).to_csv(tmp_path / "t.csv.gz", index=False)
    assert compare(tmp_path / "t.csv.gz", "--target", "label", "--cv", 3) == 0
    assert "audio (1), video (1)" in capsys.readouterr().out


def test_parquet(table, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    table.to_parquet(tmp_path / "t.parquet")
    assert compare(tmp_path / "t.parquet", "--target", "label", *MODALITIES, "--cv", 2) == 0
    assert "belong to no modality" in capsys.readouterr().err


def test_numbers_for_a_target(file, capsys):
    arguments = (file, "--target", "a_pitch", "--modalities", "v=v_*", "s=subject", "--cv", 3)
    assert compare(*arguments) == 0
    out = capsys.readouterr().out
    assert "regression (guessed" in out
    assert "rmse" in out


def test_named_strategy_is_the_one_that_is_judged(file, capsys):
    arguments = (file, "--target", "label", *MODALITIES, "--groups", "subject")
    assert compare(*arguments, "--strategies", "early", "--strategy", "late:mean") == 0
    out = capsys.readouterr().out
    assert "late:mean (named)" in out
    assert "late:mean, named beforehand" in out
    assert "late:bayes" not in out


def test_kernels_on_demand(file, capsys):
    arguments = (file, "--target", "label", *MODALITIES, "--groups", "subject", "--cv", 3)
    assert compare(*arguments, "--strategies", "early", "mkl", "--strategy", "mkl:svm") == 0
    out = capsys.readouterr().out
    for row in ("mkl:svm (named)", "mkl:uniform", "mkl:alignf", "mkl:svm:p2", "mkl:product"):
        assert f"\n{row} " in out
    assert "mkl:exact" not in out


def test_json_holds_what_was_found(file, tmp_path, capsys):
    target = tmp_path / "out.json"
    assert compare(file, "--target", "label", *MODALITIES, "--cv", 3, "--json", target) == 0
    found = json.loads(target.read_text())
    assert found["verdict"] in capsys.readouterr().out
    assert found["task"] == "classification"
    assert "NaN" not in target.read_text()
    assert sorted(tmp_path.iterdir()) == [target, file]


def test_report_is_a_page_of_what_was_found(file, tmp_path, capsys):
    page, numbers = tmp_path / "out.html", tmp_path / "out.json"
    arguments = (file, "--target", "label", *MODALITIES, "--cv", 3)
    assert compare(*arguments, "--report", page, "--json", numbers) == 0
    verdict = json.loads(numbers.read_text())["verdict"]
    text = page.read_text(encoding="utf-8")
    assert f"<h1>{verdict.partition(':')[0]}</h1>" in text
    assert str(file) in text
    assert verdict in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == [page, numbers, file]


def test_report_goes_to_a_device(file):
    options = ("--target", "label", *MODALITIES, "--cv", 3, "--report", os.devnull)
    assert compare(file, *options) == 0
    assert not os.path.isfile(os.devnull)


def test_no_file_is_written_when_a_text_cannot_be_made(file, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mkfusion.cli.render_report", fail)
    page, numbers = tmp_path / "out.html", tmp_path / "out.json"
    arguments = (file, "--target", "label", *MODALITIES, "--cv", 3)
    assert compare(*arguments, "--report", page, "--json", numbers) == 130
    assert list(tmp_path.iterdir()) == [file]


def test_one_file_for_two_reports_is_refused(tmp_path, capsys):
    same = tmp_path / "sub" / ".." / "out"
    (tmp_path / "sub").mkdir()
    assert compare("--json", tmp_path / "out", "--report", same) == 2
    assert "--json and --report name one file" in refused(capsys)


def test_same_seed_gives_the_same_for_any_number_of_jobs(file, tmp_path):
    found = []
    for jobs in (1, 2):
        target = tmp_path / f"{jobs}.json"
        arguments = (file, "--target", "label", *MODALITIES, "--cv", 3, "--jobs", jobs)
        assert compare(*arguments, "--json", target) == 0
        found.append(json.loads(target.read_text())["fold_scores"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "label"], "--target needs a file"),
        (["--cv", "1"], "cv|n_splits"),
        (["--cv", "two"], "argument --cv: invalid int value: 'two'"),
        (["--cv", "300"], "too few rows per class"),
        (["--scoring", "beauty"], "'beauty'"),
        (["--strategies", "magic"], "unknown strategy 'magic'"),
        (["--strategy", "magic"], "unknown strategy 'magic'"),
        (["--modalities", "audio"], "'audio' is not of the form NAME=PATTERN"),
        (["--modalities", "a=zz*"], "'a=zz\\*' matches none of the columns 'fou__0'"),
        (["--modalities", "a=fou*", "b=fou*"], "both 'a' and 'b' match column 'fou__0'"),
        (["--modalities", "a__b=fou*"], "'a__b': a name must not contain '__'"),
        (["--ignore", "id", "t.csv"], "'id' matches none .* a file stands before the options"),
        (["--drop-missing-target"], "--drop-missing-target needs a file"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["nowhere.csv", "--target", "y"], "nowhere.csv: there is no such file"),
        (["--json", "/nowhere/out.json"], "--json: /nowhere/out.json cannot be written"),
        (["--report", "/nowhere/out.html"], "--report: /nowhere/out.html cannot be written"),
        (["--report", os.curdir], "--report: . is a directory"),
    ],
)
def test_bad_option_is_one_line(arguments, message, capsys):
    assert compare("--quiet", *arguments) == 2
    assert re.search(message, refused(capsys))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(label="cat"), "y is 'cat' in every row"),
        (lambda t: t.assign(label=t.label.where(t.index > 2)), "'label' is missing for 3 of 60"),
        (lambda t: t.iloc[:8], "too few rows"),
        (lambda t: t.iloc[:0], "nothing is left"),
        (lambda t: t.drop(columns="label"), "no column 'label'; the columns are 'a_pitch'"),
        (lambda t: t[["label"]], "nothing is left"),
        (
            lambda t: t.assign(label=["owl", *t.label[1:]]),
            "too few rows per class.*'owl'.*them out$",
        ),
        (lambda t: t.assign(label=[7, *t.index[1:] % 2]), "per class.*: 7 .*task='regression'$"),
    ],
)
def test_bad_table_is_one_line(change, message, table, tmp_path, capsys):
    change(table).to_csv(tmp_path / "t.csv", index=False)
    assert compare(tmp_path / "t.csv", "--target", "label") == 2
    assert re.search(message, refused(capsys))


def test_rows_without_a_target_are_left_out_on_demand(table, tmp_path, capsys):
    """What is found is what a file without these rows gives; their groups may be missing too."""
    gaps = table.assign(label=(table["label"] == "dog").astype(float))
    gaps.loc[[2, 7, 8], ["label", "subject"]] = np.nan
    files = [tmp_path / "gaps.csv", tmp_path / "whole.csv"]
    gaps.to_csv(files[0], index=False)
    gaps.dropna().astype({"label": int}).to_csv(files[1], index=False)
    options = ("--target", "label", "--groups", "subject", *MODALITIES, "--cv", 3)
    assert compare(files[0], *options) == 2
    assert (
        "'label' is missing for 3 of 60 rows, the first being row 3 below the header; --drop"
        in (refused(capsys))
    )
    found = []
    for file in files:
        numbers = tmp_path / "out.json"
        assert compare(file, *options, "--drop-missing-target", "--json", numbers) == 0
        found.append(json.loads(numbers.read_text()))
    out, err = capsys.readouterr()
    assert "57 rows" in out
    assert err == "mkfusion: left out, as 'label' is missing: 3 of 60 rows\n"
    assert found[0]["fold_scores"] == found[1]["fold_scores"]
    assert found[0]["classes"] == found[1]["classes"] == [0, 1]
    assert found[0]["n_rows"] == 57


def test_missing_groups_and_a_target_that_is_never_there_are_refused(table, tmp_path, capsys):
    file = tmp_path / "t.csv"
    table.assign(subject=table["subject"].where(table.index > 0)).to_csv(file, index=False)
    options = ("--target", "label", *MODALITIES, "--drop-missing-target")
    assert compare(file, *options, "--groups", "subject") == 2
    err = refused(capsys)
    assert "--groups: 'subject' is missing for 1 of 60 rows, the first being row 1 of those" in err
    table.assign(label=np.nan).to_csv(file, index=False)
    assert compare(file, *options) == 2
    assert "--target: 'label' is missing for all 60 rows" in refused(capsys)


def test_ignored_columns_are_no_features(table, tmp_path, capsys):
    names = {"a_pitch": "audio__pitch", "v_hue": "video__hue", "label": "kind"}
    table = table.rename(columns=names).assign(audio__id=range(60))
    table.to_csv(tmp_path / "t.csv")  # the index is a column without a name
    arguments = (tmp_path / "t.csv", "--target", "kind", "--cv", 3)
    assert compare(*arguments) == 2
    err = refused(capsys)
    assert "columns 'Unnamed: 0', 'subject' have no modality prefix" in err
    assert "--ignore leaves columns aside" in err
    assert compare(*arguments, "--ignore", "Unnamed: 0", "sub*", "--ignore", "*_id") == 0
    out, err = capsys.readouterr()
    assert err == ""
    heading = "audio (1), video (1); ignored: 'Unnamed: 0', 'subject', 'audio__id'\n"
    assert f"modalities (columns): {heading}" in out


def test_one_modality_is_told_in_words_of_the_command_line(table, tmp_path, capsys):
    for names, why in (
        ({}, "no column name has a prefix before '__'"),
        ({"a_pitch": "a__pitch", "v_hue": "a__hue"}, "all columns have the prefix 'a__'"),
    ):
        plain = table.drop(columns="subject").rename(columns=names)
        plain.to_csv(tmp_path / "t.csv", index=False)
        assert compare(tmp_path / "t.csv", "--target", "label", "--cv", 3) == 0
        assert capsys.readouterr().err == (
            f"mkfusion: warning: nothing is fused: {why}, so that all columns are one modality; "
            "--modalities NAME=PATTERN NAME=PATTERN says which columns belong together\n"
        )


def test_column_without_a_name_is_most_likely_an_index(table, tmp_path, capsys):
    table.drop(columns="subject").to_csv(tmp_path / "t.csv")
    arguments = (tmp_path / "t.csv", "--target", "label", "--cv", 3)
    patterns = ("--modalities", "audio=a_*", "other=v_*,Un*")
    assert compare(*arguments, *patterns) == 0
    assert capsys.readouterr().err == (
        "mkfusion: warning: columns 'Unnamed: 0' have no name in the file and are most likely an "
        "index, yet are read as features; --ignore 'Unnamed: 0' leaves them out\n"
    )
    assert compare(*arguments) == 0
    assert "--ignore 'Unnamed: 0'" in capsys.readouterr().err
    assert compare(*arguments, *MODALITIES) == 0  # belongs to no modality, and that is said
    assert "most likely an index" not in capsys.readouterr().err
    assert compare(*arguments, *MODALITIES, "--ignore", "Unnamed: 0") == 0
    assert capsys.readouterr().err == ""


def test_few_groups_are_counted(table, tmp_path, capsys):
    arguments = ("--target", "label", *MODALITIES, "--groups", "subject")
    for count, remedy in (
        (3, r"take cv=3 \(--cv 3 on"),
        (2, "it takes at least 3, .*; name finer"),
    ):
        table.assign(subject=np.arange(60) % count).to_csv(tmp_path / "t.csv", index=False)
        assert compare(tmp_path / "t.csv", *arguments) == 2
        said = f"groups holds {count} different groups, too few for 5 folds; {remedy}"
        assert re.search(said, refused(capsys))
    table.assign(subject=np.arange(60) % 3).to_csv(tmp_path / "t.csv", index=False)
    assert compare(tmp_path / "t.csv", *arguments, "--cv", 3) == 0


def test_the_page_says_what_was_read(table, tmp_path, capsys):
    table = table.assign(a_id=range(60), extra=1.0)
    table.loc[3, "label"] = None
    file, page = tmp_path / "t.csv", tmp_path / "out.html"
    table.to_csv(file, index=False)
    options = ("--groups", "subject", "--ignore", "a_id", "--drop-missing-target")
    arguments = (file, "--target", "label", *MODALITIES, "--cv", 3, *options)
    assert compare(*arguments, "--report", page) == 0
    text = page.read_text(encoding="utf-8")
    notes = re.findall("<li><bdi>(.*)</bdi></li>", text[text.index('<ul class="notes">') :])
    assert [note.replace("&#39;", "'") for note in notes] == [
        f"The file is {file}.",
        "The target is 'label'.",
        "Rows of one group, named by 'subject', stay in one fold.",
        "Left out by --ignore: 'a_id'.",
        "Of no modality, and not used: 'extra'.",
        "Left out, as 'label' is missing: 1 of 60 rows.",
    ]


def test_ignoring_silences_what_is_said_of_columns_of_no_modality(file, capsys):
    arguments = (file, "--target", "label", *MODALITIES, "--cv", 3)
    assert compare(*arguments) == 0
    out, err = capsys.readouterr()
    assert err == (
        "mkfusion: warning: columns 'subject' belong to no modality and are not used; "
        "if that is meant, name them after --ignore\n"
    )
    assert "ignored" not in out
    assert compare(*arguments, "--ignore", "subject") == 0
    assert capsys.readouterr().err == ""


def test_ignoring_goes_before_the_modalities(table, tmp_path, capsys):
    table.assign(a_id=range(60)).to_csv(tmp_path / "t.csv", index=False)
    arguments = (tmp_path / "t.csv", "--target", "label", *MODALITIES, "--cv", 3)
    assert compare(*arguments, "--ignore", "a_id", "subject") == 0
    assert "audio (1), video (1); ignored: 'a_id', 'subject'" in capsys.readouterr().out
    assert compare(*arguments, "--ignore", "a_*") == 2
    assert "'audio=a_*' matches none of the columns 'v_hue', 'subject'" in refused(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ignore", "id"], "--ignore: 'id' matches none of the columns 'a_pitch'"),
        (["--ignore", "v_hue", "z*"], "--ignore: 'z*' matches none of the columns"),
        (["--ignore", "lab*"], "--ignore: 'lab*' matches 'label', which --target names"),
        (
            ["--ignore", "*", "--groups", "subject"],
            "--ignore: '*' matches 'subject', which --groups names",
        ),
        (
            ["--ignore", "subject", "--sequence", "subject"],
            "--ignore: 'subject' matches 'subject', which --sequence names",
        ),
        (["--ignore", "[avs]*"], "nothing is left to predict from"),
    ],
)
def test_what_may_not_be_ignored_is_refused(arguments, message, file, capsys):
    assert compare(file, "--target", "label", *arguments) == 2
    err = refused(capsys)
    assert message in err
    assert "a file stands before" not in err


def test_constant_number_is_refused(table, tmp_path, capsys):
    table.assign(label=1.5).to_csv(tmp_path / "t.csv", index=False)
    arguments = ("--target", "label", "--task", "regression", *MODALITIES)
    assert compare(tmp_path / "t.csv", *arguments) == 2
    assert "y is 1.5 in every row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("junk.csv", bytes(range(256)) * 20),
        ("junk.csv.gz", b"not gzip"),
        ("junk.parquet", b"PAR1 not parquet"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("table.xlsx", b"whatever"),
    ],
)
def test_bad_file_is_one_line(name, content, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert compare(tmp_path / name, "--target", "b") == 2
    assert name in refused(capsys)


def test_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "d.csv").mkdir()
    assert compare(tmp_path / "d.csv", "--target", "b") == 2
    assert "d.csv: cannot be read" in refused(capsys)


def test_names_that_a_terminal_would_obey_are_escaped(table, tmp_path, capsys):
    names = {"a_pitch": "audio__\x1b[31mred", "v_hue": "vid\x1beo__hue"}
    table.drop(columns="subject").rename(columns=names).to_csv(tmp_path / "t.csv", index=False)
    assert compare(tmp_path / "t.csv", "--target", "label", "--cv", 3) == 0
    assert "\x1b" not in "".join(capsys.readouterr())


def test_module_runs_and_knows_its_version():
    found = mkfusion("--version")
    assert (found.returncode, found.stdout) == (0, f"mkfusion {__version__}\n")
    found = mkfusion("compare", "nowhere.csv", "--target", "y")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "mkfusion: nowhere.csv: there is no such file\n"


def test_no_progress_bar_fills_a_log(file):
    found = mkfusion("compare", file, "--target", "label", *MODALITIES, "--groups", "subject")
    assert (found.returncode, found.stderr) == (0, "")


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores them


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_interrupt_leaves_no_traceback_and_no_file(tmp_path):
    files = ["--json", str(tmp_path / "out.json"), "--report", str(tmp_path / "out.html")]
    command = [sys.executable, "-m", "mkfusion", "compare", *files]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "mkfusion: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of POSIX")
def test_closed_pipe_leaves_no_traceback(file):
    options = f"--target label --groups subject {' '.join(MODALITIES)}"
    script = f"{sys.executable} -m mkfusion compare {file} {options} | head -n 1"
    script = script.replace("*", "\\*")
    found = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=120)
    assert found.stderr == ""
    assert "60 rows" in found.stdout


def test_a_file_behind_the_patterns_is_told_first():
    found = mkfusion("compare", "--target", "y", "--modalities", "a=a_*", "table.csv")
    assert found.returncode == 2
    assert "'table.csv' is not of the form NAME=PATTERN" in found.stderr
    assert "a file stands before the options" in found.stderr
