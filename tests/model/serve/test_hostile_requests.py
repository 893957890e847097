"""Requests that no browser sends: each gets one answer that is a sentence, or its connection is closed."""

import json

import pytest

from model.serve import guard
from tests.support.service import ask, encoded, exchange, image, post, post_form

PNG = encoded(image(), ".png")
POST = b"POST /predict?filename=a.png HTTP/1.1\r\nHost: localhost\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def length(number: object) -> bytes:
    return f"Content-Length: {number}\r\n".encode()


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def statuses(answer: bytes) -> list[int]:
    """Return the status of each answer in what came over one connection."""
    return [int(one[:3]) for one in answer.split(b"HTTP/1.1 ")[1:]]


CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODIES = {
    "true": (length(len(PNG)), b"\r\n", PNG, 200),
    "longer than it says": (length(len(PNG)), b"\r\n", PNG + POST + b"\r\n", 200),
    "shorter than it says": (length(len(PNG) + 5), b"\r\n", PNG, None),
    "less than it holds": (length(30), b"\r\n", PNG, 400),
    "negative": (length(-1), b"\r\n", PNG, 400),
    "signed": (length("+5"), b"\r\n", PNG, 400),
    "fraction": (length("5.0"), b"\r\n", PNG, 400),
    "hexadecimal": (length("0x10"), b"\r\n", PNG, 400),
    "blank": (length(""), b"\r\n", PNG, 400),
    "of 5000 digits": (length("9" * 5000), b"\r\n", PNG, 400),
    "twice the same": (2 * length(len(PNG)), b"\r\n", PNG, 200),
    "twice": (length(len(PNG)) + length(5), b"\r\n", PNG, 400),
    "in a list": (length(f"{len(PNG)}, 5"), b"\r\n", PNG, 400),
    "with chunks too": (length(3) + CHUNKED, b"\r\n", chunk(PNG) + b"0\r\n\r\n", 200),
    "in chunks": (CHUNKED, b"\r\n", b"".join(chunk(PNG[k : k + 9]) for k in range(0, len(PNG), 9)) + b"0\r\n\r\n", 200),
    "in chunks without end": (CHUNKED, b"\r\n", chunk(PNG), None),
    "in chunks of no hexadecimal size": (CHUNKED, b"\r\n", b"xyz\r\n" + PNG, 400),
    "in chunks of a negative size": (CHUNKED, b"\r\n", b"-5\r\n" + PNG, 400),
    "in a chunk of 2**80 bytes": (CHUNKED, b"\r\n", b"1" + b"0" * 20 + b"\r\n" + PNG, 400),
    "of another coding": (b"Transfer-Encoding: gzip, chunked\r\n", b"\r\n", chunk(PNG), 400),
}


@pytest.mark.parametrize(("headers", "blank", "body", "status"), BODIES.values(), ids=BODIES.keys())
def test_body_that_lies_about_its_size_gets_one_answer_or_none(port, headers, blank, body, status):
    answer = exchange(port, POST + headers + blank, body, ends=True)
    assert statuses(answer) == ([] if status is None else [status]), answer
    assert status in (None, 200) or json.loads(answer.partition(b"\r\n\r\n")[2]).keys() == {"error"}


def test_chunks_without_end_are_refused_while_they_arrive(port, monkeypatch):
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.2)
    answer = exchange(port, POST + CHUNKED + b"\r\n", *[chunk(bytes(100_000))] * 30)
    assert statuses(answer) == [413]


def test_second_request_on_a_connection_gets_no_answer(port):
    for second in (HEALTH + b"\r\n", b"nonsense\r\n\r\n", POST + length(len(PNG)) + b"\r\n" + PNG):
        assert statuses(exchange(port, HEALTH + b"\r\n" + second)) == [200]


def test_client_that_ends_its_side_after_the_request_gets_its_answer(port):
    assert statuses(exchange(port, POST + length(len(PNG)) + b"\r\n", PNG, ends=True)) == [200]
    assert statuses(exchange(port, HEALTH + b"\r\n", ends=True)) == [200]
    assert exchange(port, ends=True) == exchange(port, b"GET /", ends=True) == b""


