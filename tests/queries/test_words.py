"""Whatever is typed is read in some sensible way; only what holds nothing to look for, or too much, is refused."""

import random
import re

import pytest

from neuralrank.entries import WordQuery
from neuralrank.errors import UsageError
from neuralrank.queries._word_synonyms import GROUPS
from neuralrank.queries.words import MAX_CHARACTERS, MAX_WORDS, OPTIONAL_WORDS, STOP_WORDS, parse_words


def test_words_phrases_beginnings_and_exclusions_are_told_apart() -> None:
    assert parse_words('bird "fine grained" conv* -gguf -"not safe" -awq*') == WordQuery(
        words=("bird",),
        phrases=("fine grained",),
        prefixes=("conv",),
        excluded=WordQuery(words=("gguf",), phrases=("not safe",), prefixes=("awq",)),
    )


def test_stop_words_are_dropped_and_words_that_every_model_has_are_optional() -> None:
    query = parse_words("a model for detecting birds in flight")
    assert query == WordQuery(words=("detecting", "birds", "flight"), optional=("model",))


def test_capitals_do_not_make_a_stop_word_count() -> None:
    assert parse_words("The Bird In The Photo").words == ("Bird", "Photo")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("neural networks", ("neural", "networks"), id="optional-words"),
        pytest.param("to be or not to be", ("to", "be", "or", "not"), id="stop-words"),
        pytest.param("the model", ("model",), id="both"),
    ],
)
def test_the_least_telling_words_count_where_there_are_no_others(text: str, words: tuple[str, ...]) -> None:
    assert parse_words(text) == WordQuery(words=words)


def test_stop_words_stay_inside_a_phrase() -> None:
    assert parse_words('"state of the art"').phrases == ("state of the art",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("google/vit-base-patch16-224", ("google/vit-base-patch16-224",), id="name"),
        pytest.param("ResNet-50,", ("ResNet-50",), id="comma"),
        pytest.param("(bird)", ("bird",), id="brackets"),
        pytest.param("don't", ("don't",), id="apostrophe"),
        pytest.param("größe 日本語", ("größe", "日本語"), id="not-ascii"),
        pytest.param("bird bird Bird", ("bird", "Bird"), id="twice"),
        pytest.param('"bird"', ("bird",), id="quoted-word"),
        pytest.param('bird"song"', ("bird", "song"), id="quote-inside"),
        pytest.param("*bird", ("bird",), id="star-before"),
        pytest.param("c++ & c#", ("c",), id="punctuation"),
    ],
)
def test_words_keep_what_is_inside_them_and_lose_what_is_around(text: str, words: tuple[str, ...]) -> None:
    assert parse_words(text) == WordQuery(words=words)


@pytest.mark.parametrize("text", ['"land cover', 'land cover"', '"" land cover "', '""land"" cover'])
def test_quotes_that_do_not_pair_are_ignored(text: str) -> None:
    assert parse_words(text) == WordQuery(words=("land", "cover"))


@pytest.mark.parametrize(
    ("text", "words", "synonyms"),
    [
        pytest.param(
            "Photos of birds", ("Photos", "birds"), {"Photos": ("photograph", "picture", "image")}, id="one-word"
        ),
        pytest.param(
            "fast speech to text",
            ("fast", "speech-to-text"),
            {"speech-to-text": ("asr", "automatic speech recognition")},
            id="expression-with-a-stop-word",
        ),
        pytest.param("CNNs", ("CNNs",), {"CNNs": ("convnet", "convolutional network")}, id="plural"),
        pytest.param(
            "graph neural networks", ("graph-neural-networks",), {"graph-neural-networks": ("gnn",)}, id="all"
        ),
        pytest.param(
            "quantised tokenizers",
            ("quantised", "tokenizers"),
            {"quantised": ("quantized",), "tokenizers": ("tokenisers",)},
            id="british-and-american",
        ),
        pytest.param("noise rises wisely", ("noise", "rises", "wisely"), {}, id="not-a-spelling"),
        pytest.param('speech "to text"', ("speech",), {}, id="not-across-quotes"),
        pytest.param("text -to speech", ("text", "speech"), {}, id="not-across-exclusions"),
        pytest.param("-photo birds", ("birds",), {}, id="not-of-exclusions"),
    ],
)
def test_terms_of_the_trade_have_synonyms(
    text: str, words: tuple[str, ...], synonyms: dict[str, tuple[str, ...]]
) -> None:
    query = parse_words(text)
    assert query.words == words
    assert set(query.synonyms) == set(synonyms)
    for word, first in synonyms.items():
        assert query.synonyms[word][: len(first)] == first


