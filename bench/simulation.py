"""A thousand domains in memory: what discovery costs, and what outages, partitions and new keys do to a whole network.

``python -m bench.simulation`` runs every scenario and prints one line of figures; the same seed gives the same figures.
``docs/simulation.rst`` says what they mean.
"""

import argparse
import json
import random as shared
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner

from bench.report import finish, percentile, progress
from bench.simulated import ADDRESS, START, Network, Server, Time, cipher
from bench.simulated_queue import Outbox, Row
from mailx.config import Config
from mailx.mail.address import Address

HOUR = 3600.0
SIZE = 1000  # octets of a message
_REGULARS = 8  # domains that one domain writes to often
_REGULAR = 0.8  # of its mail goes to them
_PLAIN = 10  # one more domain without a MailX server for so many with one
_DRAIN = 40 * HOUR  # longer than any schedule


@define
class Scenario:
    """So many domains and messages over so many hours; ``seed`` decides all else."""

    domains: int = 1000
    messages: int = 10_000
    hours: float = 12.0
    seed: int = 1


@define
class Run:
    """One network with its traffic. ``rows`` are the messages that arrived, with their delay in seconds."""

    scenario: Scenario
    network: Network
    random: Random
    servers: list[Server] = field(factory=list)
    outboxes: list[Outbox] = field(factory=list)
    delays: list[tuple[float, float, bool]] = field(factory=list)  # when it was sent, how long it took, whether its domain was known
    sent: Counter[str] = field(factory=Counter)  # by destination
    created: dict[str, list[float]] = field(factory=dict)  # by destination: when, in seconds
    pairs: set[tuple[str, str]] = field(factory=set)
    last: float = 0.0  # when a message arrived last

    def delivered(self, row: Row, security: str) -> None:
        now = self.network.time.now
        self.last = now
        self.delays.append((row.created - START, now - row.created, row.known))

    @property
    def left(self) -> int:
        return sum(each.left for each in self.outboxes)

    def at(self, hours: float, call: Callable[[], None]) -> None:
        self.network.time.callLater(hours * HOUR, call)

    def run(self, hours: float) -> None:
        """Until so many hours after the beginning."""
        self.network.time.run(START + hours * HOUR)

    def drain(self) -> None:
        """Until nothing waits any more, or nothing can come of it."""
        self.run(max(self.scenario.hours, (self.network.time.now - START) / HOUR))
        end = self.network.time.now + _DRAIN
        while self.left and self.network.time.now < end:
            self.network.time.run(self.network.time.now + 60)


