"""A scene into a bundle: cells, descriptors, vocabulary, landmarks."""
