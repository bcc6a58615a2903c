"""Files go in and out in parts."""

import httpx

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: two whole parts and a rest


def test_a_raw_body_is_sent_in_parts(api: httpx.Client):
    answer = api.post(
        "/api/v1/files?name=liste%20%C3%A9t%C3%A9.csv",
        content=CONTENT,
        headers={"Content-Type": "text/csv"},
    )

    file = answer.json()
    assert file["name"] == "liste été.csv"
    assert file["content_type"] == "text/csv"
    assert file["size"] == file["got"] == len(CONTENT)
    assert file["parts"] == 3
    assert file["sum"] == sum(CONTENT)


def test_a_forms_file_is_sent_in_parts(api: httpx.Client):
    answer = api.post(
        "/api/v1/files",
        data={"comment": "hello"},
        files={"file": ("../../été.xlsx", CONTENT, "application/vnd.ms-excel")},
    )

    file = answer.json()
    assert file["name"] == "été.xlsx"
    assert file["content_type"] == "application/vnd.ms-excel"
    assert file["size"] == file["got"] == len(CONTENT)
    assert file["sum"] == sum(CONTENT)


def test_the_disposition_names_the_file(api: httpx.Client):
    answer = api.post(
        "/api/v1/files",
        content=b"x",
        headers={"Content-Disposition": "attachment; filename*=UTF-8''%C3%A9t%C3%A9.txt"},
    )

    assert answer.json()["name"] == "été.txt"


def test_an_empty_file_is_a_file(api: httpx.Client):
    answer = api.post("/api/v1/files?name=empty.csv", content=b"")

    assert answer.json()["size"] == 0
    assert answer.json()["parts"] == 0


def test_a_file_over_the_limit_is_413(api: httpx.Client):
    declared = api.post("/api/v1/files", content=b"x" * 2_000_001)
    chunked = api.post("/api/v1/files", content=(b"x" * 100_000 for _ in range(21)))

    assert (declared.status_code, chunked.status_code) == (413, 413)


def test_a_form_without_a_file_or_with_two_is_400(api: httpx.Client):
    none = api.post("/api/v1/files", files={"comment": (None, b"hello")})
    two = api.post("/api/v1/files", files=[("a", ("a", b"1")), ("b", ("b", b"2"))])
    broken = api.post(
        "/api/v1/files",
        content=b"--x\r\nnothing",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    no_boundary = api.post(
        "/api/v1/files", content=b"x", headers={"Content-Type": "multipart/form-data"}
    )

    for answer in (none, two, broken, no_boundary):
        assert answer.status_code == 400, answer.text


def test_a_stored_file_is_streamed_part_by_part(api: httpx.Client):
    answer = api.get("/api/v1/files/17")

    assert answer.content == b"0" * 300_000 + b"1" * 300_000 + b"2" * 300_000
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == 'attachment; filename="x.csv"'
    assert api.head("/api/v1/files/17").content == b""
