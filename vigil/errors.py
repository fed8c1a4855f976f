"""The errors that Vigil raises on purpose.

Each has an HTTP status and a message that says what to do.
"""

from __future__ import annotations


class VigilError(Exception):
    """Base of every expected failure.

    `field` and `row` locate it in the caller's input where that makes sense.
    """

    status = 500

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        row: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.row = row

    def body(self) -> dict[str, object]:
        """The JSON body of an HTTP answer: `{"error": {"type", "message", "field"?, "row"?}}`."""
        error: dict[str, object] = {"type": type(self).__name__, "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        if self.row is not None:
            error["row"] = self.row
        return {"error": error}


class BadSettings(VigilError):
    """Settings that are refused. Each mistake names a setting, its value, and what is allowed.

    `about` says of what they are, before the mistakes.
    """

    status = 422

    def __init__(self, *mistakes: str, about: str = "") -> None:
        super().__init__(about + "; ".join(mistakes))
        self.mistakes = mistakes


class DataError(VigilError):
    """A table that cannot be trained on or compared."""

    status = 422


class UnfitTransform(DataError):
    """A transform that needs what the table does not have."""


class BundleError(VigilError):
    """A model bundle that is damaged, forged or of another format. It is never served."""


class RegistryError(VigilError):
    """The registry holds no such version, or refuses the move."""

    status = 409


class RegistryUnavailable(VigilError):
    """The MLflow server cannot be reached."""

    status = 503


class JobsUnavailable(VigilError):
    """Ray's job server cannot be reached, or has no agent yet that could start a job."""

    status = 503


class PlatformError(VigilError):
    """The platform on this machine cannot start, stop or be found."""


class MalformedRequest(VigilError):
    """The body is not valid JSON, or not of the documented form."""

    status = 400


class InvalidFeatures(VigilError):
    """The row does not fit the model's schema."""

    status = 422


class BodyTooLarge(VigilError):
    """The request is larger than the service accepts."""

    status = 413


class NoModel(VigilError):
    """No verified model is loaded yet."""

    status = 503
