"""The text after `hf:`: which models of the Hub are meant, by a name with wildcards and by filters of the Hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, quote, urlencode

from neuralrank.errors import UsageError
from neuralrank.sources._hub_cache import is_repository

FILTERS = ("author", "gated", "limit", "num_parameters", "pipeline_tag", "search", "sort")
"""What may follow the question mark once, as the Hub calls it."""

TAG_FILTERS = {"dataset": "dataset:", "language": "", "library": "", "license": "license:", "tag": ""}
"""What may follow it any number of times: the Hub takes these as tags, some with a prefix."""

_SORTS = {"created_at": "createdAt", "last_modified": "lastModified", "trending_score": "trendingScore"}
_SORT_NAMES = ("downloads", "likes", *_SORTS, *_SORTS.values())
_PATTERN = re.compile(r"[A-Za-z0-9_.\-/*\[\]!]{1,200}")
_WILD = re.compile(r"\[[^\]]*\]|[*\[\]]")


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which models are meant."""

    pattern: str
    """A repository's name, or one with `*` and `[…]`; without a slash, of any owner."""
    filters: tuple[tuple[str, str], ...] = ()
    """As the user gave them, sorted."""
    revision: str = ""
    limit: int | None = None
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    """What the Hub is asked for."""

    @property
    def named(self) -> bool:
        """Say whether one repository is named."""
        return _WILD.search(self.pattern) is None

    @property
    def text(self) -> str:
        """Return the text that means the same, in one spelling."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.pattern}{revision}" + (f"?{urlencode(self.filters, safe='/:,')}" if self.filters else "")

    def matches(self, repository: str) -> bool:
        """Say whether a repository is meant, as far as its name tells; case does not matter."""
        name = repository if "/" in self.pattern else repository.split("/")[-1]
        return fnmatchcase(name.lower(), self.pattern.lower())


def parse_query(text: str, *, source: str = "hf") -> Query:
    """Read what follows `hf:`, or the name of another source of models of the Hub, which has no filters.

    Raises:
        UsageError: it is no pattern, or has a filter or a value that the Hub does not have.
    """
    pattern, _, rest = text.strip().partition("?")
    pattern, _, revision = (pattern or "*").partition("@")
    filters = tuple(sorted(parse_qsl(rest, keep_blank_values=True)))
    wild = _WILD.search(pattern) is not None
    sound = _PATTERN.fullmatch(pattern) if wild else is_repository(pattern)
    if not sound or pattern.count("/") > 1 or pattern.startswith("/") or pattern.endswith("/"):
        raise UsageError(
            f"{source}: needs a name such as timm/resnet18.a1_in1k or a pattern such as timm/*. "
            f"Got {pattern[:200]!r}. Correct the name."
        )
    if filters and (not wild or source != "hf"):
        reason = "names one model and" if source == "hf" else "has no Hub to ask, and"
        raise UsageError(f"{source}:{pattern} {reason} takes no filters. Got {rest[:200]!r}. Leave them out.")
    if revision and (wild or re.fullmatch(r"[A-Za-z0-9_.\-/]{1,200}", revision) is None or ".." in revision):
        raise UsageError(
            f"{source}: takes a revision after the full name of one model. Got {text[:200]!r}. "
            "Leave out the part from @."
        )
    params = _params(pattern, filters) if wild and source == "hf" else {}
    limit = params.pop("limit", None)
    return Query(
        pattern=pattern, filters=filters, revision=revision, limit=int(str(limit)) if limit else None, params=params
    )


def address(repository: str) -> str:
    """Return a repository's name, a revision or a path within it as a part of a web address."""
    return quote(repository, safe="/")


def _params(pattern: str, filters: tuple[tuple[str, str], ...]) -> dict[str, str | list[str]]:
    """Return the filters in the Hub's words, with what the pattern says of owner and name."""
    params: dict[str, str | list[str]] = {}
    chosen = [TAG_FILTERS[key] + value for key, value in filters if key in TAG_FILTERS and value]
    if chosen:
        params["filter"] = chosen
    for key, value in filters:
        if key not in FILTERS and key not in TAG_FILTERS:
            known = ", ".join(sorted((*FILTERS, *TAG_FILTERS)))
            raise UsageError(f"hf: needs filters among {known}. Got {key[:100]!r}. Correct it.")
        if not value or key in params:
            raise UsageError(f"hf: needs one value for the filter {key!r}. Got {value[:100]!r}. Correct it.")
        if key in FILTERS:
            params[key] = _checked(key, value)
    owner, slash, name = pattern.rpartition("/")
    if slash and _WILD.search(owner) is None and params.setdefault("author", owner) != owner:
        raise UsageError(
            f"hf:{pattern} names the author {owner!r}. Got author={params['author']!r} too. Leave one out."
        )
    fixed = max((part.strip("._-/") for part in _WILD.split(name)), key=len)
    if len(fixed) > 1:
        params.setdefault("search", fixed)  # the Hub then sends only names that contain it
    return params


def _checked(key: str, value: str) -> str:
    """Return a value as the Hub spells it."""
    good = {
        "sort": value in _SORT_NAMES,
        "gated": value in ("true", "false"),
        "limit": re.fullmatch(r"[1-9]\d{0,8}", value) is not None,
    }.get(key, True)
    if not good:
        need = {"sort": f"one of {', '.join(_SORT_NAMES[:5])}", "gated": "true or false"}.get(key, "a number above 0")
        raise UsageError(f"hf: needs {need} for {key!r}. Got {value[:100]!r}. Correct it.")
    return _SORTS.get(value, value) if key == "sort" else value
