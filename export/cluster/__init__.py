"""Units of work on other processes and machines, behind one narrow executor."""
