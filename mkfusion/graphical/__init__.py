"""Graphical fusion: hidden Markov models and conditional random fields of several modalities.

Everything runs on one chain (``_chain.py``): log-potentials of the start, of transitions and of
states at steps go in; partition functions, marginals and best paths come out.
"""

from ._conversion import as_sequence_frame, as_step_frame
from ._coupled_classifier import CoupledHMMClassifier
from ._crf_tagger import CRFTagger
from ._from_hmmlearn import from_hmmlearn
from ._hidden_classifier import HiddenCRFClassifier
from ._hmm import MultistreamHMM
from ._hmm_classifier import HMMClassifier
from ._hmm_tagger import HMMTagger
from ._hybrid_tagger import HybridHMMTagger
from ._latent_tagger import LatentCRFTagger
from ._stepwise import StepwiseTransformer

__all__ = [
    "CRFTagger",
    "CoupledHMMClassifier",
    "HMMClassifier",
    "HMMTagger",
    "HiddenCRFClassifier",
    "HybridHMMTagger",
    "LatentCRFTagger",
    "MultistreamHMM",
    "StepwiseTransformer",
    "as_sequence_frame",
    "as_step_frame",
    "from_hmmlearn",
]
