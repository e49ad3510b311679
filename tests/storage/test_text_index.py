"""Words find models in every spelling, in a sensible order, and a damaged index is an empty one."""

import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tantivy
from filelock import FileLock

from neuralrank.entries import WordQuery
from neuralrank.errors import CatalogueError
from neuralrank.queries.words import parse_words
from neuralrank.storage import _text_hits
from neuralrank.storage._text_spelling import distance
from neuralrank.storage.text_index import Hits, IndexedText, TextIndex, text_index

ZOO = (
    IndexedText(row=0, name="timm/resnet50.a1_in1k", description="ResNet50 trained on ImageNet 1k"),
    IndexedText(row=1, name="microsoft/resnet-50", description="A deep residual network"),
    IndexedText(row=2, name="google/vit-base-patch16-224", description="Vision Transformer for image classification"),
    IndexedText(row=3, name="acme/flyers", labels="bird, plane", description="Detects birds in photos: convolutional"),
    IndexedText(row=4, name="y/mobilenet_v2", data="NWPU-RESISC45", description="A small net for satellite imagery"),
    IndexedText(
        row=5, name="z/MobileNetV2", tags="vision, gguf", description="The classification of images, quantised"
    ),
    IndexedText(row=6, name="cifar10_resnet20", description="Naïve café sounds; größere Bäume 日本語"),
    IndexedText(row=7, name="q/text-bert", description="A language model whose authors speak of birdsong"),
)


def index_of(folder: Path, texts: tuple[IndexedText, ...] = ZOO, *, seq: int = 8) -> TextIndex:
    index = text_index(folder)
    index.update(texts, seq=seq)
    return index


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> TextIndex:
    return index_of(tmp_path_factory.mktemp("zoo"))


def found(index: TextIndex, text: str, *, limit: int = 10) -> Hits:
    return index.search(parse_words(text), limit=limit)


def full(index: TextIndex, text: str) -> set[int]:
    """Return the rows of the models with all the words."""
    hits = found(index, text)
    return set(hits.rows[: hits.n_full].tolist())


# --- what finds what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["resnet50", "resnet 50", "resnet-50", "ResNet50", "ResNet-50", "RESNET50", "resnet_50"]
)
def test_every_spelling_of_a_name_finds_every_other(zoo: TextIndex, text: str) -> None:
    assert full(zoo, text) == {0, 1}


@pytest.mark.parametrize(
    "text", ["mobilenetv2", "MobileNetV2", "mobilenet v2", "MobileNet-v2", "mobilenet_v2", "MobileNet"]
)
def test_versions_and_capitals_part_words(zoo: TextIndex, text: str) -> None:
    assert full(zoo, text) == {4, 5}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        pytest.param("google/vit-base-patch16-224", {2}, id="whole-name"),
        pytest.param("patch 16", {2}, id="part-of-a-name"),
        pytest.param("cifar-10", {6}, id="first-part-of-a-name"),
        pytest.param("classify", {2, 5}, id="stem"),
        pytest.param("bird detection", {3}, id="stems"),
        pytest.param("naive CAFÉ", {6}, id="accents"),
        pytest.param("grossere baume", {6}, id="umlauts"),
        pytest.param("日本語", {6}, id="not-latin"),
        pytest.param("resisc45", {4}, id="pretraining-data"),
        pytest.param("NWPU RESISC 45", {4}, id="pretraining-data-in-parts"),
        pytest.param("plane", {3}, id="label"),
        pytest.param('"image classification"', {2}, id="phrase"),
        pytest.param('"classification of images"', {5}, id="phrase-with-a-stop-word"),
        pytest.param('"imagery satellite"', set(), id="phrase-in-another-order"),
        pytest.param('"flyers detects"', set(), id="phrase-across-fields"),
        pytest.param("conv*", {3}, id="beginning"),
        pytest.param("CONVOLUTIONA*", {3}, id="beginning-longer-than-the-stem"),
        pytest.param("bird*", {3, 7}, id="beginning-and-word"),
        pytest.param("resnet -microsoft", {0, 6}, id="excluded-word"),
        pytest.param("resnet -cifar*", {0, 1}, id="excluded-beginning"),
        pytest.param('classification -"image classification"', {5}, id="excluded-phrase"),
        pytest.param("resnet -resnet50", {6}, id="excluded-in-another-spelling"),
        pytest.param("-resnet -vision", {3, 4, 7}, id="only-excluded"),
        pytest.param("model for detecting birds", {3}, id="optional-and-stop-words"),
    ],
)
def test_a_query_finds_these_models(zoo: TextIndex, text: str, rows: set[int]) -> None:
    assert full(zoo, text) == rows


