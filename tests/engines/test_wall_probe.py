"""The probe says what is refused here, and what is not where the system lacks a wall."""

import sys

import pytest
from older_system import without

from neuralrank.engines import _wall_probe
from neuralrank.engines._wall_probe import Probe, probe
from neuralrank.engines.worker_process import JobOutcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems offer no walls to be probed")


def states(result: Probe) -> dict[str, str]:
    assert result.error is None
    return {attempt.name: attempt.state for attempt in result.attempts}


def test_what_a_model_tries_is_refused_or_told() -> None:
    result = probe()
    standing = {wall.name for wall in result.walls if wall.state == "on"}
    assert "wrong" not in states(result).values()
    if {"system calls", "writing", "reading"} <= standing:
        assert set(states(result).values()) == {"refused"}


def test_what_a_system_lacks_is_found_by_trying() -> None:
    result = without(*("seccomp", "landlock", "namespaces"), call=probe)
    assert {wall.name for wall in result.walls if wall.state == "on"} == {
        *("memory", "files and descriptors", "privileges")
    }
    refused = {name for name, state in states(result).items() if state == "refused"}
    assert refused == {"see a secret in the environment"}
    assert set(states(result).values()) == {"refused", "not prevented"}


def test_a_wall_that_does_not_hold_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    believed = probe().walls
    real = _wall_probe.worker_process

    def deceived(*arguments: object, **options: object) -> JobOutcome:
        outcome = real(*arguments, **options)  # type: ignore[arg-type]
        return JobOutcome(result=outcome.result, error=outcome.error, stage=outcome.stage, walls=believed)

    monkeypatch.setattr(_wall_probe, "worker_process", deceived)
    result = without(*("seccomp", "landlock", "namespaces"), call=probe)
    assert "wrong" in states(result).values()


def test_a_worker_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    result = probe()
    assert (result.walls, result.attempts) == ((), ())
    assert result.error is not None
    assert result.error.startswith("A worker could not be started.")
