import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from neuralrank.errors import UsageError
from neuralrank.fields import FIELDS
from neuralrank.queries.where import parse_where

DOCS = Path(__file__).resolve().parents[2] / "docs" / "where.md"
T, F, N = True, False, None


def ask(text: str, name: str, values: list[Any], kind: pa.DataType | None = None) -> list[bool | None]:
    """Evaluate a condition over one column."""
    answers: list[bool | None] = parse_where(text).evaluate(pa.table({name: pa.array(values, kind)})).to_pylist()
    return answers


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_where(text)
    return str(caught.value)


# --- what comparisons mean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params < 30M", [T, T, F, F, N]),
        ("30M > params", [T, T, F, F, N]),
        ("params <= 30 m", [T, T, T, F, N]),
        ("params == 30000k", [F, F, T, F, N]),
        ("params <> 0.03B", [T, T, F, T, N]),
        ("NOT params < 30M", [F, F, T, T, N]),
        ("params BETWEEN 29999999 AND 30M", [F, T, T, F, N]),
        ("params NOT BETWEEN 29999999 AND 30M", [T, F, F, T, N]),
        ("params BETWEEN 30M AND 1", [F, F, F, F, N]),
        ("params IN (7, 30M, -5)", [T, F, T, F, N]),
        ("params NOT IN (7, 30M)", [F, T, F, T, N]),
        ("params IS NULL", [F, F, F, F, T]),
        ("params IS NOT NULL", [T, T, T, T, F]),
        ("params > 29999999.5", [F, F, T, T, N]),
        ("params = 1.5", [F, F, F, F, N]),
        ("params != 1.5", [T, T, T, T, N]),
        ("params < 1e400", [T, T, T, T, N]),
        ("params > -1e400", [T, T, T, T, N]),
        ("params = 1e400", [F, F, F, F, N]),
        ("params <= 9223372036854775808", [T, T, T, T, N]),
        ("params = params", [T, T, T, T, N]),
    ],
)
def test_whole_numbers_are_compared_exactly(text: str, expected: list[bool | None]) -> None:
    assert ask(text, "params", [7, 29_999_999, 30_000_000, 30_000_001, None]) == expected


def test_whole_numbers_beyond_the_precision_of_floats_are_told_apart() -> None:
    values = [2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
    assert ask("downloads = 9007199254740993", "downloads", values) == [F, T, F, F]
    assert ask("downloads >= 9223372036854775807", "downloads", values) == [F, F, T, F]
    assert ask("downloads <= -9223372036854775808", "downloads", values) == [F, F, F, T]


def test_many_numbers_are_found_among_the_sorted() -> None:
    numbers = ", ".join(str(number) for number in range(90, 0, -3))
    assert ask(f"likes IN ({numbers})", "likes", [3, 4, 90, 91, None, -1]) == [T, F, T, F, N, F]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy = 0.1", [T, F, N, N]),
        ("accuracy < 0", [F, F, N, N]),
        ("accuracy <= 0", [F, T, N, N]),
        ("accuracy > 1e400", [F, F, N, N]),
        ("accuracy IS NULL", [F, F, T, T]),
        ("accuracy IN (0.1, 0)", [T, T, N, N]),
        ("accuracy = accuracy", [T, T, N, N]),
    ],
)
def test_other_numbers_are_floats_and_nan_is_missing(text: str, expected: list[bool | None]) -> None:
    assert ask(text, "accuracy", [0.1, -0.0, float("nan"), None]) == expected


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        ("4k", 4000), ("4KB", 4000), ("4KiB", 4096), ("4 MB", 4_000_000), ("4MIB", 4 * 2**20), ("4G", 4 * 10**9),
        ("4gb", 4 * 10**9), ("1.5GiB", 3 * 2**29), ("4T", 4 * 10**12), ("4TB", 4 * 10**12), ("4tib", 2**42),
        (".5kb", 500),
    ],
)  # fmt: skip
def test_sizes_count_bytes(size: str, n_bytes: int) -> None:
    assert ask(f"size = {size}", "size_bytes", [n_bytes - 1, n_bytes, n_bytes + 1]) == [F, T, F]


