"""Building segments: out of a tail, or out of segments that become one. Column by column, nothing is parsed twice.

Rows lie in the default order: newest first, then by collection and id; those without a time come last. Strings lie
in code point order, so that their numbers compare as they do. Beside the values of a column lies their order, with
ties by collection and id: it serves sorting, and finding the rows of a value or of a range.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.folding import fold_case
from swath.store.columns.cells import cell_numbers, level_of
from swath.store.columns.container import ContainerWriter
from swath.store.columns.derived import Measuring
from swath.store.columns.dictionary import pack_strings
from swath.store.columns.elements import element_keys
from swath.store.columns.segment import FORMAT, SIDES, Segment
from swath.store.columns.tail import Tail

__all__ = ["Part", "SegmentPart", "Strings", "build_segment", "merge_segments", "write_segment"]

_BLOB_ROWS = 65_536
_FOLDED = 65_536  # distinct strings from which on they are kept without case too
_SCALARS = ("booleans", "integers", "floats")
_FIXED = ("seq", "keys", "when", "known", "start", "end", "placed", *SIDES)


class Part(Protocol):
    """Rows that go into a segment, in any order."""

    size: int

    def fixed(self, name: str) -> NDArray[Any]:
        """What every row has, by the name of its array."""

    def names(self) -> Iterable[str]: ...

    def lane(self, name: str, kind: str) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Rows and values of one kind."""

    def objects(self, name: str) -> NDArray[np.int64]: ...

    def strings(self, name: str) -> Strings: ...

    def arrays(self, name: str) -> Sequence[bytes]:
        """Distinct arrays as JSON, by the codes of the lane."""

    def shapes(self, rows: NDArray[np.int64]) -> list[bytes]:
        """WKB; empty for a null geometry."""


