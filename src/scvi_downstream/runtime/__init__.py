"""What everything stands on: errors, options, atomic files, events, progress, threads."""
