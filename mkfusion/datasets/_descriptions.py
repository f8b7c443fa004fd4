"""What the shipped data are, where they come from, and under which terms."""

from __future__ import annotations

__all__ = ["MULTIPLE_FEATURES", "WATCH"]

MULTIPLE_FEATURES = """\
Multiple Features: handwritten digits seen in six ways
------------------------------------------------------

2000 images of the digits 0 to 9, 200 of each, cut from Dutch utility maps. Every image is
described by six modalities, 649 features in all, without missing values:

======  ========  ==========================================================
prefix  features  what
======  ========  ==========================================================
fou__         76  Fourier coefficients of the character shapes
fac__        216  profile correlations (integers)
kar__         64  Karhunen-Loeve coefficients
pix__        240  pixel averages in windows of 2 x 3 pixels (integers 0 to 6)
zer__         47  Zernike moments
mor__          6  morphological features
======  ========  ==========================================================

The target is the digit.

Traps
* The rows are sorted by digit: a split without shuffling sees only some of the digits. Use
  ``StratifiedKFold(shuffle=True)`` or ``train_test_split(..., stratify=y)``.
* The modalities differ in scale by orders of magnitude: scale each one.
* All six are computed from the same image. They are much alike in what they know, and the best
  of them alone is hard to beat.

Source
Robert Duin, "Multiple Features", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C5HC70
M. van Breukelen, R. P. W. Duin, D. M. J. Tax, J. E. den Hartog, "Handwritten digit recognition by
combined classifiers", Kybernetika 34(4), 381-386, 1998.

Terms
Creative Commons Attribution 4.0 International (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/. Changes made here: the six files are joined to one
table, columns are named by modality, and the digit, which was given by the order of the rows,
stands in a column of its own. The values are those of the source.
"""

WATCH = """\
Watch: shoulder exercises recorded by a smartwatch
--------------------------------------------------

140 recordings of 10 healthy subjects, each with the watch on the left and on the right side, who
repeat one of 7 exercises: 20 recordings of each exercise, 189 to 523 steps of 0.1 s (10 Hz),
48,765 steps in all, without missing values. Two modalities are measured together:

=============  ====  ==============================================
modality       axes  what
=============  ====  ==============================================
accelerometer  xyz   acceleration, in g
gyroscope      xyz   angular velocity, in rad/s
=============  ====  ==============================================

The target is the exercise, by the publishers' codes: PEN, ABD, FEL, IR, ER, TRAP and ROW.

Layouts
* "sequences": one row per recording; a cell holds a (T, 3) array.
* "steps": one row per step; the index says the recording and the step.
* "sessions": one row per step, the seven recordings of one subject and side joined to a session
  in a drawn order, for the labelling of steps. The signals and the labels are real. THE JOINS ARE
  ARTIFICIAL: nobody went from one exercise to the next as they do, and the order of the exercises
  says nothing about people. ``recording`` tells where the joins are.

Traps
* Split by subject (``groups``, for instance ``GroupKFold``). The two sides of one subject are
  alike, and a split at random promises more than a new wearer will get.
* Never cut a recording or a session by rows: neighbouring steps are nearly copies.
* The side is given beside the data and is no feature. The first axis of the accelerometer changes
  its sign with it.

Source
D. M. Burns, N. Leung, M. Hardisty, C. Whyne, P. Henry, S. McLachlin, "Shoulder physiotherapy
exercise recognition: machine learning the inertial signals from a smartwatch", 2018,
https://doi.org/10.48550/arXiv.1802.01489; published with the package seglearn,
https://github.com/dmbee/seglearn. Changes made here: averaged from 50 Hz to 10 Hz, and written as
one table.

Terms
Copyright (c) 2018, David M. Burns
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

* Redistributions of source code must retain the above copyright notice, this
  list of conditions and the following disclaimer.

* Redistributions in binary form must reproduce the above copyright notice,
  this list of conditions and the following disclaimer in the documentation
  and/or other materials provided with the distribution.

* Neither the name of project-template nor the names of its
  contributors may be used to endorse or promote products derived from
  this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.

(The terms are those of BSD-3-Clause.)
"""