def made(scenario: Scenario) -> Run:
    """The network, and its traffic as calls to come."""
    shared.seed(scenario.seed)  # what the program's own classes draw from
    random = Random(scenario.seed)
    clock = Time()
    config = Config()
    config = evolve(config, federation=evolve(config.federation, networks=(f"{ADDRESS}/32",)))
    run = Run(scenario, Network(clock, config), random)
    sealing = cipher()
    for number in range(scenario.domains + scenario.domains // _PLAIN):
        domain, federated = f"d{number}.example", number < scenario.domains
        server = Server(run.network, domain, number, sealing, federated=federated)
        run.network.servers[domain] = server
        if federated:
            Deferred.fromCoroutine(server.start())
            run.servers.append(server)
            run.outboxes.append(Outbox(run.network, server, random, run.delivered))
    names = list(run.network.servers)
    # Some domains are everybody's; most are few people's: the weight of the n-th is 1/n. One in ten is no MailX domain.
    order = list(range(len(names)))
    random.shuffle(order)
    weights = [0.0] * len(names)
    for rank, number in enumerate(order):
        weights[number] = 1.0 / (rank + 1)
    # Four of five messages go to somebody whom one writes to often.
    regulars = [random.choices(names, weights, k=_REGULARS) for _ in range(scenario.domains)]
    strangers = random.choices(names, weights, k=scenario.messages)
    for number, stranger in enumerate(strangers):
        source = random.randrange(scenario.domains)
        target = random.choice(regulars[source]) if random.random() < _REGULAR else stranger
        if names[source] == target:
            target = names[source - 1]
        clock.callLater(random.random() * scenario.hours * HOUR, _submit, run, number, source, target)
    return run


def _submit(run: Run, number: int, source: int, target: str) -> None:
    domain = run.servers[source].domain
    head = f"From: <me@{domain}>\r\nTo: <you@{target}>\r\nMessage-ID: <{number}@{domain}>\r\nSubject: Hello\r\n\r\n"
    run.sent[target] += 1
    run.created.setdefault(target, []).append(run.network.time.now - START)
    if run.network.servers[target].record:
        run.pairs.add((domain, target))
    run.outboxes[source].submit(Address("you", target), head.encode() + b"x" * (SIZE - len(head)))


def popular(run: Run, count: int) -> list[Server]:
    """The MailX domains that get most mail of all that is to come."""
    expected = Counter(call.args[3] for call in run.network.time.pending(_submit))
    return [run.network.servers[name] for name, _ in expected.most_common() if run.network.servers[name].record][:count]


def summary(run: Run) -> dict[str, Any]:
    """What holds of every scenario."""
    counts, stored = run.network.counts, [times for server in run.servers for times in server.taken.values()]
    federated = sum(count for name, count in run.sent.items() if run.network.servers[name].record)
    delays = sorted(delay for _, delay, _ in run.delays)
    return {
        "messages": sum(run.sent.values()),
        "federated": federated,
        "stored": len(stored),
        "twice": sum(times > 1 for times in stored),
        "by_smtp": counts["by SMTP"],
        "waiting": run.left,
        "lost": counts["dead letters"] + counts["bounced"],
        "p50_s": round(percentile(delays, 0.5), 2),
        "p95_s": round(percentile(delays, 0.95), 2),
    }


def ordinary(scenario: Scenario) -> dict[str, Any]:
    """Nothing happens but mail: what does a message cost, and how does that change as servers get to know each other?"""
    run = made(scenario)
    quarters: list[dict[str, float]] = []
    before: Counter[str] = Counter()
    spent = time.process_time()
    sent = 0
    for quarter in range(1, 5):
        run.run(scenario.hours * quarter / 4)
        counts, now = run.network.counts, sum(run.sent.values())
        step = counts - before
        messages = max(1, now - sent)
        quarters.append({name: round(step[name] / messages, 3) for name in ("dns", "https", "connections", "calls")})
        before, sent = Counter(counts), now
    run.drain()
    spent = time.process_time() - spent
    counts = run.network.counts
    return {
        **summary(run),
        "pairs": len(run.pairs),
        "per_message": quarters,
        "https_octets": round(counts["https octets"] / max(1, counts["https"])),
        "signed_octets": round(counts["signed octets"] / max(1, sum(len(server.taken) for server in run.servers))),
        "cpu_ms": round(1000 * spent / max(1, sum(run.sent.values())), 2),
    }


def outage(scenario: Scenario) -> dict[str, Any]:
    """The most popular servers are away for four hours, and come back: who knocks how often, and when is all through?"""
    run = made(scenario)
    away = popular(run, max(1, scenario.domains // 100))
    names = {each.domain for each in away}
    begin, end = 2.0, 6.0
    run.at(begin, lambda: run.network.down.update(names))
    run.at(end, run.network.down.clear)
    run.run(end)
    waited, knocked = run.left, _knocks(run, names, begin, end)
    alone = sum(_alone(run, created, end) for created, name in _created(run, names, begin, end))
    run.drain()
    after = _knocks(run, names, end, end + 100)
    return {
        **summary(run),
        "servers_away": len(away),
        "waiting_at_return": waited,
        "knocks_while_away": len(knocked),
        "knocks_if_each_message_knocked": alone,
        "busiest_minute_while_away": _busiest(knocked, 60),
        "busiest_second_after_return": _busiest(after, 1),
        "busiest_minute_after_return": _busiest(after, 60),
        "told_to_wait": run.network.counts["told to wait"],
        "minutes_until_through": _through(run, begin, end),
    }


def partition(scenario: Scenario) -> dict[str, Any]:
    """For four hours each half of the network reaches only itself."""
    run = made(scenario)
    begin, end = 2.0, 6.0
    halves = {name: number % 2 for number, name in enumerate(run.network.servers)}
    run.at(begin, lambda: run.network.side.update(halves))
    run.at(end, run.network.side.clear)
    run.run(begin)
    before = Counter(run.network.counts)
    run.run(end)
    waited, during = run.left, run.network.counts - before
    run.drain()
    return {
        **summary(run),
        "waiting_at_return": waited,
        "attempts_while_parted": during["attempts"],
        "answers_lost": run.network.counts["answers lost"],
        "repeats": run.network.counts["repeats"],
        "minutes_until_through": _through(run, begin, end),
    }


def rotation(scenario: Scenario) -> dict[str, Any]:
    """Within an hour every domain changes its key; its TXT record follows an hour later. Nobody is told."""
    run = made(scenario)
    begin = scenario.hours / 4
    for number, server in enumerate(run.servers):
        moment = begin + run.random.random()
        run.at(moment, lambda server=server, number=number: server.rotate(number))  # type: ignore[misc]
        run.at(moment + 1, server.publish)
    known = []
    for hours in (0.0, 1.0, 2.0, 4.0):
        run.run(begin + 1 + hours)
        servers = run.network.servers
        met = [(servers[one], servers[other]) for one, other in sorted(run.pairs)]
        known.append(round(sum(one.believes(other) for one, other in met) / max(1, len(met)), 3))
    run.drain()
    return {
        **summary(run),
        "channels_refused": run.network.counts["keys refused"],
        "share_that_knows_the_new_key_after_0_1_2_4_h": known,
        "messages_later_than_a_minute": sum(delay > 60 for _, delay, _ in run.delays),
    }


def thief(scenario: Scenario) -> dict[str, Any]:
    """Somebody takes over the name and the site of a popular domain and shows a key of his own, for four hours."""
    run = made(scenario)
    (victim,) = popular(run, 1)
    told: set[str] = set()
    for server in run.servers:
        server.peers.alerts = _Bell(server.domain, told)  # type: ignore[assignment]
    true = victim.signer, list(victim.history)
    begin, end = 3.0, 7.0

    def stolen() -> None:
        victim.rotate(0, announced=False)
        victim.publish()

    def restored() -> None:
        victim.restore(*true)
        victim.publish()

    run.at(begin, stolen)
    run.at(end, restored)
    run.run(begin)
    knew = {server.domain for server in run.servers if server.knows(victim.domain)}
    run.run(end)
    fooled = Counter(source in knew for source, moment in victim.sources if begin <= (moment - START) / HOUR < end)
    run.drain()
    return {
        **summary(run),
        "servers_that_knew_it": len(knew),
        "messages_to_it_meanwhile": len(_created(run, {victim.domain}, begin, end)),
        "given_to_the_thief_by_those_that_knew_it": fooled[True],
        "given_to_the_thief_by_others": fooled[False],
        "servers_that_alerted": len(told),
        "channels_refused": run.network.counts["keys refused"],
    }


class _Bell:
    """Alerts of one server."""

    def __init__(self, domain: str, told: set[str]) -> None:
        self._domain, self._told = domain, told

    def tell(self, kind: str, subject: str, text: str) -> None:
        self._told.add(self._domain)


def _knocks(run: Run, names: set[str], begin: float, end: float) -> list[float]:
    since, until = START + begin * HOUR, START + end * HOUR
    return sorted(moment for name in names for moment in run.network.moments.get(name, ()) if since <= moment < until)


def _busiest(moments: Sequence[float], seconds: int) -> int:
    return max(Counter(int(moment) // seconds for moment in moments).values(), default=0)


def _created(run: Run, names: set[str], begin: float, end: float) -> list[tuple[float, str]]:
    """(hours, domain) of what was sent to ``names`` within that time."""
    found = []
    for name in names:
        found += [(created / HOUR, name) for created in run.created.get(name, ()) if begin <= created / HOUR < end]
    return found


def _alone(run: Run, created: float, end: float) -> int:
    """How often one message would knock until ``end`` if it were tried by its own schedule."""
    moment, knocks = created * HOUR, 0
    for wait in (60, 120, 240, 480, 960, 1920, *[3600] * 23):
        if moment >= end * HOUR:
            break
        knocks, moment = knocks + 1, moment + wait
    return knocks


def _through(run: Run, begin: float, end: float) -> dict[str, list[float]]:
    """Minutes after ``end`` until what was late had arrived (half, 95 %, all), by whether the server was known before it went away."""
    found: dict[str, list[float]] = {}
    for name, known in (("known", True), ("unknown", False)):
        late = [
            (created + delay - end * HOUR) / 60
            for created, delay, was in run.delays
            if was == known and begin * HOUR <= created < end * HOUR <= created + delay
        ]
        found[name] = [round(value, 1) for value in (percentile(late, 0.5), percentile(late, 0.95), max(late))] if late else []
    return found


def busy(scenario: Scenario) -> dict[str, Any]:
    """As much mail between a tenth of the domains: each writes ten times as often."""
    return ordinary(evolve(scenario, domains=max(10, scenario.domains // 10)))


SCENARIOS: dict[str, Callable[[Scenario], dict[str, Any]]] = {
    "ordinary": ordinary,
    "busy": busy,
    "outage": outage,
    "partition": partition,
    "rotation": rotation,
    "thief": thief,
}


def quiet() -> None:
    """What the servers log is not kept."""
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False, discardBuffer=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(SCENARIOS))
    asked = parser.parse_args()
    quiet()
    scenario = Scenario(asked.domains, asked.messages, seed=asked.seed)
    figures: dict[str, object] = {}
    for name, simulate in SCENARIOS.items():
        if asked.only in (None, name):
            began = time.monotonic()
            figures[name] = simulate(evolve(scenario))
            progress(f"{name}: {time.monotonic() - began:.0f} s: {json.dumps(figures[name])}")
    finish("simulation", figures, {})


if __name__ == "__main__":
    main()
