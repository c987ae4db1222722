"""What a list may name: what lies below its roots, wherever links and spellings lead."""

import pickle
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, UriError
from pipeline.storage.roots import Roots


@pytest.mark.parametrize(
    ("root", "uri"),
    [
        ("s3://bucket", "s3://bucket/x"),
        ("s3://bucket/", "S3A://bucket/x//y"),
        ("s3://bucket/photos", "s3://bucket/photos/x"),
        ("s3://bucket/photos/", "s3://bucket/photos/x"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("gs://bucket/photos", "gcs://bucket/photos/x"),
        ("abfss://c@account.dfs.core.windows.net/a", "az://c@account.dfs.core.windows.net/a/b"),
        ("https://images.example/photos", "https://IMAGES.example:443/photos/x?y"),
        ("https://images.example:8443", "https://images.example:8443/x"),
        ("https://", "https://anybody.example/x"),
        ("http://", "http://anybody.example:80/x"),
    ],
)
def test_what_is_below_a_root_may_be_named(root: str, uri: str):
    assert not Roots(("/nothing", root)).check(uri).is_local


@pytest.mark.parametrize(
    ("root", "uri"),
    [
        ("s3://bucket", "s3://other-bucket/x"),
        ("s3://bucket", "s3://bucket-of-others/x"),
        ("s3://bucket", "s3://Bucket/x"),
        ("s3://bucket/photos", "s3://bucket/photos-of-others/x"),
        ("s3://bucket/photos", "s3://bucket/x"),
        ("s3://bucket/photos", "s3://bucket/PHOTOS/x"),
        ("s3://bucket/photos", "s3://bucket//photos/x"),
        ("s3://bucket/photos", "s3://bucket/photos/../x"),
        ("s3://bucket", "s3://bucket/../other/x"),
        ("s3://bucket", "gs://bucket/x"),
        ("s3://bucket", "/bucket/x"),
        ("az://c@account.dfs.core.windows.net", "az://c@another.dfs.core.windows.net/x"),
        ("az://c@account.dfs.core.windows.net", "az://c/x"),
        ("https://images.example/photos", "https://images.example/x"),
        ("https://images.example/photos", "https://images.example/photos/%2e%2E/x"),
        ("https://images.example", "https://images.example.evil.example/x"),
        ("https://images.example", "http://images.example/x"),
        ("https://images.example", "https://images.example:8443/x"),
        ("https://", "https://anybody.example:8265/x"),
        ("https://", "http://anybody.example/x"),
        ("https://", "http://anybody.example:443/x"),
    ],
)
def test_what_is_elsewhere_may_not(root: str, uri: str):
    with pytest.raises(UriError) as caught:
        Roots((root,)).check(uri)
    assert caught.value.error_type == "UriNotAllowed"


def test_nothing_is_allowed_that_nobody_allowed():
    for uri in ("/etc/passwd", "s3://bucket/x", "https://images.example/x"):
        with pytest.raises(UriError, match=r"source\.roots allows nothing"):
            Roots(()).check(uri)


@pytest.mark.parametrize("spelling", ["{}", "file://{}", "{}/", "{}/deep/.."])
def test_files_below_a_folder_may_be_named(tmp_path: Path, spelling: str):
    (tmp_path / "alias").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/deep").mkdir(parents=True)
    for root in (tmp_path / "photos", tmp_path / "alias"):
        roots = Roots((str(root),))
        assert roots.check(f"{spelling.format(root)}/a.jpg").is_local
        assert roots.check(f"{tmp_path}/photos/a.jpg").is_local, "where the root really is"


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "file:///etc/passwd", "{}/../x", "{}/deep/../../x", "{}-of-others/x", "../x", "~/x", "photos/x"],
)
def test_files_elsewhere_may_not(tmp_path: Path, name: str):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UriError):
        Roots((f"{tmp_path}/photos",)).check(name.format(f"{tmp_path}/photos"))


def test_a_relative_root_is_below_the_folder_of_whoever_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    roots = Roots(("photos", "https://"), ("10.1.0.0/16",))
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(roots)).check(f"{tmp_path}/photos/a.jpg") == roots.check(  # noqa: S301
        f"file://{tmp_path}/photos/a.jpg"
    )
    assert [str(network) for network in pickle.loads(pickle.dumps(roots)).networks] == ["10.1.0.0/16"]  # noqa: S301


@pytest.mark.parametrize(
    ("allowed", "networks"),
    [
        (("nope://a",), ()),
        (("s3://",), ()),
        (("s3://user:pass@bucket",), ()),
        (("s3://bucket/../x",), ()),
        (("",), ()),
        ((), ("10.1.0.0/99",)),
        ((), ("10.1.2.3/16",)),
        ((), ("localhost",)),
    ],
)
def test_what_is_no_root_or_network_is_a_configuration_error(allowed: tuple[str, ...], networks: tuple[str, ...]):
    with pytest.raises(ConfigError):
        Roots(allowed, networks)
