"""Loaded models wait as long as there is room; those that are worth least go first."""

from dataclasses import dataclass, field
from typing import Any, cast

from neuralrank.limits import Limits
from neuralrank.machine import available_memory_bytes, total_memory_bytes
from neuralrank.passes import Pass
from neuralrank.waiting import MAX_WAITING, Waiting

MB = 1 << 20


@dataclass
class Held:
    """Stands for a pass and its worker: what it holds, and whether it was closed."""

    held: int
    peak_bytes: int = 0
    closed: list[bool] = field(default_factory=list)

    @property
    def worker(self) -> "Held":
        return self

    def held_bytes(self) -> int:
        return self.held

    def close(self) -> None:
        assert not self.closed
        self.closed.append(True)


def waiting(n_jobs: int = 2, each: int = 1000, **more: Any) -> Waiting:
    return Waiting(limits=Limits(n_jobs=n_jobs, memory_bytes=each * MB), free_bytes=total_memory_bytes, **more)


def put(pool: Waiting, name: str, megabytes: int, worth: float | None = None, peak: int = 0) -> Held:
    held = Held(held=megabytes * MB, peak_bytes=peak * MB)
    pool.put(name, cast(Pass, held))
    if worth is not None:
        pool.rate(name, worth)
    return held


def names(pool: Waiting) -> list[str]:
    return [name for name in "abcdefgh" if name in pool]


def test_a_model_that_is_taken_waits_no_longer() -> None:
    pool = waiting()
    held = put(pool, "a", 100)
    assert names(pool) == ["a"]
    assert cast(Any, pool.take("a")) is held
    assert (pool.take("a"), names(pool), held.closed) == (None, [], [])


def test_all_that_wait_and_all_that_run_fit_into_the_memory_of_the_run() -> None:
    pool = waiting(n_jobs=2, each=500)  # 1,000 MB; two that run may be as large as the largest so far
    held = [put(pool, name, 200, worth) for name, worth in zip("abc", (3.0, 1.0, 2.0), strict=True)]
    assert names(pool) == ["a", "b", "c"]
    put(pool, "d", 200)
    assert names(pool) == ["a", "c", "d"]  # it is not rated yet, and stays
    assert [bool(each.closed) for each in held] == [False, True, False]
    put(pool, "e", 50, peak=400)  # one that ran was larger than all before
    assert names(pool) == ["e"]


def test_a_model_that_has_no_room_even_alone_does_not_wait() -> None:
    pool = waiting(n_jobs=1, each=100)
    held = put(pool, "a", 60)
    assert (names(pool), held.closed) == ([], [True])


def test_a_system_that_cannot_tell_what_a_process_holds_counts_the_most_it_held() -> None:
    pool = waiting(n_jobs=1, each=1000)
    put(pool, "a", 0, 2.0, peak=300)
    put(pool, "b", 0, 1.0, peak=300)
    assert names(pool) == ["a", "b"]
    put(pool, "c", 0, peak=300)
    assert names(pool) == ["a", "c"]


def test_a_part_of_the_machine_is_left_to_other_programs() -> None:
    free = [total_memory_bytes()]
    pool = Waiting(limits=Limits(n_jobs=1, memory_bytes=1 << 40), free_bytes=lambda: free[0])
    put(pool, "a", 1, 1.0)
    assert names(pool) == ["a"]
    free[0] = int(0.19 * total_memory_bytes())
    put(pool, "b", 1)
    assert names(pool) == []


def test_no_more_wait_than_there_may_be_processes() -> None:
    pool = waiting(each=1 << 20)
    for place in range(MAX_WAITING + 3):
        put(pool, str(place), 1, float(place % 7))
    assert sum(str(place) in pool for place in range(MAX_WAITING + 3)) == MAX_WAITING
    assert "0" not in pool


def test_what_is_released_or_put_twice_is_closed_once_and_all_at_the_end() -> None:
    pool = waiting()
    first, second, third = put(pool, "a", 1), put(pool, "b", 1), put(pool, "c", 1)
    pool.release("a")
    pool.release("a")
    pool.rate("a", 1.0)
    again = put(pool, "b", 1)
    assert ([each.closed for each in (first, second)], names(pool)) == ([[True], [True]], ["b", "c"])
    pool.close()
    assert (third.closed, again.closed, names(pool)) == ([True], [True], [])


def test_available_memory_is_a_part_of_all() -> None:
    assert 0 < available_memory_bytes() < total_memory_bytes()
