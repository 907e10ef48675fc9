"""The image, running: proved, or run for a person."""

from runbake.runtime.engine import Engine, RunningContainer
from runbake.runtime.prove import REFERENCE_ROOT, Proof, Question, prove

__all__ = ["REFERENCE_ROOT", "Engine", "Proof", "Question", "RunningContainer", "prove"]
