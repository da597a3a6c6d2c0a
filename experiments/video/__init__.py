"""Three policies on a video stream."""
