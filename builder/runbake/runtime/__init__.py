"""The image, running: proved, or run for a person."""

from runbake.runtime.engine import Engine, EngineImage, RunningContainer
from runbake.runtime.prove import REFERENCE_ROOT, Proof, Question, prove
from runbake.runtime.serve import LocalServer, provenance_of_url, serve_locally

__all__ = [
    "REFERENCE_ROOT",
    "Engine",
    "EngineImage",
    "LocalServer",
    "Proof",
    "Question",
    "RunningContainer",
    "prove",
    "provenance_of_url",
    "serve_locally",
]
