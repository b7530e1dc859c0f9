"""What the server acknowledged is there, once, however often it is killed.

``python tests/feedback_server/test_server_durability.py FOLDER`` runs the long form and prints what it found.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textgym.feedback import FeedbackStore
from textgym.feedback.types import Question

httpx = pytest.importorskip("httpx", reason="needs httpx")
pytest.importorskip("fastapi", reason="needs the extra textgym[feedback]")
_CHOICES = ("first", "second", "tie", "both_bad")


class Server:
    """The command; killed without warning, and started again."""

    def __init__(self, path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        code = "from textgym.cli.app import main; main()"
        arguments = ["feedback", "serve", str(path), "--port", str(self.port)]
        self.command = [sys.executable, "-P", "-c", code, *arguments]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Annotator:
    """Somebody at a browser who sends a form again until it was acknowledged."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        self.name, self.rng = name, np.random.default_rng(seed)
        self.acknowledged: list[str] = []
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def persist(self, method: str, path: str, data: dict[str, str] | None = None) -> Any:
        """Send a request until there is a reply; some are sent twice though there was one."""
        while True:
            try:
                reply = self.client.request(method, path, data=data)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if method == "GET" or self.rng.random() > 0.05:
                return reply

    def answer(self, votes: int) -> None:
        """Answer so many questions."""
        fields = self.fields(self.persist("GET", "/").text, "/name")
        assert self.persist("POST", "/name", {**fields, "name": self.name}).status_code == 303
        while len(self.acknowledged) < votes:
            form = self.fields(self.persist("GET", "/").text, "/vote")
            form["choice"] = _CHOICES[self.rng.integers(4)]
            assert self.persist("POST", "/vote", form).status_code == 303
            self.acknowledged.append(form["vote"])

    def fields(self, page: str, action: str) -> dict[str, str]:
        """Return the hidden fields of a form."""
        (form, *_) = re.findall(rf'<form[^>]*action="{action}"[^>]*>(.*?)</form>', page, re.DOTALL)
        return {n: unescape(v) for n, v in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form)}


def vote_and_kill(folder: Path, annotators: int, votes: int, kills: int, seed: int) -> dict[str, float]:
    """Let people vote over HTTP, kill the server at random, start it again, and count.

    Args:
        folder: Where to put the store; empty.
        annotators: How many at once.
        votes: Of each.
        kills: How often the server is killed, at votes drawn at random.
        seed: Of the draws.

    Returns:
        Counts of votes acknowledged, kept, lost, kept twice, and of kills; and the seconds it took.
    """
    rng, start = np.random.default_rng(seed), time.perf_counter()
    path = folder / "project.db"
    with FeedbackStore(path, timeout=600) as store:
        # One more vote is wanted than given: the first page asks the name that the server starts with.
        questions = [Question(f"k{i}", f"prompt {i}", ("one", "two")) for i in range(votes)]
        store.add(questions, overlap=annotators + 1)
        server = Server(path)
        crew = [Annotator(server.port, f"annotator{number}", number) for number in range(annotators)]
        with ThreadPoolExecutor(annotators) as pool:
            work = [pool.submit(each.answer, votes) for each in crew]
            for threshold in np.sort(rng.choice(np.arange(1, annotators * votes * 9 // 10), kills, replace=False)):
                wait_for_votes(crew, work, int(threshold))
                server.kill()
                known = {name for each in crew for name in list(each.acknowledged)}
                assert known <= {vote.id for vote in store.votes()}
                server.start()
            for each in work:
                each.result()
        server.kill()
        kept = [(vote.annotator, vote.item) for vote in store.votes()]
        names = [vote.id for vote in store.votes()]
        with store._database.read() as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.progress().votes == len(kept)
    acknowledged = {name for each in crew for name in each.acknowledged}
    return {
        "acknowledged": len(acknowledged),
        "kept": len(kept),
        "lost": len(acknowledged - set(names)),
        "twice": len(kept) - len(set(kept)) + len(names) - len(set(names)),
        "kills": kills,
        "seconds": round(time.perf_counter() - start, 1),
    }


def wait_for_votes(crew: list[Annotator], work: list[Future[None]], threshold: int) -> None:
    """Wait until so many votes were acknowledged."""
    while sum(len(each.acknowledged) for each in crew) < threshold:
        for each in work:
            if each.done():
                each.result()  # raises what went wrong
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("annotators", "votes", "kills"), [(3, 12, 2), pytest.param(8, 500, 20, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(3600)
def test_a_killed_server_loses_nothing_and_keeps_nothing_twice(
    tmp_path: Path, annotators: int, votes: int, kills: int
) -> None:
    found = vote_and_kill(tmp_path, annotators, votes, kills, seed=0)
    del found["seconds"]
    total = annotators * votes
    assert found == {"acknowledged": total, "kept": total, "lost": 0, "twice": 0, "kills": kills}


if __name__ == "__main__":
    print(vote_and_kill(Path(sys.argv[1]), annotators=8, votes=500, kills=20, seed=0))
