"""A Hugging Face Transformers model: `config.json`, its weights, and its own tokenizer or image processor.

Image and text models. Nothing is downloaded. Pickled weights are checked before they are read. A program of the folder
runs only where the user trusts the model.
"""

from pathlib import Path

from neuralrank.errors import ModelError
from neuralrank.formats import checkpoint_format
from neuralrank.formats._torch_module import import_for, prepare_torch
from neuralrank.formats._transformers_files import describe_folder
from neuralrank.formats._transformers_loading import LOCAL, TRUSTED, prepare_code
from neuralrank.types import Encoder, ModelFacts


def describe(path: Path) -> ModelFacts | None:
    """Say what the folder holds, None if it is not a Transformers folder.

    Raises:
        ModelError: it is one and is damaged, names a download, or has pickles that do more than make tensors.
    """
    return describe_folder(path)


@checkpoint_format(describe)
def transformers_folder(path: Path, facts: ModelFacts, *, n_threads: int = 0) -> Encoder:
    """Load an image or text model.

    Args:
        path: the folder.
        facts: what `describe` returned for it.
        n_threads: threads torch may use; 0 leaves the choice to it.

    Raises:
        MissingExtraError: Transformers, or a package its tokenizer needs, is not installed.
        ModelError: the architecture is unknown, or weights are missing or of another shape.
    """
    import_for("transformers_folder", "transformers", "transformers")
    device = prepare_torch(n_threads)
    options = LOCAL
    if facts.needs_trust is not None:  # whoever calls has asked the user
        prepare_code()
        options = TRUSTED
    if facts.modality == "image":
        from neuralrank.formats._transformers_image import image_encoder

        return image_encoder(path, device, options)
    if facts.modality == "text":
        from neuralrank.formats._transformers_text import text_encoder

        return text_encoder(path, device, options)
    raise ModelError(
        f"{path.name} needs to be an image or text model. Got {facts.modality or 'neither'}: {facts.architecture}. "
        "Choose another model."
    )
