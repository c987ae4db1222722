"""docs/runbook.md as tests read it: the commands of a section, and where its table of ends leads."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[1] / "docs/runbook.md").read_text()


def commands_of(section: str) -> list[str]:
    """The commands of a section of the page, in order."""
    blocks = re.findall(rf"^```sh {section}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def section_for(exit_code: int, said_on_stderr: str) -> str:
    """Where the page's table of ends leads from there: the first row of that code that has the last error's words."""
    said = [line for line in said_on_stderr.splitlines() if line.startswith("error:")][-1]
    for code, words, leads in re.findall(r"^\| (\d+) \| (.*?) \| (.*) \|$", PAGE, flags=re.MULTILINE):
        patterns = [f"{each.replace('...', '*')}*" for each in re.findall("`(.*?)`", words)]
        found = re.search(r"\(#([\w-]+)\)", leads)
        if int(code) == exit_code and found and any(fnmatchcase(said, _literal(each)) for each in patterns):
            return found[1]
    raise AssertionError(f"the page leads nowhere from {exit_code} {said}")


def _literal(pattern: str) -> str:
    """Numbers, places and reasons differ from those on the page."""
    return re.sub(r"\d+", "*", pattern.replace("[", "[[]"))
