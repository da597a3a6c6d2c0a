"""The JSCC pairs: encoder and decoder side by side, the SNR gate, rates and power."""
