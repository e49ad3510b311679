"""Make a folder of small Transformers text models to rank: several kinds, some trained for a minute, some untrained.

    python scripts/make_text_models.py models --text banking77/train.parquet
    python scripts/make_text_models.py models --quick          # all untrained, in seconds

Weights are written as safetensors alone. The texts come from a Parquet, CSV or plain text file, or, without one, from
the docstrings of the Python standard library. Where the file has labels, one model is trained to tell them apart.
A model whose folder exists is left as it is. Nothing is downloaded. On two cores all of it takes at most six minutes.
"""

import argparse
import csv
import importlib
import inspect
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuralrank.formats._torchvision import repair_torchvision

MAX_TOKENS = 64
VOCABULARY = 4_000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STANDARD_MODULES = (
    "argparse collections csv datetime decimal difflib email fractions functools http inspect itertools json logging "
    "math os pathlib random re shutil sqlite3 statistics string subprocess tarfile textwrap threading traceback "
    "unittest urllib.request xml.etree.ElementTree zipfile"
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the models learn from."""

    name: str
    texts: list[str]
    labels: list[int]
    label_names: list[str]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model: how it is built, with which tokenizer, and what it is trained on, if at all."""

    name: str
    """The task it was trained on, or 'untrained', is added to it."""
    tokenizer: Callable[[list[str]], Any]
    model: Callable[[Any, Texts], Any]
    task: str | None = None
    """'masked', 'next' or 'classes'; None leaves the weights as they were drawn."""


# --- texts ---------------------------------------------------------------------------------------------------------


def read_texts(path: Path | None) -> Texts:
    """Read texts, and labels where there are some."""
    if path is None:
        return Texts(name="docstrings of the Python standard library", texts=docstrings(), labels=[], label_names=[])
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        column = text_column({key: rows[0][key] for key in rows[0]})
        found = [row.get("label", "") for row in rows]
        names = sorted(set(found)) if all(found) else []
        labels = [names.index(label) for label in found] if names else []
        return Texts(name=path.name, texts=[row[column] for row in rows], labels=labels, label_names=names)
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return Texts(name=path.name, texts=[line for line in lines if line], labels=[], label_names=[])


def read_parquet(path: Path) -> Texts:
    """Read a Parquet file in the layout of the Hugging Face Hub."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    column = text_column(table.slice(0, 1).to_pylist()[0])
    labels = [int(label) for label in table["label"].to_pylist()] if "label" in table.column_names else []
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get("label", {}).get("names", [])
    names = names or [f"class {index}" for index in range(max(labels, default=-1) + 1)]
    return Texts(name=path.parent.name, texts=table[column].to_pylist(), labels=labels, label_names=names)


def text_column(row: dict[str, Any]) -> str:
    """Return 'text' if there is such a column, else the first that holds texts."""
    if "text" in row:
        return "text"
    for name, value in row.items():
        if isinstance(value, str) and name != "label":
            return name
    sys.exit(f"The text file needs a column of texts. Got {', '.join(row)}. Name it 'text'.")


def docstrings() -> list[str]:
    """Return the sentences of the docstrings of some standard modules."""
    found: dict[str, None] = {}
    for name in STANDARD_MODULES.split():
        module = importlib.import_module(name)
        for _, value in sorted(vars(module).items(), key=lambda item: item[0]):
            for part in (value, *(vars(value).values() if inspect.isclass(value) else ())):
                text = inspect.getdoc(part) if callable(part) else None
                for line in (text or "").split("\n\n"):
                    sentence = " ".join(line.split())
                    if 20 <= len(sentence) <= 400:
                        found[sentence] = None
    return list(found)


# --- tokenizers ----------------------------------------------------------------------------------------------------


def word_pieces(texts: list[str]) -> Any:
    """Train a lower-case WordPiece tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False)
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_TOKENS,
    )