class Strings:
    """Strings by the codes of a lane, with which of them are instants."""

    def __init__(self, values: Sequence[bytes], spans: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> None:
        self.values, self.spans = values, spans


class _TailPart:
    def __init__(self, tail: Tail) -> None:
        self.tail, self.size = tail, tail.rows

    def fixed(self, name: str) -> NDArray[Any]:
        tail = self.tail
        if name in SIDES:
            return tail.boxes[SIDES.index(name)].view()
        held = {"seq": tail.seq, "keys": tail.collection, "when": tail.moment, "known": tail.placed_in_time,
                "start": tail.start, "end": tail.end, "placed": tail.placed, "id": tail.id_codes}  # fmt: skip
        return held[name].view()

    def names(self) -> Iterable[str]:
        return self.tail.columns

    def lane(self, name: str, kind: str) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        pair = self.tail.columns[name].lanes.get(kind)
        return (pair[0].view(), pair[1].view()) if pair else None

    def objects(self, name: str) -> NDArray[np.int64]:
        return self.tail.columns[name].objects.view()

    def strings(self, name: str) -> Strings:
        table = self.tail.ids if name == "id" else self.tail.columns[name].strings
        return Strings([value.encode() for value in table.values], table.spans())

    def arrays(self, name: str) -> Sequence[bytes]:
        return list(self.tail.columns[name].array_index)

    def shapes(self, rows: NDArray[np.int64]) -> list[bytes]:
        packed = shapely.to_wkb(self.tail.shapes.view()[rows], flavor="iso")
        return [each if each is not None else b"" for each in packed]


class SegmentPart:
    """The rows of a segment that are kept."""

    def __init__(self, segment: Segment, kept: NDArray[np.bool_]) -> None:
        self.segment, self.rows = segment, np.flatnonzero(kept)
        self.size = len(self.rows)
        self.whole = self.size == segment.rows
        self.place = np.cumsum(kept) - 1
        self.kept = kept

    def fixed(self, name: str) -> NDArray[Any]:
        array = self.segment.file.array("id.strings" if name == "id" else name)
        return array if self.whole else array[self.rows]

    def names(self) -> Iterable[str]:
        return self.segment.names

    def lane(self, name: str, kind: str) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        column = self.segment.column(name)
        assert column is not None
        if kind not in column.lanes:
            return None
        rows, values = column.lanes[kind]
        if rows is None:
            return np.arange(self.size), values if self.whole else values[self.rows]
        there = self.kept[rows]
        return self.place[rows[there]], values[there]

    def objects(self, name: str) -> NDArray[np.int64]:
        column = self.segment.column(name)
        assert column is not None
        rows = column.objects
        found: NDArray[np.int64] = self.place[rows[self.kept[rows]]]
        return found

    def strings(self, name: str) -> Strings:
        column = self.segment.column(name)
        assert column is not None
        assert column.dictionary is not None
        return Strings(column.dictionary.encoded(), column.dictionary.spans())

    def arrays(self, name: str) -> Sequence[bytes]:
        column = self.segment.column(name)
        assert column is not None
        return column.arrays.encoded() if column.arrays is not None else []

    def shapes(self, rows: NDArray[np.int64]) -> list[bytes]:
        return self.segment.packed_shapes(self.rows[rows])


def build_segment(path: Path, parts: Sequence[Part], names: dict[int, str], span: tuple[int, int], epoch: bytes) -> int:
    """Write the rows of all parts, which hold the versions `span[0]` < seq <= `span[1]`. `names` are ids of collections
    by key. Returns how many rows there are."""
    return _Builder(path, parts, names).write(span, epoch)


def write_segment(path: Path, tail: Tail, names: dict[int, str], span: tuple[int, int], epoch: bytes) -> int:
    """Write the rows of a tail, which holds the versions `span[0]` < seq <= `span[1]`. Returns how many there are."""
    return build_segment(path, [_TailPart(tail)], names, span, epoch)


def merge_segments(
    path: Path,
    segments: Sequence[Segment],
    kept: Callable[[Segment], NDArray[np.bool_]],
    names: dict[int, str],
    span: tuple[int, int],
    epoch: bytes,
) -> int:
    """Write one segment out of the rows of others that are to be kept. Returns how many there are."""
    return build_segment(path, [SegmentPart(segment, kept(segment)) for segment in segments], names, span, epoch)


class _Builder:
    def __init__(self, path: Path, parts: Sequence[Part], names: dict[int, str]) -> None:
        self.path = path
        self.parts = [part for part in parts if part.size]
        self.names = names
        self.size = sum(part.size for part in self.parts)
        self.starts = np.cumsum([0, *(part.size for part in self.parts)])

    def write(self, span: tuple[int, int], epoch: bytes) -> int:
        with ContainerWriter(self.path) as self.out:
            self.write_rows()
            columns = {}
            for number, name in enumerate(sorted({name for part in self.parts for name in part.names()} - {"id"})):
                found = self.write_column(f"c{number}", name)
                if found:
                    columns[name] = found
            columns["id"] = ["id", "code"]
            self.facts.write(self.out)
            self.out.about |= {
                "format": FORMAT, "epoch": epoch, "low": span[0], "high": span[1], "rows": self.size,
                "columns": columns,
            }  # fmt: skip
        return self.size

    def joined(self, name: str) -> NDArray[Any]:
        if not self.parts:
            return np.empty(0, _DTYPES.get(name, np.float64))
        found = np.concatenate([part.fixed(name) for part in self.parts])
        return found.astype(_DTYPES[name], copy=False) if name in _DTYPES else found

    def write_rows(self) -> None:
        """The order of the rows, and what each has beside its properties."""
        keys, when, known = self.joined("keys"), self.joined("when"), self.joined("known")
        rank_of = {name: rank for rank, name in enumerate(sorted(set(self.names.values())))}
        ranked = np.zeros(int(keys.max(initial=0)) + 1, np.int64)
        for key in np.unique(keys).tolist():
            ranked[key] = rank_of[self.names[key]]  # a collection that came back ranks as it did
        ids, strings = self.coded("id", [part.fixed("id") for part in self.parts])
        order = np.lexsort((ids, ranked[keys], np.where(known, -when, 0), ~known))
        self.place = np.empty(len(order), np.int64)
        self.place[order] = np.arange(len(order))
        keys, ids, when, known = keys[order], ids[order], when[order], known[order]
        self.by_identity = np.lexsort((ids, ranked[keys])).astype(np.int32)
        self.identity = np.empty(self.size, np.int32)
        self.identity[self.by_identity] = np.arange(self.size, dtype=np.int32)
        out = self.out
        reach = [0, 0]
        boxes = []
        for name in _FIXED:
            array = self.joined(name)[order]
            out.add(name, array)
            if name == "seq":
                out.add("by_seq", np.argsort(array).astype(np.int32))
            elif name in ("start", "end"):
                ahead = when - array if name == "start" else array - when
                reach[name == "end"] = int(np.where(known, ahead, 0).max(initial=0))
            elif name in SIDES:
                boxes.append(array)
        self.facts = Measuring(keys)
        self.facts.add_rows(lambda name: self.joined(name)[order])
        out.about |= {"placed": int(known.sum()), "reach": reach}
        out.add("identity", self.by_identity)
        out.about["collections"] = _ranges(keys[self.by_identity])
        self.write_dictionary("id", *strings)
        out.add("id.strings", ids)
        out.add("id.order", self.ordered(ids, None))
        self.write_cells(boxes)
        self.write_shapes(order)

    def write_cells(self, boxes: list[NDArray[np.float64]]) -> None:
        placed = np.flatnonzero(~np.isnan(boxes[0]))
        numbers = cell_numbers(*(side[placed] for side in boxes))
        order = np.argsort(numbers, kind="stable")
        keys, starts = np.unique(numbers[order], return_index=True)
        self.out.about["levels"] = np.unique(level_of(keys)).tolist()
        self.out.add("cells", keys)
        self.out.add("cells.starts", np.append(starts, len(order)).astype(np.int64))
        self.out.add("cells.rows", placed[order].astype(np.int32))

    def write_shapes(self, order: NDArray[np.int64]) -> None:
        lengths = np.zeros(self.size + 1, np.int64)
        blobs = []
        part_of = np.searchsorted(self.starts, order, "right") - 1
        for first in range(0, self.size, _BLOB_ROWS):
            rows, owners = order[first : first + _BLOB_ROWS], part_of[first : first + _BLOB_ROWS]
            packed = np.empty(len(rows), np.object_)
            for number, part in enumerate(self.parts):
                mine = np.flatnonzero(owners == number)
                if len(mine):
                    packed[mine] = _objects(part.shapes(rows[mine] - self.starts[number]))
            lengths[first + 1 : first + 1 + len(rows)] = [len(each) for each in packed]
            blobs.append(np.frombuffer(b"".join(packed), np.uint8))
        self.out.add("shapes", *(blobs or [np.empty(0, np.uint8)]))
        self.out.add("shape_offsets", np.cumsum(lengths))

    # -- columns ------------------------------------------------------------------------------

    def write_column(self, prefix: str, name: str) -> list[str] | None:
        having = [(start, part) for start, part in zip(self.starts.tolist(), self.parts, strict=False)
                  if name in part.names()]  # fmt: skip
        lanes: dict[str, tuple[NDArray[np.int64] | None, NDArray[Any]]] = {}
        for kind in _SCALARS:
            found = [(start, lane) for start, part in having if (lane := part.lane(name, kind)) is not None]
            if found:
                lanes[kind] = self.lane(prefix, kind, found)
        mode, by_value, spans = "code", None, None
        found = [(start, lane) for start, part in having if (lane := part.lane(name, "strings")) is not None]
        if found:
            owners = [part for _, part in having if part.lane(name, "strings") is not None]
            codes, (values, spans) = self.coded(name, [lane[1] for _, lane in found], owners)
            at = np.cumsum([0, *(len(lane[0]) for _, lane in found)]).tolist()
            split = [(start, (lane[0], codes[at[i] : at[i + 1]])) for i, (start, lane) in enumerate(found)]
            lanes["strings"] = self.lane(prefix, "strings", split)
            self.write_dictionary(prefix, values, spans)
            if len(values) and spans[0].all():
                mode, by_value = "instant", spans[1]
        listed = self.write_arrays(prefix, name, having)
        objects = [self.place[start + part.objects(name)] for start, part in having]
        held = np.sort(np.concatenate(objects)) if objects else np.empty(0, np.int64)
        if len(held):
            self.out.add(f"{prefix}.objects", held.astype(np.int32))
        if not lanes and listed is None and not len(held):
            return None
        if lanes:
            self.write_order(prefix, lanes, by_value)
        self.facts.add_column(name, {**lanes, "arrays": listed, "objects": (held, held)}, spans)
        return [prefix, mode]

    def lane(
        self, prefix: str, kind: str, found: list[tuple[int, tuple[NDArray[np.int64], NDArray[Any]]]]
    ) -> tuple[NDArray[np.int64] | None, NDArray[Any]]:
        """Write rows (unless every row has a value) and values, in the order of the rows."""
        where = np.concatenate([self.place[start + rows] for start, (rows, _) in found])
        values = np.concatenate([values for _, (_, values) in found])
        if len(where) == self.size:
            dense = np.empty_like(values)
            dense[where] = values
            self.out.add(f"{prefix}.{kind}", dense)
            return None, dense
        order = np.argsort(where)
        where, values = where[order], values[order]
        self.out.add(f"{prefix}.{kind}.rows", where.astype(np.int32))
        self.out.add(f"{prefix}.{kind}", values)
        return where, values

    def coded(
        self, name: str, codes: Sequence[NDArray[Any]], parts: Sequence[Part] | None = None
    ) -> tuple[NDArray[np.int32], tuple[list[bytes], tuple[NDArray[Any], ...]]]:
        """Codes of all parts in one dictionary of the strings that are used; its values and spans."""
        used, strings = [], []
        for part, each in zip(self.parts if parts is None else parts, codes, strict=True):
            used.append(np.unique(each))
            strings.append(part.strings(name))
        every = [each.values[code] for each, some in zip(strings, used, strict=True) for code in some.tolist()]
        number = np.empty(len(every), np.int32)
        values: list[bytes] = []
        first = np.empty(len(every), np.int64)
        last: bytes | None = None
        for place in sorted(range(len(every)), key=every.__getitem__):
            value = every[place]
            if value != last:
                first[len(values)] = place
                values.append(value)
                last = value
            number[place] = len(values) - 1
        spans = tuple(
            np.concatenate([each.spans[i][some] for each, some in zip(strings, used, strict=True)])[
                first[: len(values)]
            ]
            if strings
            else np.empty(0, np.int64)
            for i in range(3)
        )
        ends = np.cumsum([0, *(len(some) for some in used)]).tolist()
        joined = [
            number[ends[i] : ends[i + 1]][np.searchsorted(some, each)]
            for i, (some, each) in enumerate(zip(used, codes, strict=True))
        ]
        return np.concatenate(joined) if joined else np.empty(0, np.int32), (values, spans)

    def write_dictionary(
        self, prefix: str, values: list[bytes], spans: tuple[NDArray[Any], ...], *, folded: bool = False
    ) -> None:
        offsets, blob = pack_strings(values)
        self.out.add(f"{prefix}.offsets", offsets)
        self.out.add(f"{prefix}.blob", blob)
        beyond = [code for code, value in enumerate(values) if not value.isascii()]
        if beyond:
            self.out.add(f"{prefix}.beyond_ascii", np.array(beyond, np.int32))
        if spans[0].any():
            for name, array in zip(("instant", "first", "last"), spans, strict=True):
                self.out.add(f"{prefix}.{name}", array)
        elif len(values) > _FOLDED and not folded:
            texts = [fold_case(value.decode()).encode() for value in values]
            distinct = sorted(set(texts))
            number = {text: code for code, text in enumerate(distinct)}
            self.out.add(f"{prefix}.folded", np.array([number[text] for text in texts], np.int32))
            nothing = np.zeros(len(distinct), np.bool_)
            self.write_dictionary(f"{prefix}.folded", distinct, (nothing, nothing, nothing), folded=True)

    def write_arrays(
        self, prefix: str, name: str, having: list[tuple[int, Part]]
    ) -> tuple[NDArray[np.int64] | None, NDArray[Any]] | None:
        known: dict[bytes, int] = {}
        found = []
        for start, part in having:
            lane = part.lane(name, "arrays")
            if lane is not None:
                texts = part.arrays(name)
                used, codes = np.unique(lane[1], return_inverse=True)
                numbers = np.array([known.setdefault(texts[code], len(known)) for code in used.tolist()], np.int32)
                found.append((start, (lane[0], numbers[codes])))
        if not found:
            return None
        rows, codes = self.lane(prefix, "arrays", found)
        offsets, blob = pack_strings(list(known))
        self.out.add(f"{prefix}.arrays.offsets", offsets)
        self.out.add(f"{prefix}.arrays.blob", blob)
        self.write_elements(prefix, list(known), rows, codes)
        return rows, codes

    def write_elements(
        self, prefix: str, texts: list[bytes], rows: NDArray[np.int64] | None, codes: NDArray[Any]
    ) -> None:
        """Which rows hold an element, where there are few enough elements to make that worth its room."""
        each: list[set[bytes]] = []
        found: set[bytes] = set()
        for text in texts:
            each.append(element_keys(msgspec.json.decode(text)))
            found |= each[-1]
            if 4 * len(found) > max(len(codes), 64):
                return
        sizes = np.array([len(keys) for keys in each], np.int64)
        if int(sizes[codes].sum()) > 16 * max(len(codes), 1):
            return
        every = sorted(found)
        number = {key: place for place, key in enumerate(every)}
        flat = np.array([number[key] for keys in each for key in keys], np.int32)
        starts = np.cumsum(sizes) - sizes
        lengths = sizes[codes]
        at = np.repeat(starts[codes] - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
        owner = np.repeat(rows if rows is not None else np.arange(len(codes)), lengths)
        held = flat[at] if len(flat) else np.empty(0, np.int32)
        order = np.argsort(held, kind="stable")
        offsets, blob = pack_strings(every)
        self.out.add(f"{prefix}.elements.offsets", offsets)
        self.out.add(f"{prefix}.elements.blob", blob)
        self.out.add(f"{prefix}.elements.rows", owner[order].astype(np.int32))
        counts = np.bincount(held, minlength=len(every)) if len(every) else np.empty(0, np.int64)
        self.out.add(f"{prefix}.elements.starts", np.cumsum([0, *counts.tolist()]).astype(np.int64))

    # -- orders -------------------------------------------------------------------------------

    def write_order(
        self,
        prefix: str,
        lanes: dict[str, tuple[NDArray[np.int64] | None, NDArray[Any]]],
        by_value: NDArray[np.int64] | None,
    ) -> None:
        """Places in the lanes, put one behind the other, in the order of their values: booleans, numbers, strings."""
        base, parts = 0, []
        if "booleans" in lanes:
            rows, values = lanes["booleans"]
            parts.append(self.ordered(values, rows))
            base = len(values)
        numbers = [lanes[kind] for kind in ("integers", "floats") if kind in lanes]
        if numbers:
            parts.append(self.ordered_numbers(numbers) + base)
            base += sum(len(values) for _, values in numbers)
        if "strings" in lanes:
            rows, codes = lanes["strings"]
            parts.append(self.ordered(codes if by_value is None else by_value[codes], rows) + base)
        self.out.add(f"{prefix}.order", np.concatenate(parts).astype(np.int32))

    def ordered(self, values: NDArray[Any], rows: NDArray[np.int64] | None) -> NDArray[np.int32]:
        """Places of values, ascending, ties by the identity of their rows."""
        if rows is None:
            start = self.by_identity
        else:
            start = np.argsort(self.identity[rows]).astype(np.int32)
        told = values[start]
        if told.dtype == np.bool_ or (told.dtype == np.int32 and int(told.max(initial=0)) < 65_536):
            told = told.astype(np.uint16)  # which numpy sorts by radix
        found: NDArray[np.int32] = start[np.argsort(told, kind="stable")]
        return found

    def ordered_numbers(self, lanes: list[tuple[NDArray[np.int64] | None, NDArray[Any]]]) -> NDArray[np.int32]:
        if len(lanes) == 1:
            return self.ordered(lanes[0][1], lanes[0][0])
        rows = np.concatenate([np.arange(self.size) if rows is None else rows for rows, _ in lanes])
        near = np.concatenate([values.astype(np.float64) for _, values in lanes])
        rest = np.concatenate([_rest(values) for _, values in lanes])
        return np.lexsort((self.identity[rows], rest, near)).astype(np.int32)


_DTYPES: dict[str, Any] = {
    "seq": np.int64, "keys": np.int32, "when": np.int64, "known": np.bool_, "start": np.int64, "end": np.int64,
    "placed": np.bool_,
}  # fmt: skip


def _rest(values: NDArray[Any]) -> NDArray[np.int64]:
    """What an integer exceeds its nearest double by; 0 for a double."""
    if values.dtype == np.float64:
        return np.zeros(len(values), np.int64)
    near = values.astype(np.float64)
    below = np.minimum(near, np.nextafter(2.0**63, 0))  # 2**63 itself is no int64
    return values - below.astype(np.int64) - (near - below).astype(np.int64)


def _ranges(keys: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """The first and the last place of each key; those of a collection that came back may alternate with the old."""
    found: dict[int, tuple[int, int]] = {}
    starts = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)]
    for first, last in itertools.pairwise(starts):
        if first < last:
            key = int(keys[first])
            found[key] = (found[key][0] if key in found else first, last)
    return [(key, *span) for key, span in found.items()]


def _objects(values: list[bytes]) -> NDArray[np.object_]:
    found = np.empty(len(values), np.object_)
    found[:] = values
    return found
