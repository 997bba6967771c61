"""The ledger of one quota: a token bucket that is exact.

The bucket is kept as one instant, the theoretical arrival time of GCRA: a unit moves it on by one emission
interval, and units are admitted while it is at most a burst ahead of now. A bucket of burst `b` and rate `r` admits at
most `b + r*T` units in any span T, so for a quota of `L` in `W` we set

    r = (L - b) / (W + J)      J = how late a granted call may leave, plus how differently two requests may travel

and no window of W holds more than L *where the exchange counts*, wherever that window starts. The price is b/L + J/W of
the quota (2-3 %). A ledger starts empty: what an earlier run of ours spent in the last window is thereby allowed for.

A call of several pages is granted whole, and its later pages leave when those before them have come: any time until it
is reported. So they are held: they take room in the bucket, do not drain from it, and are charged when they have surely
left. Otherwise the pages that wait behind a slow exchange would fall together into one window.

Urgent work (events, forced syncs, open questions) may use the whole burst; scheduled work leaves it `urgent_share`.
A charge that is larger than the burst (a list of many pages) waits until the bucket has stood full for the difference.

Urgent work may also overdraw the bucket, by a twentieth of the quota, where a log of what was sent shows that the
window ending now has room for it. That keeps every window: take the last call in a span of W + J. If the bucket
admitted it, no more than `b + r*(W+J) = L` were sent in the span, since an overdraft is a debt that is worked off at
the rate before the bucket admits again; if it was an overdraft, the log has counted the span. After a restart the log
is blank, so nothing is overdrawn for a window, and the bucket starts with the debt that the run before may have left.
Where nothing outlives a run, the next one could not know of such a debt, and nothing is overdrawn at all.

Where the exchange reports its own counter, what it shows beyond our calls is other programs' use. It is projected to
the end of the aligned window, and our rate and room are what it leaves.
"""

from collections import deque

from fleetsync.config import Settings
from fleetsync.tariff import Quota

_BURST_SHARE = 100  # a bucket holds at least a hundredth of its quota
_ROLLOVER_SKEW_MS = 250  # how far our clock and the exchange's may differ at the edge of an aligned window
_FOREIGN_MARGIN = 1.25  # other programs' use is expected to go on at up to this multiple
_LOOKS = 20  # other programs' pace is measured over a twentieth of a window, and asked for again so often
_OVERDRAFT_SHARE = 20  # urgent work may overdraw by a twentieth of a quota; a restart waits as long as that refills
_SLICES = 256  # the log of a window is kept in so many slices, each counted until its last call has left the window
_GLANCE_MS = 10  # a counter that shows nothing but our own calls is not looked at again for so long
_LEAST_SHARE = 20  # a twentieth of the quota stays our rate: what we still may send in truth, the counter tells


