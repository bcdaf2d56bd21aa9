import time

import numpy as np

from scvi_downstream.models.resources import ResourceMeter


def test_measures_seconds_and_the_peak_of_memory() -> None:
    with ResourceMeter() as before:
        pass
    with ResourceMeter() as meter:
        block = np.ones(30_000_000)
        time.sleep(0.15)
        del block
    assert 0.15 <= meter.seconds < 5
    assert meter.peak_memory_mb > before.peak_memory_mb + 150
