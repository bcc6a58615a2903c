"""Fills the databases to a size: the rows that the services would have written, written at once.

People come with their entry in the history; the trigram index is made anew after a large fill. The
server is vacuumed and analysed afterwards, as autovacuum would have it minutes later.
"""

import random
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from bench.ground import Ground
from bench.names import first_names, surnames
from liaison_kit.records.search import fold
from liaison_kit.run.process import wait_until

OWNERS, COMPANIES, PRODUCTS = 35, 2000, 7

_NAMES = """
CREATE TABLE bench_first (n int PRIMARY KEY, name text, folded text);
CREATE TABLE bench_last (n int PRIMARY KEY, name text, folded text)
"""
# Squaring the chance makes the first names of each list the frequent ones.
_PEOPLE = """
WITH drawn AS MATERIALIZED (
    SELECT i, floor(%(firsts)s * random() ^ 2)::int AS f, floor(%(lasts)s * random() ^ 2)::int AS l,
           random() AS age, random() AS a, random() AS b
      FROM generate_series(%(from)s, %(to)s) AS i
), named AS (
    SELECT drawn.*, bf.name AS first, bl.name AS last, bf.folded AS ffirst, bl.folded AS flast,
           bf.folded || '.' || bl.folded || i || '@example.'
             || (ARRAY['com', 'fr', 'org', 'net'])[1 + i %% 4] AS address,
           (CASE i %% 2 WHEN 0 THEN '33' ELSE '44' END) || lpad(i::text, 9, '6') AS digits
      FROM drawn JOIN bench_first bf ON bf.n = f JOIN bench_last bl ON bl.n = l
), made AS (
    INSERT INTO people (id, tenant_id, external_id, version, custom, created_at, created_by,
        updated_at, updated_by, owner_id, emails, phones, addresses, tags, stage, search,
        keys, first_name, last_name, title, company_id)
    SELECT uuidv7(-age * interval '730 days'), %(tenant)s, 'P' || i, 1, '{}',
           now() - age * interval '730 days', NULL, now() - age * interval '730 days', NULL,
           (SELECT id FROM bench_owners WHERE n = i %% %(owners)s),
           jsonb_build_array(jsonb_build_object('address', address, 'kind', 'work')),
           jsonb_build_array(jsonb_build_object('number', '+' || digits, 'kind', 'work')),
           jsonb_build_array(jsonb_build_object('street', i || ' rue du Port', 'city', 'Nantes',
               'postal_code', '44000', 'region', '', 'country', 'FR', 'kind', 'work')),
           CASE WHEN i %% 5 = 0 THEN '{vip}'::text[] ELSE '{}' END,
           (ARRAY['lead', 'lead', 'opportunity', 'customer'])[1 + (a * 4)::int %% 4],
           ' ' || ffirst || ' ' || flast || ' ' || address || ' ' || digits || ' ',
           ARRAY[ffirst || ' ' || flast, address, digits],
           first, last, (ARRAY['Buyer', 'Director', 'Engineer', NULL])[1 + (b * 4)::int %% 4],
           (SELECT id FROM bench_companies WHERE n = i %% %(companies)s)
      FROM named
    RETURNING id, tenant_id, created_at
)
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
SELECT gen_random_uuid(), tenant_id, 'contacts', id, 1, 'created', created_at, NULL, '{}' FROM made
"""
_OPPORTUNITIES = """
INSERT INTO opportunities (id, tenant_id, external_id, version, custom, created_at, created_by,
    updated_at, updated_by, name, pipeline_id, stage_id, stage_since, status, product_id,
    company_id, owner_id, region, amount_amount, currency, engaged_on, closed_on, search)
SELECT uuidv7(-age * interval '730 days'), %(tenant)s, 'O' || i, 1, '{}',
       now() - age * interval '730 days', NULL, now() - age * interval '730 days', NULL,
       'Deal ' || i, %(pipeline)s, s.id, now() - age * interval '700 days', s.kind,
       (SELECT id FROM bench_products WHERE n = i %% %(products)s),
       (SELECT id FROM bench_companies WHERE n = i %% %(companies)s),
       (SELECT id FROM bench_owners WHERE n = i %% %(owners)s),
       (ARRAY['Central', 'East', 'West'])[1 + i %% 3], round((500 + 9500 * c)::numeric, 2), 'EUR',
       current_date - (age * 730)::int - 30,
       CASE WHEN s.kind <> 'open' THEN current_date - (age * 700)::int END, ' deal ' || i
  FROM (SELECT i, random() AS age, random() AS b, random() AS c
          FROM generate_series(%(from)s, %(to)s) AS i) AS drawn
  JOIN bench_stages s ON s.n = CASE WHEN b < 0.35 THEN %(won)s WHEN b < 0.6 THEN %(lost)s
                                    ELSE i %% %(open)s END
"""

# As runs of flows that wait set them: each for its moment of the coming months.
_TIMERS = """
INSERT INTO timers (id, tenant_id, kind, key, due_at, run_at, payload, correlation_id, set_at)
SELECT id, %(tenant)s, 'flow_run', id::text, at, at, jsonb_build_object('run_id', id), id, now()
  FROM (SELECT uuidv7() AS id, now() + interval '1 day' + random() * interval '90 days' AS at
          FROM generate_series(1, %(timers)s)) AS drawn
"""


