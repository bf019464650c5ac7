"""Other libraries doing the same work: one adapter each, imported only when asked for (the extra `peers`)."""
