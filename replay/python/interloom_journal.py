"""Reads Interloom journals (`docs/FORMAT.md`, format 1.0) without Interloom; needs msgpack and numpy.

With the package blake3 digests are checked too; without it, checksums and numbers are.

    for record in Journal("run.ilj"):
        if record.kind == "exchange":
            print(record.index, record.event, record.site, record.value)
"""

import struct
import zlib
from types import SimpleNamespace

import msgpack
import numpy

try:
    from blake3 import blake3
except ImportError:
    blake3 = None

MAGIC = b"\x89ILJ\r\n\x1a\n"
# Each kind with its longest payload, as a power of two.
KINDS = {1: ("head", 26), 2: ("run start", 26), 3: ("path", 16), 4: ("exchange", 20), 5: ("tensor", 30), 6: ("run end", 26),
         7: ("footer", 26), 8: ("source", 16), 9: ("visit", 20), 10: ("open request", 20), 11: ("cache declaration", 20), 12: ("padding", 20),
         0x80: ("note", 16), 0x81: ("tick", 16), 0x82: ("passage", 26)}  # fmt: skip
EVENTS = ["VALUE", "SWAP", "SKIP", "REGISTER", "BARRIER", "STOP", "END", "EXCEPTION", "PUT", "GET", "BACKWARD"]
RESULTS = ["served", "refused", "open"]
TYPES = ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool"]
# NumPy has no bfloat16: such tensors come as their bits.
NUMPY = ["<f8", "<f4", "<f2", "<u2", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?"]


class JournalError(Exception):
    """A journal that is damaged, or none; `offset` is the byte where the first bad frame starts."""

    def __init__(self, message, offset=None):
        super().__init__(message if offset is None else f"{message}, at byte {offset}")
        self.offset = offset


class Torn(JournalError):
    """A journal that ends early; everything before `offset` is good."""


class Tensor(SimpleNamespace):
    """A tensor in a value: `dtype`, `shape` and `digest`; its elements are in `Journal.tensors`."""


class Journal:
    """Iterates over the records of a journal; keeps `head`, `paths`, `sources` and `tensors` (by digest)."""

    def __init__(self, path):
        self._file, self._offset, self._sequence, self._complete = open(path, "rb"), 64, 0, False
        self.paths, self.sources, self.tensors, self.runs, self.exchanges = [], [], {}, 0, 0
        self._open, self._chain, self._hash = None, bytes(32), new_hash(bytes(32))
        try:
            self._preamble(self._file.read(64))
            _, kind, payload = next(self._frames(), None) or fail("the head is missing", 64, Torn)
            self.head = fields(payload, "format", "version", "policy", "experiment") if kind == 1 else {}
            expect("a head of", "interloom-journal", self.head.get("format"), 64)
            if blake3:
                expect("the head's digest", self._sync, blake3(payload).digest()[:16], 64)
        except Exception as error:
            self._file.close()
            raise error if isinstance(error, JournalError) else JournalError(f"a malformed head ({error})", 64) from error

    def __iter__(self):
        with self._file:
            for offset, kind, payload in self._frames():
                if kind not in KINDS:
                    continue
                name = KINDS[kind][0]
                try:
                    record = getattr(self, "_" + name.replace(" ", "_"))(payload)
                except Exception as error:  # msgpack and numpy raise many kinds
                    raise JournalError(f"a malformed {name} ({error})", offset) from error
                record.kind, record.offset = name, offset
                yield record

    def _preamble(self, start):
        expect("an Interloom journal, which starts with", MAGIC, start[:8], 0)
        if len(start) < 64:
            fail("the preamble is cut", 0, Torn)
        expect("the preamble's checksum", struct.unpack("<I", start[60:])[0], zlib.crc32(start[:60]), 0)
        self.version, self._sync = struct.unpack("<HH", start[8:12]), start[12:28]
        expect("the format's major version", 1, self.version[0], 0)

    def _frames(self):
        """Yields offset, kind and payload of each frame from here on, checked."""
        while header := self._file.read(24):
            offset = self._offset
            expect("bytes after the footer", False, self._complete, offset)
            if len(header) < 24 or header == bytes(24):
                fail("a header is cut", offset, Torn)
            crc = zlib.crc32(header[:20], zlib.crc32(self._sync))
            expect("a header's checksum", struct.unpack("<I", header[20:])[0], crc, offset)
            kind, reserved, length, sequence, crc = struct.unpack("<B3sIQI", header[:20])
            expect("a frame's number", (self._sequence, bytes(3)), (sequence, reserved), offset)
            if length > 1 << KINDS.get(kind, ("", 30))[1] or (kind not in KINDS and kind < 0x80):
                fail(f"a frame of kind {kind} and {length} bytes", offset)
            padded = -(-length // 8) * 8
            body = self._file.read(padded)
            if len(body) >= length:
                expect("a payload's checksum", crc, zlib.crc32(body[:length]), offset)
            if len(body) < padded:
                fail("a payload is cut", offset, Torn)
            expect("zeros after a payload", bytes(padded - length), body[length:], offset)
            self._offset, self._sequence = offset + 24 + padded, sequence + 1
            yield offset, kind, body[:length]
        if self._open is not None:
            fail(f"run {self._open[0]} has no end", self._offset, Torn)

    def _head(self, payload):
        fail("another head")

    def _run_start(self, payload):
        start = fields(payload, "run", "name", "mediators", "scheduler", "declared")
        expect("run", (self.runs, None), (start["run"], self._open))
        mediators, declared = start["mediators"], start["declared"]
        self._open, self._mediators = (self.runs, self.exchanges), [line["name"] for line in mediators]
        self._sources, self._passages, self._over, self._ahead = new_hash(bytes(32)), None, False, True
        self._rows = max([sum(line["rows"]) for line in mediators if line["rows"]], default=0)
        self.runs += 1
        # All but the scheduler, whose name may be another where the order is the same.
        lines = [[line["name"], line["rows"], line["optional"]] for line in mediators]
        barriers = [[line["name"], line["participants"]] for line in declared["barriers"]]
        self._hash.update(msgpack.packb([start["run"], start["name"], lines, barriers, declared["steps"], declared["gradients"]]))
        start.setdefault("keeps", [])
        return SimpleNamespace(**start)

    def _path(self, payload):
        number, text = unpack(payload)
        expect("path in a run", (True, len(self.paths)), (self._open is not None, number))
        self.paths.append(text)
        self._hash.update(payload)
        return SimpleNamespace(id=number, text=text)

    def _source(self, payload):
        number, file, line = unpack(payload)
        expect("source line in a run", (True, len(self.sources)), (self._open is not None, number))
        self.sources.append((file, line))
        self._sources.update(payload)
        return SimpleNamespace(id=number, file=file, line=line)

    def _exchange(self, payload):
        record = self._request(payload)
        expect("an exchange before the open requests, served or refused", (False, True), (self._over, record.result != "open"))
        self.exchanges += 1
        return record

    def _open_request(self, payload):
        record, self._over = self._request(payload), True
        expect("the result of an open request", "open", record.result)
        return record

    def _request(self, payload):
        evidence, source, length = unpack_two(payload)
        run, index, mediator, event, asked, at, result, value, detail, fault = evidence
        expect("exchange", (self._open and self._open[0], self.exchanges), (run, index))
        self._hash.update(payload[:length])
        self._sources.update(payload[length:])
        asked, at = [site and self._site(*site) for site in (asked, at)]
        loop = None if EVENTS[event] != "REGISTER" else "open" if detail is True else detail
        return SimpleNamespace(run=run, index=index, mediator=self._mediator(mediator), event=EVENTS[event], site=asked or at,
                               asked=asked, at=at, result=RESULTS[result], served=result == 0, value=self._value(value),
                               reshape=EVENTS[event] == "SWAP" and detail is True, loop=loop, fault=fault_of(fault),
                               origin=None if source is None else self.sources[source])  # fmt: skip

    def _visit(self, payload):
        run, passed, brought, backward = unpack(payload)
        expect("a visit before the open requests, of run", (False, self._open and self._open[0]), (self._over, run))
        self._ahead = False
        self._hash.update(payload)
        iteration, value = brought or (None, None)
        site = self._site(passed[-1], iteration) if brought and backward is None else None
        return SimpleNamespace(run=run, passed=[self.paths[path] for path in passed], site=site, value=self._value(value),
                               backward=None if backward is None else ["begins", "ends"][backward])  # fmt: skip

    def _cache_declaration(self, payload):
        run, mediator, number, modules, inputs, outputs, gradients, fault = unpack(payload)
        expect("a cache declaration before the open requests, of run", (False, self._open and self._open[0]), (self._over, run))
        self._hash.update(payload)
        return SimpleNamespace(run=run, mediator=self._mediator(mediator), number=number, modules=modules, inputs=inputs,
                               outputs=outputs, gradients=gradients, fault=fault_of(fault))  # fmt: skip

    def _padding(self, payload):
        run, side, lengths = unpack(payload)
        expect("a padding before the open requests, of run", (False, self._open and self._open[0]), (self._over, run))
        expect("one padding at most, before the model comes to a site", True, self._ahead)
        expect("rows that differ in length, each with a position", (True, True), (min(lengths) > 0, len(set(lengths)) > 1))
        expect("as many rows as the mediators have", self._rows or len(lengths), len(lengths))
        self._hash.update(payload)
        self._ahead = False
        return SimpleNamespace(run=run, side=["left", "right"][side], lengths=lengths)

    def _mediator(self, position):
        return self._mediators[position] if position < len(self._mediators) else f"#{position}"

    def _site(self, path, iteration):
        return f"{self.paths[path]}.i{iteration}"

    def _value(self, value):
        if value is None:
            return None
        tag, *rest = value
        if tag == 5:
            return Tensor(dtype=TYPES[rest[0]], shape=tuple(rest[1]), digest=rest[2])
        if tag in (6, 7):
            return (tuple if tag == 6 else list)(map(self._value, rest[0]))
        return [(key, self._value(item)) for key, item in rest[0]] if tag == 8 else rest[0] if rest else None

    def _tensor(self, payload):
        digest, code, rank = payload[:32], payload[32], payload[33]
        expect("a tensor's reserved bytes", bytes(6), payload[34:40])
        shape, elements = struct.unpack_from(f"<{rank}Q", payload, 40), payload[40 + 8 * rank :]
        if blake3:
            expect("a tensor", digest, blake3(struct.pack(f"<BQ{rank}Q", code, rank, *shape) + elements).digest())
        self.tensors[digest] = numpy.frombuffer(elements, dtype=NUMPY[code]).reshape(shape)
        return SimpleNamespace(digest=digest, dtype=TYPES[code], array=self.tensors[digest])

    def _passage(self, payload):
        run, points, passings, calls = unpack(payload)
        expect("a passage of run", self._open and self._open[0], run)
        self._passages = self._passages or new_hash(bytes(32))
        self._passages.update(payload)
        passings = [(points[point], exchanges, self._value(value)) for point, exchanges, value in passings]
        return SimpleNamespace(run=run, passings=passings, calls=[(begin, end, self._value(put)) for begin, end, put in calls])

    def _tick(self, payload):
        tick = fields(payload, "exchanges", "digest")
        found = (self._open is not None, self.exchanges, self._hash.digest() or tick["digest"])
        expect("a tick", (True, tick["exchanges"], tick["digest"]), found)
        return SimpleNamespace(**tick)

    def _run_end(self, payload):
        end = {"passages": None, "cached": None, **fields(payload, "run", "exchanges", "outcome", "digest", "sources")}
        expect("the end of run", (end["run"], end["exchanges"]), (self._open[0], self.exchanges - self._open[1]))
        self._hash.update(msgpack.packb(end["outcome"]))
        expect("the digest of the run", end["digest"], self._hash.digest() or end["digest"])
        expect("the digest of the source lines", end["sources"], self._sources.digest() or end["sources"])
        expect("passages", end["passages"] is not None, self._passages is not None)
        if self._passages:
            expect("the digest of the passages", end["passages"], self._passages.digest() or end["passages"])
        self._open, self._chain, self._hash = None, end["digest"], new_hash(end["digest"])
        return SimpleNamespace(**end)

    def _footer(self, payload):
        footer = fields(payload, "frames", "exchanges", "digest")
        expect("a footer", (self._sequence - 1, self.exchanges, self._chain), (footer["frames"], footer["exchanges"], footer["digest"]))
        expect("the end of the open run", None, self._open)
        self._complete = True
        return SimpleNamespace(**footer)

    def _note(self, payload):
        return SimpleNamespace(**fields(payload, "key", "value"))


def new_hash(start=b""):
    """A hash that starts so; one that takes all and gives nothing without the package."""
    return blake3(start) if blake3 else SimpleNamespace(update=lambda _: None, digest=lambda: None)


def unpack(payload):
    return msgpack.unpackb(payload, strict_map_key=False, max_array_len=len(payload), max_map_len=len(payload))


def unpack_two(payload):
    """The two values of a payload, and the length of the first."""
    unpacker = msgpack.Unpacker(strict_map_key=False, max_array_len=len(payload), max_map_len=len(payload))
    unpacker.feed(payload)
    first, length = unpacker.unpack(), unpacker.tell()
    second = unpacker.unpack()
    expect("the end of the payload", len(payload), unpacker.tell())
    return first, second, length


def fault_of(fault):
    """The code and the particulars of a fault; one without particulars is its code alone."""
    return fault if fault is None else (fault, None) if isinstance(fault, str) else next(iter(fault.items()))


def fields(payload, *keys):
    record = unpack(payload)
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    return fail(f"a record without {missing}") if missing else record


def expect(what, expected, found, offset=None):
    if expected != found:
        fail(f"expected {what} {expected}, found {found}", offset)


def fail(message, offset=None, kind=JournalError):
    raise kind(message, offset)
