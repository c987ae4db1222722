"""What a URI says: few schemes, one spelling each, and keys in which nothing means anything."""

import os

import pytest

from pipeline.errors import BadKeyError, UriError
from pipeline.storage.uri import Place, parse, redacted, resolved, shown


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://bucket/a/b.jpg", ("s3", "bucket", "a/b.jpg")),
        ("s3a://bucket/a", ("s3", "bucket", "a")),
        ("S3://Bucket/K", ("s3", "Bucket", "K")),
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/a?b#c d%20e+f", ("s3", "bucket", "a?b#c d%20e+f")),
        ("s3://bucket//a//b/", ("s3", "bucket", "/a//b/")),
        ("s3://bucket/s3://a", ("s3", "bucket", "s3://a")),
        ("s3://bucket/../other/x", ("s3", "bucket", "../other/x")),
        ("s3://bucket/a::b@2x.jpg", ("s3", "bucket", "a::b@2x.jpg")),
        ("s3://bucket/%2e%2e/%00", ("s3", "bucket", "%2e%2e/%00")),
        ("gcs://bucket/a", ("gs", "bucket", "a")),
        ("abfs://container/a", ("az", "container", "a")),
        ("abfss://c@account.dfs.core.windows.net/a", ("az", "c@account.dfs.core.windows.net", "a")),
        ("file:///data/a%20b.jpg", ("file", "", "/data/a%20b.jpg")),
        ("FILE:///data/a", ("file", "", "/data/a")),
        ("/data/a:b::c?d#e", ("file", "", "/data/a:b::c?d#e")),
        ("photos/2026-01-01T10:00.jpg", ("file", "", "photos/2026-01-01T10:00.jpg")),
        ("https://Images.Example./a/b?c=d#e", ("https", "images.example:443", "a/b?c=d")),
        ("http://images.example:8080", ("http", "images.example:8080", "")),
        ("http://[::1]?a", ("http", "[::1]:80", "?a")),
    ],
)
def test_a_uri_is_read_as_it_stands(uri: str, expected: tuple[str, str, str]):
    place = parse(uri)
    assert (place.scheme, place.authority, place.key) == expected
    assert parse(str(place)) == Place(expected[0], expected[1], str(place) if place.is_local else expected[2])


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "names nothing"),
        ("   ", "names nothing"),
        ("s3:///k", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3://a b/k", "no name of a bucket"),
        ("s3://user:pass@bucket/k", "no user and password"),
        ("s3:bucket/k", "write s3://"),
        ("file://host/share", "another machine"),
        ("file:/etc/passwd", "write file://"),
        ("https://user:pass@images.example/a", "no user and password"),
        ("https://images.example\\@evil.example/a", "no user and password"),
        ("https:///a", "no name of a host"),
        ("https://bücher.example/a", "no name of a host"),
        ("https://a b/c", "no name of a host"),
        ("https://images.example:0/a", "no name of a host"),
        ("https://images.example:65536/a", "no name of a host"),
        ("simplecache::file:///etc/passwd", "a URI inside a URI"),
        ("s3://bucket/a.zip::s3://other/b", "a URI inside a URI"),
        ("dir::/etc", "a URI inside a URI"),
        *(
            (uri, "is no scheme that is read")
            for uri in ("zip://a/b.zip", "data:,a", "hf://a/b", "memory://a", "IMG:1.jpg", "github://a:b@/c")
        ),
    ],
)
def test_what_is_not_read_says_why(uri: str, said: str):
    with pytest.raises(UriError, match=said) as caught:
        parse(uri)
    assert not isinstance(caught.value, BadKeyError)
    assert caught.value.error_type == "UriNotAllowed"


