"""A localiser at work: session, loop, budget, and what a person sees of it."""
