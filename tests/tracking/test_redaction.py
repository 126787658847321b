"""Secrets: none reaches the run folder, and what is no secret stays as it was."""

import json
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from polymodal.schemas.run_record import RunRecord
from polymodal.tracking import redaction
from polymodal.tracking.redaction import redact, redact_text, redact_words, redact_yaml
from polymodal.tracking.run_folder import RunFolder

CANARY = "c4nary-Zq9"
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("abc ,:", max_size=9),
    lambda one: (
        st.lists(one, max_size=3) | st.dictionaries(st.text("xyz_", max_size=5), one, max_size=3)
    ),
    max_leaves=9,
)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch):
    """Each test starts as a process does; else a secret of one would be known to the next."""
    monkeypatch.setattr(redaction, "_remembered", set())


@pytest.fixture
def canary_in_environment(monkeypatch):
    monkeypatch.setenv("POLYMODAL_TEST_API_KEY", CANARY)


@pytest.mark.parametrize(
    "text",
    [
        f"tracker.token={CANARY}",
        f"++tracker.api_key='{CANARY}'",
        f'{{"password": "{CANARY}", "lr": 0.1}}',
        f"{{'db_password_prod': '{CANARY}'}}",
        f'API_KEY = "{CANARY}"  # in a diff',
        f'password: "two words {CANARY}"',
        f"Authorization: Bearer {CANARY}",
        f"WANDB_API_KEY={CANARY} polymodal run",
        f"accessToken: {CANARY}",
        f"tracker={{token:{CANARY},mode:online}}",
        f"https://me:{CANARY}@host/path",
        f'"secret": "quote \\" {CANARY}"',
        f"key: ${{oc.env:MY_TOKEN,x}} password: ${{oc.env:A,{CANARY}}}",
        f"password: pa,ss}}w'ord,{CANARY}",
        f"password=pa,ss}}w'ord,{CANARY}",
        f"+    auth: {CANARY}",
        f"DB_PWD={CANARY}",
        f"ssh_key = {CANARY}",
        f"https://{CANARY * 2}@github.com/x.git",
    ],
)
def test_a_secret_is_hidden_by_its_key(text):
    assert CANARY not in redact_text(text)
    assert "***" in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "tokenizer: characters",
        "num_tokens=100 max_tokens: 8",
        "pad_token: <pad>",
        "encoder.text.token_dropout=0.1",
        "tracker.api_key=${oc.env:WANDB_API_KEY}",
        "password: ${oc.env:PASSWORD,null}",
        "tracker.token=null",
        "secret: false",
        "monitor: val/uar",
        "https://host:8080/path",
        "credential:\n  user: me",
        "tokens_per_batch: 5",
        "max_token: 5",
        "time_per_token=3",
        "token_type: x",
        "author: me",
        "OLDPWD=/home/x",
        "git@github.com:owner/name",
        "risk-adjusted-classification-of-emotion-1",
        "task-1-hf_hub_download",
        "965d8b60f964985a8bef9729fc49eb02f4a5702a",
        "C:\\data\\emodb and /home/data/03a01Fa.wav",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact_text(text) == text
    assert redact_words([text]) == [text]
    assert redact({"note": text}) == {"note": text}


@pytest.mark.parametrize(
    "text",
    [
        f"login('hf_{'aB3' * 12}')",
        f"ghp_{'aB3' * 12}",
        f"github_pat_{'aB3_' * 12}",
        f"glpat-{'aB3-' * 6}",
        f"sk-proj-{'aB3-' * 12}",
        f"xoxb-{'123-' * 6}",
        "AKIA" + "AB12" * 4,
        "-----BEGIN OPENSSH PRIVATE KEY-----\naB3aB3\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\naB3aB3 and the file ends",
    ],
)
def test_a_secret_is_hidden_by_its_shape(text):
    clean = redact_text(f"before {text}")
    assert clean.startswith("before ")
    assert not any(part in clean for part in ("aB3", "123", "AB12"))


@pytest.mark.parametrize(
    ("before", "after"), [("{'token': '", "', 'lr': 1}"), ("{token:", ",a:b}")]
)
def test_what_stands_beside_a_secret_stays(before, after):
    assert redact_text(before + CANARY + after) == f"{before}***{after}"


