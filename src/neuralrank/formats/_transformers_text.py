"""A text model of Transformers as an encoder: its tokenizer, and the hidden states of its (encoder) layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.errors import DataError, ModelError
from neuralrank.formats._torch_module import check_layer, one_line, to_array, to_tensors
from neuralrank.formats._transformers_loading import (
    FAILURES,
    LOCAL,
    check_complete,
    failures_as_model_errors,
    load_config,
    load_model,
    quiet_transformers,
)
from neuralrank.types import Batch, Hidden, Processor, Sample

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 512
PROBE_TEXTS = ("a", "two words and then some more of them")
"""Tells which hidden states have one row per token, as models that shorten the sequence inside do not."""


def text_encoder(path: Path, device: "torch.device") -> "TextEncoder":
    """Load the model and the tokenizer of a folder; of an encoder-decoder model, the encoder alone."""
    from transformers import AutoModel

    with quiet_transformers():
        config = load_config(path)
        model, missing = load_model(path, AutoModel, config)
        part, prefix = _encoder_part(model)
        check_complete(path, part, prefix, missing, unused=("pooler.",))
        tokenizer = TextProcessor(path, part, config)
        encoder = TextEncoder(part.to(device), tokenizer, device)
    return encoder


def _encoder_part(model: Any) -> tuple["torch.nn.Module", str]:
    config = model.config
    # a saved encoder of T5 says that it is no encoder-decoder, and is opened as one all the same
    if not (getattr(config, "is_encoder_decoder", False) or getattr(type(config)(), "is_encoder_decoder", False)):
        return model, ""
    part: torch.nn.Module = model.get_encoder()
    prefix = next((f"{name}." for name, module in model.named_modules() if module is part), "")
    return part, prefix


class TextProcessor:
    """Texts → token ids and mask, cut to the longest input of the model and padded on the right.

    Padded to the longest text of the batch; `padding` "max_length" pads to the longest input instead.
    """

    def __init__(self, path: Path, model: "torch.nn.Module", config: Any) -> None:
        from transformers import AutoTokenizer

        with failures_as_model_errors(path, "tokenizer"):
            self._tokenizer = AutoTokenizer.from_pretrained(path, config=config, **LOCAL)
        self._tokenizer.padding_side = "right"
        self._tokenizer.truncation_side = "right"
        self._filler = _filler_id(self._tokenizer, path)
        self.max_tokens = _max_tokens(self._tokenizer, model, config)
        self.padding = "longest"
        # the tokenizer's own ids must not lie outside the table of the model
        n_rows = getattr(config, "vocab_size", None)
        if isinstance(n_rows, int) and len(self._tokenizer) > n_rows and _has_one_row_per_id(model):
            self._n_rows: int | None = n_rows
        else:
            self._n_rows = None

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Tokenize texts.

        Returns:
            int64 arrays of shape (n, tokens), `attention_mask` among them.

        Raises:
            DataError: a sample is not a text.
        """
        if not all(isinstance(sample, str) for sample in samples):
            raise DataError("A text model needs texts. Got other samples. Choose a data set of texts.")
        arrays = self._tokenizer(
            list(samples),
            truncation=True,
            max_length=self.max_tokens,
            padding=self.padding,
            return_attention_mask=True,
            return_tensors="np",
        )
        batch = {name: np.asarray(array).astype(np.int64) for name, array in arrays.items()}
        batch = _with_one_token_each(batch, self._filler)
        if self._n_rows is not None and int(batch["input_ids"].max()) >= self._n_rows:
            raise ModelError(
                f"The model needs token ids below {self._n_rows}. Got {int(batch['input_ids'].max())} from its "
                "tokenizer. The two do not belong together: download both again."
            )
        return batch


def _filler_id(tokenizer: Any, path: Path) -> int:
    """Make sure that there is a token to pad with, the end of text if need be; masked, so that its choice is free."""
    if tokenizer.pad_token_id is None:
        substitute = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if substitute is None:
            raise ModelError(f"{path.name} needs a padding token. Got a tokenizer without any special token. Add one.")
        tokenizer.pad_token = substitute
    chosen = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id
    return int(chosen)


def _with_one_token_each(batch: dict[str, Any], filler: int) -> dict[str, Any]:
    """Give an empty text one token, so that its mean over tokens is a number."""
    mask = batch["attention_mask"]
    if mask.shape[1] == 0:
        batch = {name: np.zeros((len(array), 1), dtype=np.int64) for name, array in batch.items()}
        mask = batch["attention_mask"]
        batch["input_ids"][:] = filler
    empty = mask.sum(axis=1) == 0
    batch["input_ids"][empty, 0] = filler
    mask[empty, 0] = 1
    return batch


