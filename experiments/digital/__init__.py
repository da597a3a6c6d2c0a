"""A digital link to compare with: quantised tokens or pictures under 5G's LDPC code and QAM."""
