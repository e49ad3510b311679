"""Bring what repositories list into the catalogue: `neuralrank index`.

Every batch is durable before the next is listed, so that a run that is stopped at any point goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralrank import settings
from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import CatalogueError, SourceError
from neuralrank.queries.concepts import CONCEPTS_VERSION, index_concepts
from neuralrank.sources._specs import open_source
from neuralrank.storage.catalogue import Catalogue, open_catalogue
from neuralrank.types import Failure

BATCH_MODELS = 10_000
BATCH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """What indexing one repository changed."""

    spec: str
    n_new: int
    n_changed: int
    n_unchanged: int
    n_removed: int
    failures: tuple[Failure, ...]
    seconds: float
    stopped: str | None
    """Why the listing ended before its end, None if it did not; models it did not come to are kept as they were."""


Say = Callable[[str, int], None]
"""Called with the spec of a repository and the number of its models listed so far."""


def index(repository: Repository, catalogue: Catalogue, *, say: Say = lambda _spec, _n: None) -> Indexed:
    """List one repository into the catalogue.

    Args:
        repository: of models.
        catalogue: to write to.
        say: progress, after each batch.

    Returns:
        What changed. A repository that stops answering gives what was listed until then.

    Raises:
        CatalogueError: the catalogue cannot be written.
    """
    started = time.monotonic()
    catalogue.refresh_concepts(CONCEPTS_VERSION, index_concepts)
    since = catalogue.seq()
    run = _Run(repository.spec, catalogue, say)
    stopped = None
    try:
        for item in repository.list_entries(catalogue.known(repository.spec.partition(":")[0])):
            run.add(item)
    except SourceError as error:
        stopped = str(error)
    except CatalogueError:
        raise
    except BaseException:  # Ctrl-C: what was listed is kept
        run.flush()
        raise
    run.flush()
    failed = {failure.model_id for failure in run.failures}
    all_seen = stopped is None and repository.is_complete
    removed = catalogue.finish(run.spec, run.rows, failed, since=since) if all_seen else 0
    return Indexed(
        spec=run.spec,
        n_new=run.n_new,
        n_changed=run.n_changed,
        n_unchanged=run.n_unchanged,
        n_removed=removed,
        failures=tuple(run.failures),
        seconds=time.monotonic() - started,
        stopped=stopped,
    )


def index_sources(
    sources: str | Path | Sequence[str | Path], *, catalogue: str | Path | None = None, offline: bool = False
) -> list[Indexed]:
    """List the models of repositories into the catalogue; what has not changed is not read again.

    Args:
        sources: folders, or specs such as 'hf:timm/*'.
        catalogue: its folder; None: the one that the settings name.
        offline: do not use the network.

    Returns:
        What changed, for each.

    Raises:
        UsageError: there is nothing at a path, or no source of that name.
        CatalogueError: the catalogue cannot be written.
    """
    named = [sources] if isinstance(sources, str | Path) else sources
    repositories = [open_source(source, options={"offline": offline}) for source in named]
    with open_catalogue(catalogue if catalogue is not None else settings.catalogue_dir()) as opened:
        return [index(repository, opened) for repository in repositories]


class _Run:
    """The listing of one repository: gathers batches and counts."""

    def __init__(self, spec: str, catalogue: Catalogue, say: Say) -> None:
        self.spec = spec
        self.rows: set[int] = set()
        self.failures: list[Failure] = []
        self.n_new = self.n_changed = self.n_unchanged = 0
        self._catalogue = catalogue
        self._say = say
        self._batch: list[ModelEntry | Unchanged | Failure] = []
        self._due = time.monotonic() + BATCH_SECONDS

    def add(self, item: ModelEntry | Unchanged | Failure) -> None:
        self._batch.append(item)
        if isinstance(item, Failure):
            self.failures.append(item)
        if len(self._batch) >= BATCH_MODELS or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        self._due = time.monotonic() + BATCH_SECONDS
        if not self._batch:
            return
        written = self._catalogue.write(self.spec, self._batch, concepts=index_concepts)
        self._batch = []  # only now: whoever interrupts the writing has it done again, to the same end
        self.rows.update(written.rows)
        self.n_new += written.n_new
        self.n_changed += written.n_changed
        self.n_unchanged += written.n_unchanged
        self._say(self.spec, len(self.rows) + len(self.failures))
