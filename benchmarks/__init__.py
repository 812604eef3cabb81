"""saccade.benchmarks: measured on this machine, against named peers, interleaved in one process."""
