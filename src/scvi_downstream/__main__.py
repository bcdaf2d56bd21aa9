"""``python -m scvi_downstream``: the command `scvi-downstream`."""

from scvi_downstream.command import NAME, main

if __name__ == "__main__":
    main(prog_name=NAME)
