from pathlib import Path

import pytest

from scvi_downstream.runtime import package


def test_a_checkout_has_all_beside_its_code_and_a_wheel_nothing_but_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ROOT", tmp_path / "src" / "scvi_downstream")
    assert package.own_conf() == tmp_path / "conf"
    assert package.own_cache() == package.ROOT / "__pycache__"
    (package.ROOT / "conf").mkdir(parents=True)
    assert package.own_conf() == package.ROOT / "conf"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert package.own_cache() == tmp_path / "cache" / "scvi-downstream"