def test_a_size_in_quotes_is_a_text() -> None:
    assert ask("name = '30M' OR name LIKE '4GB%'", "name", ["30m", "30000000", "4GB model"]) == [T, F, T]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("license = 'MIT'", [T, T, F, F, N]),
        ("license != 'mit'", [F, F, T, T, N]),
        ("license IN ('mit', 'ÉTÉ')", [T, T, T, F, N]),
        ("license LIKE 'M%'", [T, T, F, F, N]),
        ("license ILIKE '%T'", [T, T, F, F, N]),
        ("license LIKE '%T%'", [T, T, T, F, N]),
        ("license LIKE '_t_'", [F, F, T, F, N]),
        ("license LIKE 'm_t'", [T, T, F, F, N]),
        ("license NOT LIKE 'm%t'", [F, F, T, T, N]),
        ("license LIKE '%'", [T, T, T, T, N]),
        ("license LIKE ''", [F, F, F, T, N]),
        ("license = ''", [F, F, F, T, N]),
        ("license > 'mi'", [T, T, T, F, N]),
        ("license BETWEEN 'M' AND 'mit'", [T, T, F, F, N]),
        ("license IS NULL", [F, F, F, F, T]),
    ],
)
@pytest.mark.parametrize("dictionary", [False, True])
def test_case_does_not_matter_in_texts(text: str, expected: list[bool | None], dictionary: bool) -> None:
    kind = pa.dictionary(pa.int32(), pa.string()) if dictionary else pa.string()
    assert ask(text, "license", ["mit", "MIT", "été", "", None], kind) == expected


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"LIKE '100\%'", ["100%"]),
        ("LIKE '100!%' ESCAPE '!'", ["100%"]),
        ("LIKE '100%'", ["100%", "1000", "100\n"]),
        (r"LIKE '100_'", ["100%", "1000", "100\n"]),
        (r"LIKE '%\\%'", ["a\\b"]),
        (r"LIKE '%\%' ESCAPE '!'", ["a\\b"]),
        (r"LIKE 'a\b' ESCAPE '!'", ["a\\b"]),
        ("LIKE 'x.y'", []),
        ("LIKE '%(%)%'", ["f(x)"]),
        ("LIKE 'f%_)'", ["f(x)"]),
    ],
)
def test_like_escapes_and_takes_other_characters_as_they_are(pattern: str, found: list[str]) -> None:
    names = ["100%", "1000", "100\n", "a\\b", "xzy", "f(x)"]
    answers = ask(f"name {pattern}", "name", names)
    assert [name for name, answer in zip(names, answers, strict=True) if answer] == found


def test_a_match_across_two_texts_is_none() -> None:
    assert ask("name LIKE '%ab%'", "name", ["xa", "bx", "a", "", "b", "xxab"]) == [F, F, F, F, F, T]


def test_a_part_that_is_nearly_everywhere_is_found() -> None:
    assert ask("name LIKE '%aa%'", "name", ["aaaaaaaa"] * 40 + ["ab"]) == [T] * 40 + [F]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tags = 'b'", [F, T, N, N, F, N]),
        ("tags != 'b'", [T, F, N, N, T, N]),
        ("NOT tags = 'b'", [T, F, N, N, T, N]),
        ("tags IN ('A', 'b')", [T, T, N, N, F, N]),
        ("tags NOT IN ('A', 'b')", [F, F, N, N, T, N]),
        ("tags LIKE 'c%'", [F, T, N, N, T, N]),
        ("tags NOT LIKE 'c%'", [T, F, N, N, F, N]),
        ("tags BETWEEN 'b1' AND 'b9'", [F, F, N, N, F, N]),
        ("tags IS NULL", [F, F, T, T, F, T]),
    ],
)
@pytest.mark.parametrize("members", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_comparison_with_a_list_needs_one_member(
    text: str, expected: list[bool | None], members: pa.DataType
) -> None:
    lists = pa.array([["a"], ["b", "c"], [], None, ["c", None], [None]], pa.list_(pa.string()))
    values = lists.values if members == pa.string() else lists.values.dictionary_encode()
    column = pa.ListArray.from_arrays(lists.offsets, values, mask=lists.is_null())
    assert parse_where(text).evaluate(pa.table({"tags": column})).to_pylist() == expected
    assert parse_where(text).evaluate(pa.table({"tags": column}).slice(1, 3)).to_pylist() == expected[1:4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("created = '2024'", [F, T, T, F, N]),
        ("created != '2024'", [T, F, F, T, N]),
        ("created > '2024'", [F, F, F, T, N]),
        ("created >= '2024'", [F, T, T, T, N]),
        ("created < '2024'", [T, F, F, F, N]),
        ("created <= '2024'", [T, T, T, F, N]),
        ("'2024' < created", [F, F, F, T, N]),
        ("created = '2024-01'", [F, T, F, F, N]),
        ("created BETWEEN '2024-01' AND '2024-12-31'", [F, T, T, F, N]),
        ("created IN ('2023', '2025-01-01')", [T, F, F, T, N]),
        ("created = '2024-01-01T00:00:00Z'", [F, T, F, F, N]),
        ("created = '2024-01-01 01:00+01:00'", [F, T, F, F, N]),
        ("created > '2024-12-31t23:59:59.999998'", [F, F, T, T, N]),
        ("created > '2024-12-31T23:59:59'", [F, F, F, T, N]),
        ("created > '9999'", [F, F, F, F, N]),
        ("created > '0000'", [T, T, T, T, N]),
        ("created IS NULL", [F, F, F, F, T]),
    ],
)
@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_date_is_the_time_that_it_names(text: str, expected: list[bool | None], unit: str) -> None:
    moments = [(2023, 12, 31, 23, 59, 59, 999_999), (2024, 1, 1), (2024, 12, 31, 23, 59, 59, 999_999), (2025, 1, 1)]
    values = [*(datetime(*moment, tzinfo=UTC) for moment in moments), None]
    assert ask(text, "created", values, pa.timestamp(unit, tz="UTC")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loadable", [T, F, N]),
        ("NOT loadable", [F, T, N]),
        ("loadable = true", [T, F, N]),
        ("loadable != TRUE", [F, T, N]),
        ("FALSE = loadable", [F, T, N]),
        ("loadable IN (TRUE, FALSE)", [T, T, N]),
        ("loadable IS NULL", [F, F, T]),
        ("NOT NOT loadable", [T, F, N]),
    ],
)
def test_a_truth_value_stands_alone_or_is_compared(text: str, expected: list[bool | None]) -> None:
    assert ask(text, "loadable", [True, False, None]) == expected


