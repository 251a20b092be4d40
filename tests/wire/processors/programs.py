"""Start a processor as Telegraf does and talk to it over its pipes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("", "udf", "telegraf")),
    "OPENBLAS_NUM_THREADS": "1",
}


class Program(subprocess.Popen[bytes]):
    """A processor with all three streams as unbuffered pipes; `with` closes and reaps it."""

    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    def __init__(self, *command: str) -> None:
        super().__init__(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd=ROOT,
            bufsize=0,
        )


def through(data: bytes, *command: str) -> tuple[bytes, str]:
    """Send data, close the input, return what came out and the log."""
    with Program(*command) as process:
        out, log = process.communicate(data, timeout=120)
    assert process.returncode == 0, log.decode()
    return out, log.decode()
