"""The experiments of the LSTM paper of 1997, beside its numbers."""
