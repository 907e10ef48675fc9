"""Every failure that a user can act on.

    RunbakeError                     1
    ├── ConfigError                  3   a setting is unknown or malformed
    ├── InvalidReference             4   RUN or an image reference cannot be read
    ├── TrackingError               10   MLflow is unreachable, slow or broken
    │   ├── TrackingAuthError       11   MLflow answered 401 or 403
    │   ├── RunNotFound             12
    │   ├── NotPromoted             13
    │   ├── RunNotFinished          14   running, failed or killed
    │   ├── NoModel                 15
    │   ├── AmbiguousModel          16   two models under one name
    │   ├── ModelNotReady           17
    │   ├── ArtifactMissing         18
    │   ├── ArtifactChanged         19
    │   └── UnsafePath              20   an artifact's name leaves its directory
    ├── UnsupportedFlavor           25
    │   ├── UntrustedTypes          26   the model asks to trust types that nobody here trusts
    │   └── UnsafeFormat            27   loading the model runs code that is in it
    ├── LockError                   30   uv failed in a way of its own
    │   ├── Unresolvable            31   requirements contradict each other or do not exist
    │   ├── NoWheel                 32   only an sdist exists for the target
    │   ├── IndexUnreachable        33
    │   └── ConflictingWheels       34   two wheels bring different files under one path
    ├── BaseImageError              40   the base cannot be used
    │   ├── BasePlatformMissing     41
    │   ├── PythonMismatch          42   its Python is not the model's
    │   └── BytecodeUnavailable     43   its interpreter cannot run here
    ├── InvalidImage                44   a layer that an image cannot hold
    ├── RegistryError               50   the registry refused or broke
    │   ├── RegistryUnreachable     51
    │   ├── RegistryAuthError       52
    │   ├── ManifestNotFound        53
    │   ├── DigestMismatch          54
    │   └── TagExists               55
    ├── EngineError                 60   the container engine refused or broke
    │   ├── EngineMissing           61
    │   ├── ProofFailed             62
    │   ├── Unproven                63
    │   ├── NotReady                64   a new container did not get ready; the old one serves on
    │   └── DeployUnderWay          66
    ├── TraceError                  65   nothing leads from this reference to a run
    ├── AttestationError            80   a statement cannot be made or read
    │   ├── SigningError            81   a key cannot be used
    │   ├── VerificationFailed      82   something is not what it says
    │   ├── PolicyViolated          83   true, but not what was required
    │   └── RebuildDiffers          84   the same inputs gave another image
    ├── GocdError                   90   GoCD is broken, or refuses what was asked
    │   ├── GocdUnreachable         91   no answer, or one that comes from something before GoCD
    │   ├── GocdAuthError           92   GoCD answered 401 or 403
    │   ├── PipelineBusy            93   paused, locked or just starting
    │   ├── NotTriggered            94   promotions are left that no pipeline run was found for
    │   └── NotInGocd               95   GoCD's variables name no run
    ├── AwsError                   110   AWS refused, or cannot be reached
    ├── AmiError                   111   a machine image cannot be made so
    │   ├── PackerMissing          112   not installed, or too old
    │   └── BakeFailed             113   Packer failed; what it made is removed
    ├── JobError                   120   a batch job cannot be launched, or is not known
    │   ├── JobLost                121   its machine ended without a record
    │   └── JobFailed              122   its container never got to the job
    ├── EvaluationError            100   the evaluation itself cannot be done
    │   ├── GatesFailed            101   it was done, and a gate failed
    │   ├── NotDecidable           102   none failed, and one cannot be decided on these rows
    │   └── NotEvaluated           103   nothing says that these model files with this lock passed
    └── DiskFull                    74

Exit codes 0 (done), 1 (`doctor` misses something), 2 (usage, from click), 70 (a bug: the traceback is
printed), 130 (interrupted) and 143 (terminated) belong to `cli`.
`tests/unit/test_errors.py` keeps the numbers distinct and this drawing true.
"""

from __future__ import annotations

from typing import ClassVar


class RunbakeError(Exception):
    """A failure the user can act on; `cli` prints it and exits with `exit_code`.

    Args:
        problem: what failed, on which thing.
        hint: what to try; where nothing better is known, what helps with this kind of failure.
    """

    exit_code: ClassVar[int] = 1
    usual_hint: ClassVar[str] = "`runbake doctor` says what is there; `--help` of the command says more"

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint or self.usual_hint