@pytest.mark.parametrize("prefix", ["b.*d", "b|f", "[a-z]", "(", "b{1}i", "", "🦜"])
def test_nothing_in_a_beginning_is_a_regular_expression(zoo: TextIndex, prefix: str) -> None:
    assert zoo.search(WordQuery(prefixes=(prefix,)), limit=10).rows.size == 0
    for punctuated in ("(bird", "^bird", "bird\\"):
        assert zoo.search(WordQuery(prefixes=(punctuated,)), limit=10).rows.tolist() == [3, 7]


def test_a_query_of_nothing_finds_nothing(zoo: TextIndex) -> None:
    assert zoo.search(WordQuery(), limit=10).rows.size == 0
    assert zoo.matching_rows(WordQuery()).size == 0
    assert zoo.search(parse_words("a" * 60), limit=10).rows.size == 0  # too long to be indexed


def test_where_any_word_will_do_the_best_come_first(zoo: TextIndex) -> None:
    query = parse_words("birds, photos and satellite imagery -flyers", any_of=True)
    hits = zoo.search(query, limit=10)
    assert hits.rows.tolist() == [3, 4]
    assert zoo.matching_rows(query).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        pytest.param("pictures of birds", [3], id="one-word"),
        pytest.param("ViT", [2], id="short-form"),
        pytest.param("vision transformers", [2], id="expression"),
        pytest.param("quantized", [5], id="american-for-british"),
        pytest.param("quantising", [5], id="british"),
        pytest.param("qantised", [5], id="misspelt"),
    ],
)
def test_other_ways_to_say_it_will_do(zoo: TextIndex, text: str, rows: list[int]) -> None:
    hits = found(zoo, text)
    assert hits.rows[: hits.n_full].tolist() == rows


def test_the_word_itself_counts_more_than_another_for_it(tmp_path: Path) -> None:
    index = index_of(tmp_path, tuple(IndexedText(row=n, name=f"a/{word}") for n, word in enumerate(("image", "photo"))))
    assert found(index, "photo").rows.tolist() == [1, 0]
    assert found(index, "image").rows.tolist() == [0, 1]


# --- in which order ----------------------------------------------------------------------------------------------


def test_a_name_counts_more_than_labels_and_these_more_than_prose(tmp_path: Path) -> None:
    index = index_of(
        tmp_path,
        (
            IndexedText(row=0, name="a/b", labels="a wren", description="about an owl"),
            IndexedText(row=1, name="a/c", labels="an owl", description="about a thing"),
            IndexedText(row=2, name="a/owl", labels="a wren", description="about a thing"),
            IndexedText(row=3, name="a/d", labels="a wren", description="about a thing"),
        ),
    )
    hits = found(index, "owl")
    assert hits.rows.tolist() == [2, 1, 0]
    assert np.all(np.diff(hits.scores) < 0)


def test_rare_words_count_more_than_frequent_ones(tmp_path: Path) -> None:
    texts = [IndexedText(row=row, name=f"n/{row}", description="bird of some kind") for row in range(20)]
    texts += [IndexedText(row=20, name="n/20", description="heron of some kind")]
    hits = found(index_of(tmp_path, tuple(texts)), "bird heron")
    assert (hits.rows[0], hits.n_full, hits.n_matches) == (20, 0, 21)


def test_equals_come_in_the_order_of_rows_whatever_commit_they_came_with(tmp_path: Path) -> None:
    index = text_index(tmp_path)
    for rows in ([7, 3], [9, 1], [5]):
        index.update([IndexedText(row=row, name="x/heron") for row in rows], seq=1)
    for text in ("heron", "her*", "-owl"):
        assert found(index, text).rows.tolist() == [1, 3, 5, 7, 9]
        assert found(index, text, limit=2).rows.tolist() == [1, 3]


def test_models_with_fewer_words_come_after_those_with_all(zoo: TextIndex) -> None:
    hits = found(zoo, "resnet50 imagenet")
    assert hits.rows.tolist() == [0, 1]
    assert (hits.n_full, hits.n_matches, hits.relaxed) == (1, 1, True)
    assert hits.scores[0] >= hits.scores[1] > 0
    only = found(zoo, "resnet50 imagenet", limit=1)
    assert (only.rows.tolist(), only.relaxed) == ([0], False)


def test_if_no_model_has_all_the_words_those_with_fewer_are_found(zoo: TextIndex) -> None:
    hits = found(zoo, "satellite imagery transformer")
    assert hits.rows.tolist() == [4, 2]  # two of three, then one of three
    assert (hits.n_full, hits.n_matches, hits.relaxed) == (0, 1, True)
    assert zoo.matching_rows(parse_words("satellite imagery transformer")).tolist() == [4]


def test_one_word_of_many_is_better_than_nothing(zoo: TextIndex) -> None:
    text = "transformer qqqqq wwwww zzzzz"
    assert found(zoo, text).rows.tolist() == [2]
    assert zoo.matching_rows(parse_words(text)).tolist() == [2]


