"""Asking other servers: the one HTTP client for everything that Swath reads from elsewhere.

It waits and asks again where that may help, reads no more than it may, goes to http and https addresses only, and
sends what identifies the user to no server but the one that the user named.
"""

from __future__ import annotations

import base64
import email.utils
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

import httpx2
import msgspec

from swath import __version__
from swath.errors import InvalidRequest, RemoteFailure, SwathError, Unavailable

__all__ = [
    "Answer",
    "Client",
    "Garbled",
    "Passing",
    "Request",
    "is_address",
    "joined",
    "read_headers",
    "without_secrets",
]

T = TypeVar("T")

_ATTEMPTS = 9  # about a minute and a half, with the waits between them
_ATTEMPTS_AT_FAULTS = 3  # a server that failed at a request may well fail at it again
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0
_LONGEST_ASKED_WAIT = 300.0  # a server that wants more is one to come back to
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_MOVED = frozenset((301, 302, 303, 307, 308))
_MOST_MOVES = 5
_ANSWER_BYTES = 200_000_000
_ANSWER_SECONDS = 600.0  # for all of it; a server that drips does not hold a walk for ever
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_WORDS_BYTES = 20_000
_LONGEST_SHOWN = 300
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\x20-\x7e]*)")
# What a link may not set: who the user is, and how the message is framed.
_NOT_FROM_LINKS = frozenset(
    ("authorization", "cookie", "host", "content-length", "transfer-encoding", "connection", "proxy-authorization")
)
_PORTS = {"http": 80, "https": 443}


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked. `body` is sent as JSON."""

    href: str
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `url` is where it came from in the end; `time` is that server's clock, in microseconds."""

    url: str
    body: bytes
    time: int


class Garbled(Exception):
    """Raised by a reader of answers for one that makes no sense."""


