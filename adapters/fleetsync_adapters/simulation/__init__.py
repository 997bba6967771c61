"""A discrete-event simulation of the whole machine: the real core in virtual time, thousands of seeds, every fault."""
