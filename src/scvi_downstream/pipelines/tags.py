"""Tags that tell the runner which nodes may run in processes of their own."""

TRIAL = "trial"
"""All nodes of the namespace are one unit, and its failure is a result."""
UNIT = "unit"
"""The node by itself is a unit, and its failure fails the run."""
