"""How `kedro run` runs: only what is missing or has changed, trials side by side."""
