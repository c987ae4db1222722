"""Faults of ListObjectsV2: short pages, lost keys, a page given twice. An error at the k-th page is an Answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import unescape
from urllib.parse import unquote

from tests.faults.faults import Fault, Forward
from tests.faults.operations import Seen, split_target
from tests.faults.wire import Request, Response

ENTRY = re.compile(r"<(Contents|CommonPrefixes)>.*?<(Key|Prefix)>(.*?)</\2>.*?</\1>", re.DOTALL)


@dataclass(kw_only=True)
class OfListings(Fault):
    """A fault of listing pages, whichever operation it was asked for."""

    operation: str = "ListObjectsV2"


@dataclass
class SmallPages(OfListings):
    """Asks the store for pages of so few keys, unless the client asked for fewer: a listing of many pages."""

    keys: int = 2

    async def act(self, request: Request, forward: Forward) -> Response:
        path, query = split_target(request.target)
        asked = int(query.get("max-keys", ["1000"])[0])
        rest = [part for part in request.target[len(path) + 1 :].split("&") if not part.startswith("max-keys=")]
        target = f"{path}?{'&'.join([*rest, f'max-keys={min(asked, self.keys)}'])}"
        return await forward(replace(request, target=target))


@dataclass
class LoseKeys(OfListings):
    """Leaves out of a page the keys, and the common prefixes, that contain `lost`; an empty `lost` is all of them."""

    lost: str = ""

    async def act(self, request: Request, forward: Forward) -> Response:
        response = await forward(request)
        text = ENTRY.sub(self._keep(), response.body.decode())
        count = len(ENTRY.findall(text))
        return response.with_body(re.sub(r"<KeyCount>\d+<", f"<KeyCount>{count}<", text).encode())

    def _keep(self) -> Callable[[re.Match[str]], str]:
        # Clients ask for percent-encoded keys; one that did not, and has a % in a key, is not met here.
        return lambda entry: "" if self.lost in unquote(unescape(entry[3])) else entry[0]


@dataclass
class RepeatPage(OfListings):
    """Gives the page it hits twice, and then goes on as it should.

    With the `same_token` both times, which botocore refuses; otherwise the copies differ in that, and nobody sees.
    """

    same_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._page: Response | None = None

    def fires(self, seen: Seen) -> bool:
        is_second = self._page is not None and self._matches(seen) and "continuation-token" in seen.query
        return is_second or super().fires(seen)

    async def act(self, request: Request, forward: Forward) -> Response:
        page, self._page = self._page, None
        if page is None:
            page = self._page = await forward(request)
            return page if self.same_token else _with_token(page)
        return page


def _with_token(page: Response) -> Response:
    """The same page, which says that there is more and another token leads to it."""
    text = re.sub("<NextContinuationToken>.*?</NextContinuationToken>", "", page.body.decode())
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"
    return page.with_body(re.sub("<IsTruncated>.*?</IsTruncated>", more, text).encode())
