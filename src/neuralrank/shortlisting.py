"""From a whole repository to the few dozen models worth running: the pool of a ranking.

What a user names is listed into the catalogue, searched there, and of what is found a pool is chosen that mixes
relevance, covered labels, past success and different families. Only then are files brought, one model at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

from neuralrank.entries import Fetchable, FoundModel, Repository, SearchResult
from neuralrank.errors import NothingRankedError, SourceError
from neuralrank.history import Prior, PriorRow, prior_document, prior_for
from neuralrank.indexing import index
from neuralrank.queries.shortlist import Candidate, Chosen, shortlist
from neuralrank.searching import MAX_TOP, Query, find
from neuralrank.sources._specs import open_source
from neuralrank.storage.catalogue import Catalogue
from neuralrank.types import Failure, Target

DEFAULT_POOL = 50
AT_HAND = ("folder", "hf_cache")
"""Sources whose models cost no download."""
MAX_CANDIDATES = 2_000
"""So many of the most relevant, of those that cover most labels, and of the most downloaded are looked at."""

Say = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """The models that a ranking will run."""

    models: tuple[Fetchable, ...]
    reasons: Mapping[str, tuple[str, ...]]
    """By model id, why it was chosen."""
    failures: tuple[Failure, ...]
    """What of the named repositories could not be listed."""
    n_models: int
    n_matches: int
    n_unknown: int
    prior: Prior
    """What past outcomes on similar data sets say; it shaped the pool, not the ranking."""


def choose_pool(
    query: Query,
    catalogue: Catalogue,
    target: Target,
    *,
    n: int | None = None,
    sources: Sequence[str | Path] = (),
    options: Mapping[str, Any] | None = None,
    say: Say = lambda _what, _done, _all: None,
) -> Pool:
    """Choose the models to run for a target.

    Args:
        query: which models may be chosen; `top` and `among` are set here.
        catalogue: where the repositories are listed and searched.
        target: the user's data; its class names are looked for among those of the models.
        n: number of models; None: all that match where their files are at hand, else `DEFAULT_POOL`.
        sources: repositories to list first and to choose from; none: all of the catalogue.
        options: for the sources, such as `offline`.
        say: progress.

    Raises:
        UsageError: a repository, condition or number is wrong.
        SourceError: a repository does not answer, and nothing is known of it.
        NothingRankedError: no model is left.
    """
    repositories = [open_source(source, options=options) for source in sources]
    indexed = [index(repository, catalogue, say=lambda spec, done: say(spec, done, 0)) for repository in repositories]
    specs = [repository.spec for repository in repositories]
    for done in indexed:
        if done.stopped and not len(catalogue.members([done.spec])):
            raise SourceError(done.stopped)
    if n is None and not (specs and all(spec.partition(":")[0] in AT_HAND for spec in specs)):
        n = DEFAULT_POOL
    query = replace(query, among=specs or None, top=MAX_TOP if n is None else MAX_CANDIDATES, copies=True)
    found, modality = find(replace(query, top=1), catalogue, say=say), target.modality
    # Narrowed before the most promising are taken, or models of other kinds could take all their places.
    fits = f"loadable AND (modality = '{modality}' OR modality IS NULL)"
    where = f"({query.where}) AND {fits}" if query.where and query.where.strip() else fits
    usable = _found(replace(query, where=where), catalogue, target, say).models
    failures = tuple(catalogue.failures(specs)) if specs else ()
    if not usable and not failures:
        raise NothingRankedError(_nothing(found, modality))
    prior = prior_for(catalogue, target, [one.entry for one in usable])
    past = {row.model_id: row for row in prior.rows}
    # Where classes were looked for, a model that names none of them has none as far as is known.
    missing = 0.0 if any(one.coverage is not None for one in usable) else None
    candidates = [_candidate(one, past, coverage=missing if one.coverage is None else one.coverage) for one in usable]
    chosen = shortlist(candidates, n) if n is not None else [Chosen(entry=one.entry) for one in candidates]
    opened = {repository.spec: repository for repository in repositories}
    return Pool(
        models=tuple(
            Fetchable(entry=one.entry, fetch=_repository(one.entry.model_id, catalogue, opened, options or {}).fetch)
            for one in chosen
        ),
        reasons={one.entry.model_id: one.reasons for one in chosen},
        failures=failures,
        n_models=found.n_models,
        n_matches=found.n_matches,
        n_unknown=found.n_unknown,
        prior=prior,
    )


def pool_settings(pool: Pool, *, prior: bool) -> dict[str, Any]:
    """Return what a ranking says of how its models were found, as JSON values.

    Args:
        pool: that was run.
        prior: whether to add what past outcomes say of its models.
    """
    said: dict[str, Any] = {
        "pool": {
            "n_models": pool.n_models,
            "n_matches": pool.n_matches,
            "n_unknown": pool.n_unknown,
            "reasons": {model_id: list(reasons) for model_id, reasons in pool.reasons.items()},
        }
    }
    if prior:
        run = {item.entry.model_id for item in pool.models}
        rows = tuple(row for row in pool.prior.rows if row.model_id in run)
        said["prior"] = prior_document(replace(pool.prior, rows=rows))
    return said


def _found(query: Query, catalogue: Catalogue, target: Target, say: Say) -> SearchResult:
    """Search as asked; without words or labels also by the target's own class names, which then narrow nothing."""
    found = find(query, catalogue, say=say)
    if query.text or query.labels or query.like or not target.class_names:
        return found
    by_labels = find(replace(query, labels=target.class_names), catalogue, say=say)
    known = {one.entry.model_id for one in by_labels.models}
    rest = [one for one in found.models if one.entry.model_id not in known]
    return replace(found, models=(*by_labels.models, *rest))


def _candidate(found: FoundModel, past: Mapping[str, PriorRow], *, coverage: float | None) -> Candidate:
    row = past.get(found.entry.model_id)
    known = row if row is not None and row.advantage is not None else None
    return Candidate(
        entry=found.entry,
        relevance=found.relevance,
        coverage=coverage,
        covered=found.covered,
        # The advantage is in standard deviations over models: its place among them as a share.
        past=NormalDist().cdf(known.advantage or 0.0) if known else None,
        n_past_data=known.n_outcomes + known.n_scores if known else None,
        popularity=found.entry.downloads,
    )


def _repository(
    model_id: str, catalogue: Catalogue, opened: dict[str, Repository], options: Mapping[str, Any]
) -> Repository:
    """Return the repository that lists a model: one of those that are open, else it is opened."""
    specs = catalogue.specs_of(model_id)
    spec = next((spec for spec in specs if spec in opened), specs[0])
    if spec not in opened:
        opened[spec] = open_source(spec, options=options)
    return opened[spec]


def _nothing(found: SearchResult, modality: str) -> str:
    if not found.n_models:
        return "A ranking needs at least one model. Got none in the catalogue. List some with `neuralrank index`."
    if not found.n_matches:
        return (
            f"A ranking needs at least one model. Got {found.n_models:,}, none of which matches. "
            "Ask for less, or see what is there with `neuralrank search`."
        )
    return (
        f"A ranking needs at least one {modality} model that can be loaded. Got {found.n_matches:,} models that match, "
        "none of them such a one. See them with `neuralrank search`."
    )
