"""Broken messages from whole ones: what a faulty producer, converter, proxy or disk may send.

A mutator takes a message and gives another; it draws all chance from the generator it is given, so
that a seed names the same mutants for ever. JSON is changed as a tree in which a value may be any raw
text (`Raw`), since what breaks a reader is mostly what no JSON writer would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import orjson

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Message:
    """A record; the timestamp is (type, milliseconds). `mutator` names what made it, "" a whole one."""

    topic: str
    partition: int
    offset: int
    timestamp: tuple[int, int]
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    mutator: str = ""


#: What a broker takes unless told otherwise (Kafka, `message.max.bytes`).
LARGEST = 1_048_588

Mutator = Callable[[Random, Message, Sequence[Message]], Message]

MUTATORS: dict[str, tuple[int, Mutator]] = {}


def mutator(weight: int) -> Callable[[Mutator], Mutator]:
    def register(function: Mutator) -> Mutator:
        MUTATORS[function.__name__] = (weight, function)
        return function

    return register


def mutate(
    rng: Random, message: Message, others: Sequence[Message], truncates: bool = False
) -> Message:
    """One mutant; now and then it is broken in two or three ways at once."""
    if truncates and rng.random() < 0.01:
        return replace(truncate(rng, message, others), mutator="truncate")
    names = rng.choices(_NAMES, _WEIGHTS, k=1 if rng.random() < 0.8 else rng.randint(2, 3))
    for name in names:
        try:
            message = MUTATORS[name][1](rng, message, others)
        except (TypeError, RecursionError):  # a tree that was put into itself
            message = value_bytes(rng, message, others)
        if len(message.value or b"") > LARGEST:
            message = replace(message, value=(message.value or b"")[:LARGEST])
    return replace(message, mutator="+".join(names))


# ---- BYTES ---- #

_INSERTS = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\r",
    b"\x0b", b"\xe2\x80\xa8", b" ", b"\t", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud83d", b"\\uDC00",
    b"\\ud83d\\ude00", b"\\x41", b"//", b"/**/", b"null", b"NaN", b"\x1a", b"\x7f", b"\xf0\x9f\x98\x80",
)  # fmt: skip


def _flip(rng: Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _overwrite(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut_out(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 5, 40)) :]


def _put_in(rng: Random, data: bytes) -> bytes:
    at = rng.choice((0, len(data), rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
    return data[:at] + rng.choice(_INSERTS) + data[at:]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _behead(rng: Random, data: bytes) -> bytes:
    return data[rng.randrange(len(data)) :]


def _double(rng: Random, data: bytes) -> bytes:
    return rng.choice((b"", b"\n", b",", b" ")).join((data, data))


def _repeat_part(rng: Random, data: bytes) -> bytes:
    at, size = rng.randrange(len(data)), rng.choice((1, 3, 20, 100))
    return data[: at + size] + data[at:]


def _pad(rng: Random, data: bytes) -> bytes:
    pad = rng.choice((b" ", b"\n", b"\r\n", b"\t", b"\xef\xbb\xbf", b"\x00"))
    return rng.choice((pad + data, data + pad, pad + data + pad))


def _other_code(rng: Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1")), "replace")


def _spaced(rng: Random, data: bytes) -> bytes:
    """The same JSON as another writer would put it."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _pad(rng, data)
    ascii_only = rng.random() < 0.5
    try:
        return json.dumps(tree, ensure_ascii=ascii_only, indent=rng.choice((None, 1))).encode()
    except UnicodeEncodeError:
        return _pad(rng, data)


def _framed(rng: Random, data: bytes) -> bytes:
    """The frame of a schema registry, which JSON text has none of."""
    return b"\x00" + rng.randrange(2**32).to_bytes(4, "big") + data


