"""The architecture family of a model, such as resnet, vit or bert.

Rules for how names are built (sizes, patches, resolutions and training tags come off), and a short table of families
whose names rules cannot tell: those that stand inside other words, behind an adjective, or in a model's own name.
"""

import re
from functools import lru_cache

from neuralrank.entries import ModelEntry

_STARTS = frozenset({
    "albert", "alexnet", "bart", "beit", "bert", "bloom", "clip", "convnext", "darknet", "deberta", "deit", "densenet",
    "detr", "dinov", "distilbert", "efficientformer", "efficientnet", "efficientvit", "electra", "falcon", "gemma",
    "ghostnet", "googlenet", "gpt", "hubert", "inception", "lenet", "llama", "mamba", "minilm", "mistral", "mixtral",
    "mnasnet", "mobilenet", "mobilevit", "mpnet", "nasnet", "pythia", "qwen", "regnet", "resnet", "resnext", "roberta",
    "segformer", "shufflenet", "siglip", "squeezenet", "swin", "t5", "unet", "vgg", "vit", "wav2vec", "whisper",
    "xception", "xlnet", "yolo",
})  # fmt: skip
"""A word of an architecture that starts so belongs to the family. One of up to three letters, or a word of a mere name,
needs a size or nothing after it: 'swing' is no Swin transformer."""

_ENDS = ("resnext", "resnet", "roberta", "bert", "darknet", "nfnet", "efficientnet")
"""So does a word that ends so, digits aside: seresnext50, camembert."""

_OTHER_NAMES = {
    "vitmae": "vit", "vitmsn": "vit", "vits": "vit", "vitb": "vit", "vitl": "vit", "dinov": "dino", "mt5": "t5",
    "rn": "resnet", "wrn": "resnet", "wideresnet": "resnet", "mnv2": "mobilenet", "mnv3": "mobilenet",
    "gptneo": "gpt", "gptneox": "gpt", "gptj": "gpt", "vithybrid": "vit", "vitdet": "vit", "mambaout": "mambaout",
}  # fmt: skip
_NO_FAMILY = frozenset(
    {"tf", "tf2", "nf", "dm", "ig", "se", "ese", "eca", "gc", "test", "timm", "hf", "legacy", "gluon", "ssl", "swsl"}
    | {"tiny", "small", "base", "medium", "large", "big", "huge", "giant", "mini", "nano", "micro", "wide", "custom"}
    | {"my", "the", "pretrained", "model", "auto", "network", "torchvision", "keras", "google", "facebook", "microsoft"}
)

_ASIDE = re.compile(r"\(.*?\)|,.*")
_CLASS_NAME = (
    re.compile(  # of Transformers: BertForMaskedLM, TFViTModel, GPT2LMHeadModel, CLIPVisionModelWithProjection
        r"(?:TF|Flax)?([A-Z]\w*?)(?:For[A-Z]\w*|LMHead\w*|(?:Vision|Text|Audio)?(?:Model|Encoder|Backbone)(?:With\w+)?)"
    )
)
_SIZE = re.compile(r"(?:v\d+|\d+)[a-z]{0,2}\d*$")
_WORD = re.compile(r"[a-z0-9]+")


def family(entry: ModelEntry) -> str:
    """Return the architecture family of a model, '' if neither its architecture nor its name tells.

    Example:
        >>> entry = ModelEntry(model_id="", source="", name="", location="", stamp="", architecture="seresnext50_32x4d")
        >>> family(entry)
        'resnext'
    """
    return _family(entry.architecture or "", entry.name)


@lru_cache(maxsize=16384)
def _family(architecture: str, name: str) -> str:
    words = _words_of(architecture) if architecture else _words_of(name.rpartition("/")[2])
    known = next(filter(None, (_known(word, named=not architecture) for word in words)), None)
    if known or not architecture:
        return known or ""
    return next((_without_size(word) for word in words if word not in _NO_FAMILY and not word.isdigit()), "")


def _words_of(text: str) -> list[str]:
    text = _ASIDE.sub("", text)
    named = _CLASS_NAME.fullmatch(text.strip())
    return _WORD.findall((named[1] if named else text).lower())


def _known(word: str, *, named: bool) -> str | None:
    """Return the family that the table has for a word of an architecture, or of a mere name."""
    bare = _without_size(word)
    if found := _OTHER_NAMES.get(word) or _OTHER_NAMES.get(bare):
        return found
    starts = [word[:n] for n in range(len(word), 1, -1) if word[:n] in _STARTS]
    if starts and ((len(starts[0]) > 3 and not named) or starts[0] in (bare, word)):
        return _OTHER_NAMES.get(starts[0], starts[0])
    return next((end for end in _ENDS if bare.endswith(end)), None)


def _without_size(word: str) -> str:
    """Take versions and sizes off the end while two letters are left: 'dla102x2' is 'dla', 't5' stays 't5'."""
    while len(bare := _SIZE.sub("", word)) >= 2 and bare != word:
        word = bare
    return word