def test_unknown_joins_by_the_logic_of_sql() -> None:
    table = pa.table({"loadable": [T, T, T, F, F, F, N, N, N], "params": [1, 0, N, 1, 0, N, 1, 0, N]})
    both, either = parse_where("loadable AND params = 1"), parse_where("loadable OR params = 1")
    assert both.evaluate(table).to_pylist() == [T, F, N, F, F, F, N, F, N]
    assert either.evaluate(table).to_pylist() == [T, T, T, T, F, N, T, N, N]


def test_not_binds_tighter_than_and_and_and_tighter_than_or() -> None:
    table = pa.table({"loadable": [T, F], "params": [1, 1], "likes": [0, 0]})
    assert parse_where("params = 1 OR likes = 1 AND loadable").evaluate(table).to_pylist() == [T, T]
    assert parse_where("(params = 1 OR likes = 1) AND loadable").evaluate(table).to_pylist() == [T, F]
    assert parse_where("NOT loadable AND likes = 0").evaluate(table).to_pylist() == [F, T]
    assert parse_where("NOT (loadable AND likes = 0)").evaluate(table).to_pylist() == [F, T]


def test_two_fields_compare() -> None:
    table = pa.table({"downloads": [1, 5, N], "likes": [2, 5, 1]})
    assert parse_where("downloads < likes").evaluate(table).to_pylist() == [T, F, N]
    assert parse_where("downloads != likes").evaluate(table).to_pylist() == [T, F, N]


# --- how tables come ---------------------------------------------------------------------------------------------


def test_fields_are_named_once_in_the_order_of_their_mention() -> None:
    condition = parse_where("Licence = 'mit' AND (size < 3 OR PARAMS > memory) AND license IS NOT NULL")
    assert condition.fields == ("license", "size_bytes", "params", "memory_bytes")
    assert condition.text.startswith("Licence")


