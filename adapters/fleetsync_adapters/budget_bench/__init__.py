"""What budget a fleet needs and how fresh it will be: the real core in virtual time, before any call is spent."""
