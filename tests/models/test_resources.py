import subprocess
import sys

import pytest

# In a process of its own, where no memory that other tests have freed is waiting to be used again.
SCRIPT = """
import time
import numpy as np
from scvi_downstream.models.resources import ResourceMeter
with ResourceMeter() as before:
    time.sleep(0.1)
with ResourceMeter() as meter:
    block = np.ones(30_000_000)
    time.sleep(0.3)
    del block
print(meter.seconds, meter.peak_memory_mb - before.peak_memory_mb)
"""


@pytest.mark.slow
def test_measures_seconds_and_the_peak_of_memory() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert 0.3 <= seconds < 30
    assert 200 < megabytes < 300
