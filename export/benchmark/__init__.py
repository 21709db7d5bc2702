"""`edge-reloc bench`: from data sets to one table, step by step, poses before scores."""
