"""Published data sets in their own layouts, as scenes to map and to score on."""