def test_more_of_the_words_come_first_however_rare_the_others(tmp_path: Path) -> None:
    texts = [IndexedText(row=row, name="n/n", description="owl wren gull") for row in range(3, 40)]
    texts += [IndexedText(row=0, name="heron/heron", tags="heron", description="heron " * 9)]
    texts += [IndexedText(row=1, description="owl"), IndexedText(row=2, description="owl wren")]
    index = index_of(tmp_path, tuple(texts))
    hits = found(index, "heron owl wren gull", limit=100)
    assert hits.rows.tolist() == [*range(3, 40), 2, 0, 1]
    assert (hits.n_full, hits.n_matches) == (0, 37)
    assert found(index, "heron owl wren gull", limit=4).n_matches == 37
    assert np.all(np.diff(hits.scores) <= 0)
    assert hits.scores[-1] > 0
    assert index.matching_rows(parse_words("heron owl wren gull")).tolist() == list(range(3, 40))


def test_parts_of_a_compound_will_do_if_nothing_has_it_whole(zoo: TextIndex) -> None:
    hits = found(zoo, "satellite-classifier-transformer")
    assert (hits.rows.tolist(), hits.n_full) == ([2, 4, 5], 0)  # two of three, then one


def test_phrases_and_exclusions_hold_even_where_words_may_be_missing(zoo: TextIndex) -> None:
    for text in ('cat dog "image classification"', 'cat "image classification"', 'cat vision "image classification"'):
        hits = found(zoo, text)
        assert (hits.rows.tolist(), hits.n_full) == ([2], 0)
    assert found(zoo, "cat classification -google").rows.tolist() == [5]
    assert found(zoo, 'classification "no such words"').rows.size == 0


def test_optional_words_raise_but_never_remove(zoo: TextIndex) -> None:
    assert full(zoo, "language model") == full(zoo, "language neural weights") == {7}
    assert found(zoo, "resnet network").rows[0] == 1
    assert full(zoo, "resnet network") == full(zoo, "resnet")


# --- misspellings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "row", "corrections"),
    [
        pytest.param("satelite", 4, {"satelite": "satellite"}, id="left-out"),
        pytest.param("imagerry", 4, {"imagerry": "imagery"}, id="put-in"),
        pytest.param("visien transformer", 2, {"visien": "vision"}, id="replaced"),
        pytest.param("brid", 3, {"brid": "bird"}, id="exchanged-and-short"),
        pytest.param("tranzformar", 2, {"tranzformar": "transformer"}, id="two-mistakes-apart"),
        pytest.param("sattelite", 4, {"sattelite": "satellite"}, id="two-mistakes"),
        pytest.param("Sattelite-imagrey", 4, {"sattelite": "satellite", "imagrey": "imagery"}, id="compound"),
        pytest.param("mobilnetv2", 4, {"mobilnetv2": "mobilenetv2"}, id="name-with-figures"),
        pytest.param("clasificaton", 2, {"clasificaton": "classification"}, id="in-the-ending"),
    ],
)
def test_a_word_that_occurs_nowhere_is_taken_for_a_near_one(
    zoo: TextIndex, text: str, row: int, corrections: dict[str, str]
) -> None:
    hits = found(zoo, text)
    assert row in hits.rows[: hits.n_full]
    assert hits.corrections == corrections


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("bxd", id="too-short"),
        pytest.param("setilite", id="three-mistakes"),
        pytest.param("resnet51", id="another-figure"),
        pytest.param("resnet5", id="figure-left-out"),
        pytest.param('"satelite imagery"', id="quoted"),
        pytest.param("satelit*", id="beginning"),
        pytest.param("12346", id="number"),
    ],
)
def test_what_may_be_meant_is_not_corrected(zoo: TextIndex, text: str) -> None:
    assert found(zoo, text).corrections == {}


def test_a_word_that_occurs_is_never_corrected(tmp_path: Path) -> None:
    texts = [IndexedText(row=row, description="a satellite") for row in range(9)]
    index = index_of(tmp_path, (*texts, IndexedText(row=9, description="a satelite")))
    hits = found(index, "satelite")
    assert (hits.rows.tolist(), hits.corrections) == ([9], {})


def test_the_most_frequent_near_word_is_taken(tmp_path: Path) -> None:
    texts = [IndexedText(row=row, description="wing" if row else "king") for row in range(5)]
    assert found(index_of(tmp_path, tuple(texts)), "xing").corrections == {"xing": "wing"}


def test_distances_count_neighbours_exchanged_as_one_mistake() -> None:
    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        ways = [slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0])]
        if len(a) > 1 and len(b) > 1 and a[0] == b[1] and a[1] == b[0]:
            ways.append(slow(a[2:], b[2:]) + 1)
        return min(ways)

    rng = random.Random(0)
    for _ in range(150):
        a, b = ("".join(rng.choices("abc", k=rng.randrange(6))) for _ in "ab")
        assert distance(a, b) == slow(a, b)


