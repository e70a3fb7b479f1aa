"""Laws of reading: no byte of a payload changes, and a recorded file gives back what was written."""

from __future__ import annotations

import base64
import gzip
import json
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.capture.batch import BatchLimits
from pipelines.capture.blocks import BlockCutter, whole
from pipelines.capture.recorded import RecordedSource
from pipelines.capture.recorder import write_recorded
from pipelines.capture.records import (
    Columns,
    Origin,
    Partition,
    RecordBatch,
    headers_text,
    to_frame,
)

NASTY = st.sampled_from(
    [',"payload":', '{"schema":', '"}', "\\", '\\",\\"payload\\":', "\u2028", "é", "😀", "\x00", "}}", "null"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(NASTY, st.text(max_size=5)), max_size=6).map("".join)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
BLOCKS = st.dictionaries(
    st.one_of(TEXTS, st.just("payload"), st.just("schema")), JSON, max_size=4
).map(lambda block: {**block, "type": "struct"})
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


@st.composite
def values(draw) -> tuple[bytes, object | None, object]:
    """A value, its block or None, and its payload, written in one of JSON's spellings."""
    payload, ascii_only = draw(JSON), draw(st.booleans())
    separators = draw(SEPARATORS)

    def written(thing: object) -> bytes:
        return json.dumps(thing, separators=separators, ensure_ascii=ascii_only).encode()

    if draw(st.booleans()):
        block = draw(BLOCKS)
        both = {"schema": block, "payload": payload}
        if draw(st.booleans()):
            both = dict(reversed(both.items()))
        return written(both), block, payload
    return written({"before": payload, "schema": 1}), None, {"before": payload, "schema": 1}


@given(st.lists(values(), max_size=8))
def test_cutting_gives_the_payload_json_reads_and_the_value_byte_for_byte(drawn):
    cutter = BlockCutter()
    for _ in range(2):  # the second time every block is known
        done = cutter.cut([value for value, _, _ in drawn])
        for at, (value, block, payload) in enumerate(drawn):
            cut, mark = done.payloads[at], done.fingerprints[at]
            assert cut is not None
            assert json.loads(cut) == payload
            assert cut in value
            assert (mark is None) == (block is None)
            if mark is not None:
                assert json.loads(done.blocks[mark]) == block
                assert done.originals.get(at, whole(cut, done.blocks[mark])) == value


BYTES = st.one_of(
    st.none(), st.binary(max_size=20), TEXTS.map(str.encode), values().map(lambda drawn: drawn[0])
)
HEADERS = st.lists(
    st.tuples(TEXTS, st.one_of(st.none(), st.binary(max_size=6), TEXTS.map(str.encode))), max_size=3
)
RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["shop.a", "shop.b"]),
        st.integers(0, 2),
        st.integers(1, 3),
        st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 2), st.integers(-5, 2**41))),
        BYTES,
        BYTES,
        HEADERS,
    ),
    max_size=12,
)  # fmt: skip


def batch_of(records) -> RecordBatch:
    offsets: dict[Partition, int] = {}
    rows = []
    for topic, partition, step, *rest in records:
        place = Partition(topic, partition)
        offsets[place] = offsets.get(place, 0) + step
        rows.append((topic, partition, offsets[place], *rest))
    following = {place: offset + 1 for place, offset in offsets.items()}
    columns = list(zip(*rows, strict=True)) or [[] for _ in range(7)]
    frame, schemas = to_frame(
        Columns(*columns[:6], headers=[headers_text(headers) for headers in columns[6]]),
        BlockCutter(),
    )
    return RecordBatch(
        frame=frame,
        schemas=schemas,
        origin=Origin(cluster="c"),
        start_offsets={},
        next_offsets=following,
    )


def originals(batches: list[RecordBatch]) -> pl.DataFrame:
    return pl.concat([batch.originals() for batch in batches])


@given(RECORDS.filter(len), st.integers(1, 5))
def test_a_recorded_file_gives_back_every_byte(records, size):
    written = batch_of(records)
    keys_and_values = [(key, value) for *_, key, value, _ in records]
    assert list(zip(*written.originals().select("key", "value"), strict=True)) == keys_and_values
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorded.jsonl.gz"
        assert write_recorded(path, [written]) == len(records)
        with RecordedSource(path, limits=BatchLimits(max_records=size)) as source:
            batches = list(source)
    assert originals(batches).equals(written.originals())
    for place, following in written.next_offsets.items():
        assert [b.next_offsets[place] for b in batches if place in b.next_offsets][-1] == following


def as_bytes(record: dict[str, object]) -> dict[str, object]:
    """A record whose key, value and headers are bytes, however a file spells them."""

    def plain(content: object) -> bytes | None:
        if isinstance(content, dict):
            return base64.b64decode(content["b64"])
        return None if content is None else str(content).encode()

    headers = [(name, plain(content)) for name, content in record["headers"]]
    both = {"key": plain(record["key"]), "value": plain(record["value"])}
    return {**record, **both, "headers": headers}


def captures() -> list[Path]:
    """The captures of the real stack where they lie beside the repository, and always our sample of them."""
    here = Path(__file__).resolve()
    beside = sorted((here.parents[3] / "shared" / "captures").glob("*.jsonl.gz"))
    return [here.parents[1] / "data" / "capture.jsonl.gz", *beside]


@pytest.mark.parametrize("path", captures(), ids=lambda path: path.name)
def test_every_captured_message_is_read(path, tmp_path):
    with RecordedSource(path, limits=BatchLimits(max_records=50)) as source:
        batches = list(source)
    records = originals(batches)
    assert records["reason"].null_count() == len(records)

    write_recorded(tmp_path / "again.jsonl", batches)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        wanted = [json.loads(line) for line in lines]
    again = (tmp_path / "again.jsonl").read_text().splitlines()
    assert [as_bytes(json.loads(line)) for line in again] == [as_bytes(each) for each in wanted]
