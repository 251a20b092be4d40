"""Which backends this machine offers, and which one a command uses."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rich.console import Console

from stack import compose, native
from stack.backend import Stack
from stack.compose import ANY_PORTS, ComposeStack
from stack.engines import ENGINES, installed, missing_toolchains
from stack.errors import StackError
from stack.native import NativeStack
from stack.settings import Addresses

BACKENDS = ("compose", "native")


@dataclass(frozen=True)
class Offer:
    """Whether a backend can be used here, and if not, why."""

    backend: str
    problem: str = ""


def offers(console: Console) -> list[Offer]:
    """Return an `Offer` for each backend; gets the images where a Docker engine answers."""
    problem = compose.docker_engine_missing() or compose.ensure_images(console)
    found = [Offer("compose", problem)]
    needs_build = any(installed(e) is None for e in ENGINES)
    problem = "; ".join(missing_toolchains()) if needs_build else ""
    return [*found, Offer("native", f"missing {problem}" if problem else "")]


def choose_backend(console: Console) -> str:
    """Return the backend of this command: what ``STACK`` asks for, or the first that works.

    Raises
    ------
    StackError
        When ``STACK`` is neither, or what it asks for cannot be used, or nothing can.
    """
    asked = os.environ.get("STACK", "")
    if asked and asked not in BACKENDS:
        raise StackError(f"STACK={asked} is not a backend", "use STACK=compose or STACK=native")
    if asked == "native":
        # Building says by itself what is missing.
        console.print("Backend: native (STACK=native).")
        return asked
    for offer in offers(console):
        if asked and offer.backend != asked:
            continue
        if not offer.problem:
            why = f"STACK={asked}" if asked else "the first that this machine offers"
            console.print(f"Backend: {offer.backend} ({why}).")
            return offer.backend
        if asked:
            raise StackError(f"STACK={asked} cannot run here: {offer.problem}", _remedy())
        console.print(f"Backend {offer.backend} cannot be used: {offer.problem}")
    raise StackError("the stack can run neither in containers nor natively here", _remedy())


def _remedy() -> str:
    return (
        "install a Docker engine with the compose plugin that can pull images, or Go 1.26, Rust "
        "and a C compiler; without an image registry, `make images` builds the images"
    )


def live(backend: str) -> Stack:
    """Return the long-lived instance of `make up`."""
    return compose.live() if backend == "compose" else native.live()


def running_live() -> Stack:
    """Return the long-lived instance that is up, for commands that only look or stop.

    Raises
    ------
    StackError
        When neither backend has one.
    """
    asked = os.environ.get("STACK", "")
    if asked in ("", "native") and (stack := native.live()).ps():
        return stack
    if asked in ("", "compose") and not compose.docker_engine_missing():
        in_containers = compose.live()
        if in_containers.ps():
            return in_containers
    raise StackError("the stack is not running", "start it with `make up`")


def isolated(backend: str, name: str) -> Stack:
    """Return an instance of its own, at free ports, for a demo or a test run."""
    if backend == "compose":
        return ComposeStack(name, ANY_PORTS)
    return NativeStack(name, Addresses.free())
