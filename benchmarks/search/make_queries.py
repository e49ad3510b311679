"""Write queries.jsonl: judge every model of models.jsonl for every query of judged_queries.txt.

    python benchmarks/search/make_queries.py

A line of that file is `kind | query | exact || fits || marginal`. A grade is given to the models for which one of its
alternatives, separated by ` | `, holds; the highest grade counts. An alternative holds if all its terms do:

    birds                one of the facts, the task, the modality
    lang:de  set:NAME    one of the languages; the label set
    data:squad*  base:*  a name of pretraining data or of a base model matches, in lower case
    label:anger          one of the labels is exactly this
    ~microsoft/resnet-*  the name matches, in lower case
    <3M                  known parameters are fewer, in millions
    -backbone            the term does not hold

The terms speak of facts, most of which no search sees: they were written down with the models and judged before any
search was run. Half of the queries of each kind, drawn with a seed, is for tuning, the other half for reporting.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from entries import HERE, Query, read_rows

QUERIES = HERE / "queries.jsonl"
SEED = 20_261_201
Row = Mapping[str, Any]


def main() -> None:
    """Write the file."""
    queries = list(judge(read_rows()))
    QUERIES.write_text("".join(json.dumps(vars(query), ensure_ascii=False) + "\n" for query in queries))
    print(f"{len(queries)} queries, {sum(len(query.relevant) for query in queries)} judgements above 0")


def judge(rows: Sequence[Row]) -> Iterator[Query]:
    """Yield every query with the grades of the rows."""
    known = {word for row in rows for word in words(row)}
    lines = [line for line in (HERE / "judged_queries.txt").read_text().splitlines() if not line.startswith("#")]
    parsed = [parse(line) for line in lines]
    halves = draw_halves([kind for kind, _, _ in parsed])
    for number, (kind, text, rules) in enumerate(parsed):
        for term in {term.removeprefix("-") for rule in rules for alternative in rule for term in alternative}:
            if not any(mark in term for mark in ":~<") and term not in known:
                raise ValueError(f"No model has the fact {term!r}. Got it in the query {text!r}. Mend one of the two.")
        relevant = {row["name"]: grade for row in rows if (grade := grade_of(row, rules))}
        yield Query(id=f"q{number:03}", text=text, kind=kind, half=halves[number], relevant=relevant)


def parse(line: str) -> tuple[str, str, list[list[list[str]]]]:
    """Return kind, text, and for the grades 3, 2 and 1 their alternatives as lists of terms."""
    kind, text, rest = line.split(" | ", maxsplit=2)
    rules = [[alternative.split() for alternative in grade.split(" | ")] for grade in rest.split("||")]
    return kind.strip(), text.strip(), [[alternative for alternative in rule if alternative] for rule in rules]


def grade_of(row: Row, rules: Sequence[Sequence[Sequence[str]]]) -> int:
    """Return 3, 2, 1 or 0."""
    for grade, rule in zip((3, 2, 1), rules, strict=True):
        if any(all(holds(row, term) for term in alternative) for alternative in rule):
            return grade
    return 0


def words(row: Row) -> set[str]:
    """Return what a term without a mark may name."""
    return {*row["facts"], row.get("task", ""), row.get("modality", "")}


def holds(row: Row, term: str) -> bool:
    """Say whether one term holds."""
    if term.startswith("-"):
        return not holds(row, term[1:])
    if term.startswith("~"):
        return fnmatchcase(row["name"].lower(), term[1:])
    if term.startswith("<"):
        return bool(row.get("params", float("inf")) < float(term[1:-1]) * 1e6)
    mark, _, pattern = term.rpartition(":")
    return MARKS[mark](row, pattern)


def any_of(field: str) -> Callable[[Row, str], bool]:
    """Return the test whether one text of a list matches."""
    return lambda row, pattern: any(fnmatchcase(text.lower(), pattern) for text in row.get(field, ()))


MARKS: Mapping[str, Callable[[Row, str], bool]] = {
    "": lambda row, word: word in words(row),
    "lang": any_of("languages"),
    "data": any_of("pretraining_data"),
    "base": any_of("base_model"),
    "label": lambda row, label: label in {name.lower() for name in row.get("label_names", ())},
    "set": lambda row, name: row.get("label_set") == name,
}


def draw_halves(kinds: Sequence[str], seed: int = SEED) -> list[str]:
    """Return 'tune' or 'report' for each query, half and half within each kind."""
    rng, members = random.Random(seed), defaultdict(list)
    for number, kind in enumerate(kinds):
        members[kind].append(number)
    halves = [""] * len(kinds)
    for kind in sorted(members):
        drawn = ["tune", "report"] * (len(members[kind]) // 2) + [rng.choice(("tune", "report"))]
        drawn = drawn[: len(members[kind])]
        rng.shuffle(drawn)
        for number, half in zip(members[kind], drawn, strict=True):
            halves[number] = half
    return halves


if __name__ == "__main__":
    main()
