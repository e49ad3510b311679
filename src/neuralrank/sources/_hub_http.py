"""Requests to the Hugging Face Hub, over the session of its own client: tries, waits, limits and paging.

The client's listing and download are not used: they wait for as long as a server says, end a whole listing at one
odd model, and do not compare a file with its hash. Cookies, proxies and certificates are as for the client.
"""

import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from neuralrank.errors import ModelError, SourceError
from neuralrank.sources._hub_cache import n_cached
from neuralrank.sources._hub_json import parsed, text

MAX_BODY_BYTES = 128 * 2**20
RETRIED = (408, 429, 500, 502, 503, 504)
_NEXT = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')
_RESET = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d{1,6})")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a try did not succeed."""

    reason: str
    wait_seconds: float = 0.0
    """How long the server asks to wait."""
    final: bool = False
    """Whether another try would end the same."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the Hub answered, whatever its status."""

    status: int
    code: str = ""
    """The Hub's own name of the error: GatedRepo, RepoNotFound, …"""
    content: Any = None
    next_query: str = ""


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A Hub and how to talk to it."""

    endpoint: str
    cache: Path
    token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 20.0
    """Longest silence within an answer."""
    tries: int = 4
    patience_seconds: float = 330.0
    """Longest wait between all tries of one request; the Hub counts requests over 300 seconds."""
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def get(self, path: str, what: str, *, query: str = "", raw_bytes: int = 0) -> Answer:
        """Return the JSON at `path`, or with `raw_bytes` the bytes, of which a longer answer gives none.

        Raises:
            SourceError: it did not answer in the given tries; the message begins with `what`.
        """

        def read(response: Any) -> Answer | Trouble:
            limit = raw_bytes or MAX_BODY_BYTES
            end = time.monotonic() + 6 * self.timeout_seconds
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > limit:
                    too_long = Trouble(reason=f"an answer of more than {limit} bytes", final=True)
                    return Answer(status=response.status_code) if raw_bytes else too_long
                if time.monotonic() > end:
                    return Trouble(reason=f"no whole answer within {6 * self.timeout_seconds:g} seconds")
            content: Any = bytes(body)
            if response.status_code < 300 and not raw_bytes:
                try:
                    content = parsed(content)
                except ValueError:
                    return Trouble(reason="an answer that is not JSON")
            return Answer(
                status=response.status_code,
                code=text(response.headers.get("X-Error-Code"), 40) or "",
                content=content,
                next_query=_next_query(response.headers.get("Link") or ""),
            )

        address = f"{path}?{query}" if query else path
        return self.retried(what, lambda: self.exchange(address, read))

    def pages(self, path: str, params: Mapping[str, Any], what: str, *, name: str = "") -> Iterator[list[Any]]:
        """Yield the lists that `path` gives page by page.

        Raises:
            ModelError: the pages are about the one model `name`, and access to it is closed.
            SourceError: it does not answer, refuses, gives no lists, or gives the same page again and again.
        """
        query = urlencode(params, doseq=True)
        seen: set[str] = set()
        while query and query not in seen:
            seen.add(query)
            answer = self.get(path, what, query=query)
            if answer.status != 200 or not isinstance(answer.content, list):
                raise (self.closed(name, answer) if name else None) or self.failed(what, answer)
            yield answer.content
            query = answer.next_query
        if query:
            raise SourceError(f"{what} could not be listed. Got the same page twice. Report it to {self.endpoint}.")

    def closed(self, name: str, answer: Answer) -> ModelError | None:
        """Return the error for an answer that keeps one model from us, None if it is none."""
        if answer.status in (401, 403):
            if self.token is not None and answer.code != "GatedRepo":
                return ModelError(
                    f"{name} needs a token that may read it. Got HTTP {answer.status}. Run: hf auth login"
                )
            got = f"HTTP {answer.status}{'' if self.token else ' without a token'}"
            return ModelError(
                f"{name} needs access that its authors grant. Got {got}. "
                "Ask for access on its page, then run: hf auth login"
            )
        if answer.status in (404, 410):
            missing = "revision" if answer.code == "RevisionNotFound" else "repository"
            return ModelError(
                f"{name} needs its {missing} on the Hub. Got HTTP {answer.status}. List the models again."
            )
        return None

    def failed(self, what: str, answer: Answer) -> SourceError:
        """Return the error for an answer that says no, or says something else than was asked for."""
        if answer.status == 401 and self.token is not None:
            return SourceError(f"{what} needs a valid token. Got HTTP 401 for the one given. Run: hf auth login")
        got = f"HTTP {answer.status}" if answer.status != 200 else "an answer of another kind"
        return SourceError(f"{what} could not be fetched. Got {got} from {self.endpoint}. {self.way_out()}")

    def retried(self, what: str, attempt: Callable[[], T | Trouble]) -> T:
        """Return what `attempt` gives within the tries; between them wait longer each time, and as long as asked.

        Raises:
            SourceError: all tries gave trouble, or the wait would be too long.
        """
        waited = 0.0
        n = 0
        while True:
            n += 1
            result = attempt()
            if not isinstance(result, Trouble):
                return result
            # half of the wait is drawn, so that many clients do not come back at one moment
            pause = max(result.wait_seconds, 2 ** (n - 1) * (0.5 + self.draw()))
            too_long = waited + pause > self.patience_seconds
            if n == self.tries or result.final or too_long:
                asked = f" and a wait of {pause:.0f} seconds" if too_long else ""
                got = f"{result.reason}{asked} after {n} {'try' if n == 1 else 'tries'}"
                raise SourceError(f"{what} could not be fetched. Got {got}. {self.way_out()}")
            self.sleep(pause)
            waited += pause

    def way_out(self) -> str:
        """Say what to do when the Hub does not answer."""
        n = n_cached(self.cache)
        cached = f", or run with --offline to use the {n} cached model{'s' * (n > 1)}" if n else ""
        return f"Retry later{cached}."

    def exchange(
        self, address: str, read: Callable[[Any], T | Trouble], headers: Mapping[str, str] | None = None
    ) -> T | Trouble:
        """Send one request and return what `read` makes of the answer; what goes wrong on the way comes as Trouble."""
        from huggingface_hub import get_session

        http = http_library()
        try:
            with get_session().stream(
                "GET",
                self.endpoint + address,
                headers={**self._headers(), **(headers or {})},
                timeout=self.timeout_seconds,
                follow_redirects=True,
            ) as response:
                if response.status_code in RETRIED:
                    reason = f"HTTP {response.status_code}"
                    return Trouble(reason=reason, wait_seconds=_asked_wait(response.headers))
                return read(response)
        except http.TimeoutException:
            return Trouble(reason=f"no answer within {self.timeout_seconds:g} seconds")
        except http.TooManyRedirects:
            return Trouble(reason="redirects without end", final=True)
        except http.RemoteProtocolError:
            return Trouble(reason="an answer that was cut off")
        except http.UnsupportedProtocol:
            return Trouble(reason="a redirect to something other than a web address", final=True)
        except (http.HTTPError, http.InvalidURL, http.StreamError, UnicodeError) as error:
            return Trouble(reason=f"no connection ({text(str(error)) or type(error).__name__})")

    def _headers(self) -> dict[str, str]:
        """Return our own name and the token: the client's headers would tell which packages are installed."""
        authorization = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return {"user-agent": f"neuralrank/{version('neuralrank')}", "accept-encoding": "gzip", **authorization}


def http_library() -> Any:
    """Return the module whose errors the client's session raises: httpx, or what the client uses in its place."""
    from huggingface_hub.errors import HfHubHTTPError

    return sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]


def _asked_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds that Retry-After or the Hub's RateLimit header ask for, 0 if neither does."""
    after = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}", after):
        return float(after)
    exhausted = _RESET.search(headers.get("RateLimit") or "")
    return float(exhausted.group(1)) if exhausted else 0.0


def _next_query(link: str) -> str:
    """Return the query of the next page. Its host is not followed: the token goes to the endpoint alone."""
    found = _NEXT.search(link)
    return found.group(1).partition("?")[2].partition("#")[0] if found else ""
