"""One server per project; none that is dead keeps another from serving it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from textgym.errors import ProjectInUseError
from textgym.feedback import FeedbackStore
from textgym.feedback.server.serve import Address, serve, serving

HOLD = """
import sys
from textgym.feedback import FeedbackStore
from textgym.feedback.server.serve import Address, serve
serve(FeedbackStore(sys.argv[1]), Address(port=0), "me", lambda link: print(link, flush=True))
"""


def test_a_project_is_served_once(store: FeedbackStore) -> None:
    link_elsewhere = store.path.with_name("elsewhere.db")
    link_elsewhere.symlink_to(store.path)
    with serving(store, Address(port=0), "me") as link, FeedbackStore(link_elsewhere) as again:
        for other in (store, again):
            with (
                pytest.raises(ProjectInUseError, match=f"process {os.getpid()} on .* serves; use that page"),
                serving(other, Address(port=0), "me"),
            ):
                pass
            with pytest.raises(ProjectInUseError):
                serve(other, Address(port=0), "me", lambda _: None)
        assert httpx.get(link).status_code == 200
        again.add([])  # commands such as import and block go on beside the server
    with serving(store, Address(port=0), "me") as link:
        assert httpx.get(link).status_code == 200
    assert not list(store.path.parent.glob("*.lock"))


def test_projects_of_one_folder_are_served_side_by_side(store: FeedbackStore) -> None:
    with (
        FeedbackStore(store.path.with_name("other.db")) as other,
        serving(store, Address(port=0), "me") as first,
        serving(other, Address(port=0), "me") as second,
    ):
        assert [httpx.get(link).status_code for link in (first, second)] == [200, 200]


def test_a_server_that_was_killed_does_not_serve_any_more(store: FeedbackStore, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        with pytest.raises(ProjectInUseError, match=f"process {process.pid}"), serving(store, Address(port=0), "me"):
            pass
        process.kill()
    with serving(store, Address(port=0), "me") as link:
        assert httpx.get(link).status_code == 200


def test_the_page_of_a_run_and_one_for_others_are_served_side_by_side(store: FeedbackStore) -> None:
    with (
        serving(store, Address(port=0), "me", beside=True) as own,
        serving(store, Address(port=0, closed=True), "me") as others,
    ):
        assert [httpx.get(link, follow_redirects=True).status_code for link in (own, others)] == [200, 200]


def test_who_cannot_serve_leaves_the_project_free(store: FeedbackStore) -> None:
    with pytest.raises(OSError, match="expected a free address"):
        serve(store, Address(host="203.0.113.1", port=1), "me", lambda _: None)
    with serving(store, Address(port=0), "me"):
        pass
