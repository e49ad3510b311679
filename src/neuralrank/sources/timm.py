"""timm's list of pretrained image models, as the installed package has it: no request, no network is built.

The package says where the weights lie, what they were trained on and which classes they tell apart; it does not know
their sizes. Fetching brings them from the Hugging Face Hub.
"""

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from neuralrank.entries import ModelEntry, Repository, Unchanged
from neuralrank.errors import MissingExtraError, ModelError
from neuralrank.sources._hub_cache import cache_folder
from neuralrank.sources._hub_download import OnBytes
from neuralrank.sources._hub_fetch import MAX_FETCH_BYTES, fetch, fetch_all
from neuralrank.sources._hub_http import Hub
from neuralrank.sources._hub_open import offline_reason, open_hub
from neuralrank.types import Failure, ModelRecord

DATA = {
    "in1k": "imagenet-1k",
    "in12k": "imagenet-12k",
    "in21k": "imagenet-21k",
    "in22k": "imagenet-22k",
    "inat21": "inaturalist-2021",
    "inat2021": "inaturalist-2021",
    "laion2b": "laion-2b",
    "laion400m": "laion-400m",
    "laiona": "laion-aesthetic",
    "datacompxl": "datacomp-1b",
    "datacomp1b": "datacomp-1b",
    "dfn2b": "dfn-2b",
    "dfn5b": "dfn-5b",
    "webli": "webli",
    "openai": "clip-wit-400m",
    "metaclip": "metaclip",
    "merged2b": "merged-2b",
    "lvd142m": "lvd-142m",
    "lvd1689m": "lvd-1689m",
    "sat493m": "sat-493m",
    "yfcc100m": "yfcc-100m",
    "yfcc15m": "yfcc-15m",
    "ig1b": "instagram-1b",
    "ig3bn": "instagram-3.6b",
    "jft": "jft-300m",
    "cc12m": "cc12m",
}
"""Words of a tag, and the pretraining data they stand for."""


def timm(
    pattern: str = "*",
    *,
    offline: bool = False,
    max_bytes: int = MAX_FETCH_BYTES,
    token: str | None = None,
    endpoint: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    on_bytes: OnBytes | None = None,
) -> Repository:
    """Return timm's pretrained models whose names a pattern selects, such as 'resnet50.*'.

    Args:
        pattern: a name with or without wildcards; a name without a tag means all of its tags.
        offline: make no request; models that are in the Hub's cache can be used.
        max_bytes: most that is brought for one model.
        token: for the Hub; by default HF_TOKEN, or what `hf auth login` stored.
        endpoint: address of the Hub; by default HF_ENDPOINT, or the public Hub.
        cache_dir: the Hub's cache; by default where HF_HUB_CACHE or HF_HOME put it.
        on_bytes: told how many bytes have come, as they come.

    Raises:
        MissingExtraError: timm is not installed.
        UsageError: the endpoint or the token cannot be one.
    """
    reason = offline_reason(offline)
    hub = open_hub(cache=cache_folder(cache_dir), endpoint=endpoint, token=token, offline=bool(reason))
    wanted = pattern.removeprefix("timm:").strip().lower() or "*"
    return _Timm(pattern=wanted, package=_package(), hub=hub, offline=reason, max_bytes=max_bytes, on_bytes=on_bytes)


@dataclass(frozen=True, kw_only=True)
class _Timm:
    pattern: str
    package: Any
    hub: Hub
    offline: str
    max_bytes: int
    on_bytes: OnBytes | None = None

    @property
    def spec(self) -> str:
        """Name the pattern."""
        return f"timm:{self.pattern}"

    @property
    def is_complete(self) -> bool:
        """Say whether what is not listed is gone: the installed package has one list."""
        return True

    def list_models(self) -> Iterator[ModelRecord | Failure]:
        """Bring every model that is listed, one after the other."""
        return fetch_all(self, self.list_entries({}))

    def list_entries(self, known: Mapping[str, str]) -> Iterator[ModelEntry | Unchanged | Failure]:
        """Yield the models of the installed timm; they change with its version."""
        imagenet = _imagenet_classes()
        for name in sorted(self.package.list_pretrained()):
            if not fnmatchcase(name.lower(), self.pattern) and name.lower().split(".")[0] != self.pattern:
                continue
            config = self.package.models.get_pretrained_cfg(name)
            entry = _entry(name, config, self.package.__version__, imagenet)
            same = known.get(entry.location) == entry.stamp
            yield Unchanged(location=entry.location) if same else entry

    def fetch(self, entry: ModelEntry) -> ModelRecord:
        """Bring the files of one model from the Hub: timm names no revision, so that it is the newest.

        Raises:
            ModelError: it has none that can be loaded, they are of another network, or are too large.
            SourceError: the Hub does not answer.
        """
        if entry.refusal is not None:
            raise ModelError(entry.refusal)
        limits: dict[str, Any] = {"max_bytes": self.max_bytes, "on_bytes": self.on_bytes}
        record = fetch(self.hub, entry.location.partition("#")[0], entry, offline=self.offline, **limits)
        found = (record.facts.architecture or "").split(".")[0]
        if found != entry.architecture:
            raise ModelError(
                f"{entry.name} needs files of a {entry.architecture}. Got {found or record.facts.format!r}. "
                "Choose another model."
            )
        return record


def _package() -> Any:
    """Import timm, with torchvision repaired first where it does not fit torch."""
    try:
        # by name, as for every component of this floor: sources do not import formats
        importlib.import_module("neuralrank.formats._torchvision").repair_torchvision()
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The timm source needs the package {error.name!r}. Got no such module. Run: pip install 'neuralrank[timm]'"
        ) from error


def _imagenet_classes() -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    return tuple(str(name) for name in ImageNetInfo("imagenet-1k").label_descriptions())


def _entry(name: str, config: Any, version: str, imagenet: tuple[str, ...]) -> ModelEntry:
    repository = str(config.hf_hub_id or "")
    tag = str(config.tag or "")
    data = _data(tag)
    # Two names may share the files of one repository, as networks that differ in their activation do.
    location = repository if repository.endswith(f"/{name}") else f"{repository}#{name}"
    papers = config.paper_ids if isinstance(config.paper_ids, list | tuple) else [config.paper_ids]
    return ModelEntry(
        model_id=f"timm:{name}@{version}",
        source="timm",
        name=name,
        location=location,
        stamp=version,
        format="timm_folder",
        refusal=None if repository else _without_repository(name),
        modality="image",
        task="image-classification" if config.num_classes else "image-feature-extraction",
        library="timm",
        architecture=config.architecture or name.split(".")[0],
        license=config.license or None,
        tags=tuple(filter(None, (tag, *(str(paper).lower() for paper in papers if paper)))),
        label_names=imagenet if config.num_classes == len(imagenet) and data[-1:] == ("imagenet-1k",) else (),
        pretraining_data=data,
        description=" ".join(filter(None, (_sentence(config), str(config.description or "")))),
    )


def _data(tag: str) -> tuple[str, ...]:
    """Return the pretraining data that a tag names, what came first first: 'laion2b_ft_in1k'."""
    return tuple(dict.fromkeys(DATA[word] for word in tag.lower().split("_") if word in DATA))


def _sentence(config: Any) -> str:
    side = "×".join(str(size) for size in tuple(config.input_size or ())[1:])
    classes = f"{config.num_classes} classes" if config.num_classes else "no classifier"
    return f"Input {side} pixels, {classes}." if side else ""


def _without_repository(name: str) -> str:
    return (
        f"{name} needs safetensors on the Hub. Got a package that knows only a download of pickles. "
        "Choose another model."
    )
