"""One row of the grid: everything that tells one demo model from another."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one demo model is made."""

    name: str
    network: str
    """A name of `networks.BODIES`."""
    width: int
    """Channels of the first stage, or hidden units of an MLP, or token size of a ViT."""
    data: str
    """A name of `data.DATA_SETS`."""
    classes: tuple[int, int] | None
    """First and last class that is kept; None keeps all."""
    n_samples: int
    labels: str
    """`true`, `noisy50`, `random`, or `none` where the algorithm needs none."""
    algorithm: str
    """`supervised`, `rotation`, `autoencoder`, `untrained`, or `damaged` (one layer of `start` shuffled)."""
    optimiser: str
    """`adam`, `sgd`, or `none`."""
    learning_rate: float
    n_epochs: int
    start: str | None
    """The demo model whose weights this one starts from."""
    seed: int

    @property
    def has_classifier(self) -> bool:
        """Whether the exported model has logits beside its features."""
        return self.algorithm in {"supervised", "damaged"}


def read_grid(text: str) -> list[Recipe]:
    """Parse a table of blank-separated cells under one header line; `-` means none.

    Raises:
        ValueError: a row has too many or too few cells, or a name occurs twice.
    """
    header, *rows = [line.split() for line in text.strip().splitlines()]
    recipes = [_read_row(dict(zip(header, row, strict=True))) for row in rows]
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise ValueError(f"Every row needs a name of its own. Got {sorted(names)}. Rename the doubled one.")
    return recipes


def _read_row(cells: dict[str, str]) -> Recipe:
    first_and_last = cells["classes"].split("-")
    return Recipe(
        name=cells["name"],
        network=cells["network"],
        width=int(cells["width"]),
        data=cells["data"],
        classes=None if cells["classes"] == "all" else (int(first_and_last[0]), int(first_and_last[1])),
        n_samples=int(cells["samples"]),
        labels=cells["labels"],
        algorithm=cells["algorithm"],
        optimiser=cells["optimiser"],
        learning_rate=float(cells["rate"]),
        n_epochs=int(cells["epochs"]),
        start=None if cells["start"] == "-" else cells["start"],
        seed=int(cells["seed"]),
    )
