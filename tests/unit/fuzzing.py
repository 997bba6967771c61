"""How hard the fuzzed tests try: `FUZZ=50` draws fifty times the examples, and others each time."""

import os

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("FUZZ", "1"))


def tried(examples: int) -> settings:
    """The same examples each time in the gate; more and other ones where more effort is asked for."""
    return settings(derandomize=EFFORT == 1, database=None, deadline=None, max_examples=examples * EFFORT,
                    print_blob=True, suppress_health_check=[
                        HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture])
