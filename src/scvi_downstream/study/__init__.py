"""What the user set, checked and completed, and which models and analyses that calls for."""
