"""Validation on a test set and the delta from the previous version: pure but for reading batch outputs."""

from runbake.evaluation.answers import Answers, in_both, read_answers
from runbake.evaluation.comparison import Comparison, compared
from runbake.evaluation.evaluation import SCHEMA, Evaluation, Subject, TestSet
from runbake.evaluation.gates import Decision, Fact, Gate, decided, gate_of, undecided
from runbake.evaluation.junit import junit_of
from runbake.evaluation.kinds import KINDS, Kind, Truth, truth_of
from runbake.evaluation.logged_data import LoggedData, logged_data
from runbake.evaluation.page import page_of
from runbake.evaluation.summary import summary_of

__all__ = [
    "Answers",
    "Comparison",
    "Decision",
    "Evaluation",
    "Fact",
    "Gate",
    "KINDS",
    "Kind",
    "LoggedData",
    "SCHEMA",
    "Subject",
    "TestSet",
    "Truth",
    "compared",
    "decided",
    "gate_of",
    "in_both",
    "junit_of",
    "logged_data",
    "page_of",
    "read_answers",
    "summary_of",
    "truth_of",
    "undecided",
]
