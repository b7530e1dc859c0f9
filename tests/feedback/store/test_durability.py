"""What was acknowledged is there, once, however often the writers are killed.

``python tests/feedback/test_durability.py FOLDER`` runs the long form and prints what it found.
"""

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from textgym.feedback import By, FeedbackStore, answer_compare
from textgym.feedback.types import Question


@dataclass
class Writer:
    """One process that answers questions; it notes in a file what it sends and what was acknowledged."""

    store: Path
    name: str
    votes: int
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def notes(self) -> Path:
        return self.store.with_name(f"{self.name}.txt")

    def start(self) -> None:
        self.starts += 1
        command = [sys.executable, __file__, "write", str(self.store), self.name, str(self.votes), str(self.starts)]
        self.process = subprocess.Popen(command)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def acknowledged(self) -> list[str]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line.split()[1] for line in lines if line.startswith("ack ")]


def write_votes(path: str, name: str, votes: int, seed: int) -> None:
    """Answer questions one by one, going on where an earlier process of this name was killed."""
    rng = np.random.default_rng(seed)
    notes = Path(path).with_name(f"{name}.txt")
    lines = notes.read_text().splitlines() if notes.exists() else []
    done = sum(line.startswith("ack ") for line in lines)
    pending = lines[-1].split()[1:] if lines and lines[-1].startswith("send ") else None
    with FeedbackStore(path, timeout=600) as store, notes.open("a", buffering=1) as out:
        questions = store.questions()
        while done < votes:
            if pending is None:
                assignment = store.assign(name)
                assert assignment is not None
                pending = [f"{name}-{done}", str(assignment.item)]
                out.write(f"send {pending[0]} {pending[1]}\n")
            item = int(pending[1])
            answer = answer_compare(questions[item], "a", By(name, time.time()))
            for _ in range(1 + (rng.random() < 0.1)):  # a reply may get lost: some are sent twice
                store.vote(pending[0], name, item, answer)
            out.write(f"ack {pending[0]}\n")
            done, pending = done + 1, None


def write_and_kill(folder: Path, writers: int, votes: int, kills: int, seed: int) -> dict[str, float]:
    """Let processes write into one store, kill them at random, start them again, and count.

    Args:
        folder: Where to put the store; empty.
        writers: Number of processes at once.
        votes: Votes of each.
        kills: How often one of them, drawn at random, is killed.
        seed: Of the draws.

    Returns:
        Counts of votes acknowledged, kept, lost, kept twice, and of kills; and the seconds it took.
    """
    rng, start = np.random.default_rng(seed), time.perf_counter()
    path = folder / "project.db"
    with FeedbackStore(path, timeout=600) as store:
        store.add([Question(f"k{i}", f"prompt {i}", ("one", "two")) for i in range(votes)], overlap=writers)
        crew = [Writer(path, f"writer{number}", votes) for number in range(writers)]
        for writer in crew:
            writer.start()
        for threshold in np.sort(rng.choice(writers * votes * 9 // 10, kills, replace=False)):
            victim = next_victim(crew, int(threshold), rng)
            victim.kill()
            assert set(victim.acknowledged()) <= {vote.id for vote in store.votes(victim.name)}
            victim.start()
        assert [writer.process.wait() for writer in crew if writer.process] == [0] * writers
        acknowledged = [vote for writer in crew for vote in writer.acknowledged()]
        kept = [(vote.annotator, vote.item) for vote in store.votes()]
        names = [vote.id for vote in store.votes()]
        with store._database.read() as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.progress().votes == len(kept)
    return {
        "acknowledged": len(acknowledged),
        "kept": len(kept),
        "lost": len(set(acknowledged) - set(names)),
        "twice": len(kept) - len(set(kept)) + len(names) - len(set(names)),
        "kills": sum(writer.starts - 1 for writer in crew),
        "seconds": round(time.perf_counter() - start, 1),
    }


def next_victim(crew: list[Writer], threshold: int, rng: np.random.Generator) -> Writer:
    """Wait until so many votes were acknowledged, then draw one of the writers that still have work."""
    while True:
        counts = [len(writer.acknowledged()) for writer in crew]
        busy = [writer for writer, count in zip(crew, counts, strict=True) if count < writer.votes]
        if sum(counts) >= threshold:
            return busy[int(rng.integers(len(busy)))]
        time.sleep(0.005)


@pytest.mark.parametrize(("writers", "votes", "kills"), [(4, 40, 6), pytest.param(8, 500, 20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_killed_writers_lose_nothing_and_write_nothing_twice(
    tmp_path: Path, writers: int, votes: int, kills: int
) -> None:
    found = write_and_kill(tmp_path, writers, votes, kills, seed=0)
    del found["seconds"]
    total = writers * votes
    assert found == {"acknowledged": total, "kept": total, "lost": 0, "twice": 0, "kills": kills}


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_votes(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        print(write_and_kill(Path(sys.argv[1]), writers=8, votes=500, kills=20, seed=0))