def byte_pairs(texts: list[str]) -> Any:
    """Train a byte-level BPE tokenizer without a padding token, as GPT-2 has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", model_max_length=MAX_TOKENS)


def byte_pairs_padded(texts: list[str]) -> Any:
    """Train a byte-level BPE tokenizer with the special tokens of RoBERTa and BART."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=MAX_TOKENS,
    )


def raw_bytes(_texts: list[str]) -> Any:
    """Return the tokenizer of ByT5, a slow one in Python: every byte is a token."""
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer(extra_ids=0, model_max_length=4 * MAX_TOKENS)


# --- models --------------------------------------------------------------------------------------------------------


def recipes(texts: Texts) -> Iterator[Recipe]:
    """List the models: three to train, one more if there are labels, and six to leave untrained."""
    yield Recipe(name="bert-tiny", tokenizer=word_pieces, model=bert, task="masked")
    yield Recipe(name="albert-tiny", tokenizer=word_pieces, model=albert, task="masked")
    yield Recipe(name="gpt2-tiny", tokenizer=byte_pairs, model=gpt2, task="next")
    if texts.label_names:
        yield Recipe(name="distilbert-tiny", tokenizer=word_pieces, model=distilbert, task="classes")
    yield Recipe(name="bert-tiny", tokenizer=word_pieces, model=bert)
    yield Recipe(name="distilbert-tiny", tokenizer=word_pieces, model=distilbert)
    yield Recipe(name="roberta-tiny", tokenizer=byte_pairs_padded, model=roberta)
    yield Recipe(name="electra-tiny", tokenizer=word_pieces, model=electra)
    yield Recipe(name="bart-tiny", tokenizer=byte_pairs_padded, model=bart)
    yield Recipe(name="byt5-tiny", tokenizer=raw_bytes, model=byt5)


