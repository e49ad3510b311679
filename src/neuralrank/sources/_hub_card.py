"""The prose of a model card as plain text: what a search looks through, not what is shown."""

import re

MAX_READ = 60_000
MAX_TEXT = 2_000

_TAG = re.compile(r"<[^<>\n]{1,300}>")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)")
_ADDRESS = re.compile(r"https?://\S+")


def prose(card: str) -> str:
    r"""Return the words of a card without front matter, code, tables, addresses and marks.

    Example:
        >>> prose("---\nlicense: mit\n---\n# A *net*\n\nSee [paper](http://x.y).\n```py\nimport x\n```\n|a|b|\n")
        'A net See paper.'
    """
    words: list[str] = []
    fence = ""
    for line in _body(card[:MAX_READ]).splitlines():
        start = line.lstrip()[:3]
        if start in ("```", "~~~") and fence in ("", start):
            fence = "" if fence else start
        elif not fence and not start.startswith("|"):
            words += _plain(line).split()
    kept = "".join(char for char in " ".join(words) if char.isprintable())
    return kept if len(kept) <= MAX_TEXT else kept[:MAX_TEXT].rsplit(" ", 1)[0]


def _body(card: str) -> str:
    card = card.removeprefix("\ufeff")
    if not card.startswith("---"):
        return card
    end = card.find("\n---", 3)
    return card[end + 4 :] if end >= 0 else ""


def _plain(line: str) -> str:
    line = _TAG.sub(" ", _ADDRESS.sub(" ", _LINK.sub(r"\1", line)))
    return line.replace("*", "").replace("`", "").strip(" #>-+=_")
