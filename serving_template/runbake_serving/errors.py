"""What can go wrong while serving.

    StartError                      the operator's: settings, label file or model unusable; the process ends
    RequestError                    answered over HTTP as a problem (RFC 9457) with MLflow's keys
    ├── InvalidRequest       400    BAD_REQUEST: the body cannot be read
    ├── SchemaMismatch       400    INVALID_PARAMETER_VALUE: the body does not fit the model's signature
    ├── ValuesRefused        400    BAD_REQUEST: the model itself refused these values
    ├── BodyTooLarge         413    BAD_REQUEST
    ├── UnknownName          404    RESOURCE_DOES_NOT_EXIST: another model or version than the one in service
    ├── NotAcceptable        406    BAD_REQUEST: the answer has no form that the caller accepts
    ├── UnsupportedMedia     415    BAD_REQUEST
    ├── BodyTooSlow          408    BAD_REQUEST: the body did not arrive in time
    ├── ModelFailed          500    INTERNAL_ERROR: not the caller's fault
    ├── Overloaded           503    TEMPORARILY_UNAVAILABLE: ask again after `retry_after_s`
    └── DeadlinePassed       504    DEADLINE_EXCEEDED

Messages of `RequestError` may name columns of the signature, positions and limits. They never quote the
request's data, because answers and logs are read by people who may not see it.
"""

from __future__ import annotations

from typing import ClassVar


class StartError(Exception):
    """The process cannot start; the operator can act on it."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


class RequestError(Exception):
    """An answer other than 200; `str` is safe to send to the caller.

    `column` is a name of the signature, `row` counts the request's rows from 0; None where it is not known.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, *, column: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.column, self.row = column, row


class InvalidRequest(RequestError):
    """The body is not what its content type and the protocol promise."""

    status = 400
    code = "BAD_REQUEST"


class SchemaMismatch(RequestError):
    """The body was read, and does not fit the model's signature."""

    status = 400
    code = "INVALID_PARAMETER_VALUE"


class ValuesRefused(RequestError):
    """The model raised what its flavor counts as a refusal of the values (a missing value, say)."""

    status = 400
    code = "BAD_REQUEST"


class BodyTooLarge(RequestError):
    """The body is larger than the limit."""

    status = 413
    code = "BAD_REQUEST"


class UnknownName(RequestError):
    """The path names a model or a version that is not in service."""

    status = 404
    code = "RESOURCE_DOES_NOT_EXIST"


class NotAcceptable(RequestError):
    """The answer cannot be written in any form that the caller accepts."""

    status = 406
    code = "BAD_REQUEST"


class UnsupportedMedia(RequestError):
    """No content type, or one that this route does not read."""

    status = 415
    code = "BAD_REQUEST"


class BodyTooSlow(RequestError):
    """The body did not arrive within the time that the caller has for it."""

    status = 408
    code = "BAD_REQUEST"


class ModelFailed(RequestError):
    """The model raised, or answered what JSON cannot carry; the log has the cause under the request's id."""


class Overloaded(RequestError):
    """More is waiting than can be answered in time."""

    status = 503
    code = "TEMPORARILY_UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlinePassed(RequestError):
    """The answer was not there within the deadline; work that had not begun is dropped."""

    status = 504
    code = "DEADLINE_EXCEEDED"
