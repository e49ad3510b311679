"""What a label is a kind of, as its words say it: a golden retriever is a retriever, a hot dog is no dog.

In English the last word of a compound is the general one. That holds for most class names and fails for some; the
exceptions that are classes of well-known data sets are listed here.
"""

_JOINTS = frozenset({"of", "in", "with", "on", "at", "by", "for", "and", "or", "to", "from", "the", "a", "an", "vs"})
_DENIALS = frozenset({"not", "no", "non", "without", "never", "anti", "un", "fake", "toy", "mock", "model", "pseudo"})
_MOST_WORDS = 3

_NOT_OF_THEIR_KIND = frozenset(
    name.strip()
    for name in """
    ant lion|baseball bat|bear cat|bee house|bird cage|bird house|blood vessel
    book jacket|bottle cap|brass band|butter cup|butter fly|cable car|carpenters plane|cat bear|christmas tree
    clay pigeon|clothes horse
    computer mouse|coon bear|cow bell|cray fish|credit card|cricket bat|crane fly|custard apple|cuttle fish|dark glasses
    decision tree|dog house|doll house|dragon fly|dust jacket|eating house|egg plant|english horn|family tree
    field glasses|finger nail|fire fly|fire house|flying fox|fog horn|freight car|french horn|green house|guinea pig
    gummy bear|heart attack|horse chestnut|horse fly|hot dog|hot pot|jelly fish|kangaroo bear|koala bear|lens cap
    light house|madagascar cat|monkey dog|movie house|mud puppy|native bear|opera glasses|paper tiger|party animal
    passenger car|pepper corn|pine apple|picture palace|pommel horse|pop corn|power house|prairie chicken|prairie dog
    prairie fowl|railroad car|railway car|red hot|river horse|rocking horse|rubber band|rubber duck|sand dollar
    saw horse|sea anemone|sea cow|sea cucumber|sea horse|sea lion|sea urchin|sea wolf|shoe horn|shoe tree|silver fish
    sim card|snow man|space bar|star fish|street car|sweet potato|teddy bear|toe nail|tram car|tree house|trojan horse
    trolley car|walking stick|water bear|weather vane
    woodworking plane|yellow ladys slipper""".replace("\n", "|").split("|")
)


def broader_words(name: str) -> tuple[str, ...]:
    """Return the last words of a name, which say what it is a kind of, longest first; none where they do not say it.

    Args:
        name: normalised, its head in the singular.

    Example:
        >>> broader_words("german short haired pointer"), broader_words("not spam"), broader_words("hot dog")
        (('short haired pointer', 'haired pointer', 'pointer'), (), ())
    """
    words = name.split()
    if _JOINTS.intersection(words) or _DENIALS.intersection(words):
        return ()
    ends = [" ".join(words[-n:]) for n in range(min(_MOST_WORDS, len(words) - 1), 0, -1)]
    denied = {" ".join(words[-n:]) for n in range(2, len(words) + 1)} & _NOT_OF_THEIR_KIND
    shortest = min((len(end.split()) for end in denied), default=0)
    return tuple(end for end in ends if len(end) >= 3 and not end.isdecimal() and len(end.split()) >= shortest)
