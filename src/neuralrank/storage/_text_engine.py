"""The edge to tantivy: open an index, and tell its failures from ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tantivy

from neuralrank.storage._text_words import stems, surfaces


class Failure(Exception):  # noqa: N818
    """tantivy or the disk did not do what was asked; the text is theirs, in one line."""


@contextmanager
def failing() -> Iterator[None]:
    """Turn whatever tantivy or the disk raises into a Failure."""
    try:
        yield
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        raise Failure(_line(error)) from error
    except BaseException as error:
        # a panic of Rust code, whose class derives from BaseException and cannot be imported
        if type(error).__name__ != "PanicException":
            raise
        raise Failure(_line(error)) from error


def _line(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def opened(folder: Path) -> tantivy.Index:
    """Open the index in a folder as it is now; later commits do not change what is read from it."""
    with failing():
        index = tantivy.Index.open(str(folder))
        index.config_reader("manual")
        index.register_tokenizer("stems", stems())
        index.register_tokenizer("surfaces", surfaces())
    return index
