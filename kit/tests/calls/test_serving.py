"""A process takes as many calls as it has workers, and none whose caller has left."""

import time
from typing import Any


def test_overload_begins_nothing_for_callers_who_have_left(shop: Any, customer: Any) -> None:
    shop.start(workers=4)
    here = f"{shop.name}.{customer.generation(shop.name)}"

    calls = [
        customer.send(f"{here}.work", b"0.4", timeout_s=1.5, path={"number": str(number)})
        for number in range(80)
    ]
    # It comes after all of them, so when it is answered each was begun or given up.
    customer.call(f"{here}.ping")
    customer.until(lambda: shop.working() == 0)
    begun = shop.begun()
    status, _ = customer.call(f"{here}.ping")

    assert status["status"] == 200
    assert all(waited for _, waited in begun), begun
    assert 0 < len(begun) < len(calls)
    assert shop.begun() == begun, "somebody who had left was served after all"


def test_whose_deadline_passes_while_connections_are_taken_is_not_begun(
    shop: Any, customer: Any
) -> None:
    shop.start(workers=8, LIAISON_POOL_SIZE="1")
    here = f"{shop.name}.{customer.generation(shop.name)}"
    first = customer.send(f"{here}.work", b"2.5", path={"number": "0"})
    customer.until(shop.working)

    late = [
        customer.send(f"{here}.work", b"0", timeout_s=1, path={"number": str(number)})
        for number in range(1, 8)
    ]
    customer.answer(first)
    customer.until(lambda: all(call in customer.answers for call in late))

    assert [number for number, _ in shop.begun()] == [0]
    assert {customer.answer(call)[0]["status"] for call in late} == {503}


def test_a_call_whose_process_dies_is_answered_at_once_and_never_begun_again(
    shop: Any, customer: Any
) -> None:
    processes = {process.popen.pid: process for process in (shop.launch(), shop.launch())}
    for process in processes.values():
        process.wait()
    here = f"{shop.name}.{customer.generation(shop.name)}"
    call = customer.send(f"{here}.work", b"60", timeout_s=120, path={"number": "1"})
    customer.until(shop.working)

    processes[shop.at_work()].kill()
    meta, body = customer.answer(call)

    assert meta["status"] == 503
    assert meta["interrupted"] is True
    assert b"whether it was done is not known" in body
    assert shop.begun() == []


def test_a_connection_that_breaks_costs_neither_the_work_nor_its_answer(
    shop: Any, customer: Any, cut_off: Any
) -> None:
    shop.start()
    here = f"{shop.name}.{customer.generation(shop.name)}"
    call = customer.send(f"{here}.work", b"4", path={"number": "1"})
    customer.until(shop.working)

    cut_off(f"{shop.name} calls")

    assert customer.answer(call) == ({**_ok(), "status": 201}, b"1")
    assert [number for number, _ in shop.begun()] == [1]
    assert len(customer.answers[call]) == 1


def _ok() -> dict[str, Any]:
    return {"status": 200, "headers": {}, "content_type": "application/json"}


def test_headers_of_any_length_travel_both_ways(shop: Any, customer: Any) -> None:
    shop.start()
    here = f"{shop.name}.{customer.generation(shop.name)}"

    for length in (10, 31_000, 33_000, 131_072, 300_000):
        meta, body = customer.call(f"{here}.large", told="é" * length)

        assert body == str(length).encode()
        assert meta["headers"]["X-Told"] == "é" * length


def test_an_answer_goes_to_callers_only(shop: Any, customer: Any) -> None:
    shop.start()
    here = f"{shop.name}.{customer.generation(shop.name)}"
    queue = customer.channel.queue_declare("", exclusive=True).method.queue

    customer.send(f"{here}.ping", reply_to=queue)
    customer.call(f"{here}.ping")

    assert customer.channel.queue_declare(queue, passive=True).method.message_count == 0


def test_what_is_no_call_is_answered_and_harms_nothing(shop: Any, customer: Any) -> None:
    shop.start()
    here = f"{shop.name}.{customer.generation(shop.name)}"

    unknown = customer.call(f"{here}.nothing_of_the_kind")
    odd = customer.call(f"{here}.ping", deadline="tomorrow")

    assert unknown[0]["status"] == 503
    assert odd[0]["status"] >= 400
    assert customer.call(f"{here}.ping")[0]["status"] == 200


def test_a_process_that_is_told_to_stop_ends_what_it_has_begun(shop: Any, customer: Any) -> None:
    process = shop.start()
    here = f"{shop.name}.{customer.generation(shop.name)}"
    call = customer.send(f"{here}.work", b"2", path={"number": "1"})
    customer.until(shop.working)

    process.terminate()
    answered = customer.answer(call)
    process.popen.wait(20)
    after = customer.send(f"{here}.ping")

    assert answered[0]["status"] == 201
    customer.until(lambda: customer.returned == [after])


def test_nobody_can_make_a_service_work_by_asking(shop: Any, customer: Any) -> None:
    shop.start()
    customer.generation(shop.name)
    customer.announced.clear()
    started = time.monotonic()

    for _ in range(300):
        customer.discover()
    customer.until(lambda: len(customer.announced) >= 2)
    customer.call(f"{shop.name}.{customer.announced[0]['generation']}.ping")

    assert len(customer.announced) <= 2 + (time.monotonic() - started)
