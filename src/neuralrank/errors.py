"""Every exception of neuralrank, as one tree.

    NeuralrankError
    ├── UsageError          wrong option, unknown name, path that is not there      exit 2, HTTP 400
    │   ├── UnknownNameError  no component of that name                             exit 2, HTTP 404
    │   └── MissingExtraError an optional package is not installed                  exit 2, HTTP 501
    ├── DataError           the target data set or an array cannot be used          exit 2, HTTP 422
    ├── ModelError          one checkpoint cannot be used; becomes a failure row    exit 1, HTTP 422
    ├── SourceError         a repository of models does not answer                  exit 1, HTTP 502
    ├── CatalogueError      the catalogue cannot be read or written                 exit 2, HTTP 500
    ├── NothingRankedError  no model could be ranked                                exit 1, HTTP 422
    └── OutputError         a result could not be written                           exit 2, HTTP 500

A message says what was needed, what was got and what to do, in whole sentences.
"""


class NeuralrankError(Exception):
    """Root of the tree; `exit_code` ends the process, `http_status` answers a request."""

    exit_code = 1
    http_status = 500


class UsageError(NeuralrankError):
    """The command or call cannot be carried out as given."""

    exit_code = 2
    http_status = 400


class UnknownNameError(UsageError):
    """No component has that name."""

    http_status = 404


class MissingExtraError(UsageError):
    """An optional package is needed and not installed."""

    http_status = 501


class DataError(NeuralrankError):
    """The target data set, or an array made from it, cannot be used."""

    exit_code = 2
    http_status = 422


class ModelError(NeuralrankError):
    """One checkpoint cannot be used; the ranking goes on without it."""

    exit_code = 1
    http_status = 422


class SourceError(NeuralrankError):
    """A repository of models does not answer, or answers with something else."""

    exit_code = 1
    http_status = 502


class CatalogueError(NeuralrankError):
    """The catalogue on disk cannot be read or written."""

    exit_code = 2
    http_status = 500


class NothingRankedError(NeuralrankError):
    """Every model failed, or there was none."""

    exit_code = 1
    http_status = 422


class OutputError(NeuralrankError):
    """A result could not be written."""

    exit_code = 2
    http_status = 500
