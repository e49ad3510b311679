"""A text model of Transformers as an encoder: its tokenizer, its (encoder) layers, and its classifier's logits."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuralrank.errors import DataError, ModelError
from neuralrank.formats._model_folder import read_json
from neuralrank.formats._torch_module import check_layers, one_line, to_array, to_tensors, watched
from neuralrank.formats._transformers_files import VOCABULARY_FILES
from neuralrank.formats._transformers_loading import (
    FAILURES,
    LOCAL,
    Options,
    check_complete,
    failures_as_model_errors,
    is_labelled,
    is_their_failure,
    load_config,
    load_model,
    quiet_transformers,
)
from neuralrank.types import Batch, Hidden, Processor, Sample

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 512
MIN_WORDS = 4
"""The letters of DNA are the smallest alphabet in use; a tokenizer without its vocabulary has one token at most."""
PROBE_TEXTS = ("a", "two words and then some more of them")
"""Tells which hidden states have one row per token, as models that shorten the sequence inside do not."""


def text_encoder(path: Path, device: "torch.device", options: Options = LOCAL) -> "TextEncoder":
    """Load the model and the tokenizer of a folder; of an encoder-decoder model, the encoder alone."""
    from transformers import AutoModel

    with quiet_transformers():
        config = load_config(path, options)
        whole = _load_classifier(path, config, options)
        if whole is None:
            model, missing = load_model(path, AutoModel, config, options)
        else:
            model, missing = whole.base_model, set()
        part, prefix = _encoder_part(model)
        check_complete(path, part, prefix, missing, unused=("pooler.",))
        tokenizer = TextProcessor(path, part, config, options)
        encoder = TextEncoder(part.to(device), whole.to(device) if whole is not None else None, tokenizer, device)
    return encoder


def _load_classifier(path: Path, config: Any, options: Options) -> Any:
    """Return the model with its classifier; None if it has none, or not all weights of it are stored and fit."""
    from transformers import MODEL_MAPPING, AutoModelForSequenceClassification

    names = getattr(config, "architectures", None) or ()
    if not any("ForSequenceClassification" in str(name) for name in names) or not is_labelled(config):
        return None
    try:
        whole: Any
        whole, missing = load_model(path, AutoModelForSequenceClassification, config, options)
    except ModelError:
        return None  # loading the model without its classifier says what else is wrong
    # some classifiers stand on another network than the model that gives the features
    same = type(whole.base_model) is MODEL_MAPPING.get(type(config), None)
    return whole if same and not missing else None


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

    def __init__(self, path: Path, model: "torch.nn.Module", config: Any, options: Options = LOCAL) -> None:
        self._tokenizer = _load_tokenizer(path, config, options)
        n_rows = getattr(config, "vocab_size", None)
        self.warnings = _check_vocabulary(self._tokenizer, path, n_rows)
        self._tokenizer.padding_side = "right"
        self._tokenizer.truncation_side = "right"
        self._filler = _filler_id(self._tokenizer, path)
        self.pad_token_id = int(self._tokenizer.pad_token_id)
        self.max_tokens = _max_tokens(self._tokenizer, model, config)
        self.padding = "longest"
        # the tokenizer's own ids must not lie outside the table of the model
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
            ModelError: the tokenizer fails on a text, or gives numbers that the model has no row for.
        """
        if not all(isinstance(sample, str) for sample in samples):
            raise DataError("A text model needs texts. Got other samples. Choose a data set of texts.")
        arrays = self._split(samples)
        batch = {name: np.asarray(array).astype(np.int64) for name, array in arrays.items()}
        batch = _with_one_token_each(batch, self._filler)
        if self._n_rows is not None and int(batch["input_ids"].max()) >= self._n_rows:
            raise ModelError(
                f"The model needs token ids below {self._n_rows}. Got {int(batch['input_ids'].max())} from its "
                "tokenizer. The two do not belong together: download both again."
            )
        return batch

    def _split(self, texts: Sequence[Sample]) -> Mapping[str, Any]:
        try:
            return self._tokenizer(  # type: ignore[no-any-return]
                list(texts),
                truncation=True,
                max_length=self.max_tokens,
                padding=self.padding,
                return_attention_mask=True,
                return_tensors="np",
            )
        except BaseException as error:
            if not is_their_failure(error):
                raise
            raise ModelError(
                f"The model needs a tokenizer that can split every text. Got the fault {one_line(error)!r} inside it. "
                "Correct the patterns and the vocabulary in its tokenizer.json, or choose another model."
            ) from error


