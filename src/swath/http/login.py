"""Who calls the asset store. Accounts are to come: until then there is the one local account, and UP42's way to log in.

On a loopback address without a password set, whoever can reach the server is its user, and any name and password get a
token. Where a password is set, it is asked for, and the store wants the token.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import Response

from swath.assets import AssetStore
from swath.assets.signing import Tokens
from swath.errors import InvalidRequest, NotAllowed, NotAuthenticated, NotFound, UnsupportedMediaType
from swath.http.call import Call
from swath.http.guard import check_store
from swath.http.links import JSON
from swath.http.responses import json_answer
from swath.http.route import Route

__all__ = ["REALM", "ROUTES", "store_of"]

REALM = "/realms/public/protocol/openid-connect"
_FORM = ("application/x-www-form-urlencoded",)


def store_of(call: Call) -> AssetStore:
    """The asset store, for a caller who may use it. NotAllowed, NotAuthenticated."""
    store = _served(call)
    given = call.headers.get("authorization", "")
    if given[:7].lower() == "bearer ":
        Tokens(call.catalog.ledger.secret).subject(given[7:].strip())
    elif call.headers.get("sec-fetch-site") == "cross-site":  # a page from elsewhere, in this user's browser
        raise NotAllowed("the asset store is not open to pages of other sites without a token")
    elif call.settings.store_password is not None:
        raise NotAuthenticated(f"the asset store wants a token: POST {REALM}/token with username and password")
    return store


def _served(call: Call) -> AssetStore:
    check_store(call.settings)
    if call.files is None:
        raise NotFound("this catalogue has no folder, and so no asset store")
    return call.files


def token(call: Call) -> Response:
    """OAuth 2.0 (RFC 6749, 4.3 and 6): a token for a password, or for a refresh token."""
    store = _served(call)
    form = _form(call.body)
    tokens = Tokens(call.catalog.ledger.secret)
    grant = form.get("grant_type")
    if grant == "refresh_token":
        tokens.subject(form.get("refresh_token", ""), "refresh")
    elif grant in ("password", "client_credentials"):
        _check_password(call, form.get("password") or form.get("client_secret") or "")
    else:
        raise InvalidRequest(f"grant_type: {str(grant)[:40]!r} is none of password, client_credentials, refresh_token")
    answer = json_answer(tokens.give(store.account.workspace_id))
    answer.headers["cache-control"] = "no-store"
    return answer


def old_token(call: Call) -> Response:
    """As UP42 gave tokens to 2024: to a project's id and key as name and password (RFC 7617)."""
    store = _served(call)
    if _form(call.body).get("grant_type") != "client_credentials":
        raise UnsupportedMediaType("grant_type: client_credentials is asked for")
    scheme, _, given = call.headers.get("authorization", "").partition(" ")
    try:
        pair = base64.b64decode(given, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        pair = ""
    if ":" not in pair:
        raise NotAuthenticated("Authorization: Basic, with a name and the password, is asked for")
    _check_password(call, pair.partition(":")[2])
    told = Tokens(call.catalog.ledger.secret).give(store.account.workspace_id)
    answer = json_answer({"data": {"accessToken": told["access_token"]}, "error": None, **told})
    answer.headers["cache-control"] = "no-store"
    return answer


def _check_password(call: Call, given: str) -> None:
    wanted = call.settings.store_password
    if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
        raise NotAuthenticated("this is not the password of the local account")


def _form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=20))
    except ValueError:
        raise InvalidRequest("the body is no form of at most 20 fields in UTF-8") from None


def userinfo(call: Call) -> Response:
    """OpenID Connect Core, 5.3. `sub` is the id of the workspace, as UP42's clients have it."""
    store = store_of(call)
    told: dict[str, Any] = {
        "sub": store.account.workspace_id, "preferred_username": store.account.name, "email_verified": False,
        "account_id": store.account.id,
    }  # fmt: skip
    return json_answer(told)


ROUTES: tuple[Route, ...] = (
    Route("POST", f"{REALM}/token", token, "getToken", "A token of the local account, for UP42's clients", (), "form",
          {200: (JSON, "object")}, (400, 401, 403, 404, 413, 415, 503), "Login", "side", accepts=_FORM),
    Route("POST", "/oauth/token", old_token, "getOldToken", "The same as UP42 gave it to 2024", (), "form",
          {200: (JSON, "object")}, (400, 401, 403, 404, 413, 415, 503), "Login", "side", accepts=_FORM),
    Route("GET", f"{REALM}/userinfo", userinfo, "getUserInfo", "Whose token it is", (), None,
          {200: (JSON, "object")}, (400, 401, 403, 404, 503), "Login", "side"),
)  # fmt: skip
