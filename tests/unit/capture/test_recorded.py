from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pipelines.capture.batch import BatchLimits
from pipelines.capture.line import LineError, parse_line
from pipelines.capture.recorded import RecordedSource, RecordingError
from pipelines.capture.recorder import write_recorded
from pipelines.capture.records import Partition, RecordBatch


def line(offset: int = 0, **fields: object) -> bytes:
    record = {"topic": "t", "partition": 0, "offset": offset, "value": f'{{"n":{offset}}}'}
    return json.dumps({**record, **fields}).encode()


def read(path: Path, **limits: int) -> list[RecordBatch]:
    with RecordedSource(path, limits=BatchLimits(**limits)) as source:
        return list(source)


def test_a_line_that_is_no_record_comes_out_with_its_number_bytes_and_reason(tmp_path):
    path = tmp_path / "shop.jsonl"
    path.write_bytes(line(0) + b"\n{nonsense\xff\n\n" + line(1) + b"\r\n" + line(2)[:-3])

    (batch,) = read(path)

    assert batch.frame["value"].to_list() == [
        b'{"n":0}',
        b"{nonsense\xff",
        b'{"n":1}',
        line(2)[:-3],
    ]
    assert batch.frame["topic"].to_list() == ["t", "file:shop.jsonl", "t", "file:shop.jsonl"]
    assert batch.frame["kafka_offset"].to_list() == [0, 2, 1, 5]
    reasons = batch.frame["reason"].to_list()
    assert reasons[0] is None
    assert reasons[1].startswith("not JSON")
    assert batch.next_offsets == {Partition("t", 0): 2, Partition("file:shop.jsonl", 0): 6}


def test_bad_lines_of_two_files_of_one_name_are_two_things(tmp_path):
    ids = []
    for content in (b"\nx", b"\ny"):
        path = tmp_path / "shop.jsonl"
        path.write_bytes(line() + content)
        ids.append(read(path)[0].origin.topic_id("file:shop.jsonl"))
    assert len(set(ids)) == 2
    assert "" not in ids


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b"{}", "field 'offset' is missing"),
        (line(topic=""), "no topic name"),
        (line(topic="file:x"), "no topic name"),
        (line(partition=-1), "'partition' is no integer"),
        (line(partition=2**31), "'partition' is no integer"),
        (line(partition=True), "'partition' is no integer"),
        (line(offset=1.0), "'offset' is no integer"),
        (line(offset=2**63), "'offset' is no integer"),
        (line(timestamp="now"), "'timestamp' is no integer"),
        (line(timestamp=1, ts_type=3), "'ts_type' is no integer"),
        (line(value={"b64": "***"}), "'value' is not base64"),
        (line(value={"b64": 1}), "'value' is not base64"),
        (line(value={"n": 1}), "neither text"),
        (line(key=7), "'key' is neither text"),
        (line(headers={"a": "b"}), "'headers' is no list"),
        (line(headers=[["a"]]), "no \\[name, value\\]"),
        (line(headers=[["a", 1]]), "'headers' is neither text"),
        (line(leader_epoch=4), "1 fields are not known"),
        (b'{"topic":"t","partition":0,"offset":0,"value":"\\ud800"}', "not JSON"),
    ],
)
def test_each_wrong_line_has_its_reason(text, reason):
    with pytest.raises(LineError, match=reason):
        parse_line(text)


def test_headers_keep_their_order_repeats_and_bytes(tmp_path):
    path = tmp_path / "shop.jsonl"
    headers = [["a", "x"], ["a", None], ["b", {"b64": "/w=="}], ["c", {"b64": "eA=="}]]
    path.write_bytes(line(headers=headers) + b"\n" + line(1))
    (batch,) = read(path)
    assert json.loads(batch.frame["headers"][0]) == [
        ["a", "x"],
        ["a", None],
        ["b", {"b64": "/w=="}],
        ["c", "x"],
    ]
    assert batch.frame["headers"][1] == "[]"


def test_batches_are_bounded_and_hold_everything_once(tmp_path):
    path = tmp_path / "shop.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(line(n) for n in range(25))))
    batches = read(path, max_records=10)
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [batch.next_offsets[Partition("t", 0)] for batch in batches] == [10, 20, 25]


def test_order_does_not_matter_and_nothing_is_left_out(tmp_path):
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"\n".join(line(n) for n in (5, 6, 0, 1, 1)))
    batches = read(path, max_records=2)
    offsets = [at for batch in batches for at in batch.frame["kafka_offset"]]
    assert offsets == [5, 6, 0, 1, 1]


def test_stop_ends_after_what_is_in_hand(tmp_path):
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"\n".join(line(n) for n in range(25)))
    with RecordedSource(path, limits=BatchLimits(max_records=10)) as source:
        batches = iter(source)
        next(batches)
        source.stop()
        assert list(batches) == []


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_a_truncated_gzip_gives_what_is_readable_and_then_an_error(tmp_path, cut):
    path = tmp_path / "shop.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(line(n) for n in range(2_000)))[:-cut])
    got: list[int] = []

    def take(source: RecordedSource) -> None:
        for batch in source:
            assert batch.frame["reason"].null_count() == len(batch)
            got.extend(batch.frame["kafka_offset"])

    with (
        RecordedSource(path, limits=BatchLimits(max_records=100)) as source,
        pytest.raises(RecordingError, match="breaks off or is damaged after line"),
    ):
        take(source)
    assert got == list(range(len(got)))
    assert len(got) > 1_000


def test_a_damaged_gzip_is_an_error_and_no_record_of_it_is_made_up(tmp_path):
    whole = gzip.compress(b"\n".join(line(n) for n in range(2_000)))
    path = tmp_path / "shop.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2] + b"\x00" * 40 + whole[len(whole) // 2 + 40 :])
    with pytest.raises(RecordingError, match="breaks off or is damaged"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", None, "cannot be read: No such file"),
        ("a.jsonl.gz", b"plain", "is not gzip"),
        ("a.jsonl.gz", b"", "is not gzip"),
        ("a.jsonl", b"\x89PNG\r\n\x1a\n\x00\x00\n" * 50, "none of its first 64 lines is a record"),
        ("a.jsonl", b"order_id,total\n1,2\n", "none of its first 2 lines is a record"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=reason):
        read(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(RecordingError, match="Is a directory"):
        read(tmp_path)


def test_an_empty_file_has_no_batches(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    (tmp_path / "b.jsonl").write_bytes(b"")
    assert read(tmp_path / "b.jsonl") == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_bytes(line() + b"\nnonsense\n")
    again = tmp_path / "b.jsonl"
    assert write_recorded(again, read(source)) == 2
    assert again.read_bytes().splitlines()[1] == b"nonsense"

    def breaking():
        yield from read(source)
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordingError, match="cannot be written: No space left"):
        write_recorded(tmp_path / "c.jsonl", breaking())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]
