from __future__ import annotations

import pytest

from pipelines.capture.blocks import BlockCutter, fingerprint, split, whole

BLOCK = b'{"type":"struct","fields":[{"type":"int32","field":"payload"}],"payload":{"x":1}}'


def cut(*values):
    return BlockCutter().cut(values)


def test_a_block_is_taken_off_and_named():
    done = cut(whole(b'{"a":1}', BLOCK), whole(b'"x"', BLOCK), None, b'{"a":1}')
    assert done.payloads == [b'{"a":1}', b'"x"', None, b'{"a":1}']
    assert done.fingerprints == [fingerprint(BLOCK), fingerprint(BLOCK), None, None]
    assert done.blocks == {fingerprint(BLOCK): BLOCK}
    assert done.originals == {}


@pytest.mark.parametrize(
    "value",
    [
        b' {"schema":{"type":"string"},"payload":"x"}',
        b'{"schema" : {"type":"string"}, "payload" : "x" }\n',
        b'{"payload":"x","schema":{"type":"string"}}',
        b'{\n  "schema": {"type": "string"},\n  "payload": "x"\n}',
    ],
)
def test_another_spelling_is_split_too_and_the_whole_is_kept(value):
    done = cut(value, value)
    assert done.payloads == [b'"x"', b'"x"']
    assert done.originals == {0: value, 1: value}
    assert done.fingerprints[0] is not None


@pytest.mark.parametrize(
    "value",
    [
        b'{"schema":"public","payload":"x"}',  # a row with such columns
        b'{"schema":null,"payload":null}',
        b'{"schema":null,"payload":"text"}',
        b'{"schema":{"fields":[]},"payload":1}',
        b'{"schema":{"type":"string"}}',
        b'{"schema":{"type":"string"},"payload":1,"more":2}',
        b'{"schema":{"type":"string"},"payload":1,"payload":2}',
        b'{"schema":{"type":"string"},"payload":1',
        b'{"schema":{"type":"string"},"payload":1} x',
        b'{"schema":{"type":NaN},"payload":1}',
        b'{"schema":{"type":"string"},"payload":\xff}',
        b'{"schema":' + b"[" * 100_000,
        b"{ ",
        b" ",
        b"",
    ],
)
def test_what_is_no_such_value_stays_whole(value):
    done = cut(value)
    assert (done.payloads, done.fingerprints, done.originals) == ([value], [None], {})


def test_a_null_block_is_taken_off_an_object():
    done = cut(b'{"schema":null,"payload":{"a":1}}', b'{"schema":null,"payload":"row"}')
    assert done.payloads == [b'{"a":1}', b'{"schema":null,"payload":"row"}']


def test_a_truncated_value_under_a_known_block_can_be_put_together_again():
    good = whole(b'{"a":{"b":1}}', BLOCK)
    for broken in (good[:-1], good[:-2], good[: len(BLOCK)], good + b"}"):
        done = cut(good, broken)
        payload, mark = done.payloads[1], done.fingerprints[1]
        assert (payload if mark is None else whole(payload, done.blocks[mark])) == broken
        assert payload != b'{"a":{"b":1}}'


def test_many_blocks_take_turns():
    blocks = [BLOCK.replace(b"int32", b"int%d" % n) for n in range(50)]
    values = [whole(b"%d" % n, block) for n in range(3) for block in blocks]
    done = cut(*values)
    assert done.payloads == [b"%d" % n for n in range(3) for _ in blocks]
    assert done.fingerprints == [fingerprint(block) for block in blocks] * 3
    assert len(done.blocks) == 50


def test_memory_of_blocks_is_bounded():
    cutter = BlockCutter()
    for start in range(0, 20_000, 1_000):
        blocks = [b'{"type":"t%d"}' % n for n in range(start, start + 1_000)]
        done = cutter.cut([whole(b"1", block) for block in blocks])
        assert set(done.blocks.values()) == set(blocks)
    assert len(cutter._blocks) < 6_000


def test_split_gives_raw_text_of_long_numbers():
    digits = b"9" * 5_000
    assert split(b'{"schema":{"type":"int64"}, "payload":' + digits + b"}") == (
        b'{"type":"int64"}',
        digits,
    )
