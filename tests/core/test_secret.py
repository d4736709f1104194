"""No secret in anything that is said, whoever says it."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from operators import Count
from pipeline import App, Stream, Table
from pipeline.core.config import ConfigError, KafkaSecurity, load, loads
from pipeline.core.config.option import options_of
from pipeline.core.config.summary import summary
from pipeline.core.secret import Secret, mask_logs, masked

MARKER = "open-sesame-4711"
TABLES = '[streams.s]\ntopic = "t"\n[tables.t]\nstream = "s"\n[tables.t.operators]\nn = { type = "count" }\n'


@pytest.fixture
def secretive() -> App:
    kafka = KafkaSecurity(
        "SASL_SSL",
        sasl_username="me",
        sasl_password=f"{MARKER}-1",
        ssl_certfile="client.pem",
        ssl_key_password=f"{MARKER}-2",
    )
    stream = Stream("s", topic="t")
    return App("a", tables=[Table("t", stream, {"n": Count()})], http_token=f"{MARKER}-token", kafka=kafka)


def test_every_secret_option_is_filled_here(secretive: App) -> None:
    """A new one that this file does not know fails."""
    secrets = [
        getattr(holder, name)
        for holder in (secretive, secretive.kafka)
        for name, option in options_of(type(holder)).items()
        if option.is_secret
    ]
    assert len(secrets) == 3
    assert all(isinstance(secret, Secret) and MARKER in secret for secret in secrets)


def test_no_view_of_the_configuration_shows_one(secretive: App) -> None:
    for shown in (repr(secretive), str(secretive), json.dumps(summary(secretive)), f"{secretive.http_token!r}"):
        assert MARKER not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    ("app", "kafka"),
    [
        (f'http_token = "{MARKER} too short for a header"', ""),
        (f'http_token = ["{MARKER}"]', ""),
        ("", f'sasl_password = {{ x = "{MARKER}" }}'),
        ("", f'sasl_password = "{MARKER}"\nsasl_username = 4'),
        ("", f'ssl_key_password = "{MARKER}"'),
        ("", f'security_protocol = "SSL"\nssl_key_password = "{MARKER}"'),
        ("", f'sasl_passwort = "{MARKER}"'),
    ],
)
def test_no_mistake_shows_one(app: str, kafka: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loads(f'[app]\nname = "a"\n{app}\n[app.kafka]\n{kafka}\n{TABLES}')
    assert MARKER not in f"{raised.value.cause} {raised.value.mend}"


def test_a_secret_may_be_in_a_file_or_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{MARKER}-from-file\n")
    (tmp_path / "p.toml").write_text(f'[app]\nname = "a"\nhttp_token = "file:token"\n{TABLES}')
    assert load(tmp_path / "p.toml").http_token == f"{MARKER}-from-file"
    (tmp_path / "p.toml").write_text(f'[app]\nname = "a"\nhttp_token = "${{TOKEN}}"\n{TABLES}')
    assert load(tmp_path / "p.toml", {"TOKEN": f"{MARKER}-from-environment"}).http_token == f"{MARKER}-from-environment"


def test_what_others_say_is_masked_in_each_form_that_a_secret_takes() -> None:
    secret = Secret('pass"word\\é')
    for shown in (str(secret), json.dumps(secret), repr(str(secret)), repr(secret.encode())):
        assert masked(f"said {shown}!") in ("said ***!", 'said "***"!', "said '***'!", "said b'***'!")
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_very_short_secret_does_not_eat_every_line() -> None:
    Secret("e")
    assert masked("the message") == "the message"


@pytest.fixture
def _factory() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.usefixtures("_factory")
def test_what_libraries_log_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(f"{MARKER}-logged")
    mask_logs()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("some.library").debug("sent %r and %s", b"\0me\0" + secret.encode(), str(secret))
    assert "sent" in caplog.text
    assert MARKER not in caplog.text
