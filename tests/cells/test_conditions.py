from scvi_downstream.cells.obs import reference_condition


def test_the_reference_is_named_like_a_control_or_comes_first() -> None:
    assert reference_condition(["IFN", "Control", "LPS"]) == "Control"
    assert reference_condition(["LPS", "PMA"]) == "LPS"
