"""Jobs: what one is, how it is run, many at a time, sweeps, and what becomes of the results."""
