"""How true poses are, from mapping photos that are left out of the map."""
