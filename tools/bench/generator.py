"""The load generator: one thread, plain UDP sockets, epoll. It knows SIP only through `wire` and a `Scenario`.

A job is one exchange as a phone does it: request, challenge, request with credentials, final answer; where the
scenario says so it is done only when a device has received the text too. Closed loop: a fixed number of jobs is
outstanding. Open loop: jobs start on a schedule and latency counts from the scheduled time, so a server that stalls
cannot hide it. Requests are retransmitted as RFC 3261 17.1.2.2 says (T1 = 500 ms); devices answer 200 at once.
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tools.bench import wire

T1, T2 = 0.5, 4.0
GIVE_UP = 64 * T1
DRAIN = 8.0  # seconds granted to what is outstanding when the time is over
ENDLESS = 1 << 31
Address = tuple[str, int]


class Scenario(Protocol):
    needs_delivery: bool  # a job is done when a device has the text, not only when the sender has its 2xx

    def account(self, job: int) -> int:
        """Whose job this is; decides the socket it leaves from."""

    def request(self, job: int, branch: bytes, host: bytes, asked: wire.Challenge | None) -> bytes: ...


@dataclass(slots=True)
class Job:
    started: float
    sock: socket.socket
    host: bytes
    data: bytes
    leg: int = 0
    sent_at: float = 0.0
    wait: float = T1
    resend_at: float = 0.0
    answered: bool = False
    delivered: bool = False


@dataclass(slots=True)
class Sample:
    """What one run saw. Latencies are those of the measured window only; the counters are of the whole run."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    accepted: int = 0  # final 2xx
    delivered: int = 0  # texts that devices got
    done: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    retransmissions: int = 0
    repeats: int = 0  # texts that a device got again
    cpu: float = 0.0  # of the generator itself, as a share of one core

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0


class Generator:
    """`sockets`: account n sends from, and is reached at, sockets[n % len(sockets)]."""

    def __init__(self, server: Address, sockets: Sequence[socket.socket]) -> None:
        self.server = server
        self.sockets = sockets
        self.hosts = [b"%b:%d" % (name[0].encode(), name[1]) for name in (s.getsockname() for s in sockets)]
        self.next_job = 0
        self._jobs: dict[int, Job] = {}
        self._by_fd = {sock.fileno(): sock for sock in sockets}
        self._epoll = select.epoll()
        for fd in self._by_fd:
            self._epoll.register(fd, select.EPOLLIN)

    def run(
        self,
        scenario: Scenario,
        *,
        seconds: float,
        warmup: float = 0.0,
        outstanding: int = 64,
        rate: float = 0.0,
        count: int = 0,
        tick: Callable[[float, int], None] = lambda seconds, done: None,
    ) -> Sample:
        """Closed loop, or open loop at `rate` a second; ends after `seconds` (or `count` jobs) and a drain."""
        self._begin(scenario, count)
        start = time.perf_counter()
        cpu = time.process_time()
        self._window = (start + warmup, start + warmup + seconds)
        gc.disable()  # a pause of ours would be read as the server's
        try:
            self._load(start, outstanding, rate, tick)
            self._sample.cpu = (time.process_time() - cpu) / max(time.perf_counter() - start, 1e-9)
            self._drain()
        finally:
            gc.enable()
        self._sample.seconds = min(self._ended, self._window[1]) - self._window[0]
        return self._sample

    def _begin(self, scenario: Scenario, count: int) -> None:
        self._scenario, self._sample = scenario, Sample()
        self._last = self.next_job + count if count else ENDLESS
        self._seen: set[int] = set()
        self._jobs.clear()
        self._ended = 0.0

    def _load(self, start: float, outstanding: int, rate: float, tick: Callable[[float, int], None]) -> None:
        first, scan = self.next_job, start
        while (now := time.perf_counter()) < self._window[1] and self._more():
            if rate:
                while self._left() and (due := start + (self.next_job - first) / rate) <= now:
                    self._start(due)
            else:
                while self._left() and len(self._jobs) < outstanding:
                    self._start(now)
            self._read(0.001 if rate else 0.05)
            if now >= scan:
                self._retransmit(now)
                tick(now - start, self._sample.done)
                scan = now + 0.05
        self._ended = time.perf_counter()

    def _drain(self) -> None:
        end = time.perf_counter() + DRAIN
        while self._jobs and (now := time.perf_counter()) < end:
            self._read(0.05)
            self._retransmit(now)
        if self._last < ENDLESS:  # a counted run is over when its last answer is in
            self._ended = time.perf_counter()
        for job in self._jobs.values():
            self._sample.failures["no delivery" if job.answered else "no answer"] += 1
        self._jobs.clear()

    def _left(self) -> bool:
        return self.next_job < self._last

    def _more(self) -> bool:
        return self._left() or bool(self._jobs)

    def _start(self, at: float) -> None:
        number, self.next_job = self.next_job, self.next_job + 1
        at_socket = self._scenario.account(number) % len(self.sockets)
        job = Job(at, self.sockets[at_socket], self.hosts[at_socket], b"")
        self._jobs[number] = job
        self._send(number, job, None)

    def _send(self, number: int, job: Job, asked: wire.Challenge | None) -> None:
        job.data = self._scenario.request(number, wire.branch(number, job.leg), job.host, asked)
        job.sent_at, job.wait = time.perf_counter(), T1
        job.resend_at = job.sent_at + T1
        job.sock.sendto(job.data, self.server)

    def _read(self, timeout: float) -> None:
        for fd, _ in self._epoll.poll(timeout):
            sock = self._by_fd[fd]
            for _ in range(32):  # then the next socket: none may starve the others
                try:
                    data, peer = sock.recvfrom(65535)
                except BlockingIOError:
                    break
                if data.startswith(b"SIP/2.0 "):
                    self._response(data)
                elif data.startswith(b"MESSAGE "):
                    sock.sendto(wire.ok(data), peer)
                    self._text(data)

    def _response(self, data: bytes) -> None:
        number, leg = wire.which(data) or (-1, 0)
        job = self._jobs.get(number)
        if job is None or job.leg != leg or job.answered or (status := wire.status(data)) < 200:
            return
        if status in (401, 407) and leg == 0 and (asked := wire.challenge(data)):
            job.leg = 1
            self._send(number, job, asked)
        elif status < 300:
            job.answered = True
            self._sample.accepted += 1
            self._finish(number, job)
        else:
            self._sample.failures[str(status)] += 1
            del self._jobs[number]

    def _text(self, data: bytes) -> None:
        number = wire.job_of(data)
        if number is None:
            return
        self._sample.repeats += number in self._seen
        self._sample.delivered += number not in self._seen
        self._seen.add(number)
        job = self._jobs.get(number)
        if job is not None:
            job.delivered = True
            self._finish(number, job)

    def _finish(self, number: int, job: Job) -> None:
        if not job.answered or (self._scenario.needs_delivery and not job.delivered):
            return
        now = time.perf_counter()
        self._sample.done += 1
        if self._window[0] <= now and (now <= self._window[1] or self._last < ENDLESS):
            self._sample.latencies.append(now - job.started)
        del self._jobs[number]

    def _retransmit(self, now: float) -> None:
        for number, job in list(self._jobs.items()):
            if job.answered or now < job.resend_at:
                continue
            if now - job.sent_at > GIVE_UP:
                self._sample.failures["timeout"] += 1
                del self._jobs[number]
                continue
            job.sock.sendto(job.data, self.server)
            self._sample.retransmissions += 1
            job.wait = min(2 * job.wait, T2)
            job.resend_at = now + job.wait