def _load_tokenizer(path: Path, config: Any, options: Options) -> Any:
    from transformers import AutoTokenizer

    try:
        with failures_as_model_errors(path, "tokenizer"):
            return AutoTokenizer.from_pretrained(path, config=config, **options)
    except ModelError as error:
        has_code = "auto_map" in (read_json(path / "tokenizer_config.json") or {})
        if has_code or any((path / name).is_file() for name in VOCABULARY_FILES):
            raise
        raise _vocabulary_needed(path, "none of its files") from error


def _check_vocabulary(tokenizer: Any, path: Path, n_rows: Any) -> tuple[str, ...]:
    """Refuse a tokenizer that knows next to no words; return a warning if the model knows far more.

    Transformers makes one of special tokens alone where the file is missing, and every text is a row of unknown words.
    Tokenizers that read no file, for bytes and characters, have what they need.
    """
    if not getattr(tokenizer, "vocab_files_names", None):
        return ()
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    n_words = len(set(tokenizer.get_vocab()) - special - set(tokenizer.all_special_tokens))
    if n_words < MIN_WORDS:
        raise _vocabulary_needed(path, f"the special tokens and {n_words} more")
    if isinstance(n_rows, int) and 2 * len(tokenizer) < n_rows:
        return (f"The tokenizer knows {len(tokenizer):,} of the {n_rows:,} tokens of the model: is its file whole?",)
    return ()


