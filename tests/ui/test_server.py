"""The server answers the browser it was made for, reads, and does nothing else."""

import http.client
import json
import socket
from urllib.parse import quote

import pytest

from polymodal.errors import RunError
from polymodal.ui.server import Server


@pytest.fixture
def client(serve, tmp_path, write_run):
    write_run(tmp_path, "20260101-000000-a-aaaa")
    return serve(tmp_path)


def test_it_listens_on_this_machine_alone(client):
    assert client.server.socket.getsockname()[0] == "127.0.0.1"


def test_without_the_token_nothing_is_told(client):
    for path in ("/", "/api/runs", "/static/js/main.js", "/trackio", "/nothing"):
        status, _, body = client.ask(path, cookie=False)
        assert status == 403
        assert b"polymodal ui" in body
    assert client.ask("/api/runs?token=wrong", cookie=False)[0] == 403
    assert client.ask("/api/runs", cookie=False, Cookie="polymodal-00000000=x; a=b")[0] == 403
    assert client.ask("/api/runs", cookie=False, Cookie="\x01;;==\x7f")[0] == 403
    assert client.ask("/api/runs?token=%C3%A9", cookie=False)[0] == 403


def test_the_printed_address_lets_the_browser_in_and_its_cookie_stays_there(client):
    path = client.server.address.partition(str(client.server.server_port))[2]
    status, headers, body = client.ask(path, cookie=False, Sec_Fetch_Site="cross-site")
    assert status == 200
    assert b"<title>polymodal</title>" in body
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    kept = cookie.partition(";")[0]
    assert client.ask("/api/runs", cookie=False, Cookie=kept)[0] == 200
    assert client.server.access.token not in body.decode()


def test_a_cookie_of_another_server_is_not_in_the_way(client):
    cookie = client.server.access.cookie.partition(";")[0]
    kept = f'odd={{"a": [1, "b"]}}; é; =; {cookie}; more'.encode().decode("latin-1")
    assert client.ask("/api/runs", cookie=False, Cookie=kept)[0] == 200


