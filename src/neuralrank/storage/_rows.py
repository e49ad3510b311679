"""Model entries as rows of the catalogue's table, and back."""

import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from neuralrank.entries import ModelEntry, ReportedResult
from neuralrank.errors import CatalogueError

LISTS = ("languages", "tags", "pretraining_data", "base_model")
TEXTS = ("format", "modality", "task", "library", "architecture", "license")
NUMBERS = (
    "accuracy",
    "params",
    "size_bytes",
    "memory_bytes",
    "downloads",
    "likes",
    "seconds_per_sample",
)
DATES = ("created", "updated")
_IDENTITY = ("source", "name", "location", "stamp", "revision", "own_id")
_DERIVED = ("loadable", "n_labels", "label_set")
WRITTEN = (*_IDENTITY, *TEXTS, *NUMBERS, *LISTS, *DATES, *_DERIVED, "card")
"""Columns that are written for an entry, in the order of `values_of`."""
READ = ("model_id", "source", "name", "location", "stamp", *TEXTS, *NUMBERS, *LISTS, *DATES, "card")
"""Columns that make up an entry again, in the order in which `entry_of` takes them."""

DAMAGE = (ValueError, TypeError, OverflowError, RecursionError, zlib.error)
"""What reading a row raises that does not hold what was written."""
MAX_INTEGER = 2**63 - 1
MOMENTS = range(-30_610_224_000, 253_402_300_800)
"""Seconds from 1970 to the dates that are kept: of the years 1000 to 9999."""
_EPOCH = datetime(1970, 1, 1)  # UTC, as all moments here
_TEXTS_OF = attrgetter("source", "name", "location", "stamp", "model_id", *TEXTS)
_NUMBERS_OF = attrgetter(*NUMBERS)
_LISTS_OF = attrgetter(*LISTS)
_QUOTE = json.encoder.encode_basestring
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_PLAIN_CARD = 60
"""Characters up to which compressing a card does not pay."""
_PHRASES = (
    b"This is a model trained on the dataset with for and to of in It achieves the following results on the evaluation "
    b"set: Loss: Accuracy: F1: pretrained language model based on version of using transformers image classification "
    b"text-classification speech recognition base large small multilingual English fine-tuned on the "
    b'","image-classification","accuracy",0.9],["text-generation","Image Classification","imagefolder","accuracy",0.'
    b" needs program code that it brings along ('auto_map'). Got a network that the installed Transformers does "
    b"not know, and no code of a checkpoint is run. Update Transformers, or export the model to ONNX. needs to "
    b"hold a whole model. Got an adapter of another one. Merge the two and save the result. needs access that its "
    b"authors grant. Got no token. Ask for access on its page, then run: hf auth login needs files of weights. "
    b"Got none of a known kind. Choose another model. needs to be one network. Got a diffusers pipeline of "
    b"several. Choose another model. needs to be of image or text to be loaded as Transformers. Got a model of "
    b"audio. Choose another model. needs a format that neuralrank loads. Got .gguf, which it does not yet. Choose "
    b"another model, or export it to ONNX. needs model.safetensors and the config.json of its architecture in its "
    b"outermost folder. Got without its safetensors beside config.json. Choose another model. needs to be "
    b"safetensors, torch.export (.pt2) or ONNX. Got pytorch_model.bin, a pickle, and loading a pickle runs code "
    b"from the file. Choose another model, or convert it "
    b'where you trust it.",[],"[null,[],"'
)
"""What compressed cards may refer back to. Part of the schema: a card can only be read with these very bytes."""


def values_of(entry: ModelEntry, label_set: int | None) -> tuple[Any, ...]:
    """Return the values of `WRITTEN`."""
    texts: Sequence[Any] = _TEXTS_OF(entry)
    if not "".join(filter(None, texts)).isascii():
        texts = [text if text is None else clean(text) for text in texts]
    source, name, location, stamp, model_id, *others = texts
    start = f"{source}:{name}@"
    revision, own_id = model_id[len(start) :], None
    if not model_id.startswith(start) or "@" in revision or ":" in source:
        revision, own_id = stamp, model_id
    return (
        source,
        name,
        None if location == name else location,
        stamp,
        None if revision == stamp else revision,
        own_id,
        *others,
        *[value if value is None else _number(value) for value in _NUMBERS_OF(entry)],
        *[_listed(members) if members else None for members in _LISTS_OF(entry)],
        _moment(entry.created),
        _moment(entry.updated),
        entry.refusal is None,
        len(entry.label_names) or None,
        label_set,
        _card(entry),
    )


