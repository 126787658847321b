"""Uploading: only with a token, and what the Hub refuses is said. Nothing here goes out."""

import sys
from types import SimpleNamespace

import pytest

from polymodal.errors import ConfigError, MissingExtraError
from polymodal.tracking.hub import connect, upload


class Hub:
    """Takes what would go out."""

    def __init__(self, fault=None, private=None):
        self.fault, self.private, self.told = fault, private, []

    def create_repo(self, name, **options):
        self.told.append((name, options))
        self.private = options["private"] if self.private is None else self.private
        return f"https://hub.invalid/{name}"

    def repo_info(self, name):
        return SimpleNamespace(private=self.private)

    def upload_folder(self, **options):
        if self.fault:
            raise self.fault
        self.told.append(options)


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x/y", "me/", "me/a b"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        connect(name)


def test_without_a_token_it_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ConfigError, match="no token"):
        connect("me/model")


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match="huggingface_hub"):
        connect("me/model")


@pytest.mark.parametrize("public", [False, True])
def test_a_folder_goes_out_private_unless_asked(tmp_path, public):
    hub = Hub()
    assert upload(hub, tmp_path, "me/model", public=public).endswith("me/model")
    (_, made), sent = hub.told
    assert made == {"private": not public, "exist_ok": True}
    assert (sent["repo_id"], sent["folder_path"]) == ("me/model", str(tmp_path))


@pytest.mark.parametrize("public", [False, True])
def test_what_is_there_already_is_not_opened_nor_closed_unasked(tmp_path, public):
    hub = Hub(private=public)
    with pytest.raises(ConfigError, match="as it was before"):
        upload(hub, tmp_path, "me/model", public=public)
    assert len(hub.told) == 1


def test_a_hub_that_refuses_costs_nothing(tmp_path):
    with pytest.raises(ConfigError, match="could not be uploaded to me/model: 403 no"):
        upload(Hub(OSError("403 no\nlong page")), tmp_path, "me/model")
