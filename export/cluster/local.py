"""Units of work in processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

from .executor import Executor
from .outcome import ONE_THREAD, TRIES, Outcome, given_up

R = TypeVar("R")


@dataclass
class _Task:
    unit: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any]
    deaths: int = 0


class LocalExecutor(Executor):
    """`workers` processes, each fed by a thread of its own; a context manager.

    A process of its own for every worker, started afresh (nothing is forked), on one thread.
    Where it dies, as by the kernel for want of memory, its unit goes to the back of the queue
    and another process is started; after TRIES deaths the unit fails with one line. An error
    that a unit raises is its result: it is not tried again.
    """

    def __init__(self, workers: int) -> None:
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock, self._closed = Lock(), False
        self._threads = [Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, unit: Callable[..., R], *arguments: Any, cpus: float = 1, gpus: float = 0
    ) -> Future[R]:
        """Run unit(*arguments) in a worker; cpus and gpus count for nothing here."""
        future: Future[R] = Future()
        self._queue.put(_Task(unit, arguments, future))
        return future

    def close(self) -> None:
        """End the workers; units that are not done are given up."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()  # results are written whole or not at all
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Feed one worker after the other; the life of a thread."""
        worker: _Worker | None = None
        while (task := self._queue.get()) is not None:
            if self._closed or not (task.deaths or task.future.set_running_or_notify_cancel()):
                task.future.cancel()
                continue
            try:
                worker = worker or self._start()
                outcome = worker.run(task)
            except (EOFError, OSError):  # it died, or could not be started
                how = "no process could be started" if worker is None else worker.how_it_ended()
                self._forget(worker)
                worker, task.deaths = None, task.deaths + 1
                if self._closed:
                    task.future.set_exception(EOFError("closed"))
                elif task.deaths < TRIES:
                    self._queue.put(task)
                else:
                    task.future.set_exception(given_up(task.unit, task.arguments, how))
                continue
            except Exception as error:  # arguments or a result that cannot travel
                task.future.set_exception(error)
                continue
            try:
                task.future.set_result(outcome.result())
            except BaseException as error:
                task.future.set_exception(error)
        self._forget(worker)

    def _start(self) -> _Worker:
        worker = _Worker()
        with self._lock:
            self._processes.add(worker.process)
            if self._closed:
                worker.process.kill()
        return worker

    def _forget(self, worker: _Worker | None) -> None:
        if worker is not None:
            worker.end()
            with self._lock:
                self._processes.discard(worker.process)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"{__package__}.worker",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a program's own output is no place for others'
                env={
                    **os.environ,
                    **ONE_THREAD,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                start_new_session=True,  # Ctrl-C is the starting program's to answer
            )
        self._pipe = Connection(ours.detach())

    def run(self, task: _Task) -> Outcome:
        """Raises EOFError or OSError when the process ends before it answers."""
        self._pipe.send((task.unit, task.arguments))
        outcome = self._pipe.recv()
        assert isinstance(outcome, Outcome)
        return outcome

    def how_it_ended(self) -> str:
        """After its death, for people."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=10)
            return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return "it does not answer"

    def end(self) -> None:
        """Close the pipe, which ends an idle process; one that does not end is killed."""
        self._pipe.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
