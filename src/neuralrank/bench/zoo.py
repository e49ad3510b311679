"""The evidence on networks that other people trained: `neuralrank bench zoo`.

A folder of ONNX files with cards is measured as the built repository is: heads on frozen features, full fine-tuning of
those that can be trained at bearable cost, and every score on a probe and on parts of it. Some things differ. Samples
for training are drawn from 5,000, so that three seeds at that size share their samples and differ in their order and
in what chooses the penalty. Of the probe there is one draw; smaller probes are drawn from it. A network made for large
images is fine-tuned at 96 pixels if it can be: there it is a model of its own, NAME@96, with its own heads and scores.

What is finished lies in `zoo/` of the repository, a file for each network, target and kind, and is not measured again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neuralrank.bench._data import check_data
from neuralrank.bench._jobs import Progress, run_jobs
from neuralrank.bench._zoo_models import Model, Zoo, list_published, look_at, read_look
from neuralrank.bench._zoo_truth import Measurement, Tuning, keep_samples, measure
from neuralrank.bench.build import write_text
from neuralrank.bench.tables import SCHEMAS, write_table
from neuralrank.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that was not measured, and why."""

    model: str
    kind: str
    """'not fine-tuned', or 'not measured' at all."""
    target: str | None
    """None for all."""
    reason: str


def measure_zoo(zoo: Zoo, *, jobs: int, progress: Progress) -> None:
    """Measure all that is not measured yet: first heads and scores, then fine-tuning, each from the cheapest on.

    Raises:
        UsageError: there is no network, or a data set is missing.
    """
    check_data(zoo.repository.data, zoo.targets)
    unseen = [(published, zoo) for published in list_published(zoo.models) if not published.facts(zoo).exists()]
    run_jobs(look_at, unseen, name=lambda item: item[0].file.stem, jobs=jobs, progress=progress)
    left = [piece for piece in measurements(zoo) if not piece.file.exists()]
    for target in dict.fromkeys(piece.target for piece in left):
        keep_samples(target, zoo)
    run_jobs(measure, left, name=lambda piece: piece.name, jobs=jobs, progress=progress)


def measurements(zoo: Zoo) -> list[Measurement]:
    """Return every piece of work on the networks that were looked at, in order."""
    models = _models(zoo)
    heads = sorted(models, key=lambda model: _seconds(model, zoo.n_pool + zoo.n_test))
    tuned = sorted(
        filter(lambda model: _is_tuned(model, zoo), models), key=lambda model: model.look.seconds_per_step or 0
    )
    return [Measurement(model=model, target=target, zoo=zoo) for model in heads for target in zoo.targets] + [
        Measurement(model=model, target=target, zoo=zoo, tuning=Tuning(n_train=n_train, seed=seed))
        for seed in range(zoo.n_seeds)
        for n_train in sorted(zoo.steps)
        for model in tuned
        for target in zoo.targets
    ]


def remarks(zoo: Zoo) -> list[Remark]:
    """Return what was not measured, and why: networks that cannot be used or trained, and measurements that failed."""
    found = []
    for published in list_published(zoo.models):
        name, reason, kind = published.file.stem, None, "not fine-tuned"
        try:
            reason = read_look(published, zoo).refusal(zoo.limit_seconds_per_step)
        except ModelError as error:
            reason, kind = str(error), "not measured"
        except FileNotFoundError:
            continue
        if reason:
            found.append(Remark(model=name, kind=kind, target=None, reason=reason))
    for piece in measurements(zoo):
        reason = _read(piece)["error"] if piece.file.exists() else None
        if reason:
            kind = "not measured" if piece.kind == "head" else "not fine-tuned"
            found.append(Remark(model=piece.model.name, kind=kind, target=piece.target, reason=reason))
    first: dict[tuple[str, str, str | None], Remark] = {}
    for one in found:  # the same is wrong with every fine-tuning
        first.setdefault((one.model, one.kind, one.target), one)
    return list(first.values())


def write_tables(zoo: Zoo, tables: Path) -> None:
    """Write the three tables of all that is measured, and `remarks.json` of what is not."""
    pieces = [piece for piece in measurements(zoo) if piece.file.exists()]
    scored = {(piece.model.name, piece.target) for piece in pieces if piece.scores.exists()}
    rows = [row for piece in pieces for row in _read(piece)["rows"] if (piece.model.name, piece.target) in scored]
    scores = [pq.read_table(piece.scores) for piece in pieces if piece.kind == "head" and piece.scores.exists()]
    write_table(tables / "networks.parquet", "networks", [model.row for model in _models(zoo)])
    write_table(tables / "truth.parquet", "truth", rows)
    write_table(
        tables / "scores.parquet", "scores", pa.concat_tables(scores) if scores else SCHEMAS["scores"].empty_table()
    )
    write_text(tables / "remarks.json", json.dumps([asdict(remark) for remark in remarks(zoo)], indent=1))


def _read(piece: Measurement) -> dict[str, Any]:
    return dict(json.loads(piece.file.read_text(encoding="utf-8")))


def _models(zoo: Zoo) -> list[Model]:
    """Return the networks that can be used, each followed by itself at the size at which it is fine-tuned."""
    found = []
    for published in list_published(zoo.models):
        try:
            look = read_look(published, zoo)
        except (ModelError, FileNotFoundError):
            continue
        found.append(Model(published=published, look=look))
        if look.side is not None and look.refusal(zoo.limit_seconds_per_step) is None:
            found.append(Model(published=published, look=look, side=look.side))
    return found


def _is_tuned(model: Model, zoo: Zoo) -> bool:
    return model.side == model.look.side and model.look.refusal(zoo.limit_seconds_per_step) is None


def _seconds(model: Model, n_images: int) -> float:
    """Return what the forward passes of a head cost: at another size, a third of a training step."""
    if model.side is None:
        return model.look.seconds_per_image * n_images
    return (model.look.seconds_per_step or 0) / 3 / 32 * n_images
