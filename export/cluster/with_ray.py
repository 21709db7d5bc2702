"""Units of work as tasks of Ray, on one machine or many."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from edge_reloc.errors import missing_package

from .executor import Executor
from .outcome import ONE_THREAD, TRIES, Outcome, WorkerError, given_up, run_unit_in

R = TypeVar("R")


class RayExecutor(Executor):
    """Tasks of a Ray cluster; a context manager.

    address: "auto" joins the Ray of this machine or starts one; "HOST:PORT" and
    "ray://HOST:PORT" join a cluster. All machines need this package, at the same version, and
    the photos and the work folder under the same paths. A task whose worker or machine dies
    goes to another, TRIES times in all. Raises WorkerError when no cluster answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise missing_package("ray", "mapping on a Ray cluster", "cluster") from None
        self._ray = ray
        path = os.pathsep.join(filter(None, sys.path))
        try:
            ray.init(
                address=None if address == "auto" else address,
                runtime_env={"env_vars": {**ONE_THREAD, "PYTHONPATH": path}},
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise WorkerError(
                f"--cluster {address}: no Ray cluster answers there ({told[-1]}); start one with "
                f"'ray start --head', give its token (RAY_AUTH_TOKEN), or take --cluster local"
            ) from error

    def submit(
        self, unit: Callable[..., R], *arguments: Any, cpus: float = 1, gpus: float = 0
    ) -> Future[R]:
        """Run unit(*arguments) on a machine with so much free."""
        task = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=TRIES - 1)(run_unit_in)
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def done(answer: Future[Outcome]) -> None:
            try:
                future.set_result(answer.result().result())
            except (
                self._ray.exceptions.WorkerCrashedError,
                self._ray.exceptions.OutOfMemoryError,
                self._ray.exceptions.NodeDiedError,
            ) as error:
                how = str(error).strip().partition("\n")[0]
                future.set_exception(given_up(unit, arguments, how))
            except BaseException as error:
                future.set_exception(error)

        task.remote(os.getcwd(), unit, arguments).future().add_done_callback(done)
        return future

    def close(self) -> None:
        """Leave the cluster, which ends our tasks; one that was started here ends too."""
        self._ray.shutdown()