class ConfigError(RunbakeError):
    """A setting is unknown or malformed."""

    exit_code = 3
    usual_hint = "`runbake config` lists every setting, `--help` of the command explains each"


class InvalidReference(RunbakeError):
    """RUN or an image reference cannot be read."""

    exit_code = 4
    usual_hint = "`--help` of the command shows how it is written"


class TrackingError(RunbakeError):
    """MLflow is unreachable, slow or broken."""

    exit_code = 10
    usual_hint = "is MLFLOW_TRACKING_URI (or --tracking-uri) right? The server's own log says more"


class TrackingAuthError(TrackingError):
    """MLflow answered 401 or 403."""

    exit_code = 11


class RunNotFound(TrackingError):
    """MLflow knows no such run, model or version."""

    exit_code = 12


class NotPromoted(TrackingError):
    """Nobody promoted this run."""

    exit_code = 13


class RunNotFinished(TrackingError):
    """The run is still going, failed or was killed."""

    exit_code = 14


class NoModel(TrackingError):
    """The run logged no model, or none under that name."""

    exit_code = 15


class AmbiguousModel(TrackingError):
    """Two models of the run fit; the message lists their ids."""

    exit_code = 16


class ModelNotReady(TrackingError):
    """The logged model is pending or failed."""

    exit_code = 17


class ArtifactMissing(TrackingError):
    """A file that MLflow lists, or that MLmodel names, is not there."""

    exit_code = 18


class ArtifactChanged(TrackingError):
    """The model's files changed while they were read."""

    exit_code = 19


class UnsafePath(TrackingError):
    """An artifact's name would leave the directory it is written to."""

    exit_code = 20


class UnsupportedFlavor(RunbakeError):
    """No flavor of this version can serve the model."""

    exit_code = 25


class UntrustedTypes(UnsupportedFlavor):
    """The model asks to trust types that nobody here trusts."""

    exit_code = 26


class UnsafeFormat(UnsupportedFlavor):
    """Loading the model runs code that is in it, and that was not to be."""

    exit_code = 27


class LockError(RunbakeError):
    """uv failed in a way that no other class names."""

    exit_code = 30
    usual_hint = "lock again with --relock"


class Unresolvable(LockError):
    """The requirements contradict each other or do not exist.

    `pinned` are the names of what is locked already and stands in the way, where that is the cause.
    """

    exit_code = 31
    pinned: frozenset[str] = frozenset()


class NoWheel(LockError):
    """A package has no wheel for the target platform and Python."""

    exit_code = 32


class IndexUnreachable(LockError):
    """The package index does not answer, or refuses."""

    exit_code = 33


class ConflictingWheels(LockError):
    """Two wheels bring different files under one path."""

    exit_code = 34


class BaseImageError(RunbakeError):
    """The base image cannot be used."""

    exit_code = 40
    usual_hint = "choose another base image (--base)"


class BasePlatformMissing(BaseImageError):
    """The base image has no manifest for a wanted platform."""

    exit_code = 41


class PythonMismatch(BaseImageError):
    """The base image's Python minor version is not the model's."""

    exit_code = 42


class BytecodeUnavailable(BaseImageError):
    """The base image's interpreter cannot run on this machine."""

    exit_code = 43


class InvalidImage(RunbakeError):
    """A layer of the base is of a kind that the image's format cannot hold."""

    exit_code = 44
    usual_hint = "build on another base image (--base)"


class RegistryError(RunbakeError):
    """The registry refused, or answered 5xx to the end; method, URL, status and its own code are told."""

    exit_code = 50
    usual_hint = "the registry's own log says more; run again: what is there is not sent twice"


class RegistryUnreachable(RegistryError):
    """No connection to the registry, or it broke off again and again."""

    exit_code = 51


class RegistryAuthError(RegistryError):
    """The registry wants other credentials."""

    exit_code = 52
    usual_hint = "docker login there; the account needs push and pull"


class ManifestNotFound(RegistryError):
    """The registry answered 404: it has no such image, or no such repository to push to."""

    exit_code = 53


class DigestMismatch(RegistryError):
    """Bytes do not have the digest they were asked for by."""

    exit_code = 54


class TagExists(RegistryError):
    """The tag points to another image and may not be moved."""

    exit_code = 55


class EngineError(RunbakeError):
    """The container engine refused or broke."""

    exit_code = 60
    usual_hint = "`runbake doctor` says whether a container engine answers"


class EngineMissing(EngineError):
    """No container engine answers."""

    exit_code = 61


class ProofFailed(EngineError):
    """The image does not answer as the model does."""

    exit_code = 62


