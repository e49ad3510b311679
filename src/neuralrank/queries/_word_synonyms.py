"""Ways of saying the same in the texts of models: short forms, tasks by their names, British and American spellings.

What the models are about (birds, satellites) has no place here: the names of their labels have a table of their own.
"""

import re
from collections.abc import Sequence

GROUPS = (
    ("asr", "automatic speech recognition", "speech recognition", "speech to text"),
    ("tts", "text to speech", "speech synthesis"),
    ("ocr", "optical character recognition", "text recognition"),
    ("ner", "named entity recognition"),
    ("nlp", "natural language processing"),
    ("nlu", "natural language understanding"),
    ("nli", "natural language inference"),
    ("qa", "question answering"),
    ("vqa", "visual question answering"),
    ("vad", "voice activity detection"),
    ("pos tagging", "part of speech"),
    ("cnn", "convnet", "convolutional network", "convolutional neural network"),
    ("rnn", "recurrent network", "recurrent neural network"),
    ("gnn", "graph network", "graph neural network"),
    ("gan", "generative adversarial network"),
    ("vae", "variational autoencoder"),
    ("mlp", "multilayer perceptron"),
    ("vit", "vision transformer"),
    ("moe", "mixture of experts"),
    ("llm", "large language model"),
    ("vlm", "vision language model"),
    ("photo", "photograph", "picture", "image"),
    ("pose estimation", "keypoint detection"),
    ("anomaly detection", "outlier detection"),
    ("super resolution", "upscaling"),
    ("summary", "summarization", "summarisation"),
    ("finetuned", "fine tuned"),
    ("multilabel", "multi label"),
    ("licence", "license"),
    ("colour", "color"),
    ("grey", "gray"),
    ("behaviour", "behavior"),
    ("neighbour", "neighbor"),
    ("centre", "center"),
    ("catalogue", "catalog"),
    ("aeroplane", "airplane"),
)
"""Each of a group may stand for each other."""
_WORD = re.compile(r"[^\W_]+")
_ISE = re.compile(r"(?<=.{4})i([sz])(?=(?:e|ed|es|er|ers|ing|ation|ations)$)")
"""quantised and quantized, tokenizer and tokeniser; not noise and rise."""
_MAX_WORDS = max(len(phrase.split()) for group in GROUPS for phrase in group)
_GROUP_OF = {tuple(phrase.split()): group for group in GROUPS for phrase in group}


def longest_known(words: Sequence[str]) -> int:
    """Return how many of the words, from the first, are one known expression; 0 if none is.

    Example:
        >>> longest_known(["Speech", "to", "text", "for", "calls"]), longest_known(["birds"])
        (3, 0)
    """
    for n_words in range(min(_MAX_WORDS, len(words)), 0, -1):
        if _group(words[:n_words]):
            return n_words
    return 0


def synonyms(word: str) -> tuple[str, ...]:
    """Return other ways to say a word or expression.

    Example:
        >>> synonyms("text-to-speech"), synonyms("quantised"), synonyms("birds")
        (('tts', 'speech synthesis'), ('quantized',), ())
    """
    own = _plain(_WORD.findall(word))
    others = tuple(phrase for phrase in _group(own) if tuple(phrase.split()) != own)
    spelled = _ISE.sub(lambda match: "iz" if match[1] == "s" else "is", own[0]) if len(own) == 1 else ""
    return (*others, spelled) if spelled and spelled != own[0] else others


def _group(words: Sequence[str]) -> tuple[str, ...]:
    return _GROUP_OF.get(_plain(words), ())


def _plain(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words in small letters, the last one in the singular if that is what is known."""
    plain = tuple(word.lower() for word in words)
    if plain and plain not in _GROUP_OF:
        singular = (*plain[:-1], plain[-1].removesuffix("s"))
        if singular in _GROUP_OF:
            return singular
    return plain
