from __future__ import annotations

import sqlite3
from pathlib import Path

from undercroft.train.tracking import Tracker, write


def test_points_reach_mlflow_through_the_child(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    tracker = Tracker(f"sqlite:///{database}", "docs", "train-1", tmp_path / "mlflow.log")
    tracker.params({"learning_rate": 3e-5})
    for step in range(1, 4):
        tracker.metrics(step, {"loss": 1.0 / step, "lr": 3e-5})
    assert tracker.close(), (tmp_path / "mlflow.log").read_text()
    with sqlite3.connect(database) as rows:
        losses = rows.execute("select step, value from metrics where key = 'loss' order by step")
        assert losses.fetchall() == [(1, 1.0), (2, 0.5), (3, 1.0 / 3)]
        assert rows.execute("select status from runs").fetchall() == [("FINISHED",)]


def test_a_tracker_that_cannot_write_does_not_stop_training(tmp_path: Path) -> None:
    tracker = Tracker("nonsense://nowhere", "docs", "r", tmp_path / "mlflow.log")
    for step in range(2000):
        tracker.metrics(step, {"loss": 1.0})
    assert not tracker.close()
    assert (tmp_path / "mlflow.log").stat().st_size > 0


def test_a_plain_list_of_messages_is_enough(tmp_path: Path) -> None:
    write(f"sqlite:///{tmp_path / 'm.db'}", "docs", "r", ['{"params": {"a": "1"}}'])