_WHOLE = (
    b"", b" ", b"\n", b"null", b"true", b"0", b"-1", b'""', b'"x"', b"[]", b"{}", b"[{}]", b"{", b"}", b'"', b"nul", b"NaN",
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"{}{}", b"{}\n{}", b"{} x", b'{"":""}', b"\r", b"\t{}", b" {}",
    b'{"before":', b'{"before":null}', b'{"before":null,"after":null,"source":null,"op":null}', b'{"op":"c","source":{}}',
    b'{"schema":null,"payload":null}', b'{"schema":{},"payload":{}}', b'{"schema":null,"payload":{}}', b'{"payload":{}}',
    b'{"schema":{"type":"struct","fields":[]},"payload":null}', b'{"schema":{"type":"struct"},"payload":{"id":1}}',
    b'{"schema":{"type":"string"},"payload":"x"}', b'{"schema":{"type":"struct","fields":[]},"payload":[1]}',
    b'{"schema":{"type":"struct","fields":null},"payload":{"before":null}}',
)  # fmt: skip


def _replaced(rng: Random, data: bytes) -> bytes:
    del data
    return rng.choice(_WHOLE)


_BYTES = (
    _flip, _flip, _overwrite, _cut_out, _cut_out, _put_in, _put_in, _truncate, _behead, _double, _repeat_part, _pad, _other_code,
    _spaced, _framed, _replaced,
)  # fmt: skip


