"""The image, running: proved, or run for a person."""

from runbake.runtime.engine import Engine, EngineImage, RunningContainer
from runbake.runtime.engine_python import EnginePython
from runbake.runtime.prove import REFERENCE_ROOT, Proof, Question, prove
from runbake.runtime.serve import LocalServer, provenance_of_url, serve_locally
from runbake.runtime.standing import ContainerFacts, ContainerSpec, Standing, door_command

__all__ = [
    "REFERENCE_ROOT",
    "ContainerFacts",
    "ContainerSpec",
    "Engine",
    "EngineImage",
    "EnginePython",
    "LocalServer",
    "Proof",
    "Question",
    "RunningContainer",
    "Standing",
    "door_command",
    "prove",
    "provenance_of_url",
    "serve_locally",
]
