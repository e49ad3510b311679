"""What MLflow's client raises, as errors of our own in one sentence; its messages are long and full of addresses."""

import os
import re

from neuralrank.errors import MissingExtraError, ModelError, NeuralrankError, SourceError, UsageError
from neuralrank.sources._hub_json import text

_STATUS = re.compile(r"too many (\d{3}) error responses|failed with error code (\d{3})|HTTP (\d{3})")
_OTHER_VERSION = "the tables of another version of MLflow"
_OTHER_WAY = "Start `mlflow server` of the version that wrote it, and use the server's address."
_REASONS = (
    (r"refused|Errno 111", "no connection (connection refused)"),
    (r"resolve|Name or service|getaddrinfo|nodename", "no connection (no machine of that name)"),
    (r"timed out|timeout", "no answer in time"),
    (r"certificate|SSL", "no connection (its certificate is not trusted)"),
    (r"aborted|reset|closed connection|IncompleteRead|ended prematurely", "an answer that was cut off"),
    (r"valid JSON|Expecting value|JSON", "an answer that is not MLflow's"),
    (r"out-of-date|readonly|no such (table|column)|duplicate column", _OTHER_VERSION),
    (r"not a database|malformed|disk image", "a file that is damaged or no SQLite database"),
    (r"locked", "a database that is locked"),
)


def client_errors() -> tuple[type[BaseException], ...]:
    """Return what the client raises: its own errors, and those of an answer that is not of the shape it expects."""
    from google.protobuf.json_format import Error  # type: ignore[import-untyped]
    from mlflow.exceptions import MlflowException

    database: tuple[type[BaseException], ...] = ()
    try:
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        pass
    else:
        database = (SQLAlchemyError,)
    return (MlflowException, Error, ImportError, OSError, ValueError, LookupError, TypeError, AttributeError, *database)


def translated(error: BaseException, what: str, *, is_model: bool, way_out: str) -> NeuralrankError:
    """Return the error to raise in place of one of the client.

    Args:
        error: what the client raised.
        what: the registry or the model it is about.
        is_model: whether it is a model.
        way_out: what to do when the registry does not answer.
    """
    shown = str(error)[:20_000]
    code = text(getattr(error, "error_code", None), 40) or ""
    status = "".join(next(iter(_STATUS.findall(shown)), ()))
    if isinstance(error, ImportError):
        return MissingExtraError(
            "The mlflow source needs packages that fit each other. "
            f"Got: {text(str(error).partition(' (')[0], 160)}. Run: pip install --upgrade 'neuralrank[mlflow]'"
        )
    if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return ModelError(f"{what} needs to be in the registry. Got no such model. Run `neuralrank index` again.")
    if code == "INVALID_PARAMETER_VALUE" and not is_model:
        said = (text(shown.removeprefix(f"{code}: "), 160) or "").rstrip(".")
        return UsageError(f"{what} needs a filter that MLflow understands. Got its answer: {said}. Correct it.")
    if status in ("401", "403") or code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
        return SourceError(
            f"{what} needs a login that may read it. Got {f'HTTP {status}' if status else code}. "
            "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    reason = f"HTTP {status}" if status else _reason(shown, error)
    if "too many" in shown:
        reason += f" after {int(os.environ.get('MLFLOW_HTTP_REQUEST_MAX_RETRIES', '3')) + 1} tries"
    return SourceError(f"{what} could not be read. Got {reason}. {_OTHER_WAY if reason == _OTHER_VERSION else way_out}")


def _reason(shown: str, error: BaseException) -> str:
    """Return in a few words what a message of the client says."""
    for pattern, reason in _REASONS:
        if re.search(pattern, shown):
            return reason
    kinds = (ValueError, LookupError, TypeError, AttributeError)
    if isinstance(error, kinds) or type(error).__module__.startswith("google.protobuf"):
        return "an answer that is not MLflow's"
    return f"{text(getattr(error, 'error_code', None), 40) or type(error).__name__}"
