"""What deployments install is pinned with hashes, agrees with the tested versions, and is looked up for known holes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / ".venv-tools" / "stamp"
LOCKS = ["requirements.lock", "requirements-torch.lock"]


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (REPOSITORY / name).read_text(), flags=re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_of_a_lock_has_hashes_and_is_the_tested_version(name: str):
    entries = re.split(r"\n(?=[\w.-]+==)", (REPOSITORY / name).read_text())[1:]
    assert len(entries) >= 20
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    tested = pins("constraints.txt")
    locked = pins(name)
    assert {package: version for package, version in locked.items() if tested.get(package, version) != version} == {}


def test_the_locks_hold_what_the_project_file_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(each.name): each.specifier for each in map(Requirement, project["dependencies"])}
    locked = {**pins("requirements-torch.lock"), **pins("requirements.lock")}
    assert {name for name, range_ in wanted.items() if name not in locked or locked[name] not in range_} == set()
    assert "torch" not in pins("requirements.lock")  # whose build a deployment chooses


def wheel(folder: Path, content: bytes) -> Path:
    """A package of one module, as small as pip takes it."""
    path = folder / "tiny_package-1.0-py3-none-any.whl"
    info = "tiny_package-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_package.py", content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def install(folder: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """`pip install --require-hashes` of folder/requirements.lock from the wheels beside it, and from nowhere else."""
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--no-index", f"--find-links={folder}"]
    command += ["--require-hashes", "--target", str(target), "-r", str(folder / "requirements.lock")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_wheel_of_another_hash_is_not_installed(tmp_path: Path):
    path = wheel(tmp_path, b"GOOD = 1\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "requirements.lock").write_text(f"tiny-package==1.0 \\\n    --hash=sha256:{digest}\n")
    finished = install(tmp_path, tmp_path / "first")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "first" / "tiny_package.py").exists()
    wheel(tmp_path, b"EVIL = 1\n")
    finished = install(tmp_path, tmp_path / "second")
    assert finished.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in finished.stderr
    assert not (tmp_path / "second" / "tiny_package.py").exists()


class Database(BaseHTTPRequestHandler):
    """Answers as OSV does: one package of the lock has a hole, or none."""

    vulnerable: str | None = None

    def do_POST(self) -> None:
        """The vulnerabilities of one package at one version."""
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package = {"name": query["package"]["name"], "ecosystem": "PyPI"}
        affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}
        hole = {"id": "TEST-2026-1", "summary": "runs code", "affected": [affected], "modified": "2026-11-25T00:00:00Z"}
        body = json.dumps({"vulns": [hole]} if package["name"] == self.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def database(vulnerable: str | None) -> Iterator[str]:
    handler = type("Handler", (Database,), {"vulnerable": vulnerable})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "audit", f"ARGS_AUDIT=--vulnerability-service osv --osv-url {url}"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(not TOOLS.exists(), reason="the tools are not there: make .venv-tools/stamp")
def test_an_audit_fails_on_a_known_hole_and_where_nobody_answers():
    with database(None) as url:
        clean = audit(url)
    assert clean.returncode == 0, clean.stderr
    assert "No known vulnerabilities found" in clean.stderr
    with database("aiohttp") as url:
        found = audit(url)
    assert found.returncode != 0
    assert re.search(r"aiohttp +\S+ +TEST-2026-1", found.stdout)
    silent = audit("http://127.0.0.1:9/v1/query")
    assert silent.returncode != 0
    assert "No known vulnerabilities" not in silent.stderr