BAD_CHARACTERS = {
    "nul": "\0",
    "newline": "\n",
    "return": "\r",
    "ansi": "\x1b[2J",
    "delete": "\x7f",
    "c1": "\x9b2J",
    "right-to-left": "\u202e",
    "isolate": "\u2066",
    "line": "\u2028",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("characters", BAD_CHARACTERS.values(), ids=BAD_CHARACTERS)
@pytest.mark.parametrize(
    "prefix", ["/data/", "photos/", "file:///data/", "s3://bucket/", "https://images.example/", ""]
)
def test_names_that_break_logs_are_bad_keys_and_one_plain_line(prefix: str, characters: str):
    with pytest.raises(BadKeyError, match="cannot be shown") as caught:
        parse(f"{prefix}a{characters}b.jpg")
    assert caught.value.error_type == "BadKey"
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_a_key_has_as_many_bytes_as_stores_allow():
    assert len(parse(f"s3://bucket/{'é' * 512}").key) == 512
    with pytest.raises(BadKeyError, match="1024 bytes at most, this one 1025") as caught:
        parse(f"s3://bucket/{'é' * 512}x")
    assert len(str(caught.value)) < 400
    with pytest.raises(BadKeyError, match="longer than 8192 bytes"):
        parse(f"https://images.example/{'x' * 8192}")


def test_bytes_that_are_not_utf8_are_all_right_on_a_disk_alone():
    odd = os.fsdecode(b"/data/caf\xe9")
    assert parse(odd).path == parse(f"file://{odd}").path == odd
    with pytest.raises(BadKeyError):
        parse(f"s3://bucket{odd}")


def test_names_that_only_look_the_same_are_different_places():
    spellings = ["s3://bucket/é.jpg", "s3://bucket/e\u0301.jpg", "s3://bucket/É.jpg", "s3://bucket/%C3%A9.jpg"]
    assert len({parse(uri) for uri in spellings}) == 4


@pytest.mark.parametrize(
    ("uri", "leads_up"),
    [
        ("s3://bucket/../x", True),
        ("s3://bucket/a/..", True),
        ("s3://bucket/a..b/...", False),
        ("s3://bucket/%2e%2e/x", False),
        ("https://host/a/../x", True),
        ("https://host/%2E./x", True),
        ("https://host/a%2f..%5cx", True),
        ("https://host/..\\x", True),
        ("https://host/a..b?c=/../", False),
    ],
)
def test_what_leads_up_is_told(uri: str, leads_up: bool):
    assert parse(uri).leads_up == leads_up


@pytest.mark.parametrize(
    ("name", "base", "expected"),
    [
        ("a/b.jpg", "/lists", "/lists/a/b.jpg"),
        ("~a.jpg", "/lists/", "/lists/~a.jpg"),
        ("a#b?c.jpg", "s3://bucket/lists", "s3://bucket/lists/a#b?c.jpg"),
        ("/data/a.jpg", "s3://bucket/lists", "/data/a.jpg"),
        ("s3://other/a.jpg", "/lists", "s3://other/a.jpg"),
        ("s3://user:hunter2@bucket/k", "/lists", "s3://***@bucket/k"),
        ("https://host/a?b=c@d", "/lists", "https://host/a?b=c@d"),
        ("https://host?b=c:d/", "/lists", "https://host?b=c:d/"),
        ("data:,a", "/lists", "data:,a"),
        ("a\nb", "/lists", "/lists/a\nb"),
        (" ", "/lists", " "),
        ("", "/lists", ""),
    ],
)
def test_a_relative_name_lies_below_the_folder_of_its_list(name: str, base: str, expected: str):
    assert resolved(name, base) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://user:hunter2@bucket/k", "s3://***@bucket/k"),
        ("s3://user:hun/ter2@bucket/k", "s3://***@"),
        ("https://user:hunter2@host/a", "https://***@host/a"),
        ("https://host/a?signature=hunter2/x", "https://host/a?***"),
        ("https://host?signature=hunter2", "https://host?***"),
        ("simplecache::https://user:hunter2@host/a", "simplecache::https://***@host/a"),
        ("s3://bucket/k::https://user:hunter2@host/a", "s3://bucket/k::https://***@host/a"),
        ("nosuch://user:hunter2@host/a", "nosuch://***@host/a"),
        ("s3://bucket/a@2x.jpg?b", "s3://bucket/a@2x.jpg?b"),
        ("az://c@account.blob.core.windows.net/a", "az://c@account.blob.core.windows.net/a"),
        ("https://[::1]:80/a", "https://[::1]:80/a"),
        ("/data/a@b", "/data/a@b"),
    ],
)
def test_what_is_secret_in_a_uri_is_not_shown(uri: str, expected: str):
    assert shown(uri) == redacted(uri) == redacted(expected) == expected
    assert "hunter2" not in expected


def test_a_long_uri_is_shown_in_part():
    assert shown("data:" + "x" * 10**6) == "data:" + "x" * 195 + "..."
