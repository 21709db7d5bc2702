"""TensorRT engines: one builder over every package and version that Jetsons carry."""
