"""The kit's own metrics; services add their business figures beside them."""

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

OPERATIONS = Counter(
    "liaison_operations_total", "Operations answered.", ["service", "operation", "status"]
)
OPERATION_SECONDS = Histogram(
    "liaison_operation_seconds",
    "Time from decoding to commit.",
    ["service", "operation"],
    buckets=BUCKETS,
)
EXPIRED = Counter(
    "liaison_operations_expired_total",
    "Calls not started because their deadline had passed.",
    ["service"],
)
JOBS = Counter("liaison_jobs_total", "Jobs ended.", ["service", "kind", "outcome"])
JOBS_RUNNING = Gauge("liaison_jobs_running", "Jobs running in this process.", ["service"])
HOOK_FAILURES = Counter(
    "liaison_hook_failures_total",
    "Answers that a plugin owed and did not give.",
    ["service", "hook", "plugin", "reason"],
)
REFUSED = Counter(
    "liaison_refused_total",
    "Calls, events and announcements that nobody we trust has signed.",
    ["service", "what", "reason"],
)
