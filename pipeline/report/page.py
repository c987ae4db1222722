"""The page: a template filled in, with style, program, data and pictures inside, and a policy that lets in no more.

Texts go through Jinja's escaping, data into blocks that no browser runs, so that no image id can become markup.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.observability.amounts import dollar_text, size_text

_PAGE = Path(__file__).parent / "page"
# In the order in which they are run; they share one scope.
SCRIPTS = ("data.js", "thumbnails.js", "selection.js", "neighbours.js", "viewport.js", "map.js", "controls.js")


def page(contents: dict[str, Any]) -> bytes:
    """The page as UTF-8 HTML, from what `contents` gathered."""
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"bytes": size_text, "dollars": dollar_text, "share": "{:.0%}".format}
    environment.filters |= {"count": "{:,}".format, "time": _time}
    style = (_PAGE / "report.css").read_text()
    program = "\n".join(["(() => {", '"use strict";', *((_PAGE / name).read_text() for name in SCRIPTS), "})();"])
    text = environment.get_template("report.html").render(
        **{key: value for key, value in contents.items() if key != "data"},
        style=Markup(style),  # noqa: S704  our own files
        program=Markup(program),  # noqa: S704
        share_kept=contents["data"]["shareKept"],
        data=as_data(contents["data"]),
        policy=policy(style, program),
    )
    return text.encode()


def policy(style: str, program: str) -> str:
    """What the page may do: run this program, use this style, show pictures that it brings along, and nothing else."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash_of(style)}; script-src {_hash_of(program)}"
    )


def as_data(values: Any) -> Markup:
    r"""Plain values as JSON for a block of data: what could end the block or begin another is spelled `\u003c`."""
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _time(moment: str) -> str:
    """A time in ISO 8601 for people, to the minute, in UTC."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
