"""An image model of Transformers as an encoder: its image processor, and the input of its classifier."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.errors import DataError, ModelError
from neuralrank.formats._assumed import IMAGENET_MEAN, IMAGENET_STD
from neuralrank.formats._torch_module import (
    check_layers,
    has_convolutions,
    in_channels_last,
    one_line,
    to_array,
    to_tensors,
    watched,
)
from neuralrank.formats._transformers_files import read_processor
from neuralrank.formats._transformers_loading import (
    FAILURES,
    LOCAL,
    Options,
    check_complete,
    failures_as_model_errors,
    is_labelled,
    load_config,
    load_model,
    quiet_transformers,
)
from neuralrank.types import Batch, Hidden, ImagePreprocessing, Processor, Sample

if TYPE_CHECKING:
    import torch

POOLERS = ("pooler.", "vision_model.pooler.", "layernorm_pooler.")
USUAL_SIDE = 224


def image_encoder(path: Path, device: "torch.device", options: Options = LOCAL) -> "ImageEncoder":
    """Load the model and the image processor of a folder; of a model with two towers, the image tower alone."""
    with quiet_transformers():
        config = load_config(path, options)
        if getattr(config, "vision_config", None) is not None:
            part, prefix, missing = _image_tower(path, config, options)
            head = None
        elif _is_classifier(config):
            part, prefix, missing = _whole(path, config, "AutoModelForImageClassification", options)
            head = _head_name(part, config)
        else:
            part, prefix, missing = _whole(path, config, "AutoModel", options)
            head = None
        pooled = not any((prefix + name) in missing for name in part.state_dict() if name.startswith(POOLERS))
        unused = (*(() if pooled else POOLERS), *((head,) if head else ()))
        check_complete(path, part, prefix, missing, unused=unused)
        processing = _processing(path, config, options)
        trained = head is not None and not missing and is_labelled(config)
        encoder = ImageEncoder(part.to(device), head, processing, device, use_pooler=pooled, gives_logits=trained)
    return encoder


def _is_classifier(config: Any) -> bool:
    names = getattr(config, "architectures", None) or ()
    return any("ForImageClassification" in str(name) for name in names)


def _whole(path: Path, config: Any, auto_class: str, options: Options) -> tuple["torch.nn.Module", str, set[str]]:
    import transformers

    model, missing = load_model(path, getattr(transformers, auto_class), config, options)
    return model, "", missing


def _image_tower(path: Path, config: Any, options: Options) -> tuple["torch.nn.Module", str, set[str]]:
    from transformers import AutoModel

    model, missing = load_model(path, AutoModel, config, options)
    for name in ("vision_model", "vision_tower", "visual", "vision_encoder"):
        tower = getattr(model, name, None)
        if tower is not None and "pixel_values" in inspect.signature(tower.forward).parameters:
            return tower, f"{name}.", missing
    raise ModelError(f"{path.name} needs an image tower of its own. Got {type(model).__name__} without one. Export it.")


def _head_name(model: "torch.nn.Module", config: Any) -> str | None:
    """Return the name of the last linear layer with one output per class, None if there is none."""
    import torch

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    fitting = [name for name in linear if getattr(model.get_submodule(name), "out_features", 0) == config.num_labels]
    return fitting[-1] if fitting else None


def _processing(path: Path, config: Any, options: Options) -> "ImageProcessor | ImagePreprocessing":
    if read_processor(path) is not None:
        return ImageProcessor(path, options)
    vision = getattr(config, "vision_config", None) or config
    size = getattr(vision, "image_size", None) or USUAL_SIDE
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    grey = getattr(vision, "num_channels", 3) == 1
    mean, std = ((0.5,), (0.5,)) if grey else (IMAGENET_MEAN, IMAGENET_STD)
    return ImagePreprocessing(size=(height, width), channels="grey" if grey else "RGB", mean=mean, std=std)


class ImageProcessor:
    """Images → pixel values, by the model's own image processor with Pillow wherever it has that backend."""

    def __init__(self, path: Path, options: Options = LOCAL) -> None:
        from transformers import AutoImageProcessor

        with failures_as_model_errors(path, "image processor"):
            self._processor: Any = AutoImageProcessor.from_pretrained(path, backend="pil", **options)

    @property
    def backend(self) -> str:
        """'pillow', or 'torchvision' for a processor that exists for it alone."""
        bases = {base.__name__ for base in type(self._processor).__mro__}
        return "torchvision" if "TorchvisionBackend" in bases else "pillow"

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Prepare images of shape (height, width, 3), uint8.

        Returns:
            float32 `pixel_values` of shape (n, channels, height, width), and what else the model takes.

        Raises:
            DataError: a sample is not an image.
            ModelError: the image processor does not bring images to one size.
        """
        from PIL import Image

        if not all(isinstance(sample, np.ndarray) and sample.ndim == 3 for sample in samples):
            raise DataError("An image model needs images. Got other samples. Choose a data set of images.")
        images = [Image.fromarray(np.asarray(sample)) for sample in samples]
        try:
            with quiet_transformers():
                arrays = self._processor(images=images, return_tensors="np")
                batch = {name: np.asarray(array) for name, array in arrays.items()}
        except FAILURES as error:
            raise ModelError(
                f"The image processor of the model failed. Got {one_line(error)!r}. Download it again."
            ) from error
        return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in batch.items()}


class ImageEncoder:
    """One image model; 'features' is the input of its classifier, or its pooled output where it has none.

    A classifier whose weights are all stored gives the layer 'logits'.
    """

    feature_layer = "features"

    def __init__(
        self,
        model: "torch.nn.Module",
        head: str | None,
        processing: ImageProcessor | ImagePreprocessing,
        device: "torch.device",
        *,
        use_pooler: bool,
        gives_logits: bool,
    ) -> None:
        self._channels_last = has_convolutions(model)
        if self._channels_last:
            model = in_channels_last(model)
        self._model = model
        self._head = head
        self._device = device
        self._processing = processing
        self._use_pooler = use_pooler
        self._inputs = set(inspect.signature(model.forward).parameters)
        self.warnings: tuple[str, ...] = ()
        self.head_layer = "logits" if gives_logits else None
        self.layers = (*self._state_names(), "features", *filter(None, [self.head_layer]))

    @property
    def preprocessing(self) -> ImagePreprocessing | Processor:
        """The model's own image processor; the assumed preprocessing where its files have none."""
        return self._processing

    @property
    def processing_backend(self) -> str:
        """Which program resizes: 'pillow' or 'torchvision'; the two differ in the last digits."""
        return self._processing.backend if isinstance(self._processing, ImageProcessor) else "pillow"

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch and return the hidden states of `layers`."""
        check_layers(layers, self.layers)
        seen: list[Any] = []
        with ExitStack() as stack:
            if self._head is not None and "features" in layers:
                seen = stack.enter_context(watched(self._model.get_submodule(self._head), inputs=True))
            output = self._run(batch, with_states=not {"features", "logits"}.issuperset(layers))
        return {layer: Hidden(values=to_array(self._values(output, seen, layer))) for layer in layers}

    def _values(self, output: Any, seen: list[Any], layer: str) -> "torch.Tensor":
        """Pick one layer from what a pass gave; `seen` are the inputs of the classifier."""
        values: torch.Tensor
        if layer == "logits":
            values = output.logits
        elif layer != "features":
            values = output.hidden_states[0 if layer == "embeddings" else int(layer.removeprefix("layer."))]
        elif self._head is None:
            values = self._pooled(output)
        elif not seen:
            raise ModelError("The model needs to run its classifier. Got a pass without it. Choose another layer.")
        else:
            values = seen[-1]
        return values

    def _pooled(self, output: Any) -> "torch.Tensor":
        """Return the pooler's output if its weights are stored (or it has none), else all tokens for the mean."""
        pooled = getattr(output, "pooler_output", None)
        values: torch.Tensor | None = pooled if pooled is not None and self._use_pooler else output.last_hidden_state
        if values is None:
            raise ModelError("The model needs to give hidden states. Got none. Choose an image encoder.")
        return values

    def _run(self, batch: Batch, *, with_states: bool = False) -> Any:
        import torch

        named = batch if "pixel_values" in batch else {"pixel_values": next(iter(batch.values()))}
        wanted = {name: array for name, array in named.items() if name in self._inputs}
        tensors = to_tensors(wanted, self._device, channels_last=self._channels_last)
        try:
            with torch.inference_mode():
                return self._model(**tensors, output_hidden_states=with_states, return_dict=True)
        except FAILURES as error:
            raise ModelError(f"The network could not run a batch. Got {one_line(error)!r}.") from error

    def _state_names(self) -> tuple[str, ...]:
        """Run one grey image and name the hidden states that the model gives."""
        states = getattr(self._run(self._blank(), with_states=True), "hidden_states", None) or ()
        names = ("embeddings", *(f"layer.{index}" for index in range(1, len(states))))
        return tuple(name for name, state in zip(names, states, strict=False) if state.ndim in (2, 3, 4))

    def _blank(self) -> Batch:
        if isinstance(self._processing, ImageProcessor):
            return self._processing([np.full((64, 64, 3), 128, dtype=np.uint8)])
        height, width = self._processing.size
        n_channels = 1 if self._processing.channels == "grey" else 3
        return {"pixel_values": np.zeros((1, n_channels, height, width), dtype=np.float32)}
