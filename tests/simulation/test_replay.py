"""One seed is one history: in another process, with other string hashes, the same commands, messages and commits."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from fleetsync_adapters.simulation.swarm import draw
from fleetsync_adapters.simulation.trial import attempt

SEEDS = (3, 14, 19, 90)
_SCRIPT = """
import sys
from fleetsync_adapters.simulation.swarm import draw
from fleetsync_adapters.simulation.trial import attempt
print(*(attempt(draw(int(seed), minutes=1)).digest for seed in sys.argv[1:]))
"""


def _digests_elsewhere(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", _SCRIPT, *map(str, SEEDS)], env=environment, capture_output=True,
                           text=True, check=True)
    return ended.stdout.split()


def test_a_seed_replays_exactly_in_another_process_with_other_hashes_and_another_seed_is_another_history() -> None:
    here = [attempt(draw(seed, minutes=1)).digest for seed in SEEDS]
    assert _digests_elsewhere("1") == here
    assert _digests_elsewhere("2") == here
    assert len(set(here)) == len(SEEDS)


def test_leaving_out_one_strike_moves_no_other() -> None:
    """What happens up to the first instant at which it would have struck is the same."""
    options = replace(draw(19), misdeeds={})
    strikes = _strikes(options)
    kind = strikes[-1][1].partition(":")[0]
    last = [name for _, name in strikes if name.startswith(f"{kind}:")][-1]
    without = _strikes(replace(options, skip=frozenset({last})))
    assert without == [strike for strike in strikes if strike[1] != last]


def _strikes(options: object) -> list[tuple[int, str]]:
    from fleetsync_adapters.simulation.observe import Observer  # noqa: PLC0415 used here only
    from fleetsync_adapters.simulation.swarm import Options  # noqa: PLC0415 used here only

    class Strikes(Observer):
        def struck(self, at_ms: int, fault: str, detail: str) -> None:
            found.append((at_ms, fault))

    found: list[tuple[int, str]] = []
    assert isinstance(options, Options)
    attempt(options, [Strikes()])
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_options_say_in_words_what_is_simulated(seed: int) -> None:
    options = draw(seed)
    words = "\n".join(options.lines())
    assert f"seed {seed}:" in words
    assert all(kind in words for kind in options.strikes)
