"""``make test``: every test, on every backend that this machine offers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from rich.console import Console

from stack.choose import BACKENDS, offers
from stack.engines import ensure_engines, path_with_engines
from stack.errors import StackError
from stack.settings import ROOT

#: Names the backends for tests/conftest.py, separated by commas.
VARIABLE = "STACK_BACKENDS"


def run_tests(console: Console, arguments: Sequence[str]) -> int:
    """Run pytest with the backends that work here; return its exit status.

    Without arguments the tests that need no stack run first, on all cores, then those that do.

    Parameters
    ----------
    console
        Where the choice of backends is said.
    arguments
        For pytest instead of the whole suite, such as a folder or ``-k name``.

    Raises
    ------
    StackError
        When no backend works, or ``STACK`` asks for one that does not.
    """
    asked = os.environ.get("STACK", "")
    if asked and asked not in BACKENDS:
        raise StackError(f"STACK={asked} is not a backend", "use STACK=compose or STACK=native")
    usable = []
    for offer in offers(console):
        if asked and offer.backend != asked:
            console.print(f"Backend {offer.backend}: not tested (STACK={asked}).")
        elif offer.problem:
            console.print(f"Backend {offer.backend}: NOT TESTED, it cannot run: {offer.problem}")
        else:
            console.print(f"Backend {offer.backend}: tested.")
            usable.append(offer.backend)
    if not usable:
        raise StackError(
            "no backend can run here, so nothing was tested",
            "install a Docker engine that can get the images, or Go 1.26, Rust and a C compiler",
        )
    if "native" in usable:
        ensure_engines(console)
    env = dict(os.environ) | {
        VARIABLE: ",".join(usable),
        "PATH": path_with_engines(dict(os.environ)),
    }
    # What `make test` was called with is not for the `make` of tests.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"):
        env.pop(name, None)
    pytest = [sys.executable, "-m", "pytest"]
    if arguments:
        return subprocess.call([*pytest, *arguments], cwd=ROOT, env=env)
    status = 0
    # Engines, clients and tests share the cores: what fails is run once more, and shown as a rerun.
    # What fails again is shown at once: a run that is cut off still says what it saw.
    again = ["--reruns", "1", "--instafail"]
    for selection in (["-m", "not stack", "-n", "auto", "-q", *again], ["-m", "stack", *again]):
        console.rule(" ".join(["pytest", *selection]))
        # The second run goes on when the first fails: one report of everything that is wrong.
        status = subprocess.call([*pytest, *selection], cwd=ROOT, env=env) or status
    return status
