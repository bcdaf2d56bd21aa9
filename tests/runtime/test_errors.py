from scvi_downstream.runtime.errors import closest


def test_names_the_closest_choice_whatever_its_case() -> None:
    assert closest("donr", ["Donor", "batch"]) == "; the closest is 'Donor'"


def test_lists_the_choices_when_none_is_close() -> None:
    assert closest("zzz", ["donor", "batch"]) == "; there are 'donor', 'batch'"


def test_says_how_many_choices_it_leaves_out() -> None:
    assert closest("zzz", [f"gene{i}" for i in range(20)]).endswith("and 8 more")


def test_says_when_there_are_no_choices() -> None:
    assert closest("zzz", []) == "; there are none"
