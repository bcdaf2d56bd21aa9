"""The model families: options, fitting, reading back."""