@mutator(24)
def value_bytes(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    if not message.value:
        return replace(message, value=rng.choice(_WHOLE))
    return replace(message, value=rng.choice(_BYTES)(rng, message.value))


@mutator(6)
def key_bytes(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    if not message.key:
        return replace(message, key=rng.choice(_WHOLE))
    return replace(message, key=rng.choice(_BYTES)(rng, message.key))


# ---- JSON VALUES ---- #

_MARK = "\x01raw"


class Raw:
    """A JSON value as text, however wrong; no dataclass, since orjson would write one as an object."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


def _dump(tree: Any) -> bytes:
    raws = list[bytes]()

    def keep(value: Any) -> str:
        raws.append(value.text)
        return _MARK

    text = orjson.dumps(tree, default=keep)
    for raw in raws:
        text = text.replace(b'"\\u0001raw"', raw, 1)
    return text


_RAW = tuple(
    Raw(text)
    for text in (
        b"null", b"null", b"null", b"true", b"false", b"0", b"-0", b"1", b"-1", b"1.0", b"-0.0", b"1.5", b"1e2", b"1E+2", b"1e400", b"-1e400",
        b"1e-400", b"2147483648", b"-2147483649", b"9007199254740993", b"9223372036854775807", b"9223372036854775808",
        b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616",
        b"99999999999999999999999999999999999999", b"1" + b"0" * 400, b"9" * 5000, b"0." + b"3" * 400, b"1.7976931348623157e308",
        b"NaN", b"Infinity", b"-Infinity", b"nan", b"+1", b"01", b".5", b"5.", b"0x10", b"1_000", b"--1", b"undefined", b"None", b"True",
        b'""', b'" "', b'"0"', b'"1"', b'"-1"', b'"NaN"', b'"Infinity"', b'"-Infinity"', b'"null"', b'"true"', b'"TRUE"', b'"x"', b'"AA"',
        b'"AA=="', b'"AAA"', b'"====" ', b'"/w=="', b'"-_8="', b'"' + b"/" * 64 + b'"', b'"1e5"', b'"1E400"', b'"9e999999999"', b'"1,5"',
        b'"0.1e-999999999"', b'"1' + b"0" * 100 + b'"', b'"123456789012345678901234567890.123456789012"', b'"\xd9\xa1\xd9\xa2"', b"'x'",
        b'"2026-01-01"', b'"2026-13-45"', b'"0000-00-00T00:00:00Z"', b'"9999-12-31T23:59:59.999999999Z"', b'"infinity"', b'"-infinity"',
        b'"+10000-01-01T00:00:00Z"', b'"2026-01-01T00:00:00+99:99"', b'"2026-01-01T00:00:00.123456789123Z"', b'"24:00:00"', b'"25:61:61"',
        b'"2026-01-01T25:00:00Z"', b'"0001-01-01T00:00:00Z BC"', b'"-2026-01-01T00:00:00Z"', b'"2026-02-30T00:00:00"', b'"99:99"',
        b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"a\\u0000b"', b'"\\uD83D"', b'"\\x"', b'"\xff"', b'"\n"',
        b'"\xf0\x9f\x98\x80"', b'"__debezium_unavailable_value"', b'"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="',
        b"[]", b"{}", b"[null]", b"[[]]", b"[{}]", b"[1,2]", b'["a"]', b'[["a",null]]', b'{"":null}', b'{"a":{"b":[1,{"c":null}]}}', b"[1,]",
        b'{"a":1,}', b'{"a":1,"a":2}', b'{"a"}', b"{1:2}", b'{"\\ud800":1}', b'["__debezium_unavailable_value"]', b"[true]", b'["\\ud800"]',
        b'{"scale":0,"value":"AA=="}', b'{"scale":"x","value":"AA=="}', b'{"scale":99999999,"value":"AQ=="}', b'{"scale":-9,"value":"fw=="}',
        b'{"scale":2,"value":null}', b'{"value":"////"}', b'{"x":1.5,"y":"z"}', b'{"x":null,"y":null}', b'"{\\"scale\\":1}"',
        b'{"scale":9223372036854775808,"value":"AQ=="}', b'{"scale":-99999999999,"value":"AQ=="}', b'{"scale":3,"value":""}',
    )
)  # fmt: skip


def _deep(rng: Random) -> Raw:
    """Nested, whole or broken off: around where parsers stop, and far beyond."""
    levels = rng.choice((120, 127, 128, 129, 330, 490, 510, 900, 990, 1000, 1030, 1030, 10_000))
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]")))
    inner = rng.choice((b"1", b"null", b'"\\ud800"', b'"\\n"'))
    return Raw(opened * levels + inner + closed * (levels - rng.choice((0, 0, 0, 1, levels))))


def _value(rng: Random) -> Raw:
    draw = rng.random()
    if draw < 0.03:
        return _deep(rng)
    if draw < 0.035:
        return Raw(b'"' + b"x" * rng.choice((70_000, 300_000)) + b'"')
    return rng.choice(_RAW)


def _tree(data: bytes | None) -> dict[str, Any] | None:
    try:
        tree = orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return None
    return tree if isinstance(tree, dict) and tree else None


def _a_place(rng: Random, tree: Any) -> tuple[Any, Any]:
    """A container and a member of it, at a depth that chance chooses."""
    while True:
        names = list(tree) if isinstance(tree, dict) else range(len(tree))
        name = rng.choice(names)
        inner = tree[name]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
            return tree, name
        tree = inner


_NAMES_OF_MEMBERS = (
    "", "ID", "Id", "id ", "op", "after", "before", "source", "schema", "payload", "__op", "__deleted", "__lsn", "\x00", "é", "a.b", "_at",
    "_verb", "_issues", "_moved_from", "event_id", "key", "topic", "_same:id", "_typed:id", "reason", "kafka_offset",
)  # fmt: skip


def _change_tree(rng: Random, tree: dict[str, Any]) -> Any:
    """One change of structure somewhere in a tree."""
    at, name = _a_place(rng, tree)
    draw = rng.randrange(10)
    if draw <= 3:
        at[name] = _value(rng)
    elif draw == 4:
        del at[name]
    elif draw == 5:
        at[name] = _another_type(rng, at[name])
    elif isinstance(at, list):
        at[name:name] = [at[name]] * rng.choice((1, 1, 3, 200))
    elif draw == 6:  # renamed
        at[rng.choice(_NAMES_OF_MEMBERS)] = at.pop(name)
    elif draw == 7:  # twice, in raw text: the last one wins, or the first, or none
        twin = orjson.dumps(at[name], default=lambda value: value.text.decode("latin-1"))
        other = _value(rng).text if rng.random() < 0.7 else twin
        at[name] = Raw(b",".join([twin, orjson.dumps(name) + b":" + other]))
    elif draw == 8:
        other, its = _a_place(rng, tree)
        at[name], other[its] = other[its], None if rng.random() < 0.3 else at[name]
    else:
        at[rng.choice(_NAMES_OF_MEMBERS)] = _value(rng)
    return tree


def _another_type(rng: Random, value: Any) -> Any:
    if isinstance(value, Raw):
        return value
    text = orjson.dumps(value, default=lambda raw: raw.text.decode("latin-1")).decode()
    ways: list[Any] = [[value], {"value": value}, text, {"string": value}, [], {}, None]
    if isinstance(value, str):
        ways += [Raw(value.encode()), value * 2, value.upper(), f" {value} ", value[:-1]]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        ways += [str(value), Raw(f"{value}.0".encode()), Raw(f"{value}e3".encode()), -value]
    if isinstance(value, dict):
        ways += [list(value.values()), list(value.items()), dict(reversed(value.items()))]
    return rng.choice(ways)


@mutator(30)
def json_structure(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    tree = _tree(message.value)
    if tree is None:
        return value_bytes(rng, message, others)
    region = tree
    if isinstance(tree.get("payload"), dict) and tree["payload"] and rng.random() < 0.75:
        region = tree["payload"]
    if region and rng.random() < 0.5:
        inner = region.get(rng.choice(("after", "before", "source")))
        region = inner if isinstance(inner, dict) and inner else region
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        if region:
            _change_tree(rng, region)
    return replace(message, value=_dump(tree))


@mutator(2)
def all_null(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """Every leaf, or every member of one kind, is null, absent or one and the same."""
    tree = _tree(message.value)
    if tree is None:
        return message
    value = rng.choice((None, None, _value(rng)))
    keep = rng.choice(((), ("op", "source"), ("schema",), ("op",)))

    def nulled(node: Any) -> Any:
        if isinstance(node, dict):
            return {n: v if n in keep else nulled(v) for n, v in node.items()}
        return [nulled(item) for item in node] if isinstance(node, list) else value

    return replace(message, value=_dump(nulled(tree)))


# ---- ENVELOPE ---- #

_NUMBERS = tuple(
    Raw(text)
    for text in (
        b"null", b"-1", b"0", b"1", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616",
        b"-9223372036854775808", b"-9223372036854775809", b'"27574232"', b'"x"', b'""', b"1.5", b"27574232.0", b"1e10", b"true", b"[]", b"{}",
        b"4611686018427387904", b"9223372036854775", b"9223372036854776", b"-9223372036854775", b"253402300800000", b"-62135596800001",
        b"8210266876799999", b"8210266876800000", b"-8334601228800001", b"99999999999999", b"NaN",
    )
)  # fmt: skip
_SEQUENCES: tuple[Any, ...] = (
    None, "", "[]", "[null]", "[null,null]", '["x","y"]', '["1"]', '["1","2","3"]', "[1,2]", '["9223372036854775807","1"]',
    '["9223372036854775808","9223372036854775808"]', '["-1","-1"]', '["0","0"]', '["","' + "9" * 40 + '"]', "[", 5, ["1", "2"], {},
    '[ "1" , "2" ]', '["27574232","27574232"]', '["18446744073709551616",null]', True,
)  # fmt: skip
_SNAPSHOTS: tuple[Any, ...] = (
    "true", "false", "first", "last", "incremental", "INCREMENTAL", "yes", "", None, True, False, 1, [], {}, "first_in_data_collection",
    "last_in_data_collection", "null",
)  # fmt: skip
_OPS: tuple[Any, ...] = (
    "c", "u", "d", "r", "m", "x", "C", "", " ", "cc", "c ", None, 1, True, [], {}, ["c"], Raw(b'"\\ud800"'), Raw(b'"\\u0063"'),
    Raw(b"c"), "create", "é", "\x00",
)  # fmt: skip
_TIMES = ("ts_ms", "ts_us", "ts_ns", "__ts_ms", "__source_ts_ms", "__source_ts_us")
_LSNS = ("lsn", "__lsn", "__source_lsn")


def _payload(tree: dict[str, Any]) -> dict[str, Any]:
    inner = tree.get("payload")
    return inner if isinstance(inner, dict) else tree


def _with_tree(
    rng: Random, message: Message, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Message:
    """Changes payload and source of a message (of a flat one: the row twice)."""
    tree = _tree(message.value)
    if tree is None:
        return value_bytes(rng, message, ())
    payload = _payload(tree)
    source = payload.get("source")
    change(payload, source if isinstance(source, dict) else payload)
    return replace(message, value=_dump(tree))


@mutator(5)
def operation(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    def change(payload: dict[str, Any], source: dict[str, Any]) -> None:
        name = "op" if "op" in payload else rng.choice(("__op", "__deleted", "op"))
        payload[name] = rng.choice(_OPS)

    return _with_tree(rng, message, change)


@mutator(0)
def truncate(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """A false truncate empties the table, rightly: for rounds of its own (see `TRUNCATES`)."""

    def change(payload: dict[str, Any], source: dict[str, Any]) -> None:
        payload["op" if "op" in payload else "__op"] = "t"

    return replace(_with_tree(rng, message, change), key=rng.choice((None, message.key)))


@mutator(4)
def images(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """`before` and `after` swapped, missing, equal, or of another type."""

    def change(payload: dict[str, Any], source: dict[str, Any]) -> None:
        before, after = payload.get("before"), payload.get("after")
        way = rng.randrange(6)
        if way == 0:
            payload["before"], payload["after"] = after, before
        elif way == 1:
            payload["before"] = after
        elif way == 2:
            payload["after"] = _value(rng)
        elif way == 3:
            payload["before"] = _value(rng)
        elif way == 4:
            payload.pop(rng.choice(("before", "after")), None)
        else:
            payload["after"] = orjson.dumps(after, default=lambda raw: "").decode()

    return _with_tree(rng, message, change)


@mutator(5)
def source_fields(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    def change(payload: dict[str, Any], source: dict[str, Any]) -> None:
        way = rng.randrange(5)
        if way == 0 and "source" in payload:
            payload["source"] = _value(rng)
        elif way == 1:
            payload.pop("source", None)
        elif way == 2:
            source[rng.choice(("name", "connector", "schema", "table", "__table"))] = _value(rng)
        elif way == 3:
            payload["transaction"] = rng.choice((_value(rng), {}, {"id": _value(rng)}, {"id": ""}))
        else:
            source[rng.choice(("txId", "__transaction_id", "__txId"))] = _value(rng)

    return _with_tree(rng, message, change)


@mutator(5)
def source_position(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """A false log position, sequence, snapshot mark or time: well formed perhaps, and wrong."""

    def change(payload: dict[str, Any], source: dict[str, Any]) -> None:
        flat = source is payload
        for way in rng.sample(range(4), rng.choice((1, 1, 2))):
            if way == 0:
                source[rng.choice(_LSNS) if flat else "lsn"] = rng.choice(_NUMBERS)
            elif way == 1:
                source["__source_sequence" if flat else "sequence"] = rng.choice(_SEQUENCES)
            elif way == 2:
                source["__source_snapshot" if flat else "snapshot"] = rng.choice(_SNAPSHOTS)
            else:
                rng.choice((payload, source))[rng.choice(_TIMES)] = rng.choice(_NUMBERS)

    return _with_tree(rng, message, change)


# ---- SCHEMA BLOCKS ---- #

_SEMANTIC = (
    "org.apache.kafka.connect.data.Decimal", "io.debezium.data.VariableScaleDecimal", "org.apache.kafka.connect.data.Date",
    "org.apache.kafka.connect.data.Timestamp", "io.debezium.time.MicroTime", "io.debezium.time.NanoTimestamp", "io.debezium.data.Bits",
    "io.debezium.time.ZonedTimestamp", "io.debezium.time.IsoDate", "io.debezium.data.Json", "io.debezium.time.Interval", "x", "",
    "io.debezium.time.NanoTime", "org.apache.kafka.connect.data.Time", "io.debezium.data.geometry.Point", None, 5, [], {},
)  # fmt: skip
_TYPES = (
    "struct", "array", "string", "int8", "int16", "int32", "int64", "float", "double", "boolean", "bytes", "map", "x", "", None, 5, [], {},
)  # fmt: skip
_SCALES: tuple[Any, ...] = (
    "x", "", "-1", "0", "2", "38", "39", "400", "99999999", "99999999999999999999", 2, 2.5, None, True, [], {}, "2.0", " 2 ", "٣", "-99999",
)  # fmt: skip


def _fields_of(schema: Any) -> list[dict[str, Any]]:
    """All field descriptions of a block, the nested ones too."""
    found = list[dict[str, Any]]()
    rest = [schema]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            found.append(node)
            rest += node["fields"] if isinstance(node.get("fields"), list) else []
            rest.append(node.get("items"))
    return found


@mutator(14)
def schema_block(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    tree = _tree(message.value)
    if tree is None or "payload" not in tree:
        if rng.random() < 0.8 or message.value is None:
            return json_structure(rng, message, others)
        block = rng.choice((b"null", b"{}", b'{"type":"struct","fields":[]}', _value(rng).text))
        return replace(message, value=b'{"schema":' + block + b',"payload":' + message.value + b"}")
    way = rng.randrange(8)
    fields = _fields_of(tree.get("schema"))
    field = rng.choice(fields) if fields else {}
    if way == 0:
        tree["schema"] = rng.choice((None, {}, [], "x", {"type": "struct"}, _value(rng)))
    elif way == 1:
        other = _tree(rng.choice(others).value)
        tree["schema"] = other.get("schema") if other else None
    elif way == 2:
        field["name"] = rng.choice(_SEMANTIC)
    elif way == 3:
        field["type"] = rng.choice(_TYPES)
    elif way == 4:
        field["name"] = rng.choice(_SEMANTIC[:2])
        field["parameters"] = rng.choice(({"scale": rng.choice(_SCALES)}, [], "x", 5, None, {}))
    elif way == 5:
        field[rng.choice(("fields", "field", "items", "parameters"))] = _value(rng)
    elif way == 6 and isinstance(field.get("fields"), list) and field["fields"]:
        spot = rng.randrange(len(field["fields"]))
        put: list[Any] = rng.choice(
            ([], [None], [5], ["x"], [[]], [{}], [field["fields"][spot]] * 2)
        )
        field["fields"][spot : spot + 1] = put
    else:
        tree = {"payload": tree["payload"], "schema": tree.get("schema"), **tree}
        tree.update({"extra": 1} if rng.random() < 0.3 else {})
    return replace(message, value=_dump(tree))


# ---- KEYS, HEADERS, PLACES ---- #


@mutator(8)
def key_value(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    way = rng.randrange(6)
    if way == 0:
        return replace(message, key=None)
    if way == 1:
        return replace(message, key=rng.choice(_WHOLE))
    if way == 2:
        return replace(message, key=_value(rng).text)
    if way == 3:
        return replace(message, key=message.value)
    tree = _tree(message.key)
    if tree is None:
        return replace(message, key=b'{"id":' + _value(rng).text + b"}")
    return replace(message, key=_dump(_change_tree(rng, tree)))


_ODD = (
    None, b"", b"\x00", b"\xff\xfe", b"null", b"{}", b"[]", b"5", b'"x"', b"{", b'{"id":1}', b'{"id":"x"}', b'{"id":null}', b'{"k":"k1"}',
    b'{"cust":1,"no":1}', b'{"id":1000000001}', b'"]]', b'\\"', b'["__debezium.oldkey", "x"]', b"\xef\xbb\xbf{}", b"\xed\xa0\x80",
    b'{"id":' + b"[" * 1100 + b"]" * 1100 + b"}", b'{"id":1}\n{"id":2}', b'{"id":1e400}', b'{"id":"\\ud800"}',
)  # fmt: skip
_HEADER_NAMES = (
    "__debezium.oldkey", "__debezium.oldkey", "__debezium.oldkey", "__debezium.newkey", "__op", "__op", "", "\x00", "é", "x" * 300, '"', "]",
    "__debezium.oldkeys", "__deleted",
)  # fmt: skip


@mutator(8)
def header(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    headers = list(message.headers)
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = rng.choice((*_ODD, b"c", b"d", b"x", rng.randbytes(9)))
        headers.insert(rng.randint(0, len(headers)), (rng.choice(_HEADER_NAMES), content))
    if rng.random() < 0.2:
        headers *= rng.choice((0, 2, 50))
    return replace(message, headers=tuple(headers))


_CLOCKS = (
    -1, 0, 1, -2, -62_135_596_800_001, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000, 2**31, 2**53, 9_223_372_036_854_775,
    9_223_372_036_854_776, -9_223_372_036_854_776, 8_210_266_876_799_999, 8_210_266_876_800_000, -8_334_601_228_800_001, 2**62, 2**63 - 1,
    -(2**63), 10**14, 4_102_444_800_000,
)  # fmt: skip


@mutator(3)
def clock(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """Kafka's own time of the record: none, of any type, or of another age."""
    kind = rng.choice((0, 1, 1, 2))
    return replace(message, timestamp=(kind, -1 if kind == 0 else rng.choice(_CLOCKS)))


_TOPICS = (
    "x", "unknown.inv.customers", "1.message", "9.transaction", "-.message", "..message", "_.transaction", "__debezium-heartbeat.x",
    "__debezium-heartbeat", "__debezium-heartbeat." + "h" * 220, "A-b.message", "a_b.message", "file.inv.customers", "m" * 249, ".", "...",
    "{form}.message", "{form}.transaction", "{form}.inv.transaction", "__debezium-heartbeat.{form}", "{form}.inv", "{form}.inv.Customers",
)  # fmt: skip


@mutator(2)
def place(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """On another topic, another partition, or at an offset far away."""
    way = rng.randrange(3)
    if way == 0:
        form = message.topic.partition(".")[0]
        return replace(message, topic=rng.choice(_TOPICS).replace("{form}", form))
    if way == 1:
        return replace(message, topic=rng.choice(others).topic)
    # The runner numbers what stands at 0; a partition of its own may begin wherever it likes.
    if rng.random() < 0.5:
        return replace(message, partition=rng.choice((1, 2, 2**31 - 1)))
    start = rng.choice((10**14, 10**15, 2**53, 2**62, 2**63 - 10_000_000))
    return replace(message, partition=1_000 + start.bit_length(), offset=start)


@mutator(2)
def registry_id(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """The schema id of another message, or of none, on a message of a schema registry."""
    part = rng.choice(("key", "value"))
    data, other = getattr(message, part), getattr(rng.choice(others), part)
    if not data or data[:1] != b"\x00":
        return another_message(rng, message, others)
    numbers = (rng.randrange(70), 0, 2**31, 2**32 - 1)
    frame = rng.choice(((other or b"")[:5], b"\x00" + rng.choice(numbers).to_bytes(4, "big")))
    return replace(message, **{part: frame + data[5:]})


@mutator(3)
def another_message(rng: Random, message: Message, others: Sequence[Message]) -> Message:
    """The value, key or headers of another message, perhaps of another table."""
    other = rng.choice(others)
    way = rng.randrange(4)
    if way == 0:
        return replace(message, value=other.value)
    if way == 1:
        return replace(message, key=other.key)
    if way == 2:
        return replace(message, value=None)
    return replace(message, key=other.key, value=other.value, headers=other.headers)


_NAMES = list(MUTATORS)
_WEIGHTS = [weight for weight, _ in MUTATORS.values()]
