"""The three processes on this machine, started together and stopped together."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy import healthcheck
from deploy.closing import Closed
from deploy.ports import HOST, Ports
from thinwire.errors import UnavailableError

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
STANDARD_ERROR = 2


class LocalTestbed:
    """Edge, channel and cloud as processes of this machine; a context manager.

    SIGTERM and SIGHUP end it as Ctrl-C does.

    Args:
        bundles: names or folders of the bundles that the edge and the cloud serve.
        ports: where they listen.
        channel_arguments: further arguments of ``thinwire channel serve``.
        log_folder: where all that each process prints goes; None: to this process's standard error.
        processes: which to start, in this order.
        closed: who may ask, and how they are reached; by default anybody, in plain text.
    """

    def __init__(
        self,
        bundles: Sequence[str],
        ports: Ports,
        channel_arguments: Sequence[str] = (),
        log_folder: Path | None = None,
        processes: Sequence[str] = ("cloud", "channel", "edge"),
        closed: Closed | None = None,
    ) -> None:
        self.ports = ports
        self._closed = closed or Closed()
        self._scheme = "https" if self._closed.tls else "http"
        self.edge_url = f"{self._scheme}://{HOST}:{ports.edge_rest}"
        self.cloud_url = f"{self._scheme}://{HOST}:{ports.cloud_rest}"
        self._log_folder = log_folder
        self._names = processes
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        cloud, channel = f"{HOST}:{ports.cloud_grpc}", f"{HOST}:{ports.channel_grpc}"
        self._commands = {
            "cloud": ["--bundle", *bundles, "--grpc", cloud, "--port", str(ports.cloud_rest)],
            "channel": [
                *("--upstream", cloud, "--listen", channel),
                *("--metrics-port", str(ports.channel_metrics), *channel_arguments),
            ],
            "edge": [
                *("--bundle", *bundles, "--link", channel, "--port", str(ports.edge_rest)),
                *("--grpc", f"{HOST}:{ports.edge_grpc}"),
            ],
        }

    def __enter__(self) -> Self:
        self._caught = _catch_signals()
        # Signals that come together can interrupt the stopping before it has begun.
        atexit.register(self._kill)
        try:
            for name in self._names:
                self.start(name)
            self.wait_ready()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
            atexit.unregister(self._kill)
        finally:
            for number in self._caught:
                signal.signal(number, signal.SIG_DFL)

    def start(self, name: str) -> None:
        """Start "edge", "channel" or "cloud"."""
        command = [sys.executable, "-m", "deploy.cli.main", name, "serve", *self._commands[name]]
        command += self._closed.arguments(name)
        environment = os.environ | self._closed.environment(name)
        with contextlib.ExitStack() as stack:
            # What they print is theirs: our standard output is that of the command that started us.
            log: IO[bytes] | int = STANDARD_ERROR
            if self._log_folder is not None:
                log = stack.enter_context((self._log_folder / f"{name}.log").open("ab"))
            # A session of its own, so that Ctrl-C reaches us alone and the others are stopped in order.
            self._processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment
            )

    def addresses(self) -> dict[str, str]:
        """Where who is reached, by "edge", "cloud", "link" (the channel's), "cloud_grpc" and "metrics".

        With TLS there is also "ca", the PEM file of who signed.
        """
        addresses = {
            "edge": self.edge_url,
            "cloud": self.cloud_url,
            "link": f"{HOST}:{self.ports.channel_grpc}",
            "cloud_grpc": f"{HOST}:{self.ports.cloud_grpc}",
            "metrics": f"{self._scheme}://{HOST}:{self.ports.channel_metrics}",
        }
        tls = self._closed.tls
        return addresses | ({"ca": str(tls.ca)} if tls else {})

    def pid(self, name: str) -> int:
        """Process id of "edge", "channel" or "cloud", which runs."""
        return self._processes[name].pid

    def wait_ready(self) -> None:
        """Wait until the edge, the link behind it and the cloud answer.

        Raises:
            UnavailableError: a process ended, or they are not ready in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        targets = {
            "cloud": (f"{self.cloud_url}/health/ready",),
            # Healthy once the proxy itself reaches the cloud.
            "channel": (f"{HOST}:{self.ports.channel_grpc}/thinwire.v1.SemanticLink",),
            # Its gRPC listens last.
            "edge": (f"{self.edge_url}/health/ready", f"{HOST}:{self.ports.edge_grpc}"),
        }
        waiting = [target for name in self._names for target in targets[name]]
        while waiting:
            self.check()
            if time.monotonic() > deadline:
                raise UnavailableError(f"not ready after {START_TIMEOUT_S:g} s: {', '.join(waiting)}")
            if healthcheck.trouble(waiting[0], self._closed.tls) is None:
                waiting.pop(0)
            else:
                time.sleep(0.1)

    def check(self) -> None:
        """Check that all processes run.

        Raises:
            UnavailableError: one has ended.
        """
        for name, process in self._processes.items():
            if process.poll() is not None:
                told = _last_words(self._log_folder / f"{name}.log") if self._log_folder else ""
                raise UnavailableError(f"the {name} process ended with status {process.returncode}{told}")

    def stop(self) -> None:
        """Stop all processes, the edge first, so that what is under way can end. A second Ctrl-C kills what is left."""
        try:
            for name in reversed(list(self._processes)):
                self._processes[name].terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._processes[name].wait(STOP_TIMEOUT_S)
        finally:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()


def _last_words(log: Path) -> str:
    """The last line of a log, which may be gone when its folder is, and where it is."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][-500:]} (its log is {log})" if lines else f"; its log, {log}, is empty"


def _catch_signals() -> list[signal.Signals]:
    """Have SIGTERM and SIGHUP raise KeyboardInterrupt where they would end this process and leave the others behind.

    Returns:
        which of them did. One that is ignored, as under nohup, or has a handler keeps that; only the main thread may.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    caught = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, signal.default_int_handler)
    return caught