class Passing(Exception):
    """A fault that may be gone the next time. `after` is in seconds, if the server says."""

    def __init__(self, error: SwathError, after: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


class Client:
    """Asks one server, and those that it leads to. `headers` go to that server alone. Safe to use from any thread.

    `told` hears why it waits.
    """

    def __init__(
        self,
        address: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        attempts: int = _ATTEMPTS,
        answer_bytes: int = _ANSWER_BYTES,
        told: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        parts = _checked(address)
        self.home = _origin(parts)
        self._own = httpx2.Headers(read_headers([f"{name}: {value}" for name, value in headers]))
        if parts.username is not None and "authorization" not in self._own:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._own["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._closed = threading.Event()
        self.attempts, self.answer_bytes, self.told = attempts, answer_bytes, told
        self._sleep = sleep or self._closed.wait
        self._reached: set[tuple[str, str, int]] = set()
        self._understood = False
        self._http = httpx2.Client(timeout=_TIMEOUT, headers={"user-agent": f"swath/{__version__}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._http.close()

    def fetch(self, request: Request, read: Callable[[Answer], T], *, hasty: bool = False) -> T:
        """What `read` makes of the answer; it raises Garbled for what it cannot read.

        RemoteFailure for a status that is no success, Unavailable for a server that cannot be reached: both after
        several attempts where waiting may help. A server that was never reached is not waited for. `hasty`: soon
        where the fault may lie in the question, so that the caller can ask for less.
        """
        number = own = 0
        while True:
            number += 1
            try:
                answer = self._send(request)
                try:
                    made = read(answer)
                except Garbled as error:
                    raise self._garbled(answer.url, error) from None
                self._understood = True
                return made
            except Passing as fault:
                own += _is_own(fault.error, hasty)
                if number >= self.attempts or own >= _ATTEMPTS_AT_FAULTS or self._closed.is_set():
                    raise fault.error from None
                if fault.after > _LONGEST_ASKED_WAIT:
                    words = f"{fault.error}; it asks to come back in {fault.after:,.0f} s"
                    raise Unavailable(words, int(fault.after)) from None
                wait = max(fault.after, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (number - 1)) * random.uniform(0.5, 1.0))
                self.told(f"{fault.error}; asking again in {wait:.1f} s")
                self._sleep(wait)

    def _garbled(self, url: str, error: Garbled) -> Exception:
        if not self._understood:
            return InvalidRequest(f"{_shown(url)} is no answer of a STAC API: {error}; is it the address of one?")
        return Passing(RemoteFailure(f"{_shown(url)} gave an answer that cannot be read: {error}", 502))

    def _send(self, request: Request) -> Answer:
        """Ask once, and go where the server says that the thing is."""
        url, method, body = request.href, request.method, request.body
        for _ in range(_MOST_MOVES + 1):
            moved = self._ask(url, method, request.headers, body)
            if isinstance(moved, Answer):
                return moved
            status, url = moved
            if status == 303:
                method, body = "GET", None
        raise RemoteFailure(f"{_shown(request.href)} leads on to more than {_MOST_MOVES} other addresses", 502)

    def _ask(self, url: str, method: str, headers: Mapping[str, str], body: Any) -> Answer | tuple[int, str]:
        content = msgspec.json.encode(body or {}) if method == "POST" else None
        started = time.monotonic()
        with self._opened(url, method, headers, content) as answer:
            target = self._led_to(url, answer)
            if target is not None:
                return answer.status_code, target
            return Answer(without_secrets(url), self._read(url, answer, started), _clock(answer))

    @contextmanager
    def stream(
        self, url: str, headers: Mapping[str, str], method: Literal["GET", "HEAD"] = "GET"
    ) -> Iterator[httpx2.Response]:
        """An answer whose body is yet to be read, from wherever the address leads. It is asked for once.

        Passing for what may go better the next time, also while the body is read; RemoteFailure, Unavailable.
        """
        target: str | None = url
        for _ in range(_MOST_MOVES + 1):
            here = target or url
            with self._opened(here, method, headers, None) as answer:
                target = self._led_to(here, answer)
                if target is None:
                    yield answer
                    return
        raise RemoteFailure(f"{_shown(url)} leads on to more than {_MOST_MOVES} other addresses", 502)

    @contextmanager
    def _opened(
        self, url: str, method: str, headers: Mapping[str, str], content: bytes | None
    ) -> Iterator[httpx2.Response]:
        parts = _checked(url)
        sent = self._headers(parts, headers, content is not None)
        try:
            with self._http.stream(method, without_secrets(url), headers=sent, content=content) as answer:
                self._reached.add(_origin(parts))
                yield answer
        except httpx2.InvalidURL as error:
            raise InvalidRequest(f"{_shown(url)} is not an address: {error}") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise self._unreached(url, parts, error) from None

    def _led_to(self, url: str, answer: httpx2.Response) -> str | None:
        """Where a redirect leads; None for a success, and anything else is raised."""
        if answer.status_code in _MOVED and "location" in answer.headers:
            target = joined(url, answer.headers["location"])
            if not is_address(target):
                raise RemoteFailure(f"{_shown(url)} leads to {_shown(target)}, which is not followed", 502)
            return target
        if not answer.is_success:
            raise self._failure(url, answer)
        return None

    def _headers(self, parts: SplitResult, more: Mapping[str, str], posts: bool) -> httpx2.Headers:
        sent = httpx2.Headers({"accept": "application/geo+json, application/json;q=0.9, */*;q=0.1"})
        if posts:
            sent["content-type"] = "application/json"
        sent.update({name: value for name, value in more.items() if name.lower() not in _NOT_FROM_LINKS})
        if self._is_home(parts):
            sent.update(self._own)
        return sent

    def _is_home(self, parts: SplitResult) -> bool:
        """Whether it is the server that the user named, maybe behind TLS now."""
        origin, (scheme, host, port) = _origin(parts), self.home
        return origin == self.home or (origin[:2] == ("https", host) and (scheme, port) == ("http", 80))

    def _read(self, url: str, answer: httpx2.Response, started: float) -> bytes:
        parts, size = [], 0
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self.answer_bytes:
            size = int(length)
        else:
            for part in answer.iter_bytes():
                parts.append(part)
                size += len(part)
                if time.monotonic() - started > _ANSWER_SECONDS:
                    raise Passing(RemoteFailure(f"{_shown(url)} took longer than {_ANSWER_SECONDS:.0f} s", 504))
                if size > self.answer_bytes:
                    break
        if size > self.answer_bytes:
            raise RemoteFailure(f"{_shown(url)} answers with more than {self.answer_bytes:,} bytes", 413)
        return b"".join(parts)

    def _failure(self, url: str, answer: httpx2.Response) -> Exception:
        status = answer.status_code
        words = _words(answer)
        message = f"{_shown(url)} answered {status} {_phrase(status)}".rstrip() + (f": {words}" if words else "")
        if status in (401, 403):
            message += f"; {self._hint(urlsplit(url))}"
        error = RemoteFailure(message, status)
        return Passing(error, _retry_after(answer)) if status in _PASSING else error

    def _hint(self, parts: SplitResult) -> str:
        if not self._own:
            return "if it needs a key, give it with --header 'Name: value'"
        if not self._is_home(parts):
            return (
                f"headers that are given go only to {self.home[0]}://{self.home[1]}; name the address that it leads to"
            )
        return "what was given with --header does not open it"

    def _unreached(self, url: str, parts: SplitResult, error: Exception) -> Exception:
        words = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
            return InvalidRequest(f"{_shown(url)} cannot be asked: {type(error).__name__}")  # words may hold a key
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            return Passing(RemoteFailure(f"{_shown(url)} did not answer in {_TIMEOUT.read:.0f} s", 504))
        if isinstance(error, httpx2.ConnectTimeout):
            words = "it did not answer in time"
        elif re.search(r"getaddrinfo|[Nn]ame or service|[Nn]ame resolution|nodename", words):
            words = f"the host {parts.hostname} is not known"
        failure = Unavailable(f"cannot reach {_shown(url)}: {words}")
        connects = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError)
        if connects and (_origin(parts) not in self._reached or "CERTIFICATE" in words):
            return failure
        return Passing(failure)


def _is_own(error: SwathError, hasty: bool) -> bool:
    """Whether a server fails at this request, rather than at all of them."""
    status = error.status if isinstance(error, RemoteFailure) else 0
    return status == 500 or (hasty and status in (502, 504))


def is_address(text: str) -> bool:
    """Whether it is that of something on the web."""
    try:
        parts = urlsplit(text)
        return text[:8].lower().startswith(("http://", "https://")) and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def joined(base: str, href: str) -> str:
    """Where a link leads; what is no address stays as it is."""
    try:
        return urljoin(base, href)
    except ValueError:
        return href


def read_headers(lines: Sequence[str]) -> list[tuple[str, str]]:
    """`Name: value` of each line. InvalidRequest, which does not repeat the line: it may hold a key."""
    found = []
    for number, line in enumerate(lines, 1):
        match = _HEADER.fullmatch(line.strip())
        if match is None:
            raise InvalidRequest(f"--header number {number} is not of the form 'Name: value'")
        found.append((match[1], match[2].strip()))
    return found


def without_secrets(url: str) -> str:
    """The address without a user's name and password, and without what only a browser looks at."""
    if "@" not in url and "#" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # it leads nowhere
        return url.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def _checked(url: str) -> SplitResult:
    if not is_address(url):
        raise InvalidRequest(f"{_shown(url)} is not an address that begins with http:// or https://")
    return urlsplit(url)


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme.lower(), 0)


def _shown(url: str) -> str:
    url = without_secrets(url)
    return url if len(url) <= _LONGEST_SHOWN else f"{url[:_LONGEST_SHOWN]}…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _words(answer: httpx2.Response) -> str:
    """What the server says about a fault, in a line."""
    text = b""
    for part in answer.iter_bytes():
        text += part
        if len(text) > _WORDS_BYTES:
            break
    try:
        said: Any = msgspec.json.decode(text[:_WORDS_BYTES])
        if isinstance(said, dict):
            names = ("description", "detail", "message", "errorMessage", "title", "code")
            said = next((said[name] for name in names if said.get(name)), "")
        words = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        words = text.decode("utf-8", "replace")
        if "<" in words[:200]:  # a page for people
            return ""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}…"


def _retry_after(answer: httpx2.Response) -> float:
    """Seconds, or an HTTP date (RFC 9110, 10.2.3); 0 for none."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    moment = _date(text)
    return max(0.0, moment - _clock(answer) / 1e6) if moment is not None else 0.0


def _clock(answer: httpx2.Response) -> int:
    moment = _date(answer.headers.get("date", ""))
    return int((moment if moment is not None else time.time()) * 1e6)


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
