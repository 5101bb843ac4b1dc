"""Tests interloom_journal on the golden journal: python3 test_reader.py [--interloom PROGRAM].

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

GOLDEN = pathlib.Path(__file__).parent.parent / "journal" / "tests" / "golden" / "v1_0.ilj"
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


def test_values():
    journal = Journal(GOLDEN)
    records = list(journal)
    of = {name: [record for record in records if record.kind == name] for name, _ in interloom_journal.KINDS.values()}
    assert journal.version == (1, 0) and journal.head["policy"] == "full"
    assert journal.head["experiment"]["arguments"]["layers"] == [3, 5]
    assert journal.paths == ["layers.0.attn.output", "layers.0.mlp.output", "layers.0.attn.output.grad", "layers.0.mlp.output.grad.i1", "iteration"]
    assert journal.sources == [("steer.rs", 12), ("other.rs", 7)]
    # Each kind but the head, which stands before the records.
    assert [name for name, found in of.items() if not found] == ["head"]

    first, (gradient, everything, register, refused, failed) = of["exchange"][:11], of["exchange"][11:]
    assert [exchange.event for exchange in first] == interloom_journal.EVENTS
    for number, exchange in enumerate(first):
        value = exchange.value
        assert isinstance(value, Tensor) and (value.dtype, value.shape) == ("f32", (2,))
        assert (journal.tensors[value.digest] == numpy.array([number, 0.5], dtype="f4")).all()
    assert [exchange.reshape for exchange in first] == [exchange.event == "SWAP" for exchange in first]
    assert (first[3].loop, register.loop, everything.loop) == (7, "open", None)
    assert (first[7].fault, first[1].origin, first[9].origin, first[0].origin) == (("E008", None), journal.sources[0], journal.sources[1], None)

    assert everything.result == "refused" and not everything.served and everything.origin == ("steer.rs", 12)
    asked, at = "layers.0.mlp.output.i2", "layers.0.attn.output.i70000"
    assert (everything.asked, everything.at) == (asked, at)
    assert everything.fault == ("E002", {"asked": asked, "at": at})
    unit, truth, whole, real, text, tensor, empty, entries = everything.value
    assert (unit, truth, whole, text, empty) == (None, True, -7, "é", [])
    assert real == 0 and numpy.signbit(real) and entries == [("k", 2**63 - 1)]
    assert isinstance(tensor, Tensor)
    assert refused.fault == ("E900", {"asked": "layers.0.attn.output.i1", "of": [-7, None]}) and refused.value is None
    assert failed.fault == ("E103", {"unset": "x"}) and failed.served

    *watched, begin, served, end, outer, outer_end, brought, ended = of["visit"]
    assert [visit.site for visit in watched] == [exchange.at for exchange in first]
    assert all(visit.value == exchange.value for visit, exchange in zip(watched, first))
    assert [visit.backward for visit in of["visit"]] == [None] * 11 + ["begins", None, "ends", "begins", "ends", None, None]
    assert (begin.passed, end.passed, outer.passed, outer_end.passed) == (journal.paths[1:2], journal.paths[3:4], [], [])
    assert served.site == gradient.at == "layers.0.attn.output.grad.i5" and gradient.value == served.value
    assert (begin.value, outer.site) == (None, None) and journal.tensors[outer.value.digest] == [3]
    assert brought.passed == [journal.paths[path] for path in (0, 1, 0)] and brought.site == "layers.0.attn.output.i1"
    assert (journal.tensors[brought.value.digest] == [7, 0.25]).all()
    assert (ended.passed, ended.site, ended.value) == (journal.paths[1:2], None, None)
    (open_request,), (granted, cache) = of["open request"], of["cache declaration"]
    assert (open_request.index, open_request.event, open_request.mediator, open_request.result) == (16, "SWAP", "steer", "open")
    assert open_request.reshape and (journal.tensors[open_request.value.digest] == [4, 0.5]).all()
    assert (granted.mediator, granted.modules, granted.inputs, granted.outputs, granted.fault) == ("read", None, True, True, None)
    assert (granted.gradients, cache.gradients) == (True, False)
    assert (cache.modules, cache.inputs, cache.outputs) == (["layers.0.attn"], False, True)
    assert (cache.mediator, cache.number, cache.fault) == ("steer", 0, ("E017", {"passed": ["layers.0.mlp.output"]}))

    (padding,) = of["padding"]
    assert (padding.run, padding.side, padding.lengths) == (2, "left", [3, 300, 1])
    assert journal.head["sites"]["positions"] == [[[[1]], [0, 2]], [[[], [2, 3]], [1]]]

    declared = of["run start"][0].declared
    assert declared["steps"] == 4 and declared["barriers"][1] == {"name": "meet", "participants": 2}
    assert declared["gradients"] == ["layers.0.attn.output.grad"]
    completed, stopped, failure = [end.outcome for end in of["run end"]]
    assert completed == "completed" and stopped == {"stopped": {"by": "steer", "at": at}}
    assert failure["failed"]["code"] == "E103"
    assert failure["failed"]["why"]["mediators"][0]["fault"] == {"E103": {"unset": "x"}}
    assert [tick.exchanges for tick in of["tick"]] == [4, 8]
    (passage,) = of["passage"]
    assert [point for point, _, _ in passage.passings] == ["layers.0.input", "layers.0.output", "layers.0.input"]
    assert [exchanges for _, exchanges, _ in passage.passings] == [0, 4, 8]
    (begin, end, output), given = passage.calls[0], passage.passings[1][2]
    assert (begin, end, output.shape) == (0, 2, (2,)) and (journal.tensors[given.digest] == [0, 0.5]).all()
    assert [end.passages is not None for end in of["run end"]] == [True, False, False]
    cached = [end.cached for end in of["run end"]]
    assert cached[1:] == [None, None] and [line[2] for line in cached[0]] == ["layers.0.mlp.output", "layers.0.attn.output"]
    assert records[-1].kind == "footer" and records[-1].exchanges == 16


def test_damage():
    data = GOLDEN.read_bytes()
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
    exchange = [0, 0, 0, 99, None, None, 0, None, None, None]
    for payload in [b"", *map(msgpack.packb, [[], exchange, "text", {"a": 1}]), msgpack.packb(exchange) + b"\xc0\xc0"]:
        for kind in interloom_journal.KINDS:
            _, error = read(data[: whole[2].offset] + framed(data, kind, payload))
            assert isinstance(error, JournalError) and error.offset == whole[2].offset, payload


def test_forgery():
    """One byte of each frame is another, with checksums that are right: the digests say so, or the content cannot be."""
    data = GOLDEN.read_bytes()
    whole, _ = read(data)
    ends = [record.offset for record in whole[1:]] + [len(data)]
    for sequence, (record, end) in enumerate(zip(whole, ends), start=1):
        if record.kind in ("note", "footer") or record.kind == "run end":
            continue
        (length,) = struct.unpack_from("<I", data, record.offset + 4)
        payload = bytearray(data[record.offset + 24 :][:length])
        for byte in range(length):
            payload[byte] ^= 1
            forged = framed(data, data[record.offset], bytes(payload), sequence)
            payload[byte] ^= 1
            records, error = read(data[: record.offset] + forged + data[end:])
            # Of a run's start, the scheduler's name is no evidence.
            scheduler = record.kind == "run start" and error is None and records[sequence - 1].scheduler != record.scheduler
            assert error is not None or scheduler, (record.kind, byte)


def framed(data, kind, payload, sequence=3):
    """A frame of this journal, numbered as the one after the run start, or otherwise."""
    header = struct.pack("<BxxxIQI", kind, len(payload), sequence, zlib.crc32(payload))
    crc = zlib.crc32(header, zlib.crc32(data[12:28]))
    return header + struct.pack("<I", crc) + payload + bytes(-len(payload) % 8)


def test_exports(program):
    journal = Journal(GOLDEN)
    wanted = {}
    for record in journal:
        if record.kind == "exchange" and isinstance(record.value, Tensor):
            wanted[f"{record.site}#{record.index}"] = journal.tensors[record.value.digest]
    out = SCRATCH / "out.npz"
    command = [program, "export", GOLDEN, "--format", "npz", "--out", out]
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
    test_values()
    test_damage()
    if interloom_journal.blake3:
        test_forgery()
    if program:
        test_exports(program)
    digests = "with" if interloom_journal.blake3 else "without"
    exports = "compared" if program else "not compared"
    FOLDER.cleanup()
    print(f"the golden journal is read {digests} digests, and every cut and one flipped bit in each byte is noticed; exports {exports}")


main()