def _vocabulary_needed(path: Path, got: str) -> ModelError:
    return ModelError(
        f"{path.name} needs the vocabulary of its tokenizer, as tokenizer.json, vocab.txt or the like. Got {got}. "
        "Download the tokenizer's files too."
    )


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
    """One text model; 'features' is its last hidden state, 'logits' what its classifier makes of it."""

    feature_layer = "features"

    def __init__(self, model: "torch.nn.Module", whole: Any, tokenizer: TextProcessor, device: "torch.device") -> None:
        self._model = model
        self._whole = whole
        self._device = device
        self._tokenizer = tokenizer
        self.head_layer: str | None = None
        self.warnings = tokenizer.warnings
        self.layers: tuple[str, ...] = ("features",)
        if self._depends_on_padding():
            tokenizer.padding = "max_length"
            self.warnings += (
                "Padding changes the features of this model, so every text is padded to "
                f"{tokenizer.max_tokens} tokens.",
            )
        self._states = self._usable_states()
        names = ("embeddings", *(f"layer.{index}" for index in range(1, max(self._states, default=0) + 1)))
        inner = tuple(name for index, name in enumerate(names) if index in self._states)
        self.layers = (*inner, *(("mean_of_layers",) if len(inner) > 1 else ()), "features")
        if whole is not None and self._can_classify():
            self.head_layer = "logits"
            self.layers = (*self.layers, "logits")

    @property
    def preprocessing(self) -> Processor:
        """The model's own tokenizer."""
        return self._tokenizer

    @property
    def processing_backend(self) -> str:
        """'tokenizers' for a fast tokenizer, 'python' for a slow one."""
        return "tokenizers" if getattr(self._tokenizer._tokenizer, "is_fast", False) else "python"

    def encode(self, batch: Batch, layers: Sequence[str]) -> Mapping[str, Hidden]:
        """Run one batch and return the hidden states of `layers` with the attention mask, and the logits without."""
        check_layers(layers, self.layers)
        return self._encode(batch, layers)

    def _encode(self, batch: Batch, layers: Sequence[str]) -> dict[str, Hidden]:
        with_states = not {"features", "logits"}.issuperset(layers)
        logits: Any = None
        if "logits" in layers:
            with watched(self._model) as seen:
                logits = self._run(self._whole, batch, with_states=with_states).logits
            output = seen[-1]
        else:
            output = self._run(self._model, batch, with_states=with_states)
        mask = np.asarray(batch["attention_mask"])
        return {
            layer: Hidden(values=to_array(logits))
            if layer == "logits"
            else Hidden(values=to_array(self._state(output, layer)), mask=mask)
            for layer in layers
        }

    def _state(self, output: Any, layer: str) -> "torch.Tensor":
        import torch

        values: torch.Tensor
        if layer == "features":
            values = output.last_hidden_state
        elif layer == "mean_of_layers":
            states = [output.hidden_states[index].float() for index in self._states if index > 0]
            values = torch.stack(states).mean(dim=0)
        else:
            values = output.hidden_states[0 if layer == "embeddings" else int(layer.removeprefix("layer."))]
        return values

    def _run(self, model: Any, batch: Batch, *, with_states: bool) -> Any:
        import inspect

        import torch

        inputs = inspect.signature(model.forward).parameters
        tensors = to_tensors({name: array for name, array in batch.items() if name in inputs}, self._device)
        extra: dict[str, Any] = {"use_cache": False} if "use_cache" in inputs else {}
        try:
            with torch.inference_mode():
                return model(**tensors, output_hidden_states=with_states, return_dict=True, **extra)
        except FAILURES as error:
            raise ModelError(f"The network could not run a batch. Got {one_line(error)!r}.") from error

    def _depends_on_padding(self) -> bool:
        """Tell whether a text has other features beside a longer one, as where masks are left out of some step."""
        try:
            alone, beside = (
                self.encode(self._tokenizer(texts), ["features"])["features"].values
                for texts in (PROBE_TEXTS[:1], PROBE_TEXTS)
            )
        except ModelError:
            return True
        return not np.allclose(alone[0], beside[0, : alone.shape[1]], rtol=1e-2, atol=1e-3)

    def _can_classify(self) -> bool:
        """Tell whether the classifier gives one row a text, whatever stands beside it, and runs the model as we do."""
        if self._whole.config.pad_token_id is None:
            # says where a text ends; the tokens it pads with were chosen by us
            self._whole.config.pad_token_id = self._tokenizer.pad_token_id
        one, two = self._tokenizer(PROBE_TEXTS[:1]), self._tokenizer(PROBE_TEXTS)
        try:
            alone, beside = (self._encode(batch, (*self.layers, "logits")) for batch in (one, two))
        except (ModelError, *FAILURES):
            return False
        logits = beside["logits"].values
        return (
            logits.shape == (len(PROBE_TEXTS), self._whole.config.num_labels)
            and np.allclose(alone["logits"].values[0], logits[0], rtol=1e-2, atol=1e-3)
            and np.allclose(beside["features"].values, self._encode(two, ["features"])["features"].values, atol=1e-5)
        )

    def _usable_states(self) -> tuple[int, ...]:
        """Run two texts of different lengths and keep the hidden states with one row per token and the usual width."""
        batch = self._tokenizer(PROBE_TEXTS)
        output = self._run(self._model, batch, with_states=True)
        last = getattr(output, "last_hidden_state", None)
        if last is None or last.shape[:2] != batch["attention_mask"].shape:
            raise ModelError("The model needs one hidden state per token. Got none. Choose a text encoder.")
        states = getattr(output, "hidden_states", None) or ()
        return tuple(index for index, state in enumerate(states) if state.shape == last.shape)
