"""The workstation's half: photos to maps, training, export for the device."""
