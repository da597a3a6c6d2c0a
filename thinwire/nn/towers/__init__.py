"""Vision towers: whatever transformer turns an image into tokens, behind one interface."""