def test_two_servers_do_not_share_a_cookie(client, serve, tmp_path):
    other = serve(tmp_path)
    cookie = other.server.access.cookie.partition(";")[0]
    assert client.ask("/api/runs", cookie=False, Cookie=cookie)[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"])
def test_another_name_for_this_machine_is_refused(client, host):
    """As a site has that gave its name to our address (DNS rebinding)."""
    assert client.ask("/api/runs", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:9999", "localhost:9999", "[::1]:9999", "localhost"])
def test_a_port_that_was_forwarded_is_let_in(client, host):
    assert client.ask("/api/runs", Host=host)[0] == 200


def test_another_site_is_refused_though_the_cookie_came_along(client):
    host = f"127.0.0.1:{client.server.server_port}"
    assert client.ask("/api/runs", Origin="http://evil.example")[0] == 403
    assert client.ask("/api/runs", Origin="null")[0] == 403
    assert client.ask("/api/runs", Origin=f"http://{host}", Host=host)[0] == 200
    for site in ("cross-site", "same-site"):
        assert client.ask("/api/runs", Sec_Fetch_Site=site)[0] == 403
    assert client.ask("/api/runs", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X"])
def test_it_only_reads(client, method):
    status, headers, _ = client.ask("/api/runs", method=method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_head_has_no_body(client):
    status, headers, body = client.ask("/api/runs", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_scripts_and_everything_else_may_come_from_here_alone(client):
    policy = client.ask("/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert client.ask("/api/runs")[1]["X-Content-Type-Options"] == "nosniff"


def test_a_file_that_the_browser_has_is_not_sent_again(client):
    _, headers, body = client.ask("/static/js/main.js")
    assert headers["Content-Type"].startswith("text/javascript")
    again = client.ask("/static/js/main.js", If_None_Match=headers["ETag"])
    assert (again[0], again[2]) == (304, b"")
    assert len(body) > 0


def test_large_answers_are_compressed_where_the_browser_can_read_that(client):
    packed = client.ask("/static/vendor/tabulator_esm.min.mjs", Accept_Encoding="gzip")
    plain = client.ask("/static/vendor/tabulator_esm.min.mjs")
    assert packed[1]["Content-Encoding"] == "gzip"
    assert len(packed[2]) < len(plain[2]) / 2


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/",
        "/static//etc/passwd",
        "/report/0/../report.html",
        "/report/0/%2e%2e/report.html",
        "/report/9/20260101-000000-a-aaaa/report.html",
        "/report/0/20260101-000000-a-aaaa/run.json",
        "/report/0/20260101-000000-a-aaaa/config.yaml",
        "/report/0/20260101-000000-a-aaaa/tables/../run.json",
        "/report/0/20260101-000000-a-aaaa/tables/%2e%2e/%2e%2e/secret.csv",
        "/report/0/20260101-000000-a-aaaa//etc/passwd",
        "/api/run?key=0/..",
        "/api/points?key=0/../secret",
    ],
)
def test_what_is_no_part_of_the_page_is_not_to_be_had(client, tmp_path, path):
    (tmp_path / "secret.csv").write_text("secret")
    (tmp_path.parent / "secret.csv").write_text("secret")
    status, _, body = client.ask(path)
    assert status in (400, 404)
    assert b"secret" not in body.replace(b"/secret", b"")


def test_a_link_that_leads_out_of_a_run_is_not_followed(client, tmp_path):
    folder = tmp_path / "20260101-000000-a-aaaa"
    outside = tmp_path.parent / "outside.html"
    outside.write_text("secret")
    (folder / "tables").mkdir()
    (folder / "tables" / "scores.csv").symlink_to(outside)
    (folder / "report.html").symlink_to(outside)
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to(outside)
    for path in ("/report/0/20260101-000000-a-aaaa/tables/scores.csv",):
        assert client.ask(path)[0] == 400
    assert client.ask("/report/0/20260101-000000-a-aaaa/report.html")[0] == 400
    assert client.ask("/api/points?key=0/20260101-000000-a-aaaa")[0] == 400
    assert client.json("/api/runs")["total"] == 1


def test_a_report_may_show_and_do_nothing(client, tmp_path):
    folder = tmp_path / "20260101-000000-a-aaaa"
    (folder / "report.html").write_text("<script>alert(1)</script>")
    status, headers, body = client.ask("/report/0/20260101-000000-a-aaaa/report.html")
    assert status == 200
    assert body == b"<script>alert(1)</script>"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_a_name_of_any_letters_can_be_asked_for(serve, tmp_path, write_run):
    name = "2026 <b>&'\"%2f#?é한"
    write_run(tmp_path, name)
    client = serve(tmp_path)
    (row,) = client.json("/api/runs")["rows"]
    assert row["key"] == f"0/{name}"
    told = client.json(f"/api/run?key={quote(row['key'])}")
    assert told["record"]["run_id"] == name
    assert client.json(f"/api/points?key={quote(row['key'])}&name=val/uar")["points"]["val/uar"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/points?key=0/20260101-000000-a-aaaa&from=-1",
        "/api/runs?since=x",
        "/api/runs?since=99999999999999999999999",
        "/api/compare?key=0/20260101-000000-a-aaaa",
        "/api/run",
        "/api/filter?word=nonsense",
        "/api/filter?word=test/ura>0.5",
        "/trackio",
        "/trackio?root=7",
    ],
)
def test_a_question_that_makes_no_sense_is_told_so(client, path, monkeypatch):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)  # a tracker in this process may have set it
    status, _, body = client.ask(path)
    assert status == 400
    assert json.loads(body)["error"]


def test_an_address_that_is_no_text_is_refused(client):
    assert client.ask("/%ff")[0] == 400
    assert client.ask("/api/runs?since=%ff")[0] == 400
    assert client.ask("/api/filter?" + "&".join(["word=a"] * 600))[0] == 400


def test_a_misspelt_score_gets_its_neighbour(client):
    _, _, body = client.ask("/api/filter?word=test/ura>0.5")
    assert json.loads(body)["remedy"] == "did you mean 'test/uar'?"


def test_a_filter_means_what_polymodal_runs_means(serve, tmp_path, write_run):
    write_run(tmp_path, "a", lr=0.01)
    write_run(tmp_path, "b", status="failed", error="ValueError: no", scores={})
    client = serve(tmp_path)
    asked = {
        "status=failed": ["0/b"],
        "test/uar>0.4": ["0/a"],
        "optimizer.lr=0.01": ["0/a"],
        "since=1min": [],
    }
    for word, keys in asked.items():
        assert client.json(f"/api/filter?word={quote(word)}")["keys"] == keys, word


def test_one_connection_asks_many_times(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.server.server_port, timeout=30)
    cookie = {"Cookie": client.server.access.cookie.partition(";")[0]}
    for _ in range(3):
        connection.request("GET", "/api/about", headers=cookie)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()


def test_a_taken_port_is_named_with_the_way_out(client, tmp_path):
    port = client.server.server_port
    with pytest.raises(RunError, match=f"port {port} cannot be used"):
        Server([tmp_path], port)


def test_the_next_free_port_is_taken_where_none_is_named(client, tmp_path, monkeypatch):
    port = client.server.server_port
    monkeypatch.setattr("polymodal.ui.server.FIRST_PORT", port)
    server = Server([tmp_path])
    assert port < server.server_port < port + 20
    server.server_close()


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00\x00\r\n\r\n", b"GET /\r\n\r\n", b"\r\n"])
def test_what_is_no_http_gets_an_end(client, data):
    with socket.create_connection(("127.0.0.1", client.server.server_port), timeout=10) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        while one.recv(4096):
            pass
    assert client.ask("/api/about")[0] == 200
