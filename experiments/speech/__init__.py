"""Errors in transcripts of spoken digits over tokens, channel uses and SNR, beside simpler ways to send speech."""
