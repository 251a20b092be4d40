"""Stacks of their own for one job: free ports, empty state, nothing left behind."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.backend import OPTIONAL, SERVICES, Stack
from stack.compose import ANY_PORTS, ComposeStack
from stack.errors import StackError
from stack.native import NativeStack
from stack.settings import LIVE, ROOT, STATE, Addresses

#: Where the services' logs are kept when a job fails.
FAILED_LOGS = ROOT / "out" / "logs"


@contextmanager
def isolated(backend: str, purpose: str) -> Iterator[Stack]:
    """Give a stack that is not started yet; stop it and delete its state at the end.

    What an earlier run of the same purpose left when it was killed is removed first. When the job
    fails, the services' logs are kept in out/logs.

    Raises
    ------
    StackError
        When the same purpose is already running in this checkout.
    """
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{purpose}-{backend}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"another {purpose} is running in this checkout", "wait for its end, or stop it"
            ) from None
        stack = _instance(backend, purpose)
        stack.remove()
        try:
            yield stack
        except BaseException:
            keep_logs(stack)
            raise
        finally:
            stack.remove()


def _instance(backend: str, purpose: str) -> Stack:
    if backend == "native":
        return NativeStack(purpose, Addresses.free())
    return ComposeStack(project_name(purpose), ANY_PORTS)


def project_name(purpose: str) -> str:
    """Return a compose project's name: a Docker engine serves all checkouts of a machine."""
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return f"{LIVE}-{purpose}-{checkout}"


def keep_logs(stack: Stack) -> Path:
    """Copy the engines' logs to out/logs/<instance>-<backend>, and return that folder."""
    folder = FAILED_LOGS / f"{stack.name}-{stack.backend}"
    folder.mkdir(parents=True, exist_ok=True)
    for service in (*SERVICES, *OPTIONAL):
        if text := stack.log(service):
            (folder / f"{service}.log").write_text(text)
    return folder
