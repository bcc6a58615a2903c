"""A question is answered, or whoever asked is told at once why not."""

import json
from typing import Any

import pytest

from liaison_kit.run.process import wait_until
from liaison_kit.run.rabbitmq import RabbitMQ


@pytest.fixture
def desk(shop: Any, customer: Any) -> str:
    """Where to have a service hand questions on."""
    shop.start(workers=32)
    return f"{shop.name}.{customer.generation(shop.name)}.ask_another"


def _detail(answer: tuple[dict[str, Any], bytes]) -> str:
    assert answer[0]["status"] == 503, answer
    return str(json.loads(answer[1])["detail"])


def test_many_ask_at_once_and_each_hears_its_own_answer(
    desk: str, shop: Any, customer: Any
) -> None:
    shop.start(name=f"{shop.name}b", workers=8)
    asked = {
        customer.send(desk, f"{shop.name}b told {number}".encode()): number for number in range(200)
    }

    for call, number in asked.items():
        assert customer.answer(call)[1] == str(number).encode()


def test_who_is_not_there_is_said_at_once(desk: str, customer: Any) -> None:
    assert "nobody is not running" in _detail(customer.call(desk, b"nobody told x", timeout_s=60))


def test_who_dies_before_answering_is_said_at_once(desk: str, shop: Any, customer: Any) -> None:
    other = shop.start(name=f"{shop.name}b")
    call = customer.send(desk, f"{shop.name}b never x".encode(), timeout_s=120)
    customer.call(desk, f"{shop.name}b told x".encode())

    other.kill()

    assert "is not running" in _detail(customer.answer(call))


def test_a_connection_that_breaks_fails_its_questions_and_no_later_ones(
    desk: str, shop: Any, customer: Any, cut_off: Any
) -> None:
    shop.start(name=f"{shop.name}b")
    call = customer.send(desk, f"{shop.name}b never x".encode(), timeout_s=120)
    customer.call(desk, f"{shop.name}b told x".encode())

    cut_off(f"{shop.name} asks")

    assert "connection to the broker was lost" in _detail(customer.answer(call))
    assert customer.call(desk, f"{shop.name}b told again".encode())[1] == b"again"


def test_a_question_does_not_outlive_its_asker(desk: str, shop: Any, customer: Any) -> None:
    shop.start(name=f"{shop.name}b")

    answer = customer.call(desk, f"{shop.name}b never x".encode(), timeout_s=1)

    assert "does not answer" in _detail(answer)


def test_without_a_broker_a_question_fails(
    tmp_path_factory: pytest.TempPathFactory, shop: Any, customer: Any
) -> None:
    with RabbitMQ(tmp_path_factory.mktemp("other-mq")) as node:
        process = shop.launch(AMQP_URL=node.url, TEST_ASKS="1")
        process.wait()
        node.kill()
        assert wait_until(lambda: '"asked without a broker"' in process.log.read_text(), seconds=60)
        node.start()
        assert wait_until(lambda: '"asked with a broker"' in process.log.read_text(), seconds=60)
