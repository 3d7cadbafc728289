"""Several workers of a service behind one socket, started again when they die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from classic_cv.errors import ClassicCVError
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.service import Service, ServiceConfig
from classic_cv.serve.settings import ServeSettings

LOOK = 0.01
"""Seconds between two looks at workers that are starting."""

SPARE_SECONDS = 5.0
"""After the time to drain, until a worker that has not ended is killed."""

STARTED, FAILED = "started", "failed"


class WorkerError(ClassicCVError):
    """A worker could not start; the message is its own."""


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which also waits for the start of all workers, and never gives up one that died later.

    Args:
        folder: where workers leave word of their start, and share copies of models and their figures.
        on_ready: called when all workers can answer.
    """

    def __init__(
        self, settings: ServeSettings, listener: socket, folder: Path, on_ready: Callable[[], None]
    ) -> None:
        config = ServiceConfig(settings, partial(make_worker, settings, folder))
        super().__init__(config, [listener])
        self._drain = settings.drain
        self._folder = folder
        self._log = RequestLog(settings.quiet)
        self._on_ready = on_ready

    def run(self) -> None:
        """Serve until a signal ends it.

        Raises:
            WorkerError: not all workers could start; none is left.
        """
        try:
            super().run()
        except BaseException:
            self.terminate_all()
            self.join_all()
            raise
        failed = self._folder / FAILED
        if failed.exists():
            raise WorkerError(failed.read_text(encoding="utf-8"))

    def init_processes(self) -> None:
        """Start the workers and wait until all of them can answer, or one cannot."""
        super().init_processes()
        while not self.should_exit.is_set():
            if all((self._folder / f"{STARTED}-{process.pid}").exists() for process in self.processes):
                self._on_ready()
                return
            for process in self.processes:
                if process.exitcode is not None:
                    self._give_up(process)
            self.handle_signals()
            time.sleep(LOOK)

    def keep_subprocess_alive(self) -> None:
        """Start a worker for each that has died or hangs, however often."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set() or process.is_alive(self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            self._log.event("worker died", worker=process.pid, exit_status=process.exitcode)
            self._forget(process.pid)
            self.processes[index] = Process(self.config, self.sockets)
            self.processes[index].start()

    def handle_signals(self) -> None:
        """Do what signals ask for; some replace or end workers."""
        before = {process.pid for process in self.processes}
        super().handle_signals()
        for pid in before - {process.pid for process in self.processes}:
            self._forget(pid)

    def terminate_all(self) -> None:
        """Let all workers finish what is in flight."""
        self._log.event("draining", workers=len(self.processes))
        super().terminate_all()
        # Otherwise the system would go on taking connections, which nobody answers.
        for listener in self.sockets:
            listener.close()

    def join_all(self) -> None:
        """Wait for the workers, for a bounded time."""
        deadline = time.monotonic() + self._drain + SPARE_SECONDS
        for process in self.processes:
            process.process.join(max(0.0, deadline - time.monotonic()))
            if process.exitcode is None:
                self._log.event("worker killed", worker=process.pid)
                process.process.kill()
                process.process.join()

    def _give_up(self, process: Process) -> None:
        """End the service, since a worker could not start."""
        failed = self._folder / FAILED
        if not failed.exists():
            failed.write_text(
                f"a worker ended while it started, with exit status {process.exitcode}; see above"
            )
        self.should_exit.set()

    def _forget(self, pid: int | None) -> None:
        """Take an ended worker's gauges out of the shared figures."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]


def make_worker(settings: ServeSettings, folder: Path) -> Service:
    """The application of a worker; a failure is left in ``folder`` as text, and ends the process."""
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    try:
        return Service(settings, (folder / f"{STARTED}-{os.getpid()}").touch, kept=folder)
    except ClassicCVError as error:
        RequestLog().event("worker not started", error=error)
        (folder / FAILED).write_text(str(error), encoding="utf-8")
        sys.exit(STARTUP_FAILURE)


def _follow_parent() -> None:
    """End with the supervisor, also when it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
