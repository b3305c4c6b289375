"""Submissions in parallel, on this machine's cores or on a Dask cluster."""

import logging
from collections.abc import Callable, Iterator

from normcore.grading.grade import OURS, Graded, TaskVerdict

__all__ = ["ClusterMissing", "run"]

IN_HAND = 4  # a worker, at any time: memory does not grow with the number of submissions


class ClusterMissing(RuntimeError):
    """There is no scheduler at the address given."""


def run(
    grade: Callable[..., Graded], jobs: dict[str, tuple], workers: int, scheduler: str | None
) -> Iterator[Graded]:
    """Results as they come, in no order.

    A worker that dies is replaced and its submissions are graded anew; one on which workers die three
    times is our failure.

    Args:
        grade: run in a worker process, with the arguments of a job.
        jobs: by student.
        workers: processes to start, where there is no scheduler.
        scheduler: address of a running one, such as "tcp://host:8786".

    Raises:
        ClusterMissing: nobody answers at the scheduler's address.
    """
    from distributed import Client, LocalCluster, as_completed

    logging.getLogger("distributed").setLevel(logging.ERROR)
    if scheduler is None:
        # one thread each: the sandboxed process is the work
        made = LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
        )
        client = Client(made)
    else:
        made = None
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterMissing(
                f"no Dask scheduler answers at {scheduler!r}: {error}. Start one with `dask scheduler`, and "
                "workers with `dask worker ADDRESS --nthreads 1`."
            ) from error
    waiting = iter(jobs.items())
    try:
        known = max(len(client.scheduler_info()["workers"]), workers, 1)
        running = as_completed()
        students = {}

        def submit() -> None:
            student, job = next(waiting, (None, None))
            if student is not None:
                future = client.submit(grade, *job, pure=False, retries=2)
                students[future.key] = student
                running.add(future)

        for _ in range(IN_HAND * known):
            submit()
        for future in running:
            student = students.pop(future.key)
            error = future.exception()
            yield future.result() if error is None else _failed(student, error)
            submit()
    finally:
        client.close()
        if made is not None:
            made.close()


def _failed(student: str, error: BaseException) -> Graded:
    verdict = TaskVerdict(OURS, f"the worker failed: {type(error).__name__}: {error}")
    return Graded(student, {"": verdict}, {}, "", (), {})
