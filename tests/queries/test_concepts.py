"""Label names as concepts: names, plurals, synonyms, kinds, and the same share by two ways."""

import json
import random
from importlib.resources import files

import pytest

from neuralrank.errors import UsageError
from neuralrank.queries._aliases import key, normalise, singular_phrase
from neuralrank.queries._words import singular
from neuralrank.queries.concepts import (
    NARROWER_WEIGHT,
    concepts_of,
    coverage,
    index_concepts,
    load_thesaurus,
    query_concepts,
)

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
DIGITS = list("0123456789")
DATA = files("neuralrank.queries")
SHIPPED = [line for line in DATA.joinpath("synonyms.txt").read_text().splitlines() if line and not line.startswith("#")]

PLURALS = (
    "cars car|cherries cherry|boxes box|dishes dish|watches watch|glasses glass|buses bus|viruses virus|"
    "houses house|horses horse|cheeses cheese|potatoes potato|shoes shoe|canoes canoe|photos photo|"
    "wolves wolf|knives knife|gloves glove|olives olive|women woman|firemen fireman|people person|"
    "children child|mice mouse|geese goose|feet foot|cookies cookie|ties tie|pies pie|zebras zebra|taxis taxi|"
    "cacti cactus|analyses analysis|quizzes quiz|prizes prize|axes axe|leaves leaf|octopuses octopus|"
    "magpies magpie|huskies husky|ponies pony|lenses lens|irises iris"
)
SINGULARS = (
    "glass bus species class canvas lens iris tennis gas grass chess series walrus cactus octopus platypus atlas news "
    "shorts specimen abdomen this is us yes 3ds analysis rhinoceros hippopotamus physics dog cheese house"
)


@pytest.fixture(scope="session")
def imagenet(shared):
    """The names of the 1,000 classes of ImageNet, as a model trained on them has them."""
    names = json.loads((shared / "zoo" / "mobilenetv1_025_224_keras.json").read_text())["class_names"]
    assert len(names) == 1_000
    return names


@pytest.fixture(scope="module")
def thesaurus():
    return load_thesaurus()


def how(wanted, labels, thesaurus):
    (found,) = coverage([wanted], labels, thesaurus).concepts
    return found.how, found.label


def share_by_table(wanted, labels, thesaurus):
    kept = index_concepts(labels)
    best = [
        max((weight for name, weight in concept.weights.items() if name in kept), default=0.0)
        for concept in query_concepts(wanted, thesaurus)
    ]
    return sum(best) / len(best)


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("tench, Tinca tinca", ("tench", "tinca tinca")),
        ("n01440764", ("n01440764",)),
        ("n02085620-Chihuahua", ("n02085620", "chihuahua")),
        ("T-shirt/top", ("t shirt", "top")),
        ("Airplanes", ("airplane",)),
        ("birds_of_prey", ("bird of prey",)),
        ("Aramus guarauna (Limpkin)", ("aramus guarauna", "limpkin")),
        ("crane (bird)", ("crane",)),
        ("001.Black_footed_Albatross", ("001 black footed albatross", "black footed albatross")),
        ("3: dog", ("3 dog", "dog")),
        ("1_star", ("1 star",)),
        ("__label__positive", ("positive",)),
        ("B-PER", ("b per", "per")),
        ("HerbaceousVegetation", ("herbaceousvegetation", "herbaceous vegetation")),
        ("Crème Brûlée", ("creme brulee",)),
        ("Grey wolf", ("gray wolf",)),
        ("N/A", ("n a",)),
        ("C++", ("c plus plus",)),
        ("猫", ("猫",)),
        ("がん", ("がん",)),
        ("+", ("+",)),
        ("7", ("7",)),
        ("7, seven", ("seven",)),
    ],
)
def test_a_label_gives_the_names_inside_it(label, names):
    assert concepts_of(label) == names


@pytest.mark.parametrize(
    "label", ["LABEL_3", "label 12", "class_0", "category 4", "12", "3.5", "1000", "", "  ", "idx7"]
)
def test_a_label_that_only_counts_is_no_concept(label):
    assert concepts_of(label) == ()


@pytest.mark.parametrize("pair", PLURALS.split("|"))
def test_a_plural_has_its_singular(pair):
    plural, one = pair.split()
    assert singular(plural) == one


@pytest.mark.parametrize("word", SINGULARS.split())
def test_a_singular_stays(word):
    assert singular(word) == word


def test_the_singular_of_a_singular_is_itself(imagenet):
    names = {name for label in imagenet for name in concepts_of(label)}
    assert {name for name in names if singular_phrase(name) != name} == set()


