"""Links to one file that anybody may follow for a while, and tokens of the local account.

A link's signature covers the method, the file, the expiry and the name that the file is saved under: none can be
exchanged. The keys follow from the catalogue's secret, each for its own purpose.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from swath.errors import NotAllowed, NotAuthenticated

__all__ = ["ACCESS_SECONDS", "REFRESH_SECONDS", "Signed", "Tokens", "check_link", "sign_link"]

ACCESS_SECONDS, REFRESH_SECONDS = 300, 1_800
_LONGEST_TOKEN = 4_096


def _key(secret: bytes, purpose: str) -> bytes:
    return blake2b(purpose.encode(), digest_size=32, key=secret[:64]).digest()


# -- links ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signed:
    """What a link's query says: until when it holds (seconds since 1970), the disposition, the signature."""

    expires: str
    disposition: str
    signature: str


def sign_link(secret: bytes, method: str, asset_id: str, name: str, seconds: int, now: float | None = None) -> Signed:
    """A link to a file, for GET (and HEAD). `name` is what the file is saved as."""
    expires = str(int((time.time() if now is None else now) + seconds))
    # Unquoted: UP42's client takes for the name whatever stands behind `filename=`.
    plain = "".join(each for each in name if each.isascii() and each.isprintable() and each not in '";\\%') or "file"
    disposition = f"attachment; filename={plain}"
    return Signed(expires, disposition, _signature(secret, method, asset_id, expires, disposition))


def check_link(secret: bytes, method: str, asset_id: str, signed: Signed) -> None:
    """NotAllowed for a link that was not signed here for this, or does not hold any more."""
    asked = "GET" if method == "HEAD" else method
    expected = _signature(secret, asked, asset_id, signed.expires, signed.disposition)
    if not hmac.compare_digest(expected.encode(), signed.signature.encode()):
        raise NotAllowed("the signature of this link does not fit it; ask for a new one with POST …/download-url")
    if int(signed.expires) < time.time():
        raise NotAllowed("this link does not hold any more; ask for a new one with POST …/download-url")


def _signature(secret: bytes, *parts: str) -> str:
    return hmac.new(_key(secret, "link"), "\n".join(parts).encode(), sha256).hexdigest()


# -- tokens --------------------------------------------------------------------------------------


class Tokens:
    """JSON Web Tokens (RFC 7519) of one account, signed with HS256 and good for minutes."""

    def __init__(self, secret: bytes) -> None:
        self._key = OctKey.import_key(_key(secret, "token"))

    def give(self, subject: str) -> dict[str, Any]:
        """The answer of a token endpoint, in the shape that UP42's clients read."""
        session = secrets.token_hex(16)
        return {
            "access_token": self._made(subject, "access", ACCESS_SECONDS, session),
            "expires_in": ACCESS_SECONDS,
            "refresh_expires_in": REFRESH_SECONDS,
            "refresh_token": self._made(subject, "refresh", REFRESH_SECONDS, session),
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": session,
            "scope": "ACCOUNT_ADMIN USER openid",
        }

    def _made(self, subject: str, kind: str, seconds: int, session: str) -> str:
        now = int(time.time())
        claims = {"sub": subject, "typ": kind, "iat": now, "exp": now + seconds, "sid": session}
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, self._key)

    def subject(self, token: str, kind: str = "access") -> str:
        """Whose token it is. NotAuthenticated for one that is none of ours, too old, or of another kind."""
        wrong = NotAuthenticated("the token is not good here any more; ask for a new one")
        if len(token) > _LONGEST_TOKEN:
            raise wrong
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(exp={"essential": True}, sub={"essential": True}).validate(claims)
        except (JoseError, ValueError, TypeError, KeyError):
            raise wrong from None
        if claims.get("typ") != kind:
            raise wrong
        return str(claims["sub"])