# --- among some models only --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> TextIndex:
    """3,000 models whose 12 words have very different frequencies, in three commits."""
    rng = random.Random(1)
    words = ["heron", "owl", "crane", "gull", "tern", "finch", "wren", "robin", "swift", "dove", "crow", "hawk"]
    index = text_index(tmp_path_factory.mktemp("many"))
    for start in range(0, 3_000, 1_000):
        texts = [
            IndexedText(
                row=row,
                name=f"n/{row}",
                description=" ".join(word for n, word in enumerate(words) if rng.random() < 0.8 / (1 + n)),
            )
            for row in range(start, start + 1_000)
        ]
        index.update(texts, seq=start + 1_000)
    return index


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("text", ["heron", "hawk", "heron owl hawk", "her*", "-heron", "owl missing"])
def test_only_what_is_allowed_is_found_and_all_of_it(
    many: TextIndex, monkeypatch: pytest.MonkeyPatch, text: str, share: float
) -> None:
    monkeypatch.setattr(_text_hits, "_SLACK", 1)  # so that every way of filtering is taken with 3,000 models
    query, allowed = parse_words(text), np.random.default_rng(2).random(3_000) < share
    whole = many.search(query, limit=3_000)
    kept = allowed[whole.rows] & (np.arange(len(whole.rows)) < (whole.n_full or len(whole.rows)))
    for few_rows in (1, 5_000):
        monkeypatch.setattr(_text_hits, "FEW_ROWS", few_rows)
        monkeypatch.setattr(_text_hits, "FEW_ROWS_OF_MANY", few_rows)
        hits = many.search(query, limit=5, among=allowed)
        n_full = min(5, int(kept.sum()))
        assert hits.rows[:n_full].tolist() == whole.rows[kept][:5].tolist()
        np.testing.assert_allclose(hits.scores[:n_full], whole.scores[kept][:5], rtol=1e-6)
        if kept.any():
            assert (hits.n_matches, hits.counted) == (kept.sum(), True)
            assert many.matching_rows(query, among=allowed).tolist() == sorted(whole.rows[kept].tolist())


def test_rows_beyond_the_mask_are_not_allowed(many: TextIndex) -> None:
    hits = many.search(parse_words("heron"), limit=3_000, among=np.ones(1_000, dtype=np.bool_))
    assert hits.rows.max() < 1_000
    assert many.matching_rows(parse_words("heron"), among=np.ones(1_000, dtype=np.bool_)).max() < 1_000
    assert many.search(parse_words("heron"), limit=5, among=np.zeros(3_000, dtype=np.bool_)).rows.size == 0
    assert many.search(parse_words("heron"), limit=5, among=np.zeros(0, dtype=np.bool_)).n_matches == 0


def test_very_many_matches_are_estimated_from_a_sample(many: TextIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_text_hits, "FEW_MATCHES", 100)
    allowed = np.random.default_rng(3).random(3_000) < 0.7
    true = int(allowed[many.matching_rows(parse_words("heron"))].sum())
    hits = many.search(parse_words("heron"), limit=5, among=allowed)
    assert not hits.counted
    assert abs(hits.n_matches - true) < 0.05 * allowed.sum()
    assert true > 1_000


def test_a_longer_list_begins_with_the_shorter(many: TextIndex) -> None:
    for text in ("heron", "heron hawk crow dove", "swift missing"):
        long = found(many, text, limit=200)
        for limit in (1, 7, 60):
            assert found(many, text, limit=limit).rows.tolist() == long.rows[:limit].tolist()
        assert len(set(long.rows.tolist())) == len(long.rows)
        assert np.all(np.diff(long.scores) <= 0)
        assert np.all(long.scores > 0)


def test_a_limit_below_one_is_a_mistake(zoo: TextIndex) -> None:
    with pytest.raises(ValueError, match=r"at least 1 hit. Got limit=0"):
        zoo.search(parse_words("bird"), limit=0)


# --- what is shown of it -----------------------------------------------------------------------------------------


def marked(text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param("bird detect", ["Detects", "birds"], id="stems"),
        pytest.param("conv*", ["convolutional"], id="beginning"),
        pytest.param("brid", ["birds"], id="corrected"),
        pytest.param("pictures", ["photos"], id="synonym"),
        pytest.param('"birds in photos"', ["birds in photos"], id="phrase"),
        pytest.param("birds-in", ["birds in"], id="compound"),
        pytest.param("photos -plane", ["photos"], id="excluded"),
        pytest.param("zebra", [], id="nothing"),
    ],
)
def test_what_was_found_is_marked(zoo: TextIndex, query: str, words: list[str]) -> None:
    (snippet,) = zoo.snippets(parse_words(query), [ZOO[3]])
    assert (snippet.field, snippet.text) == ("description", ZOO[3].description)
    assert marked(snippet.text, snippet.spans) == words


