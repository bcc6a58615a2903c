"""The floor: what the same answer costs with nothing of Liaison in it.

A Starlette route on uvicorn asks a worker over RabbitMQ (pika on both ends, direct reply-to); the
worker runs the same SQL with psycopg2 on the same rows and indexes. No validation, no permissions,
no tenancy, no history, no events, no traces. It acks on delivery and reads as the tables' owner.

`python -m bench.floor worker|route`, told where things are by FLOOR_* variables.
"""

import asyncio
import json
import os
import sys
from typing import Any
from uuid import uuid4

QUEUE = "floor"


def worker() -> None:
    """Answer reads and creates until killed."""
    import pika
    import psycopg2

    read_sql, create_sql = os.environ["FLOOR_READ"], os.environ["FLOOR_CREATE"]
    reading = psycopg2.connect(os.environ["FLOOR_DATABASE"])
    reading.autocommit = True
    writing = psycopg2.connect(os.environ["FLOOR_DATABASE"])

    def read(id: str) -> bytes:
        with reading.cursor() as cursor:
            cursor.execute(read_sql, {"id": id})
            body: str = cursor.fetchone()[0]
        return body.encode()

    def create(body: bytes) -> bytes:
        given = json.loads(body)
        values = given | {
            "emails": json.dumps(given["emails"]),
            "phones": json.dumps(given["phones"]),
            "search": "",
        }
        with writing.cursor() as cursor:
            cursor.execute(create_sql, values)
            made: str = cursor.fetchone()[0]
        writing.commit()
        return made.encode()

    def answer(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        made = create(body) if properties.type == "create" else read(body.decode())
        channel.basic_publish(
            "",
            properties.reply_to,
            made,
            pika.BasicProperties(correlation_id=properties.correlation_id),
        )

    connection = pika.BlockingConnection(pika.URLParameters(os.environ["FLOOR_BROKER"]))
    channel = connection.channel()
    channel.queue_declare(QUEUE)
    channel.basic_consume(QUEUE, answer, auto_ack=True)
    channel.start_consuming()


def route() -> None:
    """Serve GET /people/{id} and POST /people until killed."""
    import pika
    import uvicorn
    from pika.adapters.asyncio_connection import AsyncioConnection
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    waiting: dict[str, asyncio.Future[bytes]] = {}
    channel: Any = None

    async def connect() -> None:
        nonlocal channel
        opened = asyncio.get_running_loop().create_future()

        def declared(made: Any) -> None:
            # The worker may come up later: what was asked before then must not be dropped.
            made.queue_declare(QUEUE, callback=lambda _f: consuming(made))

        def consuming(made: Any) -> None:
            made.basic_consume(
                "amq.rabbitmq.reply-to", answered, auto_ack=True, callback=lambda _f: ready(made)
            )

        def ready(made: Any) -> None:
            opened.set_result(made)

        def answered(_channel: Any, _method: Any, properties: Any, body: bytes) -> None:
            waiting.pop(properties.correlation_id).set_result(body)

        AsyncioConnection(
            pika.URLParameters(os.environ["FLOOR_BROKER"]),
            on_open_callback=lambda made: made.channel(on_open_callback=declared),
        )
        channel = await opened

    async def call(kind: str, body: bytes) -> bytes:
        if channel is None:
            await connect()
        correlation = uuid4().hex
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting[correlation] = future
        channel.basic_publish(
            "",
            QUEUE,
            body,
            pika.BasicProperties(
                reply_to="amq.rabbitmq.reply-to", correlation_id=correlation, type=kind
            ),
        )
        return await future

    async def read(request: Request) -> Response:
        body = await call("read", request.path_params["id"].encode())
        return Response(body, media_type="application/json")

    async def create(request: Request) -> Response:
        made = await call("create", await request.body())
        return Response(made, 201, media_type="application/json")

    app = Starlette(
        routes=[
            Route("/people/{id}", read),
            Route("/people", create, methods=["POST"]),
        ]
    )
    uvicorn.run(
        app,
        port=int(os.environ["FLOOR_PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    {"worker": worker, "route": route}[sys.argv[1]]()
