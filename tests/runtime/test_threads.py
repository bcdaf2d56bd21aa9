from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info

from scvi_downstream.runtime.threads import one_thread


def test_libraries_get_their_threads_back() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before = [library["num_threads"] for library in threadpool_info()]
    with one_thread():
        assert {library["num_threads"] for library in threadpool_info()} == {1}
    assert [library["num_threads"] for library in threadpool_info()] == before
