"""One pass over a folder tree of checkpoints: which paths are models, and what their files say.

Nothing outside the folder is opened: links that lead out of it are refused, and every file is known to be a regular
one before a format looks at it.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from neuralrank import registry
from neuralrank.entries import Unchanged
from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.sources._refused import LOADED, is_pickle, is_training_state, refusal
from neuralrank.sources._stamps import Watch, Watcher
from neuralrank.types import Failure, Format, ModelFacts, ModelRecord

MAX_DEPTH = 64
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A model of a format that is not loaded."""

    name: str
    files: tuple[Path, ...]
    error: str


Found = ModelRecord | Unchanged | Refused | Failure


class Walk:
    """One pass over a tree; remembers which directories it has entered, so that a loop of links ends."""

    def __init__(self, base: Path, boundary: Path, known: Mapping[str, str] | None = None) -> None:
        self.base = base
        self.boundary = boundary
        self.known = known
        self.stamp = ""
        """Of the model that was yielded last, as of before it was read; empty if no stamps are known."""
        self.entered: set[Path] = set()
        self._real_base = base.resolve()
        self._watcher = Watcher()
        self._watch: Watch | None = None
        self._weights: dict[Path, frozenset[Path]] = {}
        """By folder, what its ONNX files name as their weights."""
        self.formats: list[Format] = [registry.get("formats", name) for name in registry.names("formats")]

    def models(self, root: Path) -> Iterator[tuple[Path, Found]]:
        """Yield what is found at `root` and below, folder by folder, each with its path."""
        waiting = [root]
        while waiting:
            path = waiting.pop()
            try:
                real = path.resolve() if path.is_dir() and self.trap(path) is None else None
            except OSError as error:  # a path longer than the system takes
                yield path, self.failure(path, _unreadable(path, error))
                continue
            if real is None:
                model = self.file(path)
                if model is not None and (path == root or not self.is_weights(path, model)):
                    yield path, model
            elif real not in self.entered:
                self.entered.add(real)
                found = self.directory(path)
                if isinstance(found, list):
                    waiting += reversed(found)
                else:
                    yield path, found

    def directory(self, path: Path) -> Found | list[Path]:
        """Return the one model that a directory is, else its entries in order."""
        if len(path.parts) - len(self.base.parts) > MAX_DEPTH:
            error = f"{path.name} needs to lie at most {MAX_DEPTH} folders deep. Got a deeper tree."
            return self.failure(path, f"{error} Rank that folder itself.")
        try:
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            return self.failure(path, _unreadable(path, error))
        return self.model_directory(path, entries) or entries

    def model_directory(self, path: Path, entries: list[Path]) -> Found | None:
        """Return what a directory is as one model, None if its files are to be looked at one by one."""
        has_config = any(entry.name == "config.json" for entry in entries)
        trap = next(filter(None, map(self.trap, entries)), None) if has_config else None
        if trap is not None:
            return self.failure(path, trap)
        described = self.described(path)
        if not has_config:
            return described
        pickles = [entry for entry in entries if is_pickle(entry)]
        if not pickles or any(entry.suffix.lower() in (*LOADED, ".safetensors") for entry in entries):
            return described
        refused = self.refused(path, tuple(pickles), refusal(pickles[0]) or "")
        if isinstance(described, Failure) and any(entry.name in described.error for entry in pickles):
            return replace(refused, error=described.error)  # a whole model, but for the format of its weights
        return refused if described is None else described

    def file(self, path: Path) -> Found | None:
        reason = refusal(path)
        is_model = reason is not None or path.suffix.lower() in LOADED
        trap = self.trap(path) or self.obstacle(path)
        if trap is not None:
            return self.failure(path, trap) if is_model or (path.is_dir() and path.is_symlink()) else None
        if is_training_state(path):
            return None
        if is_model and path.is_file() and path.stat().st_size == 0:
            return self.failure(path, f"{path.name} needs to hold a model. Got an empty file. Download it again.")
        described = self.described(path)
        if isinstance(described, Failure) and is_pickle(path):  # known by its content, and listed with what it lacks
            return self.refused(path, (path,), described.error)
        if described is not None or reason is None:
            return described
        return self.refused(path, (path,), reason)

    def is_weights(self, path: Path, found: Found) -> bool:
        """Say whether a file that cannot be loaded by itself holds the weights of an ONNX model in or above its folder.

        What can be loaded is a model whatever another one says of it: none can hide another.
        """
        if isinstance(found, ModelRecord | Unchanged) or path.suffix.lower() == ".onnx" or self.trap(path) is not None:
            return False
        folders = (folder for folder in path.parents if folder.is_relative_to(self.base))
        return any(path in self.weights_of(folder) for folder in folders)

    def weights_of(self, folder: Path) -> frozenset[Path]:
        """Return the files that the ONNX models of a folder read beside themselves; none of one that is damaged."""
        if folder not in self._weights:
            named: set[Path] = set()
            for path in sorted(folder.glob("[!.]*.[oO][nN][nN][xX]")):
                with suppress(ModelError, OSError):
                    facts = registry.get("formats", "onnx").describe(path) if self.trap(path) is None else None
                    named.update(facts.files if facts is not None else ())
            self._weights[folder] = frozenset(named)
        return self._weights[folder]

    def described(self, path: Path) -> ModelRecord | Unchanged | Failure | None:
        """Ask every format; the first that knows the path has it, else the first complaint counts."""
        if self.known is not None:
            location = self.location(path)
            self._watch = self._watcher.watch(path)
            if self._watch.is_current(self.known.get(location, "")):
                return Unchanged(location=location)
        complaint = None
        for checkpoint_format in self.formats:
            try:
                facts = checkpoint_format.describe(path)
                if facts is not None:
                    return self.record(path, facts)
            except (ModelError, MissingExtraError) as error:
                complaint = complaint or str(error)
            except OSError as error:
                complaint = complaint or _unreadable(path, error)
        return None if complaint is None else self.failure(path, complaint)

    def record(self, path: Path, facts: ModelFacts) -> ModelRecord | Failure:
        for file in facts.files:
            obstacle = self.trap(file) or self.obstacle(file)
            if obstacle is not None:
                return self.failure(path, obstacle)
        content_hash, size = self.hashed(path, facts.files)
        name = self.name(path)
        return ModelRecord(
            model_id=f"folder:{name}@{content_hash[:16]}",
            name=name,
            path=path,
            content_hash=content_hash,
            size_bytes=size,
            facts=replace(facts, needs_trust=facts.needs_trust and printable(facts.needs_trust)),
        )

    def hashed(self, path: Path, files: tuple[Path, ...]) -> tuple[str, int]:
        """Stamp and hash the model that was described last."""
        if self._watch is not None:
            self.stamp = self._watch.stamp(files)
        return hash_files(path if path.is_dir() else path.parent, files)

    def trap(self, path: Path) -> str | None:
        """Return why no format may look at a file or folder: a link out of the root, or something that never ends."""
        try:
            inside = path.resolve().is_relative_to(self.boundary)
        except (OSError, RuntimeError):  # a link to itself
            inside = False
        if not inside:
            return f"{path.name} needs to lie inside the folder. Got a link that leads out of it. Copy the file here."
        if path.exists() and not path.is_file() and not path.is_dir():
            return f"{path.name} needs to be a regular file. Got a pipe, socket or device. Remove it."
        return None

    def obstacle(self, path: Path) -> str | None:
        """Return why a file cannot be read, None if it can."""
        if not path.exists():
            return f"{path.name} needs a file to lead to. Got a link that leads nowhere. Restore the file."
        if not os.access(path, os.R_OK):
            return f"{path.name} could not be read. Got permission denied. Mend its name or permissions."
        return None

    def name(self, path: Path) -> str:
        """Return the path below the root in printable characters; the root itself goes by its own name."""
        return printable(path.relative_to(self.base).as_posix() if path != self.base else path.resolve().name)

    def location(self, path: Path) -> str:
        """Return the absolute path, links above the root resolved."""
        return str(self._real_base / path.relative_to(self.base))

    def failure(self, path: Path, error: str) -> Failure:
        return Failure(model_id=f"folder:{self.name(path)}", stage="list", error=printable(error))

    def refused(self, path: Path, files: tuple[Path, ...], error: str) -> Refused:
        return Refused(name=self.name(path), files=files, error=printable(error))


def printable(text: str) -> str:
    r"""Return a text that may hold names of a stranger's files, without line breaks and escape sequences.

    Example:
        >>> print(printable("\x1b[31mred.onnx"))
        \x1b[31mred.onnx
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def boundary_of(root: Path) -> Path:
    """Return what links may not leave: the root, or the whole repository for a snapshot of the Hub's cache.

    There every file of `snapshots/<revision>` is a link into `blobs` beside `snapshots`.
    """
    real = root.resolve()
    repository = real.parent.parent
    return repository if real.parent.name == "snapshots" and (repository / "blobs").is_dir() else real


def hash_files(base: Path, files: tuple[Path, ...]) -> tuple[str, int]:
    """Return the SHA-256 over names and bytes, and the number of bytes; reads 1 MiB at a time."""
    digest = hashlib.sha256()
    total = 0
    for name, file in sorted((file.relative_to(base).as_posix(), file) for file in set(files)):
        size = file.stat().st_size
        digest.update(os.fsencode(name) + b"\0" + size.to_bytes(8, "little"))
        total += size
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest(), total


def _unreadable(path: Path, error: OSError) -> str:
    reason = (error.strerror or type(error).__name__).lower()
    return f"{path.name} could not be read. Got {reason}. Mend its name or permissions."