def test_a_compound_is_marked_whole_where_a_part_was_found(zoo: TextIndex) -> None:
    (snippet,) = zoo.snippets(parse_words("resnet"), [ZOO[0]])
    assert marked(snippet.text, snippet.spans) == ["ResNet50"]


def test_the_part_with_most_of_the_words_is_cut_out_between_words() -> None:
    filler = "lorem ipsum " * 50
    text = IndexedText(
        row=0, description=f"{filler}An owl. {filler}The owl\nand the   wrens of größe. {filler}owl owl owl"
    )
    (snippet,) = text_index(Path("absent")).snippets(parse_words("owl wren"), [text])
    assert snippet.text.startswith("… ")
    assert snippet.text.endswith(" …")
    assert "The owl and the wrens of größe." in snippet.text
    assert marked(snippet.text, snippet.spans) == ["owl", "wrens"]
    assert 120 < len(snippet.text) <= 164
    assert set(snippet.text.split()) <= {*["…", "lorem", "ipsum", "The", "owl", "and", "the", "wrens", "of", "größe."]}


def test_another_field_is_shown_where_it_has_more_of_the_words() -> None:
    text = IndexedText(row=0, name="n/owl", description="Of an owl.", labels="owl, wren", tags="gull")
    index = text_index(Path("absent"))
    shown = [index.snippets(parse_words(query), [text])[0] for query in ("owl", "owl wren", "gull", "n/owl", "dove")]
    assert [snippet.field for snippet in shown] == ["description", "labels", "tags", "name", "description"]


def test_a_model_without_text_has_an_empty_snippet() -> None:
    (snippet,) = text_index(Path("absent")).snippets(parse_words("owl"), [IndexedText(row=0)])
    assert (snippet.text, snippet.spans) == ("", ())


def test_marks_lie_inside_and_apart_whatever_the_text(zoo: TextIndex) -> None:
    rng = random.Random(0)
    words = ["owl", "Owls", "owl-wren", "wrenOwl2", "größe", "日本", "🦜", "\n", ".", "\ud800", "x" * 50, "owl50"]
    for _ in range(200):
        text = " ".join(rng.choices(words, k=rng.randrange(0, 80)))
        (snippet,) = zoo.snippets(parse_words('owl wr* "owl wren" owl-50'), [IndexedText(row=0, description=text)])
        ends = [0, *(place for span in snippet.spans for place in span), len(snippet.text)]
        assert ends == sorted(ends)
        assert all("owl" in word.lower() or "wr" in word.lower() for word in marked(snippet.text, snippet.spans))
        assert len(snippet.text) <= 170


# --- changes -----------------------------------------------------------------------------------------------------


