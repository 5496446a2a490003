"""Tries a TFLite file in a process of its own before the hub opens it.

The runtime does not check the file it is given: one cut short reads beyond its end and takes the
process with it. A hub that dies of its model at every start would never send again.
"""

import subprocess
import sys
from typing import Final

import numpy as np

from water.model import Forward, load_interpreter

TRIAL_S: Final = 60.0
"""What the slowest hub needs to start Python and run a small network, many times over."""


def rehearsed(tflite: bytes, width: int) -> Forward:
    """Return ``load_interpreter(tflite, width)``, but only after another process survived it.

    Raises:
        RuntimeError: The other process did not.
    """
    trial = [sys.executable, "-P", "-m", __name__, str(width)]
    try:
        subprocess.run(trial, input=tflite, capture_output=True, timeout=TRIAL_S, check=True)
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"its trial ended with {exc.returncode}: {last}") from exc
    except subprocess.TimeoutExpired as exc:
        raise RuntimeError(f"its trial took more than {TRIAL_S:.0f} s") from exc
    return load_interpreter(tflite, width)


if __name__ == "__main__":
    told = int(sys.argv[1])
    load_interpreter(sys.stdin.buffer.read(), told)(np.zeros((1, told), np.float32))
