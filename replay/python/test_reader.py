"""Tests interloom_journal on the golden journals: python3 test_reader.py [--interloom PROGRAM].

With the program, its exports for NumPy are compared with what the reader reads.
"""

import argparse
import pathlib
import struct
import subprocess
import tempfile
import zlib

import msgpack
import numpy

import interloom_journal
from interloom_journal import Journal, JournalError, Tensor, Torn

GOLDEN = pathlib.Path(__file__).parent.parent / "tests" / "golden"
FOLDER = tempfile.TemporaryDirectory()
SCRATCH = pathlib.Path(FOLDER.name)


def read(data):
    """The records of a journal of these bytes, and the error that ended them."""
    path = SCRATCH / "a.ilj"
    path.write_bytes(data)
    records = []
    try:
        for record in Journal(path):
            records.append(record)
    except JournalError as error:
        return records, error
    return records, None


def test_values(name, version, events):
    journal = Journal(GOLDEN / name)
    records = list(journal)
    assert journal.version == version
    assert journal.head["experiment"]["arguments"]["layers"] == [3, 5]
    assert journal.paths == ["layers.0.attn.output", "layers.0.mlp.output"]
    exchanges = [record for record in records if record.kind == "exchange"]
    assert [exchange.event for exchange in exchanges[:-1]] == interloom_journal.EVENTS[:events]
    for number, exchange in enumerate(exchanges[:-1]):
        value = exchange.value
        assert isinstance(value, Tensor) and (value.dtype, value.shape) == ("f32", (2,))
        assert (journal.tensors[value.digest] == numpy.array([number, 0.5], dtype="f4")).all()
    last = exchanges[-1]
    assert not last.served and last.fault[0] == "E010" and last.origin == ["steer.rs", 12]
    assert last.asked == "layers.0.mlp.output.i2" and last.at == "layers.0.attn.output.i70000"
    unit, truth, whole, real, text, tensor, empty, entries = last.value
    assert (unit, truth, whole, text, empty) == (None, True, -7, "é", [])
    assert real == 0 and numpy.signbit(real) and entries == [("k", 2**63 - 1)]
    assert isinstance(tensor, Tensor)
    starts = [record for record in records if record.kind == "run start"]
    declared = starts[0].declared
    if version == (1, 0):
        assert declared is None
    else:
        assert declared["steps"] == 4 and declared["barriers"][1] == {"name": "meet", "participants": 2}
    ticks = [record.exchanges for record in records if record.kind == "tick"]
    assert ticks == ([4, 8] if version >= (1, 2) else [])
    passages = [record for record in records if record.kind == "passage"]
    assert len(passages) == (version >= (1, 3))
    for passage in passages:
        assert [point for point, _, _ in passage.passings] == ["layers.0.input", "layers.0.output", "layers.0.input"]
        assert [exchanges for _, exchanges, _ in passage.passings] == [0, 4, 8]
        (begin, end, output), given = passage.calls[0], passage.passings[1][2]
        assert (begin, end, output.shape) == (0, 2, (2,)) and (journal.tensors[given.digest] == [0, 0.5]).all()
    ends = [record.passages for record in records if record.kind == "run end"]
    assert [end is not None for end in ends] == [version >= (1, 4), False]
    cached = [record.cached for record in records if record.kind == "run end"]
    assert cached[1] is None and [line[2] for line in cached[0] or []] == (
        ["layers.0.mlp.output", "layers.0.attn.output"] if version >= (1, 4) else []
    )
    assert journal.head.get("quirks") == (["refused-caches", "words-1"] if version >= (1, 4) else None)
    assert records[-1].kind == "footer" and records[-1].exchanges == events + 1


def test_damage(name):
    data = (GOLDEN / name).read_bytes()
    whole, error = read(data)
    assert error is None
    for cut in range(len(data)):
        records, error = read(data[:cut])
        assert str(records) == str(whole[: len(records)]), cut
        assert error is None or cut < 8 or isinstance(error, Torn) and error.offset <= cut, cut
    for byte in range(len(data)):
        flipped = bytearray(data)
        flipped[byte] ^= 1 << byte % 8
        records, error = read(bytes(flipped))
        assert error is not None and error.offset <= byte, byte
        assert str(records) == str(whole[: len(records)]), byte
    _, error = read(data + b"\0")
    assert error is not None
    # Numbers and texts where others should be, with checksums that are right.
    for payload in [[], [0, 0, 0, 99, None, None, 0, None, None, None], "text", {"a": 1}]:
        _, error = read(data[: whole[2].offset] + framed(data, 4, payload))
        assert isinstance(error, JournalError) and error.offset == whole[2].offset, payload
        assert "frame" not in str(error), error


def framed(data, kind, payload):
    """A frame of this journal, numbered as the one after the run start."""
    payload = msgpack.packb(payload)
    header = struct.pack("<BxxxIQI", kind, len(payload), 3, zlib.crc32(payload))
    crc = zlib.crc32(header, zlib.crc32(data[12:28]))
    return header + struct.pack("<I", crc) + payload + bytes(-len(payload) % 8)


def test_exports(program):
    journal = Journal(GOLDEN / "v1_4.ilj")
    wanted = {}
    for record in journal:
        if record.kind == "exchange" and isinstance(record.value, Tensor):
            wanted[f"{record.site}#{record.index}"] = journal.tensors[record.value.digest]
    out = SCRATCH / "out.npz"
    command = [program, "export", GOLDEN / "v1_4.ilj", "--format", "npz", "--out", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    arrays = numpy.load(out)
    # One more is within the last value.
    assert len(arrays.files) == len(wanted) + 1
    for name, array in wanted.items():
        assert arrays[name].dtype == array.dtype and (arrays[name] == array).all()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--interloom")
    program = parser.parse_args().interloom
    for name, version, events in [("v1_0.ilj", (1, 0), 8), ("v1_1.ilj", (1, 1), 10), ("v1_2.ilj", (1, 2), 10), ("v1_3.ilj", (1, 3), 10), ("v1_4.ilj", (1, 4), 10)]:
        test_values(name, version, events)
        test_damage(name)
    if program:
        test_exports(program)
    digests = "with" if interloom_journal.blake3 else "without"
    exports = "compared" if program else "not compared"
    FOLDER.cleanup()
    print(f"the golden journals are read {digests} digests, and every cut and one flipped bit in each byte is noticed; exports {exports}")


main()
