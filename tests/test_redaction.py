"""What is secret in a text goes wherever it stands, and nothing else does; what does not print is spelled."""

import pytest

from pipeline.redaction import escaped, redacted, shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("no s3://user:hunter2@bucket/k here", "no s3://***@bucket/k here"),
        ("s3://AKIAX:pa/ss/word@bucket/k", "s3://***@bucket/k"),
        ('"http://user@10.0.0.1:9000/b?list=2"', '"http://***@10.0.0.1:9000/b?***"'),
        ("https://h/k?anything=hunter2&more=1 (403)", "https://h/k?*** (403)"),
        ("s3://b/k?X-Amz-Signature=abc&X-Amz-Date=1", "s3://b/k?X-Amz-Signature=***&X-Amz-Date=1"),
        ("az://c/k?sv=1&sig=a%2Fb", "az://c/k?sv=1&sig=***"),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=x/y, Signature=abc",
            "Authorization: *** Credential=***, Signature=***",
        ),
        ("x-amz-security-token: abc", "x-amz-security-token: ***"),
        (
            "{'aws_secret_access_key': 'abc', \"token\": \"def\"}",
            "{'aws_secret_access_key': '***', \"token\": \"***\"}",
        ),
        ("<Signature>abc</Signature>", "<Signature>***</Signature>"),
        ("sent Bearer abcdefghijkl", "sent Bearer ***"),
        ("InvalidAccessKeyId: AKIA0123456789ABCDEF is not known", "InvalidAccessKeyId: *** is not known"),
    ],
)
def test_a_secret_is_known_by_its_form(text: str, safe: str):
    assert redacted(text) == safe
    assert redacted(safe) == safe


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a:b@c?d#e.jpg is 12 bytes",
        "http://127.0.0.1:9000/a@b and abfs://container@account.dfs.core.windows.net/k",
        "InvalidToken: the provided token is malformed; SignatureDoesNotMatch: the request signature we calculated",
        "source.uri=/data/photos sink.uri=s3://b/f model.checkpoint=published pass 1",
        "weights sam2.1_hiera_tiny.pt sha256 7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        "/data/写真/é.jpg",
    ],
)
def test_what_is_no_secret_stays(text: str):
    assert shown(text) == text


def test_a_secret_of_the_environment_is_known_by_its_value(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr/XUtn")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    assert redacted("said wJalr/XUtn of /var/run/token") == "said *** of /var/run/token"


def test_a_secret_may_begin_like_a_path_and_what_is_a_path_says_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/JalrXUtnFEMI/K7MDENG")
    assert redacted("said /JalrXUtnFEMI/K7MDENG") == "said ***"
    paths = {
        "AWS_SHARED_CREDENTIALS_FILE": "/home/me/.aws/credentials",
        "RAY_AUTH_TOKEN_PATH": "/home/me/.ray/auth",
        "CREDENTIALS_DIRECTORY": "/run/credentials/embed.service",
        "GOOGLE_APPLICATION_CREDENTIALS": "keys/google.json",
    }
    for name, path in paths.items():
        monkeypatch.setenv(name, path)
        assert redacted(f"cannot read {path}") == f"cannot read {path}"


def test_what_does_not_print_is_spelled():
    assert escaped('a\n{"level":"ERROR"}\r\x1b[2J\u202e\u2028\x00\udc80é') == (
        'a\\n{"level":"ERROR"}\\r\\x1b[2J\\u202e\\u2028\\x00\\udc80é'
    )
    assert shown(shown("a\nb?token=x")) == shown("a\nb?token=x")
