"""Imported before all else by the server that workers are forked from: collections take a sixth of its imports.

Ctrl-C goes to the whole group of processes; the run's own process ends the others.
"""

import gc
import signal

gc.disable()
signal.signal(signal.SIGINT, signal.SIG_IGN)