def _has_one_row_per_id(model: Any) -> bool:
    import torch

    table = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    return isinstance(table, torch.nn.Embedding)


def _max_tokens(tokenizer: Any, model: "torch.nn.Module", config: Any) -> int:
    """Return the longest input: 512, or less where tokenizer, configuration or position table say so."""
    import torch

    limits = [MAX_TOKENS, tokenizer.model_max_length]
    stated = getattr(config, "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:
        limits.append(stated)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding) and module.padding_idx:
            # RoBERTa and its kin count positions from the row after the padding row
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return max(1, int(min(limits)))


class TextEncoder:
    """One text model; 'features' is its last hidden state."""

    feature_layer = "features"

    def __init__(self, model: "torch.nn.Module", tokenizer: TextProcessor, device: "torch.device") -> None:
        import inspect

        self._model = model
        self._device = device
        self._inputs = set(inspect.signature(model.forward).parameters)
        self._tokenizer = tokenizer
        self.warnings: tuple[str, ...] = ()
        self.layers: tuple[str, ...] = ("features",)
        if self._depends_on_padding():
            tokenizer.padding = "max_length"
            self.warnings = (
                "Padding changes the features of this model, so every text is padded to "
                f"{tokenizer.max_tokens} tokens.",
            )
        self._states = self._usable_states()
        names = ("embeddings", *(f"layer.{index}" for index in range(1, max(self._states, default=0) + 1)))
        inner = tuple(name for index, name in enumerate(names) if index in self._states)
        self.layers = (*inner, *(("mean_of_layers",) if len(inner) > 1 else ()), "features")

    @property
    def preprocessing(self) -> Processor:
        """The model's own tokenizer."""
        return self._tokenizer

    @property
    def processing_backend(self) -> str:
        """'tokenizers' for a fast tokenizer, 'python' for a slow one."""
        return "tokenizers" if getattr(self._tokenizer._tokenizer, "is_fast", False) else "python"

    def encode(self, batch: Batch, layer: str) -> Hidden:
        """Run one batch and return the hidden states of `layer` with the attention mask."""
        import torch

        check_layer(layer, self.layers)
        if layer == "features":
            values = self._run(batch, with_states=False).last_hidden_state
        else:
            states = self._run(batch, with_states=True).hidden_states
            if layer == "mean_of_layers":
                values = torch.stack([states[index].float() for index in self._states if index > 0]).mean(dim=0)
            else:
                values = states[0 if layer == "embeddings" else int(layer.removeprefix("layer."))]
        return Hidden(values=to_array(values), mask=np.asarray(batch["attention_mask"]))

    def _run(self, batch: Batch, *, with_states: bool) -> Any:
        import torch

        wanted = {name: array for name, array in batch.items() if name in self._inputs}
        tensors = to_tensors(wanted, self._device)
        if "use_cache" in self._inputs:
            extra: dict[str, Any] = {"use_cache": False}
        else:
            extra = {}
        try:
            with torch.inference_mode():
                return self._model(**tensors, output_hidden_states=with_states, return_dict=True, **extra)
        except FAILURES as error:
            raise ModelError(f"The network could not run a batch. Got {one_line(error)!r}.") from error

    def _depends_on_padding(self) -> bool:
        """Tell whether a text has other features beside a longer one, as where masks are left out of some step."""
        try:
            alone, beside = (
                self.encode(self._tokenizer(texts), "features") for texts in (PROBE_TEXTS[:1], PROBE_TEXTS)
            )
        except ModelError:
            return True
        n = alone.values.shape[1]
        return not np.allclose(alone.values[0], beside.values[0, :n], rtol=1e-2, atol=1e-3)

    def _usable_states(self) -> tuple[int, ...]:
        """Run two texts of different lengths and keep the hidden states with one row per token and the usual width."""
        batch = self._tokenizer(PROBE_TEXTS)
        output = self._run(batch, with_states=True)
        last = getattr(output, "last_hidden_state", None)
        if last is None or last.shape[:2] != batch["attention_mask"].shape:
            raise ModelError("The model needs one hidden state per token. Got none. Choose a text encoder.")
        states = getattr(output, "hidden_states", None) or ()
        return tuple(index for index, state in enumerate(states) if state.shape == last.shape)
