"""Metrics of a worker and of its cluster, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from .database import OUTAGE, Database
from .slots import SlotState

if TYPE_CHECKING:
    from .worker import ClusterWorker


class WorkerCollector:
    """What a worker counts itself. Labels have kinds and titles, never texts of jobs."""

    def __init__(self, worker: ClusterWorker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        worker, runner = self._worker, self._worker.runner
        states = [slot.state for slot in worker.slots]
        slots = GaugeMetricFamily("distillery_worker_slots", "ComfyUIs of this worker, by state", labels=["state"])
        for state in SlotState:
            slots.add_metric([state.value], states.count(state))
        yield slots
        usable = sum(state in (SlotState.FREE, SlotState.BUSY) for state in states)
        yield GaugeMetricFamily(
            "distillery_worker_busy_share", "Share of the usable ComfyUIs that have a job, 0 to 1",
            value=states.count(SlotState.BUSY) / usable if usable else 0.0,
        )  # fmt: skip
        yield CounterMetricFamily("distillery_worker_jobs_done", "Jobs done by this worker", value=runner.done)
        yield CounterMetricFamily(
            "distillery_worker_switches", "Jobs for which another checkpoint was loaded", value=runner.switches
        )
        failures = CounterMetricFamily("distillery_worker_failures", "Failures of jobs here, by kind", labels=["kind"])
        for kind, number in runner.failed.items():
            failures.add_metric([kind], number)
        yield failures
        stages = CounterMetricFamily("distillery_worker_stage_seconds", "Seconds by stage", labels=["stage"])
        for title, seconds in runner.stage_seconds.items():
            stages.add_metric([title], seconds)
        yield stages


class ClusterCollector:
    """What the database knows: the same from every worker, so that one is enough to be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now; ``distillery_database_up`` alone while the database does not answer."""
        try:
            found = list(self._ask())
        except OUTAGE:
            found = []
        yield GaugeMetricFamily("distillery_database_up", "1 while the database answers", value=float(bool(found)))
        yield from found

    def _ask(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("distillery_jobs", "Jobs that wait or run, by tier", labels=["tier", "state"])
        age = GaugeMetricFamily("distillery_oldest_seconds", "Age of the oldest waiting job, by tier", labels=["tier"])
        for row in self._database.rows(
            "SELECT t.name AS tier, count(*) FILTER (WHERE j.state = 'queued') AS queued, "
            "count(*) FILTER (WHERE j.state = 'running') AS running, "
            "COALESCE(extract(epoch FROM now() - min(j.created) FILTER (WHERE j.state = 'queued')), 0)::float AS oldest "
            "FROM distillery_tiers t LEFT JOIN distillery_jobs j ON j.tier = t.name AND j.state IN ('queued', 'running') "
            "GROUP BY t.name"
        ):
            jobs.add_metric([row["tier"], "queued"], row["queued"])
            jobs.add_metric([row["tier"], "running"], row["running"])
            age.add_metric([row["tier"]], row["oldest"])
        yield jobs
        yield age
        for name, text, query in _NUMBERS:
            yield GaugeMetricFamily(name, text, value=float(self._database.value(query) or 0))
        ended = GaugeMetricFamily("distillery_ended_last_hour", "Events of the last hour's ledger", labels=["event"])
        failed = GaugeMetricFamily("distillery_failed_last_hour", "Failures of the last hour, by kind", labels=["kind"])
        for row in self._database.rows(
            "SELECT event, detail, count(*) AS n FROM distillery_ledger WHERE at > now() - interval '1 hour' "
            "GROUP BY event, detail"
        ):
            if row["event"] == "failed":
                failed.add_metric([row["detail"] or "unknown"], row["n"])
            ended.add_metric([row["event"]], row["n"])
        yield _summed(ended)
        yield failed


_NUMBERS = (
    ("distillery_workers_ready", "Workers that take jobs", "SELECT count(*) FROM distillery_workers WHERE state = 'ready'"),
    (
        "distillery_slots", "ComfyUIs of all workers that take jobs",
        "SELECT COALESCE(sum(slots), 0) FROM distillery_workers WHERE state = 'ready'",
    ),
    (
        "distillery_deliveries_pending", "Deliveries that are still to be made",
        "SELECT count(*) FROM distillery_deliveries WHERE state = 'pending'",
    ),
    (
        "distillery_deliveries_failed", "Deliveries that were given up",
        "SELECT count(*) FROM distillery_deliveries WHERE state = 'failed'",
    ),
    (
        "distillery_estimate_error", "Median error of the estimates of the wait in the last hour, as a share of the wait",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(estimate - waited) / greatest(waited, 1)) "
        "FROM distillery_ledger WHERE at > now() - interval '1 hour' AND estimate IS NOT NULL AND waited IS NOT NULL",
    ),
)  # fmt: skip


def _summed(family: GaugeMetricFamily) -> GaugeMetricFamily:
    """Return the family with the samples of equal labels added up: the ledger tells apart more than that."""
    sums: dict[str, float] = {}
    for sample in family.samples:
        sums[sample.labels["event"]] = sums.get(sample.labels["event"], 0.0) + sample.value
    summed = GaugeMetricFamily(family.name, family.documentation, labels=["event"])
    for event, value in sums.items():
        summed.add_metric([event], value)
    return summed


def render(worker: ClusterWorker, database: Database) -> bytes:
    """Return all metrics in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkerCollector(worker))  # type: ignore[arg-type]
    registry.register(ClusterCollector(database))  # type: ignore[arg-type]
    return generate_latest(registry)
