"""The image, running: proved, or run for a person."""

from runbake.runtime.base_image import build_base_image, check_python, push_image, source_for
from runbake.runtime.container import RunningContainer
from runbake.runtime.engine import Engine, EngineImage
from runbake.runtime.engine_python import EnginePython
from runbake.runtime.here import run_batch_here
from runbake.runtime.offline import run_batch
from runbake.runtime.prove import REFERENCE_ROOT, Proof, Question, prove
from runbake.runtime.serve import DEPLOYED, LocalServer, provenance_of_url, serve_locally
from runbake.runtime.standing import ContainerFacts, ContainerSpec, Standing, door_command

__all__ = [
    "DEPLOYED",
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
    "build_base_image",
    "check_python",
    "door_command",
    "prove",
    "provenance_of_url",
    "push_image",
    "run_batch",
    "run_batch_here",
    "serve_locally",
    "source_for",
]
