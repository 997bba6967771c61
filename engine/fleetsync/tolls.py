"""Tolls: which ledgers a call draws on, and how much of each, by its exchange's tariff and its scope."""

from fleetsync.account import AccountState, Route
from fleetsync.budget import Budget, Charges
from fleetsync.ledger import Ledger
from fleetsync.messages import Call
from fleetsync.tariff import Scope, question

_Toll = tuple[str, int, str, Ledger | None]  # quota, weight, endpoint, and the ledger where the whole route shares it


class Tolls:
    """From calls to charges; makes ledgers as they are needed."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._egress_keys: dict[Route, set[str]] = {}  # the keys of a route's IP-wide ledgers
        self._reported: dict[Route, list[Ledger]] = {}
        self._routine: dict[Route, list[tuple[Ledger, int]]] = {}
        self._tolls: dict[tuple[Route, str], list[_Toll]] = {}  # by route and question

    def charges(self, state: AccountState, calls: tuple[Call, ...], now_ms: int) -> list[tuple[Ledger, int]]:
        """The ledgers that these calls of an account draw on, and how much of each."""
        route, account, totals = state.route, state.account.id, {self.budget.operator: 0}
        for call in calls:
            pages = call.pages
            totals[self.budget.operator] += pages
            asked = route, question(call)
            for name, weight, endpoint, shared in self._tolls.get(asked) or self._tolls_of(*asked, now_ms):
                ledger = shared or self.ledger(route, name, account, endpoint, call.symbol, now_ms)
                totals[ledger] = totals.get(ledger, 0) + weight * pages
        return list(totals.items())

    def _tolls_of(self, route: Route, asked: str, now_ms: int) -> list[_Toll]:
        cost = route.tariff.costs[asked]
        shared = {quota.name for quota in route.tariff.quotas if quota.scope is Scope.EGRESS}
        tolls: list[_Toll] = [
            (name, weight, cost.endpoint, self.ledger(route, name, "", "", "", now_ms) if name in shared else None)
            for name, weight in cost.weights]
        self._tolls[route, asked] = tolls
        return tolls

    def later(self, state: AccountState, calls: tuple[Call, ...], now_ms: int) -> list[tuple[Ledger, int]]:
        """What of that is for pages after the first, which leave when those before them have come."""
        following = tuple(call._replace(pages=call.pages - 1) for call in calls if call.pages > 1)
        return self.charges(state, following, now_ms) if following else []

    def over(self, calls: tuple[Call, ...], later: Charges, requests: int, now_ms: int) -> None:
        """These calls are over. Loading some markets takes more requests than were granted: what was sent is spent."""
        self.budget.release(later, now_ms)
        self.budget.operator.charge(max(requests - sum(call.pages for call in calls), 0), now_ms)

    def routine_charges(self, state: AccountState, now_ms: int) -> list[tuple[Ledger, int]]:
        """The same for what a quiet account is asked: one list for all accounts where they share all its quotas."""
        charges = self._routine.get(state.route)
        if charges is None:
            calls = state.route.routine
            charges = self.charges(state, calls, now_ms)
            own = {quota.name for quota in state.route.tariff.quotas if quota.scope is not Scope.EGRESS}
            if not any(name in own for name, _ in state.route.tariff.cost(calls[0]).weights):
                self._routine[state.route] = charges
        return charges

    def reported(self, route: Route, now_ms: int) -> list[Ledger]:
        """The ledgers whose exchange tells its own counter: those of aligned windows that the whole route shares."""
        ledgers = self._reported.get(route)
        if ledgers is None:
            names = [quota.name for quota in route.tariff.quotas if quota.scope is Scope.EGRESS and quota.aligned]
            ledgers = self._reported[route] = [self.ledger(route, name, "", "", "", now_ms) for name in names]
        return ledgers

    def shared_weight(self, route: Route, calls: tuple[Call, ...]) -> int:
        """What calls weigh in the quotas that the whole route shares."""
        shared = {quota.name for quota in route.tariff.quotas if quota.scope is Scope.EGRESS}
        return sum(weight * call.pages for call in calls for name, weight in route.tariff.cost(call).weights
                   if name in shared)

    def route_charges(self, route: Route, call: Call, now_ms: int) -> list[tuple[Ledger, int]]:
        """The ledgers that a call outside any account (the markets) draws on."""
        cost = route.tariff.cost(call)
        return [(self.budget.operator, call.pages), *(
            (self.ledger(route, name, "", cost.endpoint, "", now_ms), weight) for name, weight in cost.weights)]

    def egress_keys(self, route: Route) -> set[str]:
        """The keys of a route's IP-wide ledgers: what blocks one of them blocks the route."""
        keys = self._egress_keys.get(route)
        if keys is None:
            keys = {f"{route.name}:{quota.name}" for quota in route.tariff.quotas if quota.scope is Scope.EGRESS}
            self._egress_keys[route] = keys
        return keys

    def ledger(self, route: Route, quota_name: str, account: str, endpoint: str, symbol: str, now_ms: int) -> Ledger:
        """The ledger of one quota for one call. What an exchange counts by account, it counts over every egress."""
        quota = next(quota for quota in route.tariff.quotas if quota.name == quota_name)
        key, owner = f"{route.name}:{quota_name}", ""
        if quota.scope is not Scope.EGRESS:
            within = {Scope.ACCOUNT: "", Scope.ENDPOINT: f"/{endpoint}", Scope.INSTRUMENT: f"/{symbol}"}[quota.scope]
            key, owner = f"{route.exchange}:{quota_name}/{account}{within}", account
        return self.budget.ledger(key, quota, biggest=route.weights_max[quota_name], now_ms=now_ms, owner=owner)
