"""One checkpoint → an encoder, one file each. Nothing here runs code of a checkpoint that needs no trust."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuralrank.types import Encoder, ModelFacts

Describe = Callable[[Path], ModelFacts | None]
Open = Callable[..., Encoder]


@dataclass(frozen=True)
class CheckpointFormat:
    """A format as its file declares it: `describe` recognises, calling opens."""

    describe: Describe
    open: Open

    def __call__(self, path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
        """Load the checkpoint at `path`."""
        return self.open(path, facts, n_threads=n_threads)


def checkpoint_format(describe: Describe) -> Callable[[Open], CheckpointFormat]:
    """Join the function that recognises a format with the decorated one that opens it."""

    def join(open_checkpoint: Open) -> CheckpointFormat:
        return CheckpointFormat(describe, open_checkpoint)

    return join
