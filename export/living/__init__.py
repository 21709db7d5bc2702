"""Maps that live: new photos come in, points that are gone go out, the rest stays to the bit."""