@pytest.mark.parametrize("length", [300_000])
@pytest.mark.parametrize(
    "part",
    [
        "token",
        "sk-a-",
        "://a",
        "password: a,b:",
        "password=,a",
        "secret ",
        "-----BEGIN PRIVATE KEY",
    ],
)
def test_a_long_text_takes_no_longer_than_its_length(part, length):
    """Quadratic patterns would take hours; the test command's own limit ends them."""
    assert redact_text(part * (length // len(part)))


def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(canary_in_environment):
    data = {"model": {"name": f"x{CANARY}y"}, "list": [f"--name={CANARY}", 3, (CANARY,)]}
    assert CANARY not in str(redact(data))
    assert redact_text(f"ValueError: cannot reach {CANARY}!") == "ValueError: cannot reach ***!"


@pytest.mark.parametrize("name", ["STRIPE_KEY", "GITHUB_PAT", "MAIL_PASS", "SENTRY_DSN"])
def test_variables_that_may_be_secret_are_if_their_value_looks_random(monkeypatch, name):
    monkeypatch.setenv(name, "a1b2c3d4e5f6a7b8")
    assert redact_text("got a1b2c3d4e5f6a7b8") == "got ***"
    monkeypatch.setenv(name, "utterance_id_is_the_key")
    assert redact_text("got utterance_id_is_the_key") == "got utterance_id_is_the_key"


@pytest.mark.parametrize("written", [repr, json.dumps, lambda one: quote(one, safe="")])
def test_a_secret_of_the_environment_is_hidden_however_it_is_written(monkeypatch, written):
    secret = "qu\"o'te\\ and/ünd"
    monkeypatch.setenv("MY_PASSWORD", secret)
    assert "o'te" not in redact_text(f"failed with {written(secret)}").replace("\\'", "'")
    assert "%22o" not in redact_text(f"failed with {written(secret)}")


def test_each_line_of_a_long_secret_is_hidden(monkeypatch):
    lines = ["first line of it all", "second line of it all"]
    monkeypatch.setenv("SIGNING_KEY", "\n".join(lines))
    assert redact_text(f"+ {lines[1]}\n+ {lines[0]}\n") == "+ ***\n+ ***\n"


@pytest.mark.parametrize(
    "hide",
    [
        lambda: redact_words([f"tracker.token='{CANARY}'"]),
        lambda: redact({"tracker": {"api_key": [CANARY]}}),
        lambda: redact(["polymodal", "--token", CANARY]),
        lambda: redact_yaml(f"tracker:\n  secret: {CANARY}\n"),
    ],
)
def test_what_was_hidden_by_its_key_is_hidden_in_every_later_text(hide):
    assert CANARY in redact_text(f"401 for {CANARY}")
    assert CANARY not in str(hide())
    assert redact_text(f"401 for {CANARY}") == "401 for ***"


def test_a_secret_is_hidden_earlier_in_the_same_data_and_in_its_keys():
    data = {"error": f"401 for {CANARY}", CANARY: 1, "config": {"token": CANARY}}
    assert redact(data) == {"error": "401 for ***", "***": 1, "config": {"token": "***"}}


def test_a_plain_word_under_a_secret_key_is_not_missed_elsewhere():
    assert redact({"token": "characters"}) == {"token": "***"}
    assert redact_text("unit: characters") == "unit: characters"


def test_folders_and_short_words_of_the_environment_are_no_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRETS_FOLDER", str(tmp_path))
    monkeypatch.setenv("PASSWORD", "true")
    text = f"root: {tmp_path}/data\nshuffle: true\n"
    assert redact_text(text) == text


def test_nested_values_below_a_secret_key_are_hidden():
    data = {
        "credentials": {"user": "me", "id": 7, "on": True},
        "password": 123,
        "api_key": ["a", "b"],
    }
    hidden = {"credentials": {"user": "***", "id": "***", "on": True}}
    assert redact(data) == hidden | {"password": "***", "api_key": ["***", "***"]}


def test_of_an_override_the_whole_value_is_hidden():
    words = [f"+tracker.token=a,{CANARY} {CANARY}", "lr=0.1", f"--password={CANARY}"]
    assert redact_words(words) == ["+tracker.token=***", "lr=0.1", "--password=***"]
    words = ["--token", CANARY, "lr=0.1", "--api-key", "--verbose", "x"]
    assert redact_words(words) == ["--token", "***", "lr=0.1", "--api-key", "--verbose", "x"]


@pytest.mark.parametrize(
    "text",
    [
        f"tracker:\n  api_key: {CANARY}\n",
        f"tracker:\n  api_key: |\n    first line\n    {CANARY}\n",
        f"tracker:\n  api_key: some words that YAML may fold {CANARY}\n",
        f"tracker:\n  api_key:\n  - a\n  - {CANARY}\n",
        f"tracker: {{password: 'it''s {CANARY}', mode: x}}\n",
        f"tracker:\n  secret:\n    value: {CANARY}\n",
        f"model:\n  api_key: broken: yaml: {CANARY}\n",
    ],
)
def test_yaml_of_any_style_loses_its_secrets(text):
    assert CANARY not in redact_yaml(text)


def test_yaml_stays_loadable_and_complete():
    text = "tracker:\n  token: abc\nlr: 1e-3\nroot: ${paths.data}\nname: '007'\nclasses:\n- 기쁨\n"
    clean = redact_yaml(text)
    assert "기쁨" in clean
    assert yaml.safe_load(clean) == yaml.safe_load(text) | {"tracker": {"token": "***"}}


def test_yaml_without_secrets_stays_letter_by_letter():
    text = "# aim\ntracker:   {mode: offline}\nkey: ${oc.env:MY_TOKEN}\nx: 1e-05\n"
    assert redact_yaml(text) == text


@given(PLAIN)
def test_data_without_secrets_stays(data):
    assert redact(data) == data


def test_no_file_of_a_run_holds_the_canary(tmp_path, canary_in_environment):
    """The same words through every door of the folder, then grep."""
    words = ["polymodal", "run", f"tracker.token=other-{CANARY}", f"model.name={CANARY}"]
    record = RunRecord(
        "", "x", command=words, notes={"api_key": CANARY}, data={"root": f"/{CANARY}"}
    )
    run = RunFolder.create(tmp_path / "runs", record)
    run.write_config(f"tracker:\n  token: {CANARY}\nname: {CANARY}\nkey: ${{oc.env:MY_TOKEN}}\n")
    run.write_overrides(words)
    run.update(notes={"secret": {"deep": CANARY}})
    run.finish("failed", error=f"ValueError: {CANARY}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4  # run.json, config.yaml, overrides.txt, last
    assert [path for path in files if CANARY in path.read_text()] == []
    assert "${oc.env:MY_TOKEN}" in run.config.read_text()


def test_a_secret_never_changes_what_the_index_relies_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "finished")
    run = RunFolder.create(tmp_path, RunRecord("", "x"))
    run.finish("finished")
    assert RunRecord.read(run.path / "run.json").status == "finished"