def test_an_update_replaces_adds_and_removes(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    index.update([IndexedText(row=3, name="acme/swimmers"), IndexedText(row=9, name="new/heron")], [0, 77], seq=11)
    assert (full(index, "flyers"), full(index, "swimmers"), full(index, "heron")) == (set(), {3}, {9})
    assert full(index, "resnet50") == {1}
    assert index.seq == 11


def test_doing_an_update_twice_changes_nothing(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    before = found(index, "resnet50 classification")
    for _ in range(2):
        index.update(ZOO, [55], seq=8)
    after = found(index, "resnet50 classification")
    assert before.rows.tolist() == after.rows.tolist()
    assert found(index, "-qqqq").rows.tolist() == list(range(8))


def test_the_last_text_of_a_row_counts(tmp_path: Path) -> None:
    index = index_of(tmp_path, (IndexedText(row=1, name="a/owl"), IndexedText(row=1, name="a/wren")))
    assert (full(index, "owl"), full(index, "wren")) == (set(), {1})


def test_what_is_removed_is_asked_for_after_the_texts(tmp_path: Path) -> None:
    removed: list[int] = []

    def texts() -> Iterator[IndexedText]:
        yield IndexedText(row=9, name="a/owl")
        removed.append(3)

    index = index_of(tmp_path)
    index.update(texts(), removed, seq=9)
    assert full(index, "flyers") == set()
    removed.clear()
    index.update((text for text in ZOO if text.row > 90 or removed.append(text.row)), removed, seq=10)  # type: ignore[func-returns-value]
    assert found(index, "-qqqq").rows.tolist() == [9]


def test_an_update_of_nothing_records_its_number(tmp_path: Path) -> None:
    index = text_index(tmp_path / "deep" / "folder")
    assert (index.seq, found(index, "owl").rows.size) == (0, 0)
    assert not index.folder.exists()
    index.update([], seq=5)
    assert (index.seq, text_index(index.folder).seq, index.repaired) == (5, 5, None)


def test_texts_that_fail_leave_the_commit_before_and_no_lock(tmp_path: Path) -> None:
    def failing() -> Iterator[IndexedText]:
        yield from (IndexedText(row=row, name="a/heron") for row in range(3_000))
        raise KeyError("from the caller")

    index = index_of(tmp_path)
    with pytest.raises(KeyError, match=r"from the caller"):
        index.update(failing(), seq=9)
    assert (index.seq, full(index, "heron"), full(index, "flyers")) == (8, set(), {3})
    index.update([IndexedText(row=9, name="a/heron")], seq=9)
    assert (index.seq, full(index, "heron"), index.check()) == (9, {9}, None)


def test_strange_texts_can_be_indexed(tmp_path: Path) -> None:
    strange = [
        "\ud800 owl",
        "a\0b owl",
        "owl " * 30_000,
        "x" * 100_000 + " owl",
        "🦜owl",
        "\u202eowl\u0301",
        "a1" * 5_000,
    ]
    index = index_of(tmp_path, tuple(IndexedText(row=row, description=text) for row, text in enumerate(strange)))
    assert full(index, "owl") == {0, 1, 2, 4, 5}  # in the fourth it lies beyond what is indexed
    assert found(index, "-owl").rows.tolist() == [3, 6]


# --- other processes ---------------------------------------------------------------------------------------------


def test_a_reader_follows_what_another_process_writes(tmp_path: Path) -> None:
    reader, writer = text_index(tmp_path), index_of(tmp_path)
    assert (reader.seq, full(reader, "flyers")) == (8, {3})
    writer.update([IndexedText(row=3, name="acme/swimmers")], seq=9)
    assert (reader.seq, full(reader, "flyers"), full(reader, "swimmers")) == (9, set(), {3})
    writer.destroy()
    assert (reader.seq, found(reader, "swimmers").rows.size, reader.repaired) == (0, 0, None)
    writer.update([IndexedText(row=0, name="acme/owl")], seq=1)
    assert (reader.seq, full(reader, "owl"), full(reader, "swimmers")) == (1, {0}, set())


def test_readers_are_never_disturbed_by_a_writer(tmp_path: Path) -> None:
    index_of(tmp_path)
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        reader = text_index(tmp_path)
        while not done.is_set():
            try:
                rows = full(reader, "resnet50")
                if rows != {0, 1} or reader.repaired:
                    wrong.append((rows, reader.repaired))
            except BaseException as error:
                wrong.append(error)
                raise

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seq in range(9, 24):
        text_index(tmp_path).update([*ZOO, IndexedText(row=seq, name=f"n/{seq}")], seq=seq)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_second_writer_is_turned_away_in_one_sentence(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    sentence = (
        r"^The text index in '.*' is being written by another process. Run the command again when that has finished.$"
    )
    with FileLock(tmp_path / "update.lock"), pytest.raises(CatalogueError, match=sentence):
        index.update([], seq=9)
    with FileLock(tmp_path / "update.lock"), pytest.raises(CatalogueError, match=sentence):
        index.destroy()
    other = tantivy.Index.open(str(tmp_path)).writer(15_000_000, 1)
    with pytest.raises(CatalogueError, match=sentence):
        index.update(ZOO, seq=9)
    other.wait_merging_threads()
    index.update(ZOO, seq=9)
    assert (index.seq, full(index, "flyers")) == (9, {3})


WRITER = """
    import sys
    from pathlib import Path
    from neuralrank.storage.text_index import IndexedText, text_index

    index = text_index(Path(sys.argv[1]))
    print("ready", flush=True)
    for seq in range(index.seq + 1, 10_000):
        index.update([IndexedText(row=row, name=f"n/v{seq}") for row in range(300)], [300 + seq], seq=seq)
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_writer_killed_at_any_moment_leaves_the_last_commit_and_no_lock(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(3):
        writer = start(WRITER, str(tmp_path))
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.05, 0.5))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        index = text_index(tmp_path)
        seq = index.seq
        assert (index.check(), index.repaired) == (None, None)
        if seq:
            # the commit may be one further than its number says, never less
            assert sum(len(index.matching_rows(parse_words(f"v{n}"))) for n in (seq, seq + 1)) == 300
            assert found(index, "-qqqq").n_matches == 300
    index.update([IndexedText(row=1, name="n/owl")], seq=seq + 1)
    assert full(index, "owl") == {1}


def test_what_a_killed_writer_left_is_not_in_the_way_of_the_same_update(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    commit = {name: (tmp_path / name).read_bytes() for name in ("meta.json", "manifest.json", ".managed.json")}
    for _ in range(3):  # every one gets as far as its files, none to its commit: tantivy names them alike
        index.update([IndexedText(row=3, name="acme/swimmers")], [5], seq=9)
        write_files(tmp_path, commit)
        (tmp_path / ".manifest.part-0123456789abcdef").write_text("half")
    assert (index.seq, full(index, "flyers")) == (8, {3})
    index.update([IndexedText(row=3, name="acme/swimmers")], [5], seq=9)
    assert (index.seq, full(index, "swimmers"), index.check()) == (9, {3}, None)
    assert len(list(tmp_path.iterdir())) == 2 * 6 + 1 + 2 + 4  # two segments, one with deletions


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from neuralrank.errors import CatalogueError
    from neuralrank.storage.text_index import IndexedText, text_index

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    texts = [IndexedText(row=row, name=f"n/w{row}", description=f"a{row} b{row * 7}") for row in range(5_000)]
    try:
        text_index(Path(sys.argv[1])).update(texts, seq=9)
    except CatalogueError as error:
        print(error)
"""


@pytest.mark.parametrize("size_bytes", [0, 300, 10_000, 60_000])
def test_a_full_disk_is_told_in_one_sentence_and_keeps_the_commit_before(tmp_path: Path, size_bytes: int) -> None:
    index = index_of(tmp_path)
    output, errors = start(FULL_DISK, str(tmp_path), str(size_bytes)).communicate()
    assert output.startswith(f"The text index in {str(tmp_path)!r} could not be written. Got: "), errors
    assert output.count("\n") == 1
    assert "Traceback" not in errors
    assert (index.seq, full(index, "flyers"), index.check()) == (8, {3}, None)
    assert (text_index(tmp_path).seq, text_index(tmp_path).repaired) == (8, None)
    index.update([IndexedText(row=9, name="n/w1")], seq=9)
    assert (index.seq, full(index, "w1"), len(list(tmp_path.iterdir())) < 30) == (9, {9}, True)


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an index of two segments, one with a deletion."""
    folder = tmp_path_factory.mktemp("whole")
    index_of(folder).update([IndexedText(row=3, name="acme/flyers", description="Birds in photos")], [7], seq=9)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def of_kind(name: str) -> str:
    """Return what the file is: its name, or how the name of a segment's file ends."""
    return name.rpartition(".")[2] if len(name) > 32 else name


KINDS = ("idx", "pos", "term", "store", "fast", "fieldnorm", "del", "meta.json", "manifest.json")


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_these_are_the_files(whole: dict[str, bytes]) -> None:
    others = {".managed.json", ".tantivy-meta.lock", ".tantivy-writer.lock", "update.lock"}
    assert {of_kind(name) for name in whole} == {*KINDS, *others}
    assert len(whole) == 2 * 6 + 1 + 2 + 4


def damaged(content: bytes, how: str) -> Iterator[bytes | None]:
    """Yield the content damaged in this way; None: no file."""
    if how == "deleted":
        yield None
    elif how == "truncated":
        yield from (content[:n] for n in (0, 1, len(content) // 2, len(content) - 2))
    elif how == "longer":
        yield content + b"\0"
    else:
        for place in (0, len(content) // 2, len(content) - 1):
            yield content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.parametrize("how", ["deleted", "truncated", "longer", "flipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_makes_an_empty_index_that_the_next_update_replaces(
    tmp_path: Path, whole: dict[str, bytes], kind: str, how: str
) -> None:
    name = sorted(name for name in whole if of_kind(name) == kind)[0]
    for number, content in enumerate(damaged(whole[name], how)):
        folder = tmp_path / str(number)
        write_files(folder, whole | {name: content or b""})
        if content is None:
            (folder / name).unlink()
        index = text_index(folder)
        assert index.seq == 0
        assert index.repaired is not None
        assert index.repaired.startswith(f"The text index in {str(folder)!r} is built again: ")
        assert (name in index.repaired) or kind in ("meta.json", "manifest.json")
        assert "\n" not in index.repaired
        assert found(index, "flyers").rows.size == index.matching_rows(parse_words("flyers")).size == 0
        assert index.check() == index.repaired
        index.update(ZOO, seq=12)
        assert (index.seq, full(index, "flyers"), full(index, "bert"), index.check()) == (12, {3}, {7}, None)
        assert text_index(folder).repaired is None


def test_untouched_copies_of_an_index_are_good(tmp_path: Path, whole: dict[str, bytes]) -> None:
    write_files(tmp_path, whole)  # with other times than were recorded
    index = text_index(tmp_path)
    assert (index.seq, index.repaired, full(index, "flyers"), full(index, "bert")) == (9, None, {3}, set())
    assert index.check() is None


@pytest.mark.parametrize("name", [".managed.json", ".tantivy-meta.lock", ".tantivy-writer.lock", "update.lock"])
@pytest.mark.parametrize("content", [None, b"", b"{]"])
def test_what_lies_beside_the_index_never_stops_it(
    tmp_path: Path, whole: dict[str, bytes], name: str, content: bytes | None
) -> None:
    write_files(tmp_path, whole | {name: content or b""})
    if content is None:
        (tmp_path / name).unlink()
    index = text_index(tmp_path)
    assert index.seq in (0, 9)
    assert (index.seq == 0) == (index.repaired is not None)
    index.update(ZOO, seq=12)
    assert (index.seq, full(index, "flyers")) == (12, {3})


FLIPPED = """
    import os, sys
    from pathlib import Path
    from neuralrank.queries.words import parse_words
    from neuralrank.storage.text_index import text_index

    def replace(path, content, times):  # a file that is cut short under a reader would kill it
        part = path.with_name("part")
        part.write_bytes(content)
        os.utime(part, ns=times)
        part.replace(path)

    folder = Path(sys.argv[1])
    queries = [parse_words(text) for text in ("resnet50", "bird*", '"birds in photos"', "-owl", "brids", "q w e")]
    for name in sys.argv[2:]:
        path = folder / name
        content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        for place in range(0, len(content), max(1, len(content) // 12)):
            replace(path, content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :], times)
            index = text_index(folder)
            hits = [index.search(query, limit=20) for query in queries]
            assert index.repaired is None or index.seq == 0
            assert index.check() is not None and name in index.repaired, (name, place, index.repaired)
            assert index.seq == 0 and index.search(queries[0], limit=5).rows.size == 0
        replace(path, content, times)
        assert text_index(folder).check() is None
    print("done")
"""


def test_bytes_that_rot_unnoticed_stop_no_search_and_are_found_by_a_check(tmp_path: Path) -> None:
    index_of(tmp_path).update([IndexedText(row=3, name="acme/flyers", description="Birds in photos")], [7], seq=9)
    names = sorted(path.name for path in tmp_path.iterdir() if len(path.name) > 32)
    output, errors = start(FLIPPED, str(tmp_path), *names).communicate()
    assert output == "done\n", errors[-2_000:]


def test_an_index_of_another_version_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_of(tmp_path)
    monkeypatch.setattr("neuralrank.storage._text_files.SCHEMA_VERSION", 999)
    index = text_index(tmp_path)
    assert index.seq == 0
    assert index.repaired is not None
    assert index.repaired.endswith("is built again: it was made by another version (1, this one is 999).")
    index.update(ZOO, seq=3)
    assert (index.seq, full(index, "flyers")) == (3, {3})


def test_an_index_that_is_not_ours_is_not_searched(tmp_path: Path) -> None:
    schema = tantivy.SchemaBuilder().add_text_field("name", stored=True).build()
    foreign = tantivy.Index(schema, path=str(tmp_path))
    writer = foreign.writer(15_000_000, 1)
    writer.add_document(tantivy.Document(name="owl"))
    writer.commit()
    writer.wait_merging_threads()
    index = text_index(tmp_path)
    assert (index.seq, found(index, "owl").rows.size) == (0, 0)
    assert index.repaired is not None
    assert index.repaired.endswith("is built again: manifest.json is missing.")


def test_a_commit_whose_number_was_not_recorded_is_good_under_the_number_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = index_of(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    index.update([IndexedText(row=3, name="acme/swimmers")], seq=9)
    (tmp_path / "manifest.json").write_bytes(before)
    index = text_index(tmp_path)
    assert (index.seq, index.repaired, index.check()) == (8, None, None)
    assert (full(index, "flyers"), full(index, "swimmers")) == (set(), {3})
    index.update([IndexedText(row=3, name="acme/swimmers")], seq=9)
    assert (index.seq, full(index, "swimmers"), found(index, "-qqqq").n_matches) == (9, {3}, 8)


def test_destroying_removes_the_index_and_nothing_else(tmp_path: Path) -> None:
    for name in ("notes.txt", "meta.json.bak", "weights.safetensors", "a" * 32):
        (tmp_path / name).write_text("mine")
    index = index_of(tmp_path)
    index.destroy()
    left = {path.name for path in tmp_path.iterdir() if path.stat().st_size}
    assert left == {"notes.txt", "meta.json.bak", "weights.safetensors", "a" * 32}
    assert index.seq == 0
    text_index(tmp_path / "absent").destroy()
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_is_a_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    index = text_index(tmp_path / "file")
    with pytest.raises(CatalogueError, match=r"could not be (read|written). Got: "):
        index.update(ZOO, seq=1)


def test_a_failing_search_over_whole_files_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Hits:
        raise ValueError("no more file handles\nand more")

    index = index_of(tmp_path)
    monkeypatch.setattr("neuralrank.storage.text_index.search", broken)
    with pytest.raises(
        CatalogueError, match=r"could not be read. Got: no more file handles. Its files are as they were"
    ):
        found(index, "owl")
    assert (index.seq, index.repaired) == (8, None)
