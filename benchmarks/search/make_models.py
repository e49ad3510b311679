"""Write models.jsonl: what is publicly known of some hundred models, as rows of a catalogue, for measuring search.

    python benchmarks/search/make_models.py --zoo ../shared/zoo

Three parts: models_by_hand.jsonl; the cards of the development zoo with the sentences of facts/zoo.csv; checkpoints of
timm's own list with sentences composed of facts/timm_families.csv and facts/timm_tags.csv. Needs timm, whose default
configurations give data, licence and classes, and whose architectures give the number of parameters.

What is not known is left out: no downloads, no dates, no sizes of files that were not seen. `facts` are words for the
judgements and reach no catalogue; `label_set` stands for names that `entries.py` takes from a card of the zoo.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models.jsonl"
BY_HAND = HERE / "models_by_hand.jsonl"
CLASS_SETS = {"in1k": "imagenet-1k", "in12k": "imagenet-12k", "in21k": "imagenet-21k", "in22k": "imagenet-22k"}
SPOKEN = {"in1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k"}
SAME_CLASSES = {"imagenet-22k": "imagenet-21k"}
"""Two names of one data set: a judgement needs only one of them."""
Row = dict[str, Any]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=HERE.parents[2] / "shared" / "zoo")
    zoo = parser.parse_args().zoo
    by_hand = [json.loads(line) for line in BY_HAND.read_text().splitlines()]
    rows = [*by_hand, *zoo_rows(zoo), *timm_rows((HERE / "facts" / "timm_checkpoints.txt").read_text().split())]
    MODELS.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    print(f"{len(rows)} models, {len(by_hand)} of them by hand")


def read_table(name: str) -> list[dict[str, str]]:
    """Read one table of facts."""
    with (HERE / "facts" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def filled(row: Row) -> Row:
    """Leave out what is not known."""
    return {key: value for key, value in row.items() if value not in (None, "", [], ())}


# --- the development zoo -----------------------------------------------------------------------------------------


def zoo_rows(zoo: Path) -> Iterator[Row]:
    """Make a row of each card of the zoo that facts/zoo.csv describes."""
    for known in read_table("zoo.csv"):
        card = json.loads((zoo / f"{known['name']}.json").read_text())
        facts = known["facts"].split()
        labels, label_set = card["class_names"] or [], None
        if "imagenet-1k" in facts and labels:
            labels, label_set = [], "imagenet-1k"
        elif "birds" in facts:
            labels, label_set = [], "inat2017-birds"
        yield filled(
            {
                "name": card["onnx"]["file"],
                "source": "folder",
                "modality": "image",
                "task": known["task"],
                "library": "onnx",
                "architecture": card["architecture"],
                "license": card["licence"].lower(),
                "label_names": labels,
                "label_set": label_set,
                "pretraining_data": [card["pretraining_data"]],
                "accuracy": card["reported_accuracy"],
                "params": card["parameters"],
                "size_bytes": card["onnx"]["bytes"],
                "facts": facts,
                "description": known["description"],
            }
        )


# --- timm's own list ---------------------------------------------------------------------------------------------


def timm_rows(checkpoints: Iterable[str]) -> Iterator[Row]:
    """Make a row of each checkpoint, named architecture.tag."""
    import timm
    import torch

    families, parts = read_table("timm_families.csv"), read_table("timm_tags.csv")
    for index, name in enumerate(checkpoints):
        config = timm.models.get_pretrained_cfg(name)
        with torch.device("meta"):
            model = timm.create_model(name, pretrained=False, num_classes=config.num_classes)
        architecture, tag = name.split(".")
        family = next(row for row in families if architecture.startswith(row["prefix"]))
        training, data, facts = read_tag(tag, parts)
        has_head = config.num_classes >= 1_000 and "backbone" not in facts
        n_params = sum(weight.numel() for weight in model.parameters())
        label_set = "imagenet-1k" if has_head and config.num_classes == 1_000 else None
        known = {"name": family["name"], "idea": family["idea"], "training": training, "side": config.input_size[-1]}
        facts |= {*family["facts"].split(), *([label_set] if label_set else ["backbone"] if not has_head else [])}
        yield filled(
            {
                "name": f"timm/{name}",
                "source": "timm",
                "modality": "image",
                "task": "image-classification" if has_head else "image-feature-extraction",
                "library": "timm",
                "architecture": architecture,
                "license": config.license if config.license not in ("unknown", None) else None,
                "tags": ["image-classification" if has_head else "image-feature-extraction", "timm"],
                "label_set": label_set,
                "pretraining_data": data,
                "params": n_params,
                "facts": sorted(facts),
                "description": compose(index, known, n_params, has_head),
            }
        )


def read_tag(tag: str, parts: Iterable[Mapping[str, str]]) -> tuple[str, list[str], set[str]]:
    """Return the sentence, the data sets and the facts that a tag stands for, as in 'augreg_in21k_ft_in1k'."""
    first, *later = tag.split("_ft_")
    sentences, data, facts, rest = [], [], set[str](), f"_{first}_"
    for part in sorted(parts, key=lambda part: -len(part["part"])):
        if f"_{part['part']}_" in rest:
            rest = rest.replace(f"_{part['part']}_", "_")
            sentences.append(part["sentence"])
            facts |= set(part["facts"].split())
            data += [part["data"]] if part["data"] else []
    begun = [piece for piece in rest.split("_") if piece in CLASS_SETS]
    tuned = [piece for stage in later for piece in stage.split("_") if piece in CLASS_SETS]
    data = list(dict.fromkeys([*data, *(CLASS_SETS[piece] for piece in begun + tuned)]))
    if begun and "self-supervised" in facts:
        sentences[-1] += f" on {SPOKEN[begun[0]]}"
    elif begun:
        sentences.append(f"Trained on {SPOKEN[begun[0]]}")
    if tuned:
        sentences.append("Fine-tuned on " + ", then ".join(SPOKEN[piece] for piece in dict.fromkeys(tuned)))
        facts -= {"backbone"}
    facts |= {SAME_CLASSES.get(CLASS_SETS[piece], CLASS_SETS[piece]) for piece in begun + tuned if piece != "in1k"}
    return ". ".join(sentences), data, facts


def compose(index: int, known: Mapping[str, Any], n_params: int, has_head: bool) -> str:
    """Return two or three sentences, of one of four makes so that cards do not all read alike."""
    name, idea, training, side = known["name"], known["idea"], known["training"], known["side"]
    upper = idea[0].upper() + idea[1:]
    headless = "" if has_head else " Returns features and has no classifier."
    kind = "classifier" if has_head else "encoder"
    makes = (
        f"{name}: {idea}. {training}.{headless}",
        f"{upper}. {training}. Takes {side} × {side} pixels.",
        f"Image {kind} of {round(n_params / 1e6, 1)} million parameters: {idea}. {training}.",
        f"{training}. {name}, {side} pixels.{headless}",
    )
    return makes[index % len(makes)]


if __name__ == "__main__":
    main()