@pytest.mark.parametrize(
    "cut",
    [
        lambda table: table,
        lambda table: table.slice(1),
        lambda table: table.to_batches()[0],
        lambda table: pa.concat_tables([table.slice(0, 2), table.slice(2)]),
        lambda table: table.slice(0, 0),
        lambda table: table.schema.empty_table(),
        lambda table: table.set_column(1, "name", table["name"].cast(pa.large_string())),
    ],
)
def test_tables_may_be_sliced_chunked_empty_or_batches(cut: Callable[[pa.Table], Any]) -> None:
    rows = {"params": [1, 2, None, 4], "name": ["bert", "été", None, "robert"], "tags": [["a"], [], None, ["b", "a"]]}
    table = pa.table(rows).append_column("license", pa.array(["mit", None, "mit", "gpl"]).dictionary_encode())
    chunk = cut(table)
    n_before = 4 - chunk.num_rows
    results = {
        "params < 4": [T, T, N, F],
        "name LIKE '%bert%'": [T, F, N, T],
        "name = 'ÉTÉ'": [F, T, N, F],
        "tags = 'a'": [T, N, N, T],
        "license = 'mit'": [T, N, T, F],
    }
    for text, expected in results.items():
        result = parse_where(text).evaluate(chunk)
        assert isinstance(result, pa.BooleanArray)
        assert result.to_pylist() == expected[n_before:]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_column_of_nulls_alone_may_have_no_type(field: Any) -> None:
    table = pa.table({field.name: pa.nulls(3)})
    assert parse_where(f"{field.name} IS NULL").evaluate(table).to_pylist() == [T, T, T]
    assert parse_where(f"NOT {field.name} IS NULL").evaluate(table).to_pylist() == [F, F, F]
    value = {"text": "'x'", "list": "'x'", "date": "'2024'", "boolean": "TRUE"}.get(field.kind, "1")
    assert parse_where(f"{field.name} = {value}").evaluate(table).to_pylist() == [N, N, N]


def test_dictionaries_may_hold_null_or_more_than_the_rows() -> None:
    indices = pa.array([0, 1, 2, None])
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["mit", None, "gpl"]))
    assert parse_where("license = 'mit'").evaluate(pa.table({"license": column})).to_pylist() == [T, N, F, N]
    assert parse_where("license IS NULL").evaluate(pa.table({"license": column})).to_pylist() == [F, T, F, T]
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["mit", "gpl", "x", *map(str, range(99))]))
    assert parse_where("license = 'gpl'").evaluate(pa.table({"license": column})).to_pylist() == [F, T, F, N]


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "A condition needs at least one comparison. Got ''. Write for example params < 30M."),
        (
            "params = 'x'",
            "params is a whole number and needs a number without quotes. Got \"params = 'x'\". "
            "Write for example params < 30M.",
        ),
        ("license = mit", "A text needs single quotes. Got 'license = mit'. Write 'mit'."),
        ('license = "mit"', "A text needs single quotes. Got 'license = \"mit\"'. Write 'mit'."),
        (
            "created < updatde",
            "A text needs single quotes. Got 'created < updatde'. Write 'updatde', or updated for the field.",
        ),
        ("params < 30MB", "params is a whole number, which no size in bytes compares with. Got 'params < 30MB'. "
         "Write for example params < 30M."),
        ("size < 7B", "size_bytes needs a size that says bytes, because B alone could mean billions. Got 'size < 7B'. "
         "Write for example size_bytes < 4GB, or the number of bytes alone."),
        ("created = 2024", "created is a date and needs one in single quotes, such as '2024', '2024-05' or "
         "'2024-05-17'. Got 'created = 2024'. Write for example created >= '2024-05'."),
        ("created > 2024-05-17", "A date needs single quotes, and arithmetic is no part of a condition. "
         "Got '2024-05-17'. Write '2024-05-17'."),
        ("name = 3", "name is a text and compares with texts. Got 'name = 3'. Write the value in single quotes."),
        ("license = NULL", "After a comparison stands a field or value. Got '= NULL'. Write for example "
         "license IS NULL, license IS NOT NULL or loadable = TRUE."),
        ("lower(name) = 'x'", "A condition compares fields with values, without functions, arithmetic, CASE, CAST or "
         "SELECT. Got \"lower(name) = 'x'\". Write for example params < 30M AND license IN ('mit', 'apache-2.0')."),
        ("params = 1; DROP TABLE models", "A condition has only fields, values, comparisons, AND, OR, NOT and "
         "parentheses. Got '; DROP TABLE models'. Take this out, or put it in single quotes if it belongs to a text."),
        ("params = 1 OR 1=1", "A comparison needs a field on one side and a value on the other. Got '1=1'. "
         "Write for example params < 30M AND license IN ('mit', 'apache-2.0')."),
        ("name = 'it's'", "A quote that is opened needs to be closed. Got \"'\". "
         "Write a quote inside a text twice: 'it''s'."),
        ("(params = 1", "An opening parenthesis needs a closing one. Got '(params = 1'. Add ')' where it ends."),
        ("params < 1,5B", "Commas stand between the values of IN only. Got '1,'. "
         "Write decimals with a point, and join comparisons by AND or OR."),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_needed_what_was_got_and_what_to_do(text: str, message: str) -> None:
    assert refusal(text) == message