class Ledger:
    """One quota within one scope: how much of it is spent, exactly, in microseconds of theoretical arrival time."""

    __slots__ = ("aligned", "burst", "emission_us", "followed_ms", "foreign", "foreign_before", "foreign_pace",
                 "frozen_until_ms", "granted", "held", "in_log", "key", "known_from_ms", "limit", "log", "marked_at_ms",
                 "marked_foreign", "overdraft", "overdraws", "owner", "recent", "reserve", "room", "seen_sent_at_ms",
                 "seen_used", "slack_ms", "slice_index", "slice_ms", "tat_us", "unseen", "window_index", "window_ms",
                 "window_own")

    def __init__(self, key: str, quota: Quota, *, biggest: int, settings: Settings, now_ms: int,
                 owner: str = "") -> None:
        self.key = key
        self.owner = owner  # the account whose limit it is; "": others share it
        self.window_ms = quota.window_ms
        self.aligned = quota.aligned
        self.slack_ms = settings.grant_valid_ms + settings.network_jitter_ms
        self.granted = 0
        self.held = 0  # units that are granted and may leave at any time
        self.frozen_until_ms = 0
        self.foreign = self.foreign_before = 0  # other programs' use in this aligned window and in the one before
        self.foreign_pace = 0.0  # their units a millisecond, lately
        self.marked_at_ms = self.marked_foreign = 0
        self.window_index = now_ms // quota.window_ms
        self.window_own = 0
        self.seen_used = -1
        self.seen_sent_at_ms = 0
        self.recent: deque[tuple[int, int]] = deque()  # (granted at, units) that its counter may not show yet
        self.unseen = 0  # the sum of these units
        self.log: deque[tuple[int, int]] = deque()  # (granted at, units) of the last window and slack, by slices
        self.in_log = 0  # the sum of these units
        self.slice_ms, self.slice_index = quota.window_ms // _SLICES or 1, -1
        self.known_from_ms = 0  # the log is blank, or proven wrong, for windows that end before this
        self.overdraws = True
        self.followed_ms = 0  # until when another run may have spent of this quota
        self.tat_us = now_ms * 1000
        self.emission_us = 0
        self.set_limit(quota.limit, biggest, settings.urgent_share, now_ms)
        self.tat_us = now_ms * 1000 + self.burst * self.emission_us  # empty

    def set_limit(self, limit: int, biggest: int, urgent_share: float, now_ms: int) -> None:
        """Change the quota; what was spent stays spent, so the change itself makes no burst."""
        self.limit = limit
        # One unit at least must come from the rate: a bucket as large as its quota could be emptied twice in a window.
        most = max(limit - 1, 1)
        scheduled = min(max(biggest, limit // _BURST_SHARE, 1), most)
        base = max(limit // _BURST_SHARE, 1)  # not `scheduled`: one dear list must not make the reserve dear as well
        self.reserve = min(int(-(-base * urgent_share // (1 - urgent_share))), most - scheduled)
        self.burst = scheduled + self.reserve
        self.overdraft = limit // _OVERDRAFT_SHARE if self.overdraws else 0
        self._set_rate(now_ms)
        self._expect_debt()  # the run before may have gone by as high a limit

    def _set_rate(self, now_ms: int) -> None:
        """Take on the rate that the limit leaves us; the bucket keeps its level in units, not in time."""
        foreign = max(int(self.foreign_before * _FOREIGN_MARGIN), self.foreign + self._foreign_to_come(now_ms))
        self.room = self.limit - foreign
        ours = max(self.room - self.burst, self.limit // _LEAST_SHARE, 1)
        emission_us = -(-(self.window_ms + self.slack_ms) * 1000 // ours)
        owed_us = self.tat_us - now_ms * 1000
        if self.emission_us and owed_us > 0:  # a bucket that stands full keeps the instant since when it does
            self.tat_us = now_ms * 1000 - (-owed_us * emission_us // self.emission_us)
        self.emission_us = emission_us

    def opens_at_ms(self, units: int, now_ms: int, *, urgent: bool) -> int:
        """The first instant, now or later, at which `units` would be admitted."""
        if now_ms < self.frozen_until_ms:
            return self.frozen_until_ms
        if self.seen_used >= 0 and now_ms // self.window_ms != self.window_index:
            self._roll(now_ms)
        units += self.held
        room = self.burst if urgent else self.burst - self.reserve
        now_us, ahead_us = now_ms * 1000, self.tat_us
        if room > units:
            ahead_us -= (room - units) * self.emission_us
        elif units > self.burst:
            ahead_us += (units - self.burst) * self.emission_us
        opens_at_ms = now_ms if ahead_us <= now_us else -(-ahead_us // 1000)
        if urgent and opens_at_ms > now_ms and self.overdraft:
            ahead_us -= self.overdraft * self.emission_us
            opens_at_ms = self._overdraws_at_ms(units, max(now_ms, -(-ahead_us // 1000)), opens_at_ms, now_ms)
        if self.seen_used < 0 or (opens_at_ms == now_ms and self._room_in_window(units, now_ms)):
            return opens_at_ms
        if opens_at_ms == now_ms:
            opens_at_ms += max(self.window_ms // _LOOKS, 1)
        next_window_ms = (now_ms // self.window_ms + 1) * self.window_ms + _ROLLOVER_SKEW_MS
        return min(opens_at_ms, next_window_ms)  # there other programs' use is weighed anew

    def _overdraws_at_ms(self, units: int, at_ms: int, before_ms: int, now_ms: int) -> int:
        """When the log admits an overdraft of `units`, at `at_ms` or later; the bucket itself admits at `before_ms`."""
        log, span_ms = self.log, self.window_ms + self.slack_ms
        while log and log[0][0] <= now_ms - span_ms:
            self.in_log -= log.popleft()[1]
        at_ms, excess = max(at_ms, self.known_from_ms), self.in_log + units - self.room
        for sent_at_ms, sent in log:
            if excess <= 0 or at_ms >= before_ms:
                break
            excess -= sent
            at_ms = max(at_ms, sent_at_ms + span_ms)
        return before_ms if excess > 0 else min(at_ms, before_ms)

    def charge(self, units: int, now_ms: int) -> None:
        """Spend `units` now, whether or not there was room (what was sent is spent)."""
        now_us = now_ms * 1000
        self.tat_us = max(self.tat_us, now_us) + units * self.emission_us
        self.granted += units
        if self.overdraft:
            self._note(units, now_ms)
        if self.aligned:
            if now_ms // self.window_ms != self.window_index:
                self._roll(now_ms)
            self.window_own += units
            if self.seen_used >= 0:
                self.recent.append((now_ms, units))
                self.unseen += units

    def _note(self, units: int, now_ms: int) -> None:
        log, index = self.log, now_ms // self.slice_ms
        self.in_log += units
        if index == self.slice_index and log:
            log[-1] = now_ms, log[-1][1] + units
            return
        self.slice_index = index
        log.append((now_ms, units))
        while log[0][0] <= now_ms - self.window_ms - self.slack_ms:
            self.in_log -= log.popleft()[1]

    def freeze(self, until_ms: int) -> None:
        """Admit nothing before `until_ms`; the bucket is empty then, so work resumes at its rate and not as a herd."""
        if until_ms > self.frozen_until_ms:
            self.frozen_until_ms = until_ms
            self.tat_us = max(self.tat_us, until_ms * 1000 + self.burst * self.emission_us)
            # The exchange counts otherwise than our log does.
            self.known_from_ms = max(self.known_from_ms, until_ms + self.window_ms + self.slack_ms)

    def is_at_rest(self, now_ms: int) -> bool:
        """Whether one that is made anew would allow no more: nothing is spent, held, owed or frozen any longer."""
        spent = self.log and self.log[-1][0] > now_ms - self.window_ms - self.slack_ms
        return not (spent or self.held or self.tat_us > now_ms * 1000 or self.frozen_until_ms > now_ms)

    def follow(self, ended_ms: int | None) -> None:
        """Another run spent of this quota until `ended_ms`, nobody knows how much: expect the most it may have.

        None: nobody will ever know of any run, so none may leave a debt.
        """
        if ended_ms is None:
            self.overdraws, self.overdraft = False, 0
            return
        self.followed_ms = max(self.followed_ms, ended_ms)
        self._expect_debt()
        self.known_from_ms = max(self.known_from_ms, ended_ms + self.window_ms + self.slack_ms)

    def _expect_debt(self) -> None:
        if self.followed_ms:
            self.tat_us = max(self.tat_us, self.followed_ms * 1000 + (self.burst + self.overdraft) * self.emission_us)

    def observe(self, used: int, sent_at_ms: int, now_ms: int) -> None:
        """The exchange's own counter of this window, read from the answer to a request of ours sent at `sent_at_ms`.

        What it counts beyond our own calls is other programs' use of the same limit; our share shrinks by it at once.
        """
        if not self.aligned:
            return
        if used <= self.window_own and not self.foreign and 0 <= sent_at_ms - self.seen_sent_at_ms < _GLANCE_MS:
            return  # what was counted a moment ago, and what was granted since, is no less
        self._roll(now_ms)
        early_ms = self.window_index * self.window_ms + _ROLLOVER_SKEW_MS
        if sent_at_ms < max(early_ms, self.seen_sent_at_ms) or sent_at_ms // self.window_ms > self.window_index:
            return  # it speaks of a window that is over, or may do so, or is older than what we know
        self.seen_used, self.seen_sent_at_ms = used, sent_at_ms
        self._forget(sent_at_ms - self.slack_ms)
        # All that was granted counts as ours, what is still on its way too: our own calls never look like another's.
        foreign = max(used - self.window_own - self.held, 0)
        if foreign or self.foreign:
            self.foreign = foreign
            self._mark(sent_at_ms)
            self._set_rate(now_ms)

    def _mark(self, sent_at_ms: int) -> None:
        """Measure the pace of other programs between two of their counts that lie far enough apart."""
        span_ms = sent_at_ms - max(self.marked_at_ms, self.window_index * self.window_ms)
        if span_ms >= self.window_ms // _LOOKS:
            self.foreign_pace = max(self.foreign - self.marked_foreign, 0) / span_ms
            self.marked_at_ms, self.marked_foreign = sent_at_ms, self.foreign

    def _foreign_to_come(self, now_ms: int) -> int:
        """What other programs may still use of this aligned window, beyond what the last counter showed."""
        if not (self.foreign or self.foreign_before):
            return 0
        start_ms, look_ms = self.window_index * self.window_ms, self.window_ms // _LOOKS
        pace = max(self.foreign / max(now_ms - start_ms, 2 * look_ms, 1), self.foreign_before / self.window_ms)
        if now_ms < self.marked_at_ms + 2 * look_ms:  # without news for longer, the average stands
            pace = max(pace, self.foreign_pace)
        left_ms = start_ms + self.window_ms - max(self.seen_sent_at_ms, start_ms)
        return int(pace * left_ms * _FOREIGN_MARGIN) + 1

    def _roll(self, now_ms: int) -> None:
        index = now_ms // self.window_ms
        if index != self.window_index:
            self.foreign_before = self.foreign if index == self.window_index + 1 else 0
            self.window_index, self.foreign = index, 0
            self.seen_used = 0 if self.seen_used >= 0 else -1
            self.seen_sent_at_ms = self.marked_foreign = 0
            # What was on its way when the window began may be counted in it, however late we come to look.
            self._forget(index * self.window_ms - self.slack_ms)
            self.window_own = self.unseen
            self._set_rate(now_ms)

    def _forget(self, until_ms: int) -> None:
        while self.recent and self.recent[0][0] <= until_ms:
            self.unseen -= self.recent.popleft()[1]

    def _room_in_window(self, units: int, now_ms: int) -> bool:
        """Whether the exchange's aligned window certainly has room, by its own counter and what it may not show yet."""
        return self.seen_used + self.unseen + units + self._foreign_to_come(now_ms) <= self.limit