# --- coverage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "label", "expected"),
    [
        ("airplane", "airplane", "exact"),
        ("Hot dog", "hotdog", "exact"),
        ("airplane", "Airplanes", "plural"),
        ("people", "person", "plural"),
        ("aeroplane", "Airplanes", "synonym"),
        ("automobile", "car", "synonym"),
        ("cat", "tabby, tabby cat", "narrower"),
        ("retriever", "golden retriever", "narrower"),
        ("dog", "golden retriever", "narrower"),
        ("animal", "border terrier", "narrower"),
        ("n02085620", "n02085620-Chihuahua", "exact"),
        ("top", "T-shirt/top", "exact"),
        ("T shirt", "jersey, T-shirt, tee shirt", "exact"),
        ("mouse", "mouse, computer mouse", "narrower"),
        ("PER", "person", "synonym"),
        ("zero", "0", None),
        # a name of a narrower thing asks for more than a general label can give
        ("golden retriever", "dog", None),
        # words that say another kind than they are
        ("horse", "hippopotamus, hippo, river horse, Hippopotamus amphibius", None),
        ("lion", "sea lion", None),
        ("dog", "hotdog, hot dog, red hot", None),
        ("bear", "teddy, teddy bear", None),
        ("airplane", "plane, carpenter's plane, woodworking plane", None),
        ("spam", "not spam", None),
        ("person", "non_person", None),
        ("mask", "without_mask", None),
        ("glass", "eyeglasses", None),
        ("ship", "boat", None),
        ("LABEL_3", "LABEL_3", None),
    ],
)
def test_a_concept_is_covered_as_its_words_allow(wanted, label, expected, thesaurus):
    assert how(wanted, [label], thesaurus) == (expected, label if expected else None)


def test_the_best_cover_is_shown(thesaurus):
    labels = ["Persian cat", "kitty", "Cats", "cat"]
    assert [how("cat", labels[:n], thesaurus)[0] for n in (1, 2, 3, 4)] == ["narrower", "synonym", "plural", "exact"]


def test_cifar10_on_imagenet(thesaurus, imagenet):
    found = coverage(CIFAR10, imagenet, thesaurus)
    assert {concept.wanted for concept in found.concepts if concept.how is None} == {"deer"}
    assert {concept.how for concept in found.concepts} == {"narrower", None}
    assert found.share == pytest.approx(9 * NARROWER_WEIGHT / 10)
    assert {concept.wanted: concept.label for concept in found.concepts}["horse"] == "sorrel"


def test_fashion_on_imagenet(thesaurus, imagenet):
    found = coverage(FASHION, imagenet, thesaurus)
    assert [concept.how for concept in found.concepts] == [
        "exact", "narrower", None, "narrower", "narrower", "exact", "narrower", "synonym", "narrower", None,
    ]  # fmt: skip


def test_the_share_is_the_mean_weight_worked_by_hand(thesaurus):
    found = coverage(["cat", "automobile", "deer", "dogs"], ["tabby", "car", "dog"], thesaurus)
    assert [concept.weight for concept in found.concepts] == [0.8, 1.0, 0.0, 1.0]
    assert found.share == pytest.approx(0.7)
    assert found.words() == "covers 3 of 4 classes (cat by narrower tabby, automobile by synonym car; without deer)"


def test_nothing_wanted_and_nothing_labelled_is_a_share_of_zero(thesaurus):
    assert coverage([], ["cat"], thesaurus).share == 0
    assert coverage(["cat"], [], thesaurus).share == 0
    assert coverage(["cat"], [], thesaurus).words() == "covers 0 of 1 classes"


# --- digits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        pytest.param(DIGITS, True, id="ten-digits"),
        pytest.param(["0", "1"], False, id="two-unnamed-classes"),
        pytest.param(["0", "1", "2", "3", "4"], False, id="five-unnamed-classes"),
        pytest.param([str(n) for n in range(1000)], False, id="a-thousand-unnamed-classes"),
        pytest.param(["5", "6", "7", "8", "9"], True, id="digits-from-five"),
        pytest.param([*DIGITS, "A", "b", "Z"], True, id="digits-and-letters"),
        pytest.param(["5", "10", "20", "50"], False, id="bank-notes"),
        pytest.param(["-1", "0", "1"], False, id="signs"),
    ],
)
def test_numbers_are_concepts_where_they_are_digits(labels, meant):
    assert ("5" in index_concepts(labels) or "1" in index_concepts(labels)) is meant


def test_digits_are_covered_by_digits_and_by_their_words(thesaurus):
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert coverage(DIGITS, DIGITS, thesaurus).share == 1
    assert coverage(DIGITS, words, thesaurus).share == 1
    assert coverage(words, DIGITS, thesaurus).share == 1
    assert coverage(DIGITS, [str(n) for n in range(1000)], thesaurus).share == 0
    assert coverage(["0", "1"], DIGITS, thesaurus).share == 0


def test_a_query_of_unnamed_classes_says_that_it_asks_nothing(thesaurus):
    assert all(not concept.weights for concept in query_concepts(["LABEL_0", "LABEL_1", "0"], thesaurus))


# --- the inverted table ------------------------------------------------------------------------------------------


