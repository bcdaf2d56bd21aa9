"""What the cells are: labels transferred and scored, clusters named by marker genes."""
