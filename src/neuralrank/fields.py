"""The table of fields that a model of the catalogue has: what `--where` compares, `--sort` orders by and `show` prints.

A field is an attribute of `entries.ModelEntry` of the same name. A missing value is None, or an empty tuple for a list.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "list", "number", "integer", "date", "boolean"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One documented field."""

    name: str
    kind: Kind
    """'list': texts, of which a comparison needs to hold for one. 'date': a day or a moment, UTC."""
    help: str
    unit: str = ""


FIELDS = (
    Field(name="model_id", kind="text", help="Key of the model: source:name@revision."),
    Field(
        name="source", kind="text", help="Kind of place the model was listed in: folder, hf, hf_cache, timm, mlflow."
    ),
    Field(name="name", kind="text", help="Name inside the source: a path, or owner/model."),
    Field(name="format", kind="text", help="Format of the checkpoint, as `neuralrank rank` would load it."),
    Field(name="loadable", kind="boolean", help="Whether this version can load the format."),
    Field(name="modality", kind="text", help="image, text, audio or tabular."),
    Field(name="task", kind="text", help="Task as the Hugging Face Hub names it, for example image-classification."),
    Field(name="library", kind="text", help="Library the model was made for: transformers, timm, onnx, …"),
    Field(name="architecture", kind="text", help="Architecture, for example resnet50 or BertForMaskedLM."),
    Field(name="license", kind="text", help="Licence identifier, for example apache-2.0."),
    Field(name="languages", kind="list", help="Languages of a text or audio model, as codes."),
    Field(name="tags", kind="list", help="Tags that its authors gave it."),
    Field(name="label_names", kind="list", help="Names of the classes that its own classifier tells apart."),
    Field(name="n_labels", kind="integer", unit="count", help="Number of those classes."),
    Field(name="pretraining_data", kind="list", help="Data sets it was trained on."),
    Field(name="base_model", kind="list", help="Models it was adapted from."),
    Field(name="accuracy", kind="number", unit="per cent", help="Accuracy on its own task, as its authors report it."),
    Field(name="params", kind="integer", unit="count", help="Number of parameters."),
    Field(name="size_bytes", kind="integer", unit="bytes", help="Size of the files that loading reads."),
    Field(name="memory_bytes", kind="integer", unit="bytes", help="Estimated memory for running it."),
    Field(
        name="downloads", kind="integer", unit="count", help="Downloads in the last 30 days, as the Hub counts them."
    ),
    Field(name="likes", kind="integer", unit="count", help="Likes on the Hub."),
    Field(name="created", kind="date", help="When it was published."),
    Field(name="updated", kind="date", help="When it was last changed."),
    Field(name="seconds_per_sample", kind="number", unit="seconds", help="Measured here, in past rankings."),
)

BY_NAME = {field.name: field for field in FIELDS}
