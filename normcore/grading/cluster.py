"""Submissions in parallel, on this machine's cores or on a Dask cluster."""

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError

from normcore.grading import bubblewrap
from normcore.grading.grade import OURS, Graded, TaskVerdict

__all__ = ["ClusterMissing", "run"]

# Of each task's steps; nobody reads them, and they take 50 kB a submission.
NO_LOGS = {"distributed.admin.log-length": 0, "distributed.admin.low-level-log-length": 0}
# Dask's pages are open to whoever else works on this machine.
NO_PAGES = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
# Workers are forks of one process that has imported what they need, which takes seconds and cores.
FORKS = {"distributed.worker.multiprocessing-method": "forkserver"}
IN_HAND = 4  # a worker, at any time: memory does not grow with the number of submissions


class ClusterMissing(RuntimeError):
    """There is no scheduler at the address given, or no longer."""


def run(
    grade: Callable[..., Graded],
    jobs: Iterable[tuple],
    workers: int,
    scheduler: str | None,
    trusted: bool = False,
) -> Generator[Graded, None, None]:
    """Results as they come, in no order.

    A worker that dies is replaced and its submissions are graded anew; one on which workers die three
    times is our failure.

    Args:
        grade: run in a worker process, with the arguments of a job.
        jobs: the student, then the other arguments; read as there is room for them.
        workers: processes to start, where there is no scheduler.
        scheduler: address of a running one, such as "tcp://host:8786".
        trusted: whether its workers may do without a sandbox.

    Raises:
        ClusterMissing: nobody answers at the scheduler's address, or no longer.
        SandboxMissing: a worker of the scheduler has no sandbox.
    """
    import dask
    import distributed  # noqa: F401 it fills in the rest of its configuration first

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(NO_LOGS | NO_PAGES | FORKS):
        made = None if scheduler else _start(workers)
        client = made.get_client() if made else _connect(scheduler)
        try:
            if scheduler:
                client.wait_for_workers(1)
                client.run(bubblewrap.check, trusted)
            yield from _results(client, grade, iter(jobs), scheduler or "this machine")
        finally:
            client.close()
            if made:
                made.close()


def _results(client, grade: Callable[..., Graded], waiting: Iterator[tuple], where: str) -> Iterator[Graded]:
    from distributed import as_completed

    running, students = as_completed(), {}

    def submit() -> None:
        if job := next(waiting, None):
            with _talking_to(where):
                future = client.submit(grade, *job, pure=False, retries=2)
            students[future.key] = job[0]
            running.add(future)

    for _ in range(IN_HAND * len(client.nthreads())):
        submit()
    for future in running:
        student = students.pop(future.key)
        with _talking_to(where):
            error = future.exception()
            graded = future.result() if error is None else _failed(student, error)
        yield graded
        submit()


@contextlib.contextmanager
def _talking_to(where: str) -> Iterator[None]:
    """Whatever Dask raises here says that the scheduler has gone: a task's own error is a value by now."""
    try:
        yield
    except (OSError, RuntimeError, CancelledError) as error:
        raise ClusterMissing(
            f"the Dask scheduler at {where} has ended. What is recorded stays; start another, and the same "
            "command goes on."
        ) from error


def _start(workers: int):
    from distributed import LocalCluster
    from distributed.utils import get_mp_context

    get_mp_context().set_forkserver_preload(["distributed", "normcore.grading.grade"])
    # one thread each: the sandboxed process is the work
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=None,
        # any free port: the usual one may be another program's
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0", "dashboard": False},
        silence_logs=logging.CRITICAL,
        security=True,  # whoever else works on this machine could otherwise run code as the grader
    )


def _connect(scheduler: str):
    from distributed import Client

    try:
        return Client(scheduler, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterMissing(
            f"no Dask scheduler answers at {scheduler!r}: {error}. Start one with `dask scheduler`, and "
            "workers with `dask worker ADDRESS --nthreads 1`."
        ) from error


def _failed(student: str, error: BaseException) -> Graded:
    verdict = TaskVerdict(OURS, f"the worker failed: {type(error).__name__}: {error}")
    return Graded(student, {"": verdict}, {}, "", (), {})
