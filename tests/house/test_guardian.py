"""A test run that is killed leaves no server running."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import subprocess, sys, time
from tests.support.tools.guardian import Guardian
Guardian().watch_all()
print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
time.sleep(300)
"""


WARM = """
import sys, time
from pathlib import Path
from tests.support.node.server import Node
from tests.support.tools.guardian import Guardian
Guardian().watch_all()
node = Node(Path(sys.argv[1])).start()
print(node.process.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("program", [RUN, WARM], ids=["a program", "a server"])
def test_a_killed_test_run_ends_the_programs_that_it_started(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        descriptor = os.pidfd_open(int(run.stdout.readline()))
        run.kill()
        ended, _, _ = select.select([descriptor], [], [], 20)  # readable when the process has ended
        os.close(descriptor)
    assert ended, "it still runs"
