"""A small exchange that is honest in its books and faulty in its answers, and a reader that goes by `reconcile`.

The books are a seeded random walk of orders and executions; every past state is kept, so that an answer may show an
older one. All faults that the reader is held against are drawn in `Reader._sight`.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.unit.builders import SYMBOL

from fleetsync.book import Book, Finding, Question, Rules, Sight
from fleetsync.messages import Call
from fleetsync.model import Fill, Order, Position, Surface
from fleetsync.reconcile import reconcile

START_MS = 10_000_000
RETENTION_MS = 60_000
RULES = Rules(confirm_gap_ms=250, visibility_grace_ms=4_000, doubt_retry_ms=500, retry_max_ms=4_000,
              order_retention_ms=RETENTION_MS, prefixes=("bot-",))
_LAG_MS = 1_500  # how far behind a surface may be
_LATEST_MS = 6_000  # how late an answer may come: after a false list, one true one is there before the next false one


@dataclass
class Truth:
    """What is so, and was so at any instant."""

    rng: Random
    hedged: bool
    now_ms: int = START_MS
    held: dict[str, Position] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    _times: list[int] = field(default_factory=list)
    _states: list[tuple[dict[str, Position], dict[str, Order], int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._save()

    def _save(self) -> None:
        self._times.append(self.now_ms)
        self._states.append((dict(self.held), dict(self.orders), len(self.fills)))

    def at(self, at_ms: int) -> tuple[dict[str, Position], dict[str, Order], int]:
        """Positions by side, all orders so far, and how many fills there were."""
        return self._states[max(bisect_right(self._times, at_ms) - 1, 0)]

    def held_throughout(self, side: str, since_ms: int, until_ms: int) -> bool:
        """Whether a position of that side existed all the time between two instants."""
        first = max(bisect_right(self._times, since_ms) - 1, 0)
        last = max(bisect_right(self._times, until_ms) - 1, 0)
        return all(side in held for held, _, _ in self._states[first:last + 1])

    def step(self) -> None:
        """Something happens, or nothing."""
        resting = [row for row in self.orders.values() if row.status == "open"]
        draw = self.rng.random()
        if draw < 0.3:
            self._place()
        elif draw < 0.6 and resting:
            row = self.rng.choice(resting)
            left = int(row.size) - int(row.filled)
            self._execute(row, self.rng.randint(1, left))
        elif draw < 0.7 and resting:
            row = self.rng.choice(resting)
            self.orders[row.id] = row._replace(status="canceled", updated_at_ms=self.now_ms)
        elif draw < 0.75 and resting:
            row = self.rng.choice(resting)
            size = str(int(row.filled) + self.rng.randint(1, 4))
            self.orders[row.id] = row._replace(size=size, updated_at_ms=self.now_ms)
        elif draw < 0.85:
            self._market()
        self._save()

    def _place(self, side: str = "", size: int = 0) -> Order:
        number = str(len(self.orders) + 1)
        client_id = self.rng.choice(["bot-", "hand-"]) + number
        side = side or self.rng.choice(["buy", "sell"])
        conditional = self.rng.random() < 0.3 and not size
        row = Order(number, client_id, SYMBOL, side, "limit", "100", str(size or self.rng.randint(1, 4)), "0", "open",
                    reduce_only=False, conditional=conditional, created_at_ms=self.now_ms, updated_at_ms=self.now_ms)
        self.orders[number] = row
        return row

    def _market(self) -> None:
        """A hand trades: closes, flips, adds or reduces."""
        side = self.rng.choice(sorted(self.held)) if self.held else "long"
        size = int(self.held[side].size) if self.held else 1
        closing = "sell" if side == "long" else "buy"
        most = size if self.hedged else 2 * size
        wanted = self.rng.choice([size, size, self.rng.randint(1, most)])
        row = self._place(self.rng.choice([closing, closing, "buy"]), wanted)
        self._execute(row, wanted)

    def _execute(self, row: Order, size: int) -> None:
        filled = int(row.filled) + size
        status = "closed" if filled == int(row.size) else "open"
        self.orders[row.id] = row._replace(filled=str(filled), status=status, conditional=False,
                                      updated_at_ms=self.now_ms)
        self.fills.append(Fill(str(len(self.fills) + 1), row.id, SYMBOL, row.side, "100", str(size), self.now_ms))
        self._move(row, size)

    def _move(self, row: Order, size: int) -> None:
        if self.hedged:  # a hedged account closes what it can and opens the rest on the order's own side
            side = "short" if row.side == "buy" else "long"
            old = int(self.held[side].size) if side in self.held and self.rng.random() < 0.7 else 0
            self._set(side, old - min(size, old), old)
            rest, side = size - min(size, old), "long" if row.side == "buy" else "short"
            old = int(self.held[side].size) if side in self.held else 0
            self._set(side, old + rest, old)
            return
        net = sum(int(held.size) * (1 if held.side == "long" else -1) for held in self.held.values())
        net += size if row.side == "buy" else -size
        self.held.clear()
        self._set("long" if net > 0 else "short", abs(net), -1)

    def _set(self, side: str, size: int, old: int) -> None:
        if size == old:
            return
        self.held.pop(side, None)
        if size:
            self.held[side] = Position(SYMBOL, side, str(size), "100", self.now_ms, self.hedged)


@dataclass(order=True)
class _Post:
    due_ms: int
    number: int
    sights: list[Sight] = field(compare=False)


class Reader:
    """Polls the truth through faults, reconciles, and keeps everything that was found."""

    def __init__(self, truth: Truth, rng: Random) -> None:
        self.truth = truth
        self.book = Book("main", SYMBOL)
        self.findings: list[Finding] = []
        self.questions: dict[Call, int] = {}
        self.faulty = True
        self._rng = rng
        self._post: list[_Post] = []
        self._posted = 0
        self._bad: dict[Surface, int] = {}  # lists that were false, and since when: the next whole one taken is true
        self._was_bad: dict[Surface, int] = {}
        self._true: set[tuple[Surface, int]] = set()

    def poll(self) -> None:
        """Ask for some surfaces, and what is due of the questions; answers may come at once, late, twice or never."""
        rng, now_ms = self._rng, self.truth.now_ms
        calls = [Call(surface) for surface in (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)
                 if not self.faulty or rng.random() < 0.7]
        for call in [call for call, at_ms in self.questions.items() if at_ms <= now_ms]:
            del self.questions[call]
            calls.append(call)
        sights = []
        for call in calls:
            sight = self._sight(call)
            if sight is None:
                self.questions.setdefault(call, now_ms + 300)
            else:
                sights.append(sight)
        rng.shuffle(sights)
        while sights:  # one dispatch's answers, or several
            taken = len(sights) if not self.faulty or rng.random() < 0.5 else rng.randint(1, len(sights))
            self._send(sights[:taken])
            sights = sights[taken:]

    def _send(self, sights: list[Sight]) -> None:
        rng, now_ms = self._rng, self.truth.now_ms
        delays = [0] if not self.faulty or rng.random() < 0.7 else [rng.randint(0, 4_000)]
        if self.faulty and rng.random() < 0.15:
            delays.append(rng.randint(0, _LATEST_MS))
        for delay_ms in delays:
            self._posted += 1
            self._post.append(_Post(now_ms + delay_ms, self._posted, sights))

    def receive(self) -> None:
        """Reconcile what has arrived."""
        self._post.sort()
        while self._post and self._post[0].due_ms <= self.truth.now_ms:
            self.take(self._post.pop(0).sights)

    def take(self, sights: list[Sight]) -> tuple[Finding, ...]:
        """Reconcile these."""
        for sight in sights:
            if (sight.surface, sight.as_of_ms) in self._true and sight.as_of_ms > self._bad.get(sight.surface, 0):
                self._bad.pop(sight.surface, None)
        result = reconcile(self.book, sights, (), RULES, self.truth.now_ms)
        self.book = result.book
        self.findings.extend(result.findings)
        for question in result.questions:
            self._ask(question)
        return result.findings

    def _ask(self, question: Question) -> None:
        before_ms = self.questions.get(question.call, question.not_before_ms)
        self.questions[question.call] = min(before_ms, question.not_before_ms)

    # -- the faults

    def _sight(self, call: Call) -> Sight | None:
        """The answer to a call; None when there was none (a list that failed is a sight without rows)."""
        rng, now_ms = self._rng, self.truth.now_ms
        draw = rng.random() if self.faulty else 1.0
        if draw < 0.08:
            return None
        is_list = call.surface in {Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL}
        lag_ms = 0
        last_bad_ms = self._bad.get(call.surface, -1)
        may_be_bad = (now_ms - self._was_bad.get(call.surface, 0) > _LATEST_MS if last_bad_ms < 0
                      else 0 < now_ms - last_bad_ms < RULES.confirm_gap_ms)
        if is_list and draw < 0.25 and may_be_bad:
            self._bad.setdefault(call.surface, now_ms)
            self._was_bad[call.surface] = now_ms
            if draw < 0.17:
                return Sight(call.surface, now_ms, complete=True)  # empty, and it is not true
            lag_ms = rng.randint(1, _LAG_MS)
        elif is_list and not 0.25 <= draw < 0.33:
            self._true.add((call.surface, now_ms))
        elif not is_list and draw < 0.3:
            lag_ms = rng.randint(1, _LAG_MS)
        return self._shown(call, now_ms - lag_ms, partial=0.25 <= draw < 0.33)

    def _shown(self, call: Call, true_at_ms: int, *, partial: bool) -> Sight:
        now_ms = self.truth.now_ms
        held, orders, filled = self.truth.at(true_at_ms)
        rows: list[Any]
        if call.surface is Surface.ORDER:
            return self._looked_up(call, orders)
        if call.surface is Surface.POSITIONS:
            rows = list(held.values())
        elif call.surface is Surface.FILLS:
            rows = [row for row in self.truth.fills[:filled] if row.at_ms >= call.since_ms]
        else:
            conditional = call.surface is Surface.CONDITIONAL
            rows = [row for row in orders.values() if row.status == "open" and row.conditional is conditional]
        if partial:
            rows = rows[: len(rows) // 2]
        return Sight(call.surface, now_ms, not partial, tuple(rows), since_ms=call.since_ms)

    def _looked_up(self, call: Call, orders: dict[str, Order]) -> Sight:
        now_ms, row = self.truth.now_ms, orders.get(call.order_id)
        young = row is not None and now_ms - row.created_at_ms < 2_000 and self.faulty and self._rng.random() < 0.5
        gone = (row is not None and row.status == "canceled" and row.filled == "0"
                and now_ms - row.updated_at_ms > RETENTION_MS)
        if row is None or young or gone:
            return Sight(Surface.ORDER, now_ms, complete=False, order_id=call.order_id, not_found=True,
                         conditional=call.conditional)
        return Sight(Surface.ORDER, now_ms, complete=True, rows=(row,), order_id=call.order_id)