def sizes(tokenizer: Any, width: int = 128) -> dict[str, Any]:
    """Return the settings that BERT and its kin share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "max_position_embeddings": MAX_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
    }


def bert(tokenizer: Any, _texts: Texts) -> Any:
    """Build BERT with its head for masked words."""
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(**sizes(tokenizer)))


def albert(tokenizer: Any, _texts: Texts) -> Any:
    """Build ALBERT, whose layers share their weights."""
    from transformers import AlbertConfig, AlbertForMaskedLM

    ends = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    return AlbertForMaskedLM(AlbertConfig(**sizes(tokenizer, width=96), embedding_size=64, **ends))


def gpt2(tokenizer: Any, _texts: Texts) -> Any:
    """Build GPT-2."""
    from transformers import GPT2Config, GPT2LMHeadModel

    end = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=MAX_TOKENS, n_embd=128, n_layer=2, n_head=4, **end)
    )


def distilbert(tokenizer: Any, texts: Texts) -> Any:
    """Build DistilBERT with a classifier for the labels of the texts."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM, DistilBertForSequenceClassification

    settings = {
        "vocab_size": len(tokenizer),
        "dim": 128,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 256,
        "max_position_embeddings": MAX_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if not texts.label_names:
        return DistilBertForMaskedLM(DistilBertConfig(**settings))
    names = dict(enumerate(texts.label_names))
    config = DistilBertConfig(**settings, id2label=names, label2id={name: index for index, name in names.items()})
    return DistilBertForSequenceClassification(config)


def roberta(tokenizer: Any, _texts: Texts) -> Any:
    """Build RoBERTa, which counts positions from the row after the padding row."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    settings = {**sizes(tokenizer), "max_position_embeddings": MAX_TOKENS + 2, "type_vocab_size": 1}
    return RobertaForMaskedLM(RobertaConfig(**settings))


def electra(tokenizer: Any, _texts: Texts) -> Any:
    """Build the discriminator of ELECTRA."""
    from transformers import ElectraConfig, ElectraForPreTraining

    return ElectraForPreTraining(ElectraConfig(**sizes(tokenizer, width=64), embedding_size=32))


def bart(tokenizer: Any, _texts: Texts) -> Any:
    """Build BART, an encoder and a decoder."""
    from transformers import BartConfig, BartForConditionalGeneration

    side = {"layers": 2, "attention_heads": 4, "ffn_dim": 128}
    both = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in side.items()}
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
        **both,
    )
    return BartForConditionalGeneration(config)


def byt5(tokenizer: Any, _texts: Texts) -> Any:
    """Build T5 over bytes."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=4,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config)


# --- training ------------------------------------------------------------------------------------------------------


def train(model: Any, tokenizer: Any, texts: Texts, task: str, seconds: float, seed: int) -> float:
    """Train for `seconds` and return the mean loss of the last batches."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    model.train()
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        rows = draw.sample(range(len(texts.texts)), min(64, len(texts.texts)))
        batch = make_batch(tokenizer, texts, rows, task, generator)
        optimizer.param_groups[0]["lr"] = 1e-3 * max(0.05, 1 - (time.monotonic() - start) / seconds)
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return sum(losses[-20:]) / max(1, len(losses[-20:]))


def make_batch(tokenizer: Any, texts: Texts, rows: Sequence[int], task: str, generator: Any) -> dict[str, Any]:
    """Tokenize some texts and add what the model has to predict; -100 marks what is not asked."""
    import torch

    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    encoded = tokenizer(
        [texts.texts[row] for row in rows],
        truncation=True,
        max_length=MAX_TOKENS,
        padding="longest",
        return_tensors="pt",
        return_token_type_ids=False,
    )
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    if task == "classes":
        labels = torch.tensor([texts.labels[row] for row in rows])
    elif task == "next":
        labels = ids.masked_fill(mask == 0, -100)
    else:
        hidden = (torch.rand(ids.shape, generator=generator) < 0.15) & (mask == 1)
        labels = ids.masked_fill(~hidden, -100)
        ids = ids.masked_fill(hidden, tokenizer.mask_token_id)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# --- the folder ----------------------------------------------------------------------------------------------------


def make_model(recipe: Recipe, tokenizer: Any, texts: Texts, folder: Path, *, seconds: float, seed: int) -> str:
    """Build, train and write one model; return what to say about it."""
    import torch

    torch.manual_seed(seed)
    model = recipe.model(tokenizer, texts).eval()
    trained = recipe.task is not None and seconds > 0
    loss = train(model, tokenizer, texts, str(recipe.task), seconds, seed) if trained else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    what = f"trained on {texts.name} for {seconds:g} seconds ({recipe.task})" if trained else "untrained"
    data = f"datasets:\n- {texts.name}\n" if trained else ""
    (folder / "README.md").write_text(
        f"---\nlicense: apache-2.0\n{data}---\n\n# {folder.name}\n\nA small text model, {what}.\n", encoding="utf-8"
    )
    n_params = sum(parameter.numel() for parameter in model.parameters())
    return f"{folder.name}: {n_params:,} parameters, {what}" + ("" if loss is None else f", loss {loss:.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and make every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write the models to")
    parser.add_argument("--text", type=Path, default=None, help="Parquet, CSV or plain text file to learn from")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each trained model (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="train nothing")
    given = parser.parse_args(arguments)
    repair_torchvision()
    from transformers.utils import logging as their_logging

    their_logging.set_verbosity_error()
    their_logging.disable_progress_bar()
    texts = read_texts(given.text)
    tokenizers: dict[Any, Any] = {}
    for recipe in recipes(texts):
        seconds = 0.0 if given.quick or recipe.task is None else given.seconds
        folder = given.out / f"{recipe.name}-{recipe.task if seconds else 'untrained'}"
        if folder.exists():
            continue
        if recipe.tokenizer not in tokenizers:
            tokenizers[recipe.tokenizer] = recipe.tokenizer(texts.texts)
        tokenizer = tokenizers[recipe.tokenizer]
        print(make_model(recipe, tokenizer, texts, folder, seconds=seconds, seed=given.seed), flush=True)


if __name__ == "__main__":
    main()