class Fill:
    """Knows what is in the databases, and adds to it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.firsts, self.lasts = first_names(), surnames()
        self.people = 0
        self.opportunities = 0
        self._values: dict[str, Any] = {
            "tenant": ground.tenant,
            "firsts": len(self.firsts),
            "lasts": len(self.lasts),
            "owners": OWNERS,
            "companies": COMPANIES,
            "products": PRODUCTS,
        }
        self._begin()

    def timers(self, number: int) -> None:
        """Set so many timers in each service that has records."""
        for service in ("contacts", "sales"):
            self._run(service, _TIMERS, self._values | {"timers": number})
            self._run(service, "VACUUM ANALYZE timers")

    def people_to(self, size: int) -> None:
        """Make people until there are this many."""
        rebuild = size - self.people >= 50_000
        if rebuild:
            self._run("contacts", "DROP INDEX ix_people_search")
        # In chunks, so that no statement's memory depends on the size.
        for start in range(self.people + 1, size + 1, 100_000):
            end = min(size, start + 99_999)
            self._run("contacts", _PEOPLE, self._values | {"from": start, "to": end})
        self.people = size
        if rebuild:
            self._run("contacts", "SET maintenance_work_mem = '512MB'")
            self._run(
                "contacts",
                "CREATE INDEX ix_people_search ON people USING gin (search gin_trgm_ops)",
            )
        self.settle("contacts")

    def opportunities_to(self, size: int) -> None:
        """Make opportunities until there are this many."""
        values = self._values | {"from": self.opportunities + 1, "to": size}
        self._run("sales", _OPPORTUNITIES, values)
        self.opportunities = size
        self.settle("sales")

    def settle(self, service: str) -> None:
        """Leave the tables as autovacuum leaves them, and the disk quiet."""
        self._run(service, "VACUUM ANALYZE")
        with self.ground.superuser(service) as connection, connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        connection.close()

    def _begin(self) -> None:
        chance = random.Random(1)
        stages = self._default_stages()
        for service in ("contacts", "sales"):
            for table in ("owners", "companies", "products"):
                self._run(service, f"CREATE TABLE bench_{table} (n int PRIMARY KEY, id uuid)")
        self._run("contacts", _NAMES)
        for table, names in (("first", self.firsts), ("last", self.lasts)):
            named = [(n, name, fold(name)) for n, name in enumerate(names)]
            self._insert("contacts", f"bench_{table}", named)
        ids = {
            table: [(n, str(_uuid(chance))) for n in range(count)]
            for table, count in (
                ("owners", OWNERS),
                ("companies", COMPANIES),
                ("products", PRODUCTS),
            )
        }
        for service in ("contacts", "sales"):
            for table, rows in ids.items():
                self._insert(service, f"bench_{table}", rows)
        tenant = self._values
        self._run(
            "contacts",
            "INSERT INTO owners (id, tenant_id, name, folded, email, version)"
            " SELECT id, %(tenant)s, 'Rep ' || n, 'rep ' || n, 'rep' || n || '@example.com', 1"
            " FROM bench_owners",
            tenant,
        )
        self._run(
            "contacts",
            "INSERT INTO companies (id, tenant_id, version, created_at, updated_at, stage, search,"
            " name) SELECT id, %(tenant)s, 1, now(), now(), 'opportunity',"
            " ' company ' || n || ' ', 'Company ' || n FROM bench_companies",
            tenant,
        )
        self._run(
            "sales",
            "INSERT INTO reps (id, tenant_id, name, email, folded, team, region, active, version)"
            " SELECT id, %(tenant)s, 'Rep ' || n, 'rep' || n || '@example.com', 'rep ' || n,"
            " 'Team ' || n %% 3, (ARRAY['Central', 'East', 'West'])[1 + n %% 3], true, 1"
            " FROM bench_owners",
            tenant,
        )
        self._run(
            "sales",
            "INSERT INTO accounts (id, tenant_id, name, folded, removed, version)"
            " SELECT id, %(tenant)s, 'Company ' || n, 'company ' || n, false, 1"
            " FROM bench_companies",
            tenant,
        )
        self._run(
            "sales",
            "INSERT INTO products (id, tenant_id, version, created_at, updated_at, name, active,"
            " search) SELECT id, %(tenant)s, 1, now(), now(), 'Product ' || n, true,"
            " ' product ' || n FROM bench_products",
            tenant,
        )
        self._run("sales", "CREATE TABLE bench_stages (n int PRIMARY KEY, id uuid, kind text)")
        self._insert("sales", "bench_stages", stages)

    def _pipelines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ground.api.call("GET", "/pipelines")["items"]
        return found

    def _default_stages(self) -> list[tuple[int, str, str]]:
        # Sales hears of the new organisation by an event.
        if not wait_until(self._pipelines, seconds=60):
            raise RuntimeError("sales has not heard of the organisation")
        pipeline = self._pipelines()[0]
        found = self.ground.rows(
            "sales",
            "SELECT id::text, kind FROM stages WHERE pipeline_id = %s ORDER BY position",
            (pipeline["id"],),
        )
        self.open_stages = [id for id, kind in found if kind == "open"]
        self._values |= {
            "pipeline": pipeline["id"],
            "open": len(self.open_stages),
            "won": next(n for n, (_, kind) in enumerate(found) if kind == "won"),
            "lost": next(n for n, (_, kind) in enumerate(found) if kind == "lost"),
        }
        return [(n, id, kind) for n, (id, kind) in enumerate(found)]

    def _run(self, service: str, statement: str, values: Any = None) -> None:
        self.ground.rows(service, statement, values)

    def _insert(self, service: str, table: str, rows: list[Any]) -> None:
        with self.ground.sql(service).cursor() as cursor:
            execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)


def _uuid(chance: random.Random) -> UUID:
    return UUID(int=chance.getrandbits(128), version=4)
