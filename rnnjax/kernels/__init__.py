"""The recurrence of `rnnjax.scan`, faster: one file a kernel, of one interface (base.py). The scan is the reference."""
