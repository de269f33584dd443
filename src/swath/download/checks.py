"""What bytes are held against: the checksum of the STAC file extension, and that of RFC 9530."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Checksum", "read_digest", "read_multihash"]

# Codes of multihash, as hashlib calls them.
_CODES = {
    0x11: "sha1", 0x12: "sha256", 0x13: "sha512", 0x14: "sha3_512", 0x15: "sha3_384", 0x16: "sha3_256",
    0x17: "sha3_224", 0x20: "sha384", 0xD5: "md5", 0x1013: "sha224",
}  # fmt: skip
_BLAKE2B, _BLAKE2S = 0xB200, 0xB240  # plus the number of bytes
_DIGESTS = {"sha-256": "sha256", "sha-512": "sha512"}


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest, and what made it. `where` says who told."""

    algorithm: str
    digest: bytes
    where: str

    def new(self) -> Any:
        """A hash object to be fed."""
        if self.algorithm in ("blake2b", "blake2s"):
            made = hashlib.blake2b if self.algorithm == "blake2b" else hashlib.blake2s
            return made(digest_size=len(self.digest))
        return hashlib.new(self.algorithm, usedforsecurity=False)


def read_multihash(text: object, where: str = "file:checksum") -> Checksum | None:
    """A multihash in hex (STAC file extension, `file:checksum`); None for what is none, or cannot be computed here."""
    try:
        raw = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return None
    code, rest = _varint(raw)
    length, digest = _varint(rest)
    if not digest or length != len(digest):
        return None
    name = _CODES.get(code)
    if 0 < code - _BLAKE2B <= 64 and code - _BLAKE2B == length:
        name = "blake2b"
    elif 0 < code - _BLAKE2S <= 32 and code - _BLAKE2S == length:
        name = "blake2s"
    return _checked(name, digest, where)


def read_digest(header: str) -> Checksum | None:
    """The best of a Repr-Digest (RFC 9530); None for none that is known."""
    found = dict(re.findall(r"(sha-256|sha-512)\s*=\s*:([A-Za-z0-9+/=]*):", header))
    for name in ("sha-256", "sha-512"):
        try:
            digest = base64.b64decode(found.get(name, ""), validate=True)
        except binascii.Error:
            continue
        if digest and (made := _checked(_DIGESTS[name], digest, "Repr-Digest")) is not None:
            return made
    return None


def _checked(name: str | None, digest: bytes, where: str) -> Checksum | None:
    if name is None or name not in hashlib.algorithms_available:
        return None
    made = Checksum(name, digest, where)
    try:
        return made if made.new().digest_size == len(digest) else None
    except ValueError:  # not in this build of OpenSSL
        return None


def _varint(raw: bytes) -> tuple[int, bytes]:
    """An unsigned varint, and what is behind it; 0 where there is none."""
    value = 0
    for place, byte in enumerate(raw[:9]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, raw[place + 1 :]
    return 0, b""