def entry_of(values: Sequence[Any], label_names: tuple[str, ...]) -> ModelEntry:
    """Return the entry of a row that holds `READ`.

    Raises:
        CatalogueError: the row does not hold what was written.
    """
    try:
        found = dict(zip(READ, values, strict=True))
        for name in LISTS:
            found[name] = read_list(found[name]) if found[name] is not None else ()
        for name in DATES:
            found[name] = _iso(found[name])
        if found["location"] is None:
            found["location"] = found["name"]
        refusal, results, description = read_card(found.pop("card"))
        return ModelEntry(**found, label_names=label_names, refusal=refusal, results=results, description=description)
    except DAMAGE as error:
        raise damaged_row(error) from error


def damaged_row(error: Exception) -> CatalogueError:
    """Return what to say of a row that does not hold what was written."""
    return CatalogueError(
        f"A model of the catalogue needs to be as it was written. Got a damaged row ({error}). "
        "Run `neuralrank catalogue repair`: it keeps all that can still be read."
    )


def iso_date(text: str | None) -> str | None:
    """Return a moment as UTC in one spelling, None if the text is no date.

    Example:
        >>> iso_date("2024-05-17"), iso_date("2024-05-17T10:00:00+02:00"), iso_date("soon")
        ('2024-05-17T00:00:00Z', '2024-05-17T08:00:00Z', None)
    """
    return _iso(_moment(text))


def clean(text: str) -> str:
    """Return a text as a file can hold it: without lone halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_list(text: str) -> tuple[str, ...]:
    """Return the members of a list.

    Raises:
        ValueError, TypeError: it is damaged.
    """
    return tuple(json.loads(text)) if text[:1] == "[" else tuple(text.split("\n"))


def read_card(value: Any) -> tuple[str | None, tuple[ReportedResult, ...], str]:
    """Return the refusal, the reported results and the description that a card holds.

    Raises:
        ValueError, TypeError, zlib.error: it is damaged.
    """
    if value is None:
        return None, (), ""
    if isinstance(value, bytes):
        unpacked = zlib.decompressobj(zdict=_PHRASES)
        value = (unpacked.decompress(value) + unpacked.flush()).decode()
    refusal, results, description = json.loads(value)
    found = tuple(ReportedResult(task=t, data=d, metric=m, value=v) for t, d, m, v in results)
    return refusal, found, description


def _card(entry: ModelEntry) -> str | bytes | None:
    """Return what is shown of a model and never compared, in one text, compressed where that pays."""
    if not entry.description and entry.refusal is None and not entry.results:
        return None
    refusal = "null" if entry.refusal is None else _QUOTE(entry.refusal)
    results = [[result.task, result.data, result.metric, result.value] for result in entry.results]
    text = clean(f"[{refusal},{_ENCODE(results) if results else '[]'},{_QUOTE(entry.description)}]")
    if len(text) < _PLAIN_CARD:
        return text
    packer = zlib.compressobj(6, zdict=_PHRASES)
    return packer.compress(text.encode()) + packer.flush()


def _listed(members: Sequence[str]) -> str:
    text = "\n".join(members)
    is_plain = text[:1] != "[" and text.count("\n") == len(members) - 1
    return clean(text if is_plain else _ENCODE(list(members)))


def _moment(text: str | None) -> int | None:
    """Return the seconds since 1970, None if the text is no date."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment.microsecond:
            moment = moment.replace(microsecond=0)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if seconds in MOMENTS else None


def _iso(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return f"{(_EPOCH + timedelta(0, seconds)).isoformat()}Z"


def _number(value: Any) -> Any:
    """Return a number that SQLite can hold, None for one beyond; NaN and infinity are no values."""
    if isinstance(value, int):
        return value if -MAX_INTEGER <= value <= MAX_INTEGER else None
    return float(value) if value - value == 0 else None