def test_the_synonyms_are_in_small_letters_and_in_one_group_each() -> None:
    phrases = [phrase for group in GROUPS for phrase in group]
    assert len(set(phrases)) == len(phrases)
    assert all(re.fullmatch("[a-z]+( [a-z]+)*", phrase) for phrase in phrases)


def test_curly_quotes_make_a_phrase_too() -> None:
    assert parse_words("“land cover”").phrases == ("land cover",)


def test_a_hyphen_excludes_only_before_a_word() -> None:
    assert parse_words("semi-supervised - learning") == WordQuery(words=("semi-supervised", "learning"))
    assert parse_words("bird --gguf").excluded == WordQuery(words=("gguf",))
    assert parse_words("bird −gguf").excluded == WordQuery(words=("gguf",))


def test_only_exclusions_can_be_asked_for() -> None:
    assert parse_words("-gguf") == WordQuery(excluded=WordQuery(words=("gguf",)))


def test_only_the_last_part_of_a_compound_is_open() -> None:
    assert parse_words("vision-trans*") == WordQuery(words=("vision",), prefixes=("trans",))


def test_a_star_alone_means_nothing() -> None:
    assert parse_words("bird *") == WordQuery(words=("bird",))


@pytest.mark.parametrize("text", ["", "   ", '"', '""', "*", "-", "--- ...", "\0", "\ud800", "🦜"])
def test_nothing_to_look_for_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"needs a word with a letter or a digit. Got "):
        parse_words(text)


def test_too_much_is_refused() -> None:
    assert len(parse_words(" ".join(f"w{i}" for i in range(MAX_WORDS))).words) == MAX_WORDS
    with pytest.raises(UsageError, match=r"at most 32 words. Got 33. Keep"):
        parse_words(" ".join(f"w{i}" for i in range(MAX_WORDS + 1)))
    with pytest.raises(UsageError, match=r"at most 32 words. Got 40. Keep"):
        parse_words("a-b-c-d-" * 10)
    assert parse_words("a" * MAX_CHARACTERS).words == ("a" * MAX_CHARACTERS,)
    with pytest.raises(UsageError, match=r"at most 1,000 characters. Got 1,001. Keep"):
        parse_words("a" * (MAX_CHARACTERS + 1))


def test_where_any_word_will_do_nothing_has_a_meaning_of_its_own() -> None:
    query = parse_words('timm/resnet50 -gguf "conv* the', any_of=True)
    assert query == WordQuery(optional=("timm", "resnet50", "gguf", "conv"))
    assert parse_words("…", any_of=True) == WordQuery()
    assert len(parse_words(" ".join(f"w{i}" for i in range(500)), any_of=True).optional) == MAX_WORDS


def test_every_string_is_read_or_refused() -> None:
    rng = random.Random(0)
    alphabet = "ab1 \t\n\"“”„-−*_./\\'()[]{}+?^$|:~<>=&!#%@ßé日🦜\0\ud800\u0301\u202e"
    n_read = 0
    for _ in range(3_000):
        text = "".join(rng.choices(alphabet, k=rng.randrange(0, 60)))
        try:
            query = parse_words(text)
        except UsageError:
            continue
        n_read += 1
        parts = [query, *([query.excluded] if query.excluded else [])]
        texts = [text for part in parts for text in (*part.words, *part.phrases, *part.prefixes, *part.optional)]
        assert texts
        assert all(any(letter.isalnum() for letter in text) for text in texts)
    assert n_read > 2_000


def test_the_word_lists_do_not_overlap_and_are_in_small_letters() -> None:
    assert not STOP_WORDS & OPTIONAL_WORDS
    assert all(word == word.lower() for word in STOP_WORDS | OPTIONAL_WORDS)
