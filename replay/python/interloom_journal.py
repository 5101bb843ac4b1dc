"""Reads Interloom journals (`docs/FORMAT.md`, format 1.x) without Interloom.

Needs msgpack and numpy. With the package blake3, digests are checked too; without it, checksums and
numbers are.

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
MAJOR = 1
KINDS = {1: "head", 2: "run start", 3: "path", 4: "exchange", 5: "tensor", 6: "run end", 7: "footer", 0x80: "note", 0x81: "tick"}
LONGEST = {1: 1 << 26, 2: 1 << 26, 3: 1 << 16, 4: 1 << 20, 5: 1 << 30, 6: 1 << 26, 7: 1 << 26, 0x80: 1 << 16, 0x81: 1 << 16}
EVENTS = ["VALUE", "SWAP", "SKIP", "REGISTER", "BARRIER", "STOP", "END", "EXCEPTION", "PUT", "GET"]
TYPES = ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8", "bool"]
# NumPy has no bfloat16: such tensors come as their bits.
NUMPY = ["<f8", "<f4", "<f2", "<u2", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?"]


class JournalError(Exception):
    """A journal that is damaged, or none; `offset` is the byte where the first bad frame starts."""

    def __init__(self, message, offset):
        super().__init__(f"{message}, at byte {offset}")
        self.offset = offset


class Torn(JournalError):
    """A journal that ends early; everything before `offset` is good."""


class Tensor(SimpleNamespace):
    """A tensor in a value: `dtype`, `shape` and `digest`; its elements are in `Journal.tensors`."""


class Journal:
    """Iterates over the records of a journal; keeps `head`, `paths` and `tensors` (by digest)."""

    def __init__(self, path):
        self._file = open(path, "rb")
        self.paths, self.tensors, self.runs, self.exchanges = [], {}, 0, 0
        self._open, self._complete, self._chain, self._hash = None, False, bytes(32), None
        try:
            self._start()
        except JournalError:
            self._file.close()
            raise

    def __iter__(self):
        with self._file:
            for offset, kind, payload in self._frames():
                if kind in KINDS:
                    take = getattr(self, "_" + KINDS[kind].replace(" ", "_"))
                    try:
                        record = take(payload, offset)
                    except (ValueError, TypeError, LookupError, struct.error) as error:
                        raise JournalError(f"a malformed {KINDS[kind]} ({error})", offset) from error
                    record.kind, record.offset = KINDS[kind], offset
                    yield record

    def _start(self):
        self._preamble()
        first = next(self._frames(), None)
        if first is None:
            raise Torn("the head is missing", 64)
        if first[1] != 1:
            raise JournalError("the first frame is not the head", 64)
        self.head = self._map(first[2], ["format", "version", "policy", "experiment"], 64)
        if self.head["format"] != "interloom-journal":
            raise JournalError("the head names another format", 64)
        if blake3 and blake3(first[2]).digest()[:16] != self._sync:
            raise JournalError("the head is not the one that the sync marker names", 64)

    def _preamble(self):
        start = self._file.read(64)
        if start[:8] != MAGIC:
            raise JournalError("not an Interloom journal", 0)
        if len(start) < 64:
            raise Torn("the preamble is cut", 0)
        if zlib.crc32(start[:60]) != struct.unpack("<I", start[60:])[0]:
            raise JournalError("the preamble is damaged", 0)
        self.version = struct.unpack("<HH", start[8:12])
        if self.version[0] != MAJOR:
            raise JournalError(f"format {self.version[0]}.{self.version[1]} is not 1.x", 0)
        self._sync, self._offset, self._sequence = start[12:28], 64, 0

    def _frames(self):
        """Yields offset, kind and payload of each frame from here on, checked."""
        while True:
            offset, header = self._offset, self._file.read(24)
            if header and self._complete:
                raise JournalError("bytes follow the footer", offset)
            if not header:
                if self._open is not None:
                    raise Torn(f"run {self._open[0]} has no end", offset)
                return
            if len(header) < 24 or header == bytes(24):
                raise Torn("a header is cut", offset)
            if zlib.crc32(header[:20], zlib.crc32(self._sync)) != struct.unpack("<I", header[20:])[0]:
                raise JournalError("a header is damaged, or of another journal", offset)
            kind, reserved, length, sequence, crc = struct.unpack("<B3sIQI", header[:20])
            if sequence != self._sequence or reserved != bytes(3):
                raise JournalError(f"expected frame {self._sequence}, found {sequence}", offset)
            if length > LONGEST.get(kind, 1 << 30) or (kind not in KINDS and kind < 0x80):
                raise JournalError(f"a frame of kind {kind} and {length} bytes", offset)
            padded = -(-length // 8) * 8
            body = self._file.read(padded)
            if len(body) >= length and zlib.crc32(body[:length]) != crc:
                raise JournalError("a payload is damaged", offset)
            if len(body) < padded:
                raise Torn("a payload is cut", offset)
            if any(body[length:]):
                raise JournalError("the padding is not zero", offset)
            self._offset, self._sequence = offset + 24 + padded, sequence + 1
            yield offset, kind, body[:length]

    def _map(self, payload, keys, offset):
        record = self._unpack(payload, offset)
        if not isinstance(record, dict) or any(key not in record for key in keys):
            raise JournalError(f"a record without {keys}", offset)
        return record

    def _unpack(self, payload, offset):
        try:
            return msgpack.unpackb(payload, strict_map_key=False, max_array_len=len(payload), max_map_len=len(payload))
        except Exception as error:  # msgpack raises many kinds
            raise JournalError(f"a record that is not msgpack ({error})", offset) from error

    def _expect(self, what, expected, found, offset):
        if expected != found:
            raise JournalError(f"expected {what} {expected}, found {found}", offset)

    def _run_start(self, payload, offset):
        start = self._map(payload, ["run", "name", "mediators", "scheduler"], offset)
        self._expect("run", self.runs, start["run"] if self._open is None else None, offset)
        self._open, self._mediators = (self.runs, self.exchanges), [line["name"] for line in start["mediators"]]
        self.runs += 1
        # Since 1.1; nothing is known of barriers and steps in a journal of 1.0.
        return SimpleNamespace(**{"declared": None, **start})

    def _path(self, payload, offset):
        number, text = self._unpack(payload, offset)
        self._expect("path", len(self.paths), number, offset)
        self.paths.append(text)
        self._digest(payload)
        return SimpleNamespace(id=number, text=text)

    def _exchange(self, payload, offset):
        run, index, mediator, event, asked, at, result, value, fault, origin = self._unpack(payload, offset)
        self._expect("an exchange of run", self._open[0] if self._open else None, run, offset)
        self._expect("exchange", self.exchanges, index, offset)
        self.exchanges += 1
        self._digest(payload)
        name = self._mediators[mediator] if mediator < len(self._mediators) else f"#{mediator}"
        site = self._site(asked, offset) or self._site(at, offset)
        return SimpleNamespace(
            run=run, index=index, mediator=name, event=EVENTS[event], site=site, asked=self._site(asked, offset),
            at=self._site(at, offset), served=result == 0, value=None if value is None else self._value(value),
            fault=fault, origin=origin,
        )  # fmt: skip

    def _site(self, site, offset):
        if site is None:
            return None
        if site[0] >= len(self.paths):
            raise JournalError(f"expected a path below {len(self.paths)}, found {site[0]}", offset)
        return f"{self.paths[site[0]]}.i{site[1]}"

    def _value(self, value):
        tag, *rest = value
        if tag == 5:
            return Tensor(dtype=TYPES[rest[0]], shape=tuple(rest[1]), digest=rest[2])
        if tag in (6, 7):
            items = [self._value(item) for item in rest[0]]
            return tuple(items) if tag == 6 else items
        if tag == 8:
            return [(key, self._value(item)) for key, item in rest[0]]
        return rest[0] if rest else None

    def _tensor(self, payload, offset):
        digest, code, rank = payload[:32], payload[32], payload[33]
        shape = struct.unpack_from(f"<{rank}Q", payload, 40)
        elements = payload[40 + 8 * rank :]
        prefix = struct.pack(f"<BQ{rank}Q", code, rank, *shape)
        if blake3 and blake3(prefix + elements).digest() != digest:
            raise JournalError("a tensor does not have its digest", offset)
        array = numpy.frombuffer(elements, dtype=NUMPY[code]).reshape(shape)
        self.tensors[digest] = array
        return SimpleNamespace(digest=digest, dtype=TYPES[code], array=array)

    def _run_end(self, payload, offset):
        end = self._map(payload, ["run", "exchanges", "outcome", "digest"], offset)
        self._expect("the end of run", self._open and self._open[0], end["run"], offset)
        self._expect("as many exchanges as", self.exchanges - self._open[1], end["exchanges"], offset)
        if blake3 and self._pending().digest() != end["digest"]:
            raise JournalError("a run does not have its digest", offset)
        self._open, self._chain, self._hash = None, end["digest"], None
        return SimpleNamespace(**end)

    def _footer(self, payload, offset):
        footer = self._map(payload, ["frames", "exchanges", "digest"], offset)
        found = (self._sequence - 1, self.exchanges, self._chain)
        self._expect("a footer with", found, tuple(footer[key] for key in ("frames", "exchanges", "digest")), offset)
        self._complete = True
        return SimpleNamespace(**footer)

    def _note(self, payload, offset):
        return SimpleNamespace(**self._map(payload, ["key", "value"], offset))

    def _tick(self, payload, offset):
        tick = self._map(payload, ["exchanges", "digest"], offset)
        self._expect("a tick in a run", True, self._open is not None, offset)
        self._expect("a tick after exchange", self.exchanges, tick["exchanges"], offset)
        if blake3 and self._pending().digest() != tick["digest"]:
            raise JournalError("a run does not have the digest of its tick", offset)
        return SimpleNamespace(**tick)

    def _head(self, payload, offset):
        raise JournalError("another head", offset)

    def _pending(self):
        """The digest of the run so far: over that of the run before, then paths and exchanges."""
        if self._hash is None:
            self._hash = blake3(self._chain)
        return self._hash

    def _digest(self, payload):
        if blake3:
            self._pending().update(payload)