def test_an_unknown_field_gets_the_nearest_and_all() -> None:
    message = refusal("parms < 30M")
    assert message.startswith("Unknown field 'parms'. Did you mean 'params'? Available: model_id, source, name, ")
    assert all(field.name in message for field in FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "params", "TRUE", "'x'", "()", "params <", "< 3", "AND", "params = 1 AND", "params = 1 b c", "params = 1 likes",
        "params = 1 OR", "NOT", "params IN ()", "params IN (1", "params IN 1", "params IN (1,)", "params IN (likes)",
        "params IN (NULL)", "params IN (SELECT 1)", "params BETWEEN 1", "params BETWEEN 1 AND",
        "params BETWEEN likes AND 3",
        "params LIKE '1'", "name LIKE 3", "name LIKE name", r"name LIKE 'a\'", "name LIKE 'a' ESCAPE ''",
        "name ESCAPE '!'",
        "name LIKE 'a' ESCAPE 'ab'", f"name LIKE '{'a' * 251}'", "params IS 3", "params IS", "params NOT IS NULL",
        "params NOT NULL", "loadable IS TRUE", "loadable > FALSE", "loadable = 1", "loadable BETWEEN TRUE AND TRUE",
        "params < accuracy", "name = license", "tags = languages", "created = '17.5.2024'", "created = '2024-13'",
        "created = '2024-02-30'", "created = '2024-05-17T25:00'", "created = '2024-05-17T12'", "created LIKE '2024%'",
        "params < 1 < 2", "params + 1 = 2", "params = -likes", "params = - -1", "-params = 1", "(params) = 1",
        "params = (1)", "(params = 1) = (likes = 1)", "params = 1e9999", f"params = {'9' * 401}", "params = 0x10",
        "params = 1_000", "params.x = 1", "params = 1 -- x", "params = 1 /* x */", "params::int = 1", "params := 1",
        "{{ params }} = 1", "params = ?", "params = :x", "params = @x", "params = $1", "`params` = 1", "[params] = 1",
        "name || 'a' = 'b'", "name ~ 'a'", "name GLOB 'a'", "CASE WHEN loadable THEN TRUE END",
        "CAST(params AS text) = '1'",
        "name = 'a' 'b'", "name = N'a'", "name = E'a'", "created = DATE '2024'", "params = 1)",
        "params IS NOT DISTINCT FROM 1",
        "params <=> 1", "EXISTS (SELECT 1)", "params = 1 UNION SELECT 1", "license = ‘mit’", "params\0 = 1", "\ud800",
        "name = '\ud800'", "ESCAPE", "LIKE", "IN", "NULL",
        "x" * 10_001, "(" * 101 + "loadable" + ")" * 101, "NOT " * 11 + "loadable",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_in_three_short_sentences(text: str) -> None:
    message = refusal(text)
    assert "\n" not in message
    assert re.match(r"Unknown field .* Available: |.+\. Got .*\. [A-Z].*\.$", message)
    assert len(message) < 460


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100 + "loadable" + ")" * 100,
        "NOT (" * 100 + "loadable" + ")" * 100,
        "NOT " * 10 + "loadable",
        " OR ".join(["loadable"] * 830),
        "OR".join(["(loadable)"] * 830),
        "NOT loadable AND loadable OR " * 340 + "loadable",
    ],
    ids=["parentheses", "negated parentheses", "not", "chain", "groups", "mixed"],
)
def test_what_is_allowed_does_not_exhaust_the_stack(text: str) -> None:
    def below(n_frames: int) -> list[bool | None]:
        return below(n_frames - 1) if n_frames else ask(text, "loadable", [True, None])

    assert len(text) <= 10_000
    assert below(sys.getrecursionlimit() - 600) == [T, N]


def test_the_parser_says_nothing_of_its_own(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in ("DROP TABLE x", "SHOW params", "params = 1 ESCAPE 'x'", "params < 1 < 2"):
            refusal(text)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_lists_every_field() -> None:
    lines = [line for line in DOCS.read_text().split("## Fields")[1].splitlines() if line.startswith("| `")]
    assert lines == [f"| `{field.name}` | {field.kind} | {field.unit} | {field.help} |" for field in FIELDS]


def test_the_examples_of_the_page_are_conditions() -> None:
    page = DOCS.read_text()
    examples = page.split("```")[1].strip().splitlines()
    examples += re.findall(r"`([a-z]+ (?:NOT )?(?:=|!=|<|>|<=|>=|IN|LIKE|BETWEEN|IS) [^`…]+)`", page)
    assert len(examples) > 20
    for example in examples:
        parse_where(example)
