"""Train, validation and test: which split a file or folder belongs to, and which one is read."""

import re
from collections.abc import Iterable
from pathlib import PurePath

from neuralrank.errors import UsageError
from neuralrank.readers._options import check_name, quoted

ALL = "all"
ALIASES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")


def split_name(text: str) -> str | None:
    """Return the split a whole name stands for, None if it is not such a name."""
    return ALIASES.get(text.lower())


def split_of(relative: PurePath) -> str | None:
    """Return the split a table file belongs to by the Hugging Face Hub's naming, None if its path names none.

    Example:
        >>> split_of(PurePath("data/test-00000-of-00003.parquet")), split_of(PurePath("reviews.csv"))
        ('test', None)
    """
    shard = _SHARD.fullmatch(relative.stem)
    if shard:
        return split_name(shard[1]) or shard[1]
    words = (split_name(word) for word in re.split(r"[^a-zA-Z0-9]+", relative.stem))
    folders = (split_name(part) for part in reversed(relative.parts[:-1]))
    return next((found for found in (*words, *folders) if found), None)


def choose_splits(available: Iterable[str], wanted: str | None, what: str) -> tuple[tuple[str, ...], str | None]:
    """Return the splits to read and a note on the choice, None where the user made it.

    Without a wish it is 'train' if there is one, else all of them.

    Raises:
        UsageError: no split of that name.
    """
    splits = tuple(sorted(set(available)))
    if wanted == ALL:
        return splits, None
    if wanted is not None:
        if not splits:
            raise UsageError(
                f"--split needs data with splits. Got {wanted!r} for {what}, which has none. Leave it out."
            )
        alias = split_name(wanted)
        if wanted not in splits and alias in splits:
            return (alias,), None
        return (check_name(wanted, (*splits, ALL), "split", f"a split of {what}"),), None
    if "train" in splits:
        return ("train",), f"Split 'train' was read, of {quoted(splits)}; --split names another, or 'all'."
    if splits:
        return splits, f"No split is called 'train', so {quoted(splits)} were all read; --split names one."
    return (), None