HEADERS = {
    "1 MB": (b"X: " + b"a" * 10**6 + b"\r\n", 400),
    "80 KB without end": (b"X: " + b"a" * (80 << 10), 400),
    "thousands": (b"".join(b"X%d: a\r\n" % k for k in range(3000)), 200),
    "thousands of one name": (b"Cookie: a\r\n" * 3000, 200),
    "NUL": (b"X: a\0b\r\n", 400),
    "a lone CR": (b"X: a\rY: b\r\n", 400),
    "no colon": (b"X\r\n", 400),
    "a blank in the name": (b"X y: a\r\n", 400),
    "no name": (b": a\r\n", 400),
    "not ASCII in the value": (b"X: \xc3\xa4\xff\r\n", 200),
    "not ASCII in the name": (b"\xc3\xa4: a\r\n", 400),
    "another line of the value": (b"X: a\r\n b\r\n", 200),
    "a second host": (b"Host: localhost\r\n", 400),
    "an upgrade": (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", 200),
    "100-continue": (b"Expect: 100-continue\r\n", 200),
    "a name of another": (b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: attacker.example\r\n", 200),
}


@pytest.mark.parametrize(("headers", "status"), HEADERS.values(), ids=HEADERS.keys())
def test_odd_headers_are_ignored_or_refused_with_a_sentence(port, headers, status):
    answer = exchange(port, HEALTH + headers + b"\r\n")
    assert statuses(answer)[-1:] == [status], answer
    assert status == 200 or json.loads(answer.partition(b"\r\n\r\n")[2]).keys() == {"error"}


@pytest.mark.parametrize(
    ("host", "is_legal"),
    [
        *(
            (host, True)
            for host in ("localhost", "LOCALHOST.:80", "127.0.0.1:8080", "127.3.2.1", "[::1]", "[::1]:8080")
        ),
        *(
            (host, False)
            for host in ("", "localhost.attacker.example", "localhost@attacker.example", "127.1", "0.0.0.0")
        ),
        *((host, False) for host in ("[::1", "localhost:80:80", "127.0.0.1.attacker.example", "10.0.0.1", "x" * 9000)),
    ],
)
def test_service_for_this_machine_answers_only_to_its_names(port, host, is_legal):
    answer = exchange(port, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert statuses(answer) == [200 if is_legal else 400]
    assert is_legal or b"but this service is for this machine only" in answer
    assert len(answer) < 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"GET / HTTP/9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /" + b"a" * (80 << 10) + b" HTTP/1.1\r\n",
        b"\r\n" * 40_000,
    ],
)
def test_bytes_that_are_not_http_get_a_sentence(port, raw):
    answer = exchange(port, raw)
    assert statuses(answer) == [400]
    assert answer.endswith(b'{"error": "the request is not legal HTTP, or has headers of more than 65536 bytes"}')


NAMES = {
    "../../etc/passwd.png": "passwd",
    "/etc/passwd.png": "passwd",
    "..\\..\\a.png": "a",
    "a\0b.png": "a_b",
    "%2e%2e%2fb.png": "_2e_2e_2fb",
    ".png": "scan",
    "x" * 4000 + ".png": "x" * 80,
    "\u4e2d\u6587 P1.png": "___P1",
    "CON.png": "CON",
}


@pytest.mark.parametrize(("name", "stem"), NAMES.items(), ids=range(len(NAMES)))
def test_path_in_the_name_of_a_file_stays_a_name(port, folder, name, stem):
    reply = post_form(port, ("file", name, PNG))
    assert reply.status == 200, reply
    assert reply.headers["content-disposition"] == f'attachment; filename="{stem}_mask.png"'
    assert list(folder.iterdir()) == []


def form(*parts: bytes, kind: str = "multipart/form-data; boundary=x") -> tuple[bytes, dict[str, str]]:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n", {"Content-Type": kind}


def part(content: bytes = PNG, name: bytes = b"a.png", headers: bytes = b"") -> bytes:
    disposition = b'Content-Disposition: form-data; name="f"; filename="' + name + b'"\r\n'
    return disposition + headers + b"\r\n" + content


FORMS = {
    "a name that is not UTF-8": (form(part(name=b"\xff\xfe.png")), 200),
    "1025 files": (form(*[part(b"", b"%d.png" % k) for k in range(1025)]), 400),
    "1025 fields": (form(*[b'Content-Disposition: form-data; name="f"\r\n\r\n'] * 1025), 400),
    "a field of 1 MB": (form(b'Content-Disposition: form-data; name="f"\r\n\r\n' + bytes(10**6)), 400),
    "a form in a form": (form(part(form(part())[0], headers=b"Content-Type: multipart/mixed; boundary=y\r\n")), 400),
    "no boundary": (form(part(), kind="multipart/form-data"), 400),
    "an empty boundary": (form(part(), kind="multipart/form-data; boundary="), 400),
    "a boundary of 10 KB": (form(part(), kind=f"multipart/form-data; boundary={'x' * 10_000}"), 400),
    "a header of 1 MB": (form(part(headers=b"X: " + b"a" * 10**6 + b"\r\n")), 400),
    "a thousand headers": (form(part(headers=b"X: a\r\n" * 1000)), 400),
    "no name of the field": (form(b'Content-Disposition: form-data; filename="a.png"\r\n\r\n' + PNG), 400),
    "a name with CR": (form(part(name=b"a\rb.png")), 400),
    "no end": ((b"--x\r\n" + part(), {"Content-Type": "multipart/form-data; boundary=x"}), 400),
    **{
        f"a charset {name}": (form(part(), kind=f"multipart/form-data; boundary=x; charset={name}"), status)
        for name, status in (("idna", 200), ("zlib", 200), ("nonsense", 200), ("undefined", 400), ("punycode", 400))
    },
}


@pytest.mark.filterwarnings("ignore:Unclosed file")  # Starlette forgets the file of a part without end
@pytest.mark.parametrize(("sent", "status"), FORMS.values(), ids=FORMS.keys())
def test_odd_forms_are_read_or_refused_with_a_sentence(port, folder, sent, status):
    reply = ask(port, "POST", "/predict", *sent)
    assert reply.status == status, reply
    assert reply.status == 200 or reply.error
    assert list(folder.iterdir()) == []
    assert post(port, "a.png", PNG).status == 200