class Unproven(EngineError):
    """The image cannot be proved here, and unproven images are not tagged."""

    exit_code = 63


class NotReady(EngineError):
    """A new container did not get ready and was removed; what served before still does."""

    exit_code = 64


class DeployUnderWay(EngineError):
    """Another command is deploying under the same name."""

    exit_code = 66


class TraceError(RunbakeError):
    """Nothing leads from this reference to a run."""

    exit_code = 65
    usual_hint = "name an image that runbake made, by its digest"


class AttestationError(RunbakeError):
    """A statement about an image cannot be made or read."""

    exit_code = 80
    usual_hint = "docs/provenance.md shows what runbake attaches to an image"


class SigningError(AttestationError):
    """A key cannot be used, or its holder refuses to sign."""

    exit_code = 81
    usual_hint = "docs/provenance.md shows how keys are made"


class VerificationFailed(AttestationError):
    """An image, or what is attached to it, is not what it says; the message lists everything found."""

    exit_code = 82
    usual_hint = "do not run it: build it again from its run, or ask whoever may push there"


class PolicyViolated(AttestationError):
    """An image is what it says, and that is not what was required; the message lists every requirement."""

    exit_code = 83
    usual_hint = "build it as the policy asks, or ask less of it"


class RebuildDiffers(AttestationError):
    """Built again from the same inputs, the image is another one; the message names layer, file and cause."""

    exit_code = 84
    usual_hint = "build it again with the version of runbake and the base image that the message names"


class GocdError(RunbakeError):
    """GoCD is broken, or refuses what was asked."""

    exit_code = 90
    usual_hint = "is --server the URL with its context root, such as https://ci.example.org:8154/go?"


class GocdUnreachable(GocdError):
    """No answer from GoCD, or one from something before it."""

    exit_code = 91


class GocdAuthError(GocdError):
    """GoCD wants other credentials, or gives this user no right to do it."""

    exit_code = 92
    usual_hint = "a personal access token in GOCD_TOKEN; its user needs to operate the pipeline's group"


class PipelineBusy(GocdError):
    """The pipeline is paused, locked, or just starting."""

    exit_code = 93
    usual_hint = "`runbake gocd trigger --watch` waits and tries again"


class NotTriggered(GocdError):
    """Promotions are left that no pipeline run was found for."""

    exit_code = 94


class NotInGocd(GocdError):
    """GoCD's variables name no run, or there are none."""

    exit_code = 95


class AwsError(RunbakeError):
    """AWS refused, or cannot be reached."""

    exit_code = 110
    usual_hint = "the message has AWS's own code; docs/ami.md lists what the role needs"


class AmiError(RunbakeError):
    """A machine image cannot be made so."""

    exit_code = 111
    usual_hint = "docs/ami.md says what goes together"


class PackerMissing(AmiError):
    """Packer is not installed, or too old."""

    exit_code = 112


class BakeFailed(AmiError):
    """Packer failed, and what it made is removed."""

    exit_code = 113
    usual_hint = "Packer's own lines above say more; nothing is left of this bake, so run it again"


class JobError(RunbakeError):
    """A batch job cannot be launched on a machine, or is not known."""

    exit_code = 120
    usual_hint = "docs/ami.md says what a job needs"


class JobLost(JobError):
    """The job's machine ended without a record of how the job did."""

    exit_code = 121


class JobFailed(JobError):
    """The job's container never got to the job."""

    exit_code = 122
    usual_hint = "`runbake batch logs` shows why"


class EvaluationError(RunbakeError):
    """A test set or a model is not fit for an evaluation."""

    exit_code = 100
    usual_hint = "docs/evaluation.md says what a test set needs, and which kinds of model there are"


class GatesFailed(EvaluationError):
    """The model does not hold what its gates ask; the message lists each with its numbers."""

    exit_code = 101
    usual_hint = "the slices and changed rows in the report (--html) show where it is worse"


class NotDecidable(EvaluationError):
    """Too few rows, or an interval too wide, to say whether a gate holds; the message lists each."""

    exit_code = 102
    usual_hint = "more rows of test data decide it; or set the gate on the point estimate"


class NotEvaluated(EvaluationError):
    """A passed evaluation of the same model files and lock is required, and there is none."""

    exit_code = 103
    usual_hint = "runbake evaluate RUN --data FILE --target COLUMN --gate … --record, and containerize again"


class DiskFull(RunbakeError):
    """No space left on a device that runbake writes to."""

    exit_code = 74
    usual_hint = "free some space"
