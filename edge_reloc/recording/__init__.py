"""The flight recorder: the last seconds of a run, to be seen and to be run again."""
