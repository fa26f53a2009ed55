"""The log: whose job a line is about, and that no secret gets into it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from distillery.driver import log
from distillery.driver.errors import JobError
from distillery.driver.log import job_log, log_to, without_secrets

SECRET = "hunter2hunter2"
BOT = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"
REST = ("Zm9vYmFyZm9vYmFy", "Cl2FMQ", "IOSFODNN7")
"""Parts of the tokens below that are not SECRET itself."""


def test_a_failed_job_is_logged_once_with_its_reason(tmp_path, caplog):
    with pytest.raises(JobError), job_log("a.png"), job_log("a.png"):
        raise JobError("The disk is full.")
    (record,) = [r for r in caplog.records if r.name.endswith("driver.log")]
    assert record.getMessage() == "failed" and record.data == {"kind": "JobError", "error": "The disk is full."}


def test_the_log_has_the_jobs_id_and_no_secrets(tmp_path):
    handler = log_to(tmp_path / "log.jsonl")
    logger = logging.getLogger("distillery.test")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with job_log("https://cdn.discordapp.com/attachments/1/2/a.png?ex=1&hm=deadbeef") as job:
            logger.info(
                "from %s", "http://user:hunter2@host:8188/view?token=s3cret", extra={"data": {"path": "x", "n": 3}}
            )
            logger.info("url: /attachments/1/2/a.png?ex=1&is=2&hm=deadbeef (Caused by …)")
            logger.info("headers", extra={"data": {"sent": [{"Authorization": "Bot MTIzNDU2Nzg5.s3cret.abcdefgh"}]}})
            with pytest.raises(JobError), job_log("the power that is tried") as part:
                assert part == job
                raise JobError("no")
        logger.warning("after")
    finally:
        logger.removeHandler(handler)
        handler.close()
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    first, *_, second = (json.loads(line) for line in text.splitlines())
    assert first["job"] == job and first["source"].endswith("/a.png") and first["n"] == 3 and "job" not in second
    assert first["message"] == "from http://host:8188/view"
    assert not [secret for secret in ("deadbeef", "hunter2", "s3cret") if secret in text]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain text? yes", "plain text? yes"),
        ("ws://h/ws?clientId=abc and more", "ws://h/ws and more"),
        ('"https://h/a#t=1"', '"https://h/a"'),
    ],
)
def test_urls_lose_what_may_be_secret(text, cleaned):
    assert without_secrets(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/a.png?token={SECRET}",
        f"https://host/a.png#access_token={SECRET}",
        f"https://user:{SECRET}@host/a.png",
        f"https://{SECRET}@host/a.png",
        f"postgres://user:{SECRET}@host/table",
        f"//user:{SECRET}@host/a.png",
        f"user:{SECRET}@host:5432",
        f"GET /a.png?ex=1&is=2&hm={SECRET} HTTP/1.1",
        f"/a.png?X-Amz-Signature={SECRET}",
        f"https%3A%2F%2Fhost%2Fa.png%3Fex%3D1%26hm%3D{SECRET}",
        f"https://discord.com/api/webhooks/123456789012345678/{SECRET}",
        f"POST /api/v10/interactions/123456789012345678/{SECRET}/callback",
        f"https://hooks.slack.com/services/T0000/B0000/{SECRET}",
        f"https://api.telegram.org/bot123456789:{SECRET}/getMe",
        f"Authorization: Bot {BOT}",
        f"authorization: bearer {SECRET}",
        f"{{'Authorization': 'Bearer {SECRET}'}}",
        f"Proxy-Authorization: Basic {SECRET}",
        "Basic Zm9vYmFyZm9vYmFy",
        f"Bot {BOT}",
        f"the token {BOT} is not taken",
        f"password={SECRET}",
        f"Password: {SECRET}",
        f"passwd = '{SECRET} of several words, {SECRET}'",
        f'{{"password": "{SECRET} of several words, {SECRET}"}}',
        rf"{{\"api_key\": \"{SECRET}\"}}",
        f"client_secret => {SECRET}",
        f"DISTILLERY_DISCORD_TOKEN={SECRET}",
        f"export MY_SECRET='{SECRET}'",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"STRIPE_KEY={SECRET}",
        f"X-Api-Key: {SECRET}",
        f"Cookie: a=1; session={SECRET}",
        f"Set-Cookie: session={SECRET}; Path=/",
        f"--password {SECRET}",
        f"--api-key {SECRET}",
        f"curl -u me:{SECRET} host",
        f"ghp_{SECRET}abcdef",
        f"github_pat_{SECRET}abcdef",
        f"hf_{SECRET}abcdef",
        f"glpat-{SECRET}abcdef",
        f"sk-{SECRET}abcdef",
        f"xoxb-{SECRET}abcdef",
        f"mfa.{SECRET}abcdef",
        f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIi{SECRET}.{SECRET}",
        "AKIAIOSFODNN7EXAMPLE",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_no_form_of_a_secret_gets_through(text):
    for surrounded in (text, f"before {text} after", f'("{text}")', f"[{text}]\n{text}"):
        cleaned = without_secrets(surrounded)
        assert not [part for part in (SECRET, BOT, *REST) if part in cleaned], cleaned


@pytest.mark.parametrize(
    "text",
    [
        "DISTILLERY_DISCORD_TOKEN holds the token of a bot, which can renew links.",
        "Discord does not take the bot's token in DISTILLERY_DISCORD_TOKEN (401). Set it anew.",
        "VAE Encode: 12.5 s, HiRes pass: 30 s; key frames: none",
        "~/ComfyUI/models/checkpoints/sk-mix_v2.safetensors",
        "http://127.0.0.1:8188/view and //host/path",
        "distillery.driver.server.client: queued as 5f0c2f4e-6a54-4a0c-9d5e-2f3f0b7f6a11 at 12:30",
        "MIT licence, sha256 41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402",
    ],
)
def test_what_is_no_secret_stays(text):
    assert without_secrets(text) == text


def test_secrets_of_the_environment_are_known_in_any_surroundings(monkeypatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "correct horse battery")
    monkeypatch.setenv("OTHER_PASSWORD", "correct horse battery staple")
    monkeypatch.setenv("SHORT_TOKEN", "image")
    monkeypatch.setenv("PWD", "/some/folder")
    said = "it sent <correct horse battery staple> and xcorrect horse batteryx of an image to /some/folder"
    assert without_secrets(said) == "it sent <…> and x…x of an image to /some/folder"


def test_a_value_under_the_name_of_a_secret_is_not_logged():
    record = logging.LogRecord("distillery.test", logging.INFO, __file__, 1, "sent", None, None)
    record.data = {"headers": {"X-Token": "a b", "Accept": "image/png"}, f"password={SECRET}": 1}
    line = log.JsonLines().format(record)
    assert json.loads(line)["headers"] == {"X-Token": "…", "Accept": "image/png"} and SECRET not in line


@pytest.mark.parametrize(
    "run",
    ["a", "a.", "a:", "-", "--a", "/", "//", "http://", "&x-", "&x-a", "=a:", "a:b@", "eyJa.", "Bot ", "password=",
     'password="', "token:token ", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "cookie:", "/bot1", "/webhooks/1/",
     "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.", "_KEY", '\\"', "%26hm=", "--token ", " -u a", " ", "\n", "é"],
)  # fmt: skip
def test_long_texts_are_cut_whatever_they_are(run):
    assert len(without_secrets((run * 65536)[:65536])) < 1.1 * log.MAX_TEXT


def test_a_text_is_cut_between_words_so_that_no_half_of_a_token_is_left():
    for before in range(log.MAX_TEXT - 60, log.MAX_TEXT - 10):
        cleaned = without_secrets("a" * (before - 1) + f" {BOT} " + "b" * 100)
        assert BOT[:8] not in cleaned and cleaned.endswith(" more characters)")
    assert without_secrets("a " * 8000) == "a " * 8000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_once_and_fails_nothing(capsys):
    handler = log_to(Path("/dev/full"))
    logger = logging.getLogger("distillery.test_full")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        for _ in range(3):
            logger.info("x")
    finally:
        logger.removeHandler(handler)
        handler.close()
    said = capsys.readouterr().err
    assert said.count("/dev/full cannot be written any more") == 1 and "Traceback" not in said
