"""Compile ``udf.proto`` into ``udf.desc`` and ``udf_pb2.pyi``.

Run it after an edit of ``udf.proto``::

    pip install grpcio-tools
    python -m kapacitor.udf.build_messages

Only the person who edits the protocol needs the compiler; a running UDF never does.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

HEADER = """\
# Made from udf.proto by `python -m kapacitor.udf.build_messages`.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="type-arg"
"""


def compile_messages(out: Path, python: str = sys.executable) -> None:
    """Write ``udf.desc`` and ``udf_pb2.pyi`` into a folder.

    Parameters
    ----------
    out : Path
        An existing folder.
    python : str
        An interpreter that has ``grpcio-tools``.

    Raises
    ------
    RuntimeError
        When the compiler is missing or refuses the file; the message holds its words.
    """
    command = [python, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--pyi_out={out}"]
    command += [f"--descriptor_set_out={out / 'udf.desc'}", str(HERE / "udf.proto")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"protoc failed ({done.returncode}): {done.stderr.strip()}")
    stubs = out / "udf_pb2.pyi"
    stubs.write_text(HEADER + stubs.read_text())


def main() -> int:
    """Run the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    try:
        compile_messages(parser.parse_args().out)
    except RuntimeError as error:
        print(
            f"build_messages: {error}\nIs it installed? pip install grpcio-tools", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