def test_the_table_gives_the_share_of_coverage(thesaurus, imagenet):
    rng = random.Random(0)
    shipped = [name.strip() for line in SHIPPED for name in line.replace(":", ",").split(",")]
    odd = [
        "LABEL_3",
        "",
        "N/A",
        "+",
        "猫",
        "n01440764",
        "crane (bird)",
        "not spam",
        "B-PER",
        "ducks",
        "glas ses",
        "a/b",
    ]
    names = [*shipped, *imagenet, *CIFAR10, *FASHION, *odd, *(name.title() + "s" for name in shipped)]
    for _ in range(400):
        wanted = rng.choices(rng.choice([names, DIGITS, CIFAR10, odd]), k=rng.randint(1, 8))
        labels = rng.choices(rng.choice([names, DIGITS, odd]), k=rng.randint(0, 60))
        assert share_by_table(wanted, labels, thesaurus) == pytest.approx(coverage(wanted, labels, thesaurus).share)
    assert share_by_table(CIFAR10, imagenet, thesaurus) == pytest.approx(0.72)


def test_the_order_of_labels_does_not_matter(thesaurus, imagenet):
    shuffled = random.Random(1).sample(imagenet, len(imagenet))
    assert index_concepts(shuffled) == index_concepts(imagenet)
    assert coverage(CIFAR10, shuffled, thesaurus).share == coverage(CIFAR10, imagenet, thesaurus).share


def test_the_table_does_not_depend_on_the_thesaurus(tmp_path, imagenet):
    (tmp_path / "own.txt").write_text("tench, doctor fish\n")
    before = index_concepts(imagenet)
    load_thesaurus(tmp_path / "own.txt")
    assert index_concepts(imagenet) == before


# --- the thesaurus -----------------------------------------------------------------------------------------------


def test_a_file_of_the_users_own_extends_the_thesaurus(tmp_path, thesaurus):
    own = tmp_path / "own.txt"
    own.write_text("# ours\n\nsnow vehicle, Skidoo\nSnow vehicle: snow groomer\nbear: Kodiak\n", encoding="utf-8")
    longer = load_thesaurus(own)
    assert how("skidoos", ["snow-vehicle"], thesaurus)[0] is None
    assert how("skidoos", ["snow-vehicle"], longer)[0] == "synonym"
    assert how("skidoo", ["snow groomer"], longer)[0] == "narrower"
    assert how("bear", ["kodiak"], longer)[0] == "narrower"
    assert how("bear", ["polar bear"], longer)[0] == "narrower"
    assert how("animal", ["kodiak"], longer)[0] == "narrower"
    assert how("automobile", ["car"], longer)[0] == "synonym"


def test_a_name_of_two_groups_does_not_join_them(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("jaguar, panthera onca\njaguar, jaguar cars\n")
    thesaurus = load_thesaurus(own)
    assert thesaurus.expand("jaguar") >= {"jaguar", "pantheraonca", "jaguarcar"}
    assert "jaguarcar" not in thesaurus.expand("panthera onca")


def test_kinds_that_go_in_a_circle_end(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("gizmo: widget\nwidget: gadget\ngadget: gizmo\n")
    assert load_thesaurus(own).narrower("gizmo") >= {"widget", "gadget", "~widget"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("car", "one name is no group"),
        ("car, ", "a name is missing"),
        ("car, LABEL_3", "'LABEL_3' is no name"),
        ("car: sedan: coupe", "a colon stands after one name, once"),
        ("car, auto: sedan", "a colon stands after one name, once"),
        (": sedan", "a name is missing"),
        ("car:", "a name is missing"),
        ("car, 42", "'42' is no name"),
    ],
)
def test_a_bad_line_is_named(line, reason, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text(f"boat, ferry\n\n{line}\n")
    with pytest.raises(UsageError) as raised:
        load_thesaurus(own)
    assert str(raised.value) == (
        "A file of synonyms needs a group of names on each line, as in 'car, automobile' or 'cat: tabby, Siamese cat'. "
        f"Got {line.strip()!r} on line 3 of {str(own)!r}: {reason}. Correct the line, or put '#' before it."
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"car, \xff\xfe\n")
    bad = {tmp_path / "gone.txt": "no such file", tmp_path / "binary": "it is no UTF-8", tmp_path: "is a directory"}
    for path, reason in bad.items():
        with pytest.raises(UsageError, match=reason) as raised:
            load_thesaurus(path)
        assert repr(str(path)) in str(raised.value)


def test_the_shipped_lines_say_something_each():
    assert len(SHIPPED) > 400
    seen = set()
    for line in SHIPPED:
        whole, colon, rest = line.partition(":")
        names = [key(singular_phrase(normalise(name))) for name in (rest if colon else whole).split(",")]
        assert len(set(names)) == len(names) >= (1 if colon else 2), line
        assert not colon or key(singular_phrase(normalise(whole))) not in names, line
        head = key(singular_phrase(normalise(whole))) if colon else line
        assert head not in seen, line
        seen.add(head)


def test_no_shipped_kind_is_also_the_whole(thesaurus):
    circles = {name for name in thesaurus.kinds if thesaurus.expand(name) & thesaurus.narrower(name)}
    assert circles == set()


def test_the_shipped_thesaurus_is_read_once():
    assert load_thesaurus() is load_thesaurus()
