"""What a machine has and lacks for localisation: one file a subject."""
