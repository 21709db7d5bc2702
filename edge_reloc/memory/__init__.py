"""Memory and threads that are taken once, and what the process holds."""
