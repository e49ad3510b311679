"""English words: plural to singular, and one spelling of those that have two.

Rules and short tables, no dictionary. The result is a key to compare by, not always a word of the language: 'trousers'
becomes 'trouser'. What matters is that two different things do not become one.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IRREGULAR = {
    "people": "person", "children": "child", "mice": "mouse", "lice": "louse", "geese": "goose", "teeth": "tooth",
    "feet": "foot", "oxen": "ox", "mongooses": "mongoose", "axes": "axe", "buses": "bus", "pluses": "plus",
    "cacti": "cactus", "fungi": "fungus", "nuclei": "nucleus", "octopi": "octopus", "hippopotami": "hippopotamus",
    "alumni": "alumnus", "bacilli": "bacillus", "cocci": "coccus", "radii": "radius", "stimuli": "stimulus",
    "bacteria": "bacterium", "larvae": "larva", "pupae": "pupa", "algae": "alga", "antennae": "antenna",
    "vertebrae": "vertebra", "crises": "crisis", "analyses": "analysis", "diagnoses": "diagnosis", "oases": "oasis",
    "hypotheses": "hypothesis", "metastases": "metastasis", "keratoses": "keratosis", "psychoses": "psychosis",
    "stenoses": "stenosis", "indices": "index", "matrices": "matrix", "vertices": "vertex", "nevi": "nevus",
    "naevi": "naevus", "wolves": "wolf", "leaves": "leaf", "knives": "knife", "wives": "wife", "lives": "life",
    "shelves": "shelf", "bookshelves": "bookshelf", "halves": "half", "calves": "calf", "loaves": "loaf",
    "thieves": "thief", "scarves": "scarf", "hooves": "hoof", "elves": "elf", "dwarves": "dwarf",
    "handkerchieves": "handkerchief", "quizzes": "quiz", "headaches": "headache", "moustaches": "moustache",
    "mustaches": "mustache", "avalanches": "avalanche", "quiches": "quiche", "niches": "niche", "caches": "cache",
    "brioches": "brioche", "porsches": "porsche", "gases": "gas", "lenses": "lens", "irises": "iris",
    "atlases": "atlas", "canvases": "canvas", "aliases": "alias", "biases": "bias", "thermoses": "thermos",
    "rhinoceroses": "rhinoceros", "albatrosses": "albatross", "excuses": "excuse", "menus": "menu", "emus": "emu",
    "gnus": "gnu", "gurus": "guru", "tofus": "tofu", "men": "man",
}  # fmt: skip

_SINGULAR_IN_S = _words(
    # nouns that end in s and are no plural, and plurals whose singular is another thing
    """as alias asparagus asbestos atlas bias bus canvas chaos christmas cosmos customs gas goods hermes hers his
    ibis its kudos lens los madras mars news oasis pampas paris pathos plus rhinoceros series shorts species texas
    thermos this us vas was yes always perhaps pancreas physics mathematics politics economics athletics gymnastics
    electronics linguistics statistics genetics robotics optics acoustics graphics aerobics ethics lupus humus
    logistics ceramics cosmetics mercedes adidas asics wales"""
)  # fmt: skip
_PLURAL_IN_IS = _words(
    """alibis bikinis bonsais chilis corgis emojis graffitis houris khakis kiwis kepis macaronis martinis okapis
    rabbis raviolis safaris salamis saris skis taxis titis tsunamis wasabis wapitis yetis zucchinis cannolis"""
)  # fmt: skip
_MAN_EXCEPT = _words(
    "specimen abdomen omen stamen regimen hymen ramen acumen yemen semen cyclamen lumen bitumen examen"
)
_KEEPS_IE = _words(
    """cookie movie zombie calorie brownie collie birdie hoodie smoothie selfie genie magpie prairie pixie budgie
    rookie veggie hippie junkie groupie kiddie aerie eerie bowtie necktie pie tie die lie bougie talkie bookie
    newbie walkie quickie cutie goalie beanie boogie bogie bootie laddie lassie menagerie camaraderie coterie
    rotisserie patisserie brasserie lingerie reverie sortie"""
)  # fmt: skip
_KEEPS_OE = ("shoe", "toe", "canoe", "oboe", "hoe", "doe", "foe", "roe", "floe", "aloe", "sloe")

_SPELLINGS = {
    "grey": "gray", "colour": "color", "coloured": "colored", "tyre": "tire",
    "centre": "center", "theatre": "theater", "metre": "meter", "fibre": "fiber", "jewellery": "jewelry",
    "pyjama": "pajama", "pyjamas": "pajamas", "doughnut": "donut", "yoghurt": "yogurt", "moustache": "mustache",
    "plough": "plow", "snowplough": "snowplow", "racquet": "racket", "licence": "license", "harbour": "harbor",
    "armour": "armor", "armoured": "armored", "tumour": "tumor", "naevus": "nevus", "whisky": "whiskey",
    "aluminium": "aluminum", "sulphur": "sulfur", "organisation": "organization", "humour": "humor",
    "odour": "odor", "vapour": "vapor", "neighbour": "neighbor", "oesophagus": "esophagus", "haemorrhage": "hemorrhage",
    "anaemia": "anemia", "leukaemia": "leukemia", "oedema": "edema", "diarrhoea": "diarrhea", "woollen": "woolen",
    "axe": "ax", "disc": "disk", "programme": "program", "cheque": "check", "storey": "story",
    "behaviour": "behavior", "favourite": "favorite", "mould": "mold", "omelette": "omelet", "catalogue": "catalog",
}  # fmt: skip


def singular(word: str) -> str:
    """Return the singular of one lower-case English noun; a word that is no plural comes back as it is.

    Example:
        >>> [singular(word) for word in ("cars", "cherries", "boxes", "wolves", "women", "glass", "bus", "species")]
        ['car', 'cherry', 'box', 'wolf', 'woman', 'glass', 'bus', 'species']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("men") and word not in _MAN_EXCEPT and len(word) > 4:
        return word[:-3] + "man"
    if len(word) <= 3 or not word.endswith("s") or not word.isalpha() or word in _SINGULAR_IN_S:
        return word
    if word.endswith("es"):
        return _without_es(word)
    if word.endswith(("ss", "us")) or (word.endswith("is") and word not in _PLURAL_IN_IS):
        return word
    return word[:-1]


def _without_es(word: str) -> str:
    """Return the singular of a word in -es that is a plural."""
    stem = word[:-2]
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _KEEPS_IE else word[:-3] + "y"
    if word.endswith("oes"):
        return word[:-1] if word[:-1].endswith(_KEEPS_OE) and not word.endswith(("atoes", "otoes")) else stem
    if stem.endswith(("ss", "sh", "ch", "x", "tz", "zz")):
        return stem
    if stem.endswith("us") and not stem.endswith("ous") and len(stem) > 4:  # viruses, but houses and fuses
        return stem
    return word[:-1]


def one_spelling(word: str) -> str:
    """Return the spelling that stands for both of a word that has two: 'gray' for 'grey'."""
    return _SPELLINGS.get(word, word)
