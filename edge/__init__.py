"""The device: from an image to symbols on the link, and the REST gateway."""
