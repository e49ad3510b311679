"""Searches to compare with: substrings of name and description, substrings of the name, and plain BM25.

Marks of a query language are taken off, since these searches know none: quotes and the asterisk of a prefix.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from neuralrank.entries import ModelEntry

Places = Sequence[Sequence[str]]
"""Names of models, best first; those on one place are not told apart."""
Search = Callable[[str], Places]
K1, B = 1.2, 0.75


def substring(entries: Sequence[ModelEntry]) -> Search:
    """Look for the query in name and description, ignoring case; then for all of its words."""
    return by_substring({entry.name: f"{entry.name}\n{entry.description}" for entry in entries})


def name_substring(entries: Sequence[ModelEntry]) -> Search:
    """Look for the query in the name, as the search of the Hub does, ignoring case; then for all of its words."""
    return by_substring({entry.name: entry.name for entry in entries})


def by_substring(texts: Mapping[str, str]) -> Search:
    """Make a search whose first place has the texts with the whole query, its second those with all its words."""
    lowered = {name: text.lower() for name, text in texts.items()}

    def search(query: str) -> Places:
        query = plain(query)
        whole = [name for name, text in lowered.items() if query in text]
        words = [name for name, text in lowered.items() if all(word in text for word in query.split())]
        return [place for place in (whole, sorted(set(words) - set(whole))) if place]

    return search


def bm25(entries: Sequence[ModelEntry]) -> Search:
    """Rank by BM25 over the words of all texts of an entry: no stems, no fields, no spelling.

    References:
        Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond".
    """
    counts = {entry.name: Counter(words_of(all_text(entry))) for entry in entries}
    mean_length = sum(sum(count.values()) for count in counts.values()) / len(counts)
    found_in = Counter(word for count in counts.values() for word in count)

    def search(query: str) -> Places:
        scores: dict[str, float] = defaultdict(float)
        for word in words_of(plain(query)):
            rarity = math.log(1 + (len(counts) - found_in[word] + 0.5) / (found_in[word] + 0.5))
            for name, count in counts.items():
                if word in count:
                    length = 1 - B + B * sum(count.values()) / mean_length
                    scores[name] += rarity * count[word] * (K1 + 1) / (count[word] + K1 * length)
        ranked = sorted(scores, key=lambda name: -scores[name])
        return [list(place) for _, place in groupby(ranked, key=lambda name: round(scores[name], 9))]

    return search


def all_text(entry: ModelEntry) -> str:
    """Return all that a person could read about a model."""
    single = (entry.name, entry.task, entry.library, entry.architecture, entry.license, entry.description)
    several = (*entry.tags, *entry.languages, *entry.label_names, *entry.pretraining_data, *entry.base_model)
    return "\n".join(text for text in (*single, *several) if text)


def words_of(text: str) -> list[str]:
    """Return runs of letters and digits, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def plain(query: str) -> str:
    """Take off the marks of a query language."""
    return " ".join(query.replace('"', " ").replace("*", " ").lower().split())


BASELINES: Mapping[str, Callable[[Sequence[ModelEntry]], Search]] = {
    "name": name_substring,
    "substring": substring,
    "BM25": bm25,
}
