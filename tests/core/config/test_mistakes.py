"""Every mistake in a file is one line: the file, the line of the nearest key, the path, what was found and expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.core.config import ConfigError, load, loads
from pipeline.errors import InputError

GOOD = (Path(__file__).parent / "good.toml").read_text()

# What is replaced in the good file, by what; then the path and a part of the message of the only mistake.
MISTAKES = [
    # names that nobody knows
    ("commit_interval", "commit_intervall", "app.commit_intervall", 'did you mean "commit_interval"?'),
    ('topic = "raw"', 'topic = "raw"\ntimeunit = "s"', "streams.raw.timeunit", 'did you mean "time_unit"?'),
    ('output = "pl', 'outputs = "pl', "tables.player.outputs", 'did you mean "output"?'),
    ('"mean"', '"maen"', "tables.player.operators.average.type", 'operator "maen"'),
    ('"mean"', '"maen"', "tables.player.operators.average.type", 'did you mean "mean"?'),
    ('stream = "scores"', 'stream = "scorse"', "tables.player.stream", 'did you mean "scores"?'),
    (', half_life = "30s"', ', half_lief = "30s"', "tables.player.operators.recent.half_lief", '"half_life"?'),
    ('"count" }', '"count", value = "x" }', "tables.player.operators.games.value", 'unknown option "value"'),
    ("[streams.raw]", "[stream.x]\n[streams.raw]", "stream", 'did you mean "streams"?'),
    (
        '["x", "y"]',
        '["x", "z"]',
        "tables.machine.operators.memory.key[1]",
        'unknown field "z", expected "k", "x" or "y"',
    ),
    ("vectors = { k = 2 }", "vectors = { k = 2, z = 2 }", "streams.raw.vectors.z", 'unknown field "z"'),
    # wrong types and values
    ('name = "arcade"', "name = 5", "app.name", "found 5, expected a name"),
    ('name = "arcade"', 'name = "ar cade"', "app.name", 'found "ar cade", expected a name'),
    ('name = "arcade"', 'name = "arcade\\n"', "app.name", "expected a name"),
    ('name = "arcade"', 'name = "' + "a" * 201 + '"', "app.name", "at most 200"),
    ("[streams.raw]", '[streams."r w"]\ntopic = "w"\n[streams.raw]', 'streams."r w".name', 'found "r w"'),
    ('"game-scores"', '"game scores"', "streams.scores.topic", 'found "game scores", expected a topic'),
    ('"game-scores"', '".."', "streams.scores.topic", "expected a topic"),
    ('"game-scores"', '"' + "t" * 250 + '"', "streams.scores.topic", "at most 249"),
    ('"${KAFKA:-localhost:9092}"', '"localhost"', "app.brokers", 'found "localhost", expected host:port'),
    ('"${KAFKA:-localhost:9092}"', '"a:1,b:99999"', "app.brokers", "expected host:port"),
    ('"${KAFKA:-localhost:9092}"', '["a:1"]', "app.brokers", "expected host:port"),
    ('"100ms"', "100", "app.commit_interval", "found 100, expected a duration"),
    ('"100ms"', "0.1", "app.commit_interval", "found 0.1, expected a duration"),
    ('"100ms"', '"100"', "app.commit_interval", 'found "100", expected a duration'),
    ('"100ms"', '"0s"', "app.commit_interval", "a duration from 1ms"),
    ('"100ms"', '"8d"', "app.commit_interval", "to 7d"),
    ('"100ms"', '"100ms"\nreplication = 0', "app.replication", "found 0, expected a whole number from 1"),
    ('"100ms"', '"100ms"\nreplication = true', "app.replication", "found true"),
    ('"100ms"', '"100ms"\nhttp = "[::1:80"', "app.http", "expected host:port"),
    ('format = "float64"', 'format = "float46"', "streams.raw.format", '"json", "msgpack", "float64" or "float32"'),
    ('key = "player"', 'key = ""', "streams.scores.key", "expected a field's name"),
    ('time = "ts"', 'time = "ts"\nstart = "latets"', "streams.scores.start", '"earliest" or "latest"'),
    ('time = "ts"', 'time = "ts"\npartitions = 1.5', "streams.scores.partitions", "found 1.5"),
    ('output = "pl', 'ttl = 60\noutput = "pl', "tables.player.ttl", "found 60, expected a duration"),
    ('output = "pl', 'ttl = "999ms"\noutput = "pl', "tables.player.ttl", "a duration from 1s"),
    ('output = "pl', 'ttl = "3651d"\noutput = "pl', "tables.player.ttl", "to 3650d"),
    ('output = "pl', 'max_keys = 0\noutput = "pl', "tables.player.max_keys", "found 0, expected a whole number from 1"),
    ('output = "pl', 'on_full = "drop"\noutput = "pl', "tables.player.on_full", '"stop" or "evict"'),
    (
        'output = "pl',
        'on_full = "evict"\noutput = "pl',
        "tables.player.max_keys",
        "is missing, expected a number of keys",
    ),
    ('output = "pl', 'on_null = "keep"\noutput = "pl', "tables.player.on_null", '"dead-letter" or "delete"'),
    ('time = "ts"', 'time = "ts"\npartitioned_by_key = "yes"', "streams.scores.partitioned_by_key", "true or false"),
    ('["x", "y", "k"]', '["x", "y", "k", "x"]', "streams.raw.fields", "different"),
    ('"k"]', '"k", "a\\"b"]', "streams.raw.fields[3]", "a name without quotation marks"),
    ("games =", "'ga\\mes' =", 'tables.player.operators."ga\\\\mes"', "a name without quotation marks, backslashes"),
    ("k = 2", "k = 0", "streams.raw.vectors", "lengths from 1"),
    ("k = 2", "k = true", "streams.raw.vectors", "lengths from 1"),
    ('output = "player-averages"', 'emit = "evry"', "tables.player.emit", '"every" or "commit"'),
    (
        'output = "player-averages"',
        "metrics = { keys = [1] }",
        "tables.player.metrics.keys",
        "a list of different keys",
    ),
    ('output = "player-averages"', 'metrics = { key = ["a"] }', "tables.player.metrics.key", 'did you mean "keys"?'),
    ('output = "player-averages"', "metrics = 3", "tables.player.metrics", "expected a table"),
    ('stream = "scores"', 'stream = ["scores"]', "tables.player.stream", "the name of a stream"),
    ('{ type = "count" }', '"count"', "tables.player.operators.games", 'found "count", expected a table'),
    ('type = "count"', "type = 1", "tables.player.operators.games.type", "found 1"),
    ("[streams.scores]", "[[streams.scores]]", "streams.scores", "expected a table"),
    # missing
    ('name = "arcade"\n', "", "app.name", "is missing"),
    ('topic = "raw"\n', "", "streams.raw.topic", "is missing"),
    ('stream = "scores"\n', "", "tables.player.stream", "is missing"),
    ('type = "count"', "", "tables.player.operators.games.type", "is missing"),
    (', value = "score" }', " }", "tables.player.operators.average.value", "is missing"),
    ('fields = ["x", "y", "k"]', "", "streams.raw.fields", "is missing, expected the names of the columns"),
    # options of operators
    ("[0.1, 0.3, 0.6]", "[0.5, -0.5]", "tables.player.operators.weighted.weights", "sum"),
    ("[0.1, 0.3, 0.6]", '[0.5, "x"]', "tables.player.operators.weighted.weights", "finite numbers"),
    ("window = 8", "window = 0", "tables.machine.operators.window.window", "found 0, expected a whole number"),
    ('"30s" }', "30 }", "tables.player.operators.recent.half_life", "found 30, expected a duration"),
    ('"30s" }', '"30" }', "tables.player.operators.recent.half_life", "expected a duration"),
    (
        'half_life = "30s"',
        'heads = ["1m", 5]',
        "tables.player.operators.recent.heads[1]",
        'found 5, expected a duration such as "250ms"',
    ),
    ('half_life = "30s"', "heads = 60", "tables.player.operators.recent.heads", "expected a list of durations"),
    ('half_life = "30s"', 'heads = ["1m", "5"]', "tables.player.operators.recent.heads", "expected a duration"),
    ('"count" }', '"count", publish = "all" }', "tables.player.operators.games.publish", '"readout"'),
    ('"mean", value = "score"', '"mean", value = 3', "tables.player.operators.average.value", "the name of a field"),
    ('"count" }', '"no_such_module:X" }', "tables.player.operators.games.type", "can't be imported"),
    ('"count" }', '"json:nothing" }', "tables.player.operators.games.type", "can't be imported"),
    ('"count" }', '"json:dumps" }', "tables.player.operators.games.type", "an Operator"),
    # things that don't go together
    ("games =", "offset =", "tables.player.operators.offset", "another: every output record has a field of that name"),
    (
        'games = { type = "count" }',
        'a = { type = "count", publish = "both" }\n"a.state" = { type = "count" }',
        "tables.player.operators.a.publish",
        '"a.state" is an operator',
    ),
    ('["x", "y"]', '["x", "k"]', "tables.machine.operators.memory.key[1]", 'found "k", expected a number'),
    ('"mean", value = "score"', '"mean", value = "player"', "tables.player.operators.average.value", "as its key"),
    ('"mean", value = "score"', '"mean", value = "ts"', "tables.player.operators.average.value", "as its time"),
    ('time = "ts"', 'time = "player"', "streams.scores.time", "another field than the key"),
    ('key = "player"', 'key = "player"\nvectors = { player = 2 }', "streams.scores.key", "isn't a vector"),
    ('time = "ts"', 'time = "ts"\nfields = ["a"]', "streams.scores.fields", "json records name their fields"),
    ('format = "float64"', 'format = "float64"\nkey = "x"', "streams.raw.key", "record's key is used"),
    ('format = "float64"', 'format = "float64"\ntime = "t"', "streams.raw.time", 'unknown field "t"'),
    ('topic = "raw"', 'topic = "game-scores"', "streams.raw.topic", 'the source of the stream "scores"'),
    ('"player-averages"', '"game-scores"', "tables.player.stream", 'a cycle of tables, "player" -> "player"'),
    ('"player-averages"', '"arcade-machine"', "tables.machine.output", 'the output of the table "player"'),
    ('"player-averages"', '"arcade-dead-letters"', "tables.player.output", "the dead letters"),
    ('"player-averages"', '"arcade-player-changelog"', "tables.player.output", "the changelog"),
    # duplicates
    ('output = "pl', 'dedupe = { field = "id" }\noutput = "pl', "tables.player.dedupe.window", "is missing"),
    ('output = "pl', 'dedupe = { window = 9 }\noutput = "pl', "tables.player.dedupe.field", "is missing"),
    ('output = "pl', 'dedupe = 9\noutput = "pl', "tables.player.dedupe", "found 9, expected a table"),
    (
        'output = "pl',
        'dedupe = { field = "id", window = 0 }\noutput = "pl',
        "tables.player.dedupe.window",
        'found 0, expected a number of events from 1 to 10,000,000, or a duration from 1ms to 7d, like "10m"',
    ),
    ('output = "pl', 'dedupe = { field = "id", window = "9" }\noutput = "pl', "tables.player.dedupe.window", '"10m"'),
    ('output = "pl', 'dedupe = { field = "id", windw = 9 }\noutput = "pl', "tables.player.dedupe.windw", '"window"?'),
    (
        'output = "pl',
        'dedupe = { field = "id", window = 9, max_events = 5 }\noutput = "pl',
        "tables.player.dedupe.max_events",
        "found 5, expected nothing: the window is a number of events",
    ),
    (
        'output = "pl',
        'dedupe = { field = "player", window = 9 }\noutput = "pl',
        "tables.player.dedupe.field",
        'found "player", expected an event\'s id: the stream "scores" has it as its key',
    ),
    (
        'stream = "raw"',
        'dedupe = { field = "x", window = 9 }\nstream = "raw"',
        "tables.machine.dedupe.field",
        "ids are text or integers",
    ),
    # expressions and keys
    (
        'time = "ts"',
        'time = "ts"\nwhere = "score >"',
        "streams.scores.where",
        "column 8: found the end, expected more",
    ),
    ('time = "ts"', 'time = "ts"\nwhere = ""', "streams.scores.where", 'found "", expected a condition'),
    ('time = "ts"', 'time = "ts"\nwhere = 5', "streams.scores.where", "found 5, expected a condition"),
    (
        'time = "ts"',
        'time = "ts"\nwhere = "sqroot(score) > 1"',
        "streams.scores.where",
        'unknown function "sqroot"',
    ),
    ('time = "ts"', 'time = "ts"\nwhere = "rond(score) > 1"', "streams.scores.where", 'did you mean "round"?'),
    (
        'time = "ts"',
        'time = "ts"\nwhere = "score + 1"',
        "streams.scores.where",
        "found a number, expected true or false",
    ),
    ('time = "ts"', 'time = "ts"\nwhere = "player > 1"', "streams.scores.where", "found a number, expected text"),
    ('time = "ts"', 'time = "ts"\nwhere = "ts == \'x\'"', "streams.scores.where", "found text, expected a number"),
    ('topic = "raw"', 'topic = "raw"\nwhere = "z > 1"', "streams.raw.where", 'unknown field "z", expected one of x, y'),
    ('topic = "raw"', 'topic = "raw"\nwhere = "x == \'a\'"', "streams.raw.where", "found text, expected a number"),
    ('topic = "raw"', 'topic = "raw"\nwhere = "k > 1"', "streams.raw.where", 'found "k", expected a number, text or'),
    ('topic = "raw"', 'topic = "raw"\nselect = { a = "x +" }', "streams.raw.select.a", "found the end, expected more"),
    (
        'topic = "raw"',
        'topic = "raw"\nselect = { x = "y" }',
        "streams.raw.select.x",
        "expected a new one: the stream has",
    ),
    ('topic = "raw"', 'topic = "raw"\nselect = { k = "y" }', "streams.raw.select.k", "the stream has it as a vector"),
    ('topic = "raw"', 'topic = "raw"\nselect = { a = "x > 1" }', "streams.raw.select.a", "a number or text"),
    ('topic = "raw"', 'topic = "raw"\nselect = { a = "x", b = "a" }', "streams.raw.select.b", "a name of `select`"),
    ('topic = "raw"', 'topic = "raw"\nselect = { a = 5 }', "streams.raw.select", "names with expressions"),
    (
        'topic = "raw"',
        'topic = "raw"\nselect = { "a\\"" = "x" }',
        'streams.raw.select."a\\""',
        "a name without quotation",
    ),
    (
        'time = "ts"',
        'time = "ts"\nselect = { ts = "score" }',
        "streams.scores.select.ts",
        "the stream has it as its time",
    ),
    (
        'time = "ts"',
        'time = "ts"\nselect = { score = "score + 1" }',
        "streams.scores.select.score",
        "a name of `select`",
    ),
    (
        'time = "ts"',
        'time = "ts"\nwhere = "score == \'high\'"',
        "tables.player.operators.average.value",
        'found "score", expected a number: the stream "scores" has it as text',
    ),
    (
        'time = "ts"',
        'time = "ts"\nselect = { score = "date(ts)" }',
        "tables.player.operators.average.value",
        "has it as text",
    ),
    ('key = "player"', "key = []", "streams.scores.key", "found [], expected a field's name, or a list of some"),
    (
        'key = "player"',
        'key = ["player", "player"]',
        "streams.scores.key",
        "expected a field's name, or a list of some",
    ),
    ('key = "player"', 'key = ["player", 5]', "streams.scores.key", "expected a field's name, or a list of some"),
    ('key = "player"', 'key = ["player", "ts"]', "streams.scores.time", "another field than the key"),
    ('key = "player"', 'key = ["player", "a\\\\b"]', "streams.scores.key[1]", "a name without quotation marks"),
    (
        'key = "player"',
        'key = ["player", "time"]',
        "streams.scores.key[1]",
        "every output record has a field of that name",
    ),
    ('key = "player"', 'key = ["player", "games"]', "tables.player.operators.games", '"games" is a part of the key'),
    ('key = "player"', 'key = ["player", "score"]', "tables.player.operators.average.value", "as its key"),
    ('format = "float64"', 'format = "float64"\nkey = ["x"]', "streams.raw.key[0]", "record's key is used"),
    # logins
    (
        '"100ms"',
        '"100ms"\nkafka = { security_protocol = "SASL_SSL", sasl_username = "u" }',
        "app.kafka.sasl_password",
        "is missing",
    ),
    ('"100ms"', '"100ms"\nkafka = { ssl_cafile = "a" }', "app.kafka.security_protocol", '"SSL" or "SASL_SSL"'),
    ('"100ms"', '"100ms"\nkafka = { sasl_pasword = "a" }', "app.kafka.sasl_pasword", '"sasl_password"?'),
    ('"100ms"', '"100ms"\nkafka = 3', "app.kafka", "expected a table"),
    # the environment
    ("${KAFKA:-localhost:9092}", "${KAFKA}", "app.brokers", "the environment variable KAFKA isn't set"),
    ("${KAFKA:-localhost:9092}", "${KAFKA:-x", "app.brokers", "unfinished ${"),
]


@pytest.mark.parametrize(("old", "new", "path", "message"), MISTAKES)
def test_a_mistake_is_a_line_that_names_file_line_and_path(old: str, new: str, path: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        loads(text, "arcade.toml", {})
    assert caught.value.exit_code == 2
    told = [line for line in caught.value.cause.splitlines() if f": {path}: " in line and message in line]
    assert told, caught.value.cause
    file, number, _ = told[0].split(":", 2)
    assert file == "arcade.toml"
    assert caught.value.mend
    parts = re.findall(r"[\w -]+", path)
    line = text.splitlines()[int(number) - 1]
    assert parts[-1] in line or (parts[-1] not in new and parts[-2] in line), line


def test_topics_that_differ_in_dots_and_underscores_only_are_one_to_kafka() -> None:
    text = GOOD.replace('topic = "raw"', 'topic = "a_b"').replace('"player-averages"', '"a.b"')
    with pytest.raises(InputError, match=r'^f:19: tables.player.output: found the topic "a\.b".*source of .*"raw"$'):
        loads(text, "f", {})


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace('"arcade"', "5").replace('"float64"', '"x"').replace('"mean"', '"men"')
    with pytest.raises(ConfigError) as caught:
        loads(text, "f", {})
    assert [(problem.line, problem.path[0]) for problem in caught.value.problems] == [
        (2, "app"),
        (13, "streams"),
        (23, "tables"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[app", 1),
        ('[app]\nname = "a\n', 2),
        ("[app]\nname = 1\nname = 2\n", 3),
        ("[app]\n\n\nname = ", 4),
        ("a = " + "[" * 5000, 1),
    ],
)
def test_what_is_not_toml_names_its_line(text: str, line: int) -> None:
    with pytest.raises(InputError, match=rf"^f.toml:{line}: not TOML"):
        loads(text, "f.toml", {})


def test_an_empty_file_lacks_an_app_and_tables() -> None:
    with pytest.raises(InputError) as caught:
        loads("", "f", {})
    assert "app.name: is missing" in caught.value.cause
    assert "tables: is missing" in caught.value.cause


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.toml: No such file") as caught:
        load(tmp_path / "nothing.toml")
    assert "streamfold init" in caught.value.mend


def test_a_file_that_is_not_text_names_the_line_of_the_byte(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"[app]\nname = '\xff'\n")
    with pytest.raises(InputError, match=r"x\.toml:2: found bytes that aren't UTF-8"):
        load(tmp_path / "x.toml")


def test_a_secret_is_never_told(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    kafka = 'kafka = { security_protocol = "SASL_SSL", sasl_username = "u", sasl_password = %s }'
    for password in ("5", '["hunter2"]', '""', '"file:empty"'):
        text = GOOD.replace("[streams.scores]", kafka % password + "\n[streams.scores]")
        with pytest.raises(ConfigError) as caught:
            loads(text, tmp_path / "f.toml", {})
        assert 'sasl_password: found "***", expected text' in caught.value.cause
        assert "hunter2" not in caught.value.cause


def test_a_null_has_no_key_but_its_records_which_is_to_be_the_fields() -> None:
    text = GOOD.replace('time = "ts"', 'time = "ts"\npartitioned_by_key = true', 1)
    text = text.replace('output = "pl', 'on_null = "delete"\noutput = "pl')
    with pytest.raises(ConfigError, match=r"tables.player.on_null: found .delete., expected .dead-letter.") as mistake:
        loads(text, "f", {})
    assert "partitioned_by_key" in str(mistake.value)
