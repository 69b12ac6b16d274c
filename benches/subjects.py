"""What is measured side by side: the upstream itself over TLS, nginx as a TLS proxy, and Lifeboat. Each says how it is called."""

import json
import os
import re
import shutil
import subprocess

import programs
from programs import LOAD_CPU, PROXY_CPU, Failed, Program, free_port, output, wait_for

GRANT = '[[grant]]\ntools = ["bench/*", "bench-sse/*"]\nclasses = ["read", "write"]\n'
# Every control runs at each call; the limits are only too high to be reached.
SETTINGS = {"concurrency": 256, "per_client": 200_000}


class Subject:
    """Something that answers calls. `sid` is the session whose CPU time counts."""

    tls = True
    # Speaks 2026-07-28, without a handshake.
    modern = True
    # Whether its calls reach the common upstream, where they are counted.
    counted = True
    # What it puts before the names of tools.
    prefix = ""

    def __init__(self, name, program, port, paths, ca=None, headers=None, key_file=None):
        self.name, self.program, self.port, self.paths = name, program, port, paths
        self.ca, self.headers, self.key_file = ca, headers or {}, key_file

    @property
    def sid(self):
        return self.program.sid


class Upstream:
    """The fast server behind everything: plain HTTP, and TLS once it has a certificate."""

    def __init__(self, binary, scratch, cert=None, key=None):
        log = os.path.join(scratch, "upstream.log")
        open(log, "w").close()
        more = ["--cert", cert, "--key", key] if cert else []
        self.program = Program([binary, *more], LOAD_CPU, log)
        ports = wait_for("upstream", self._ports, self.program)
        self.port, self.tls_port = ports[0], ports[-1]

    def _ports(self):
        with open(self.program.log) as file:
            words = file.readline().split()
        return [int(word.rsplit(":", 1)[1]) for word in words[1:]]

    def calls(self):
        return json.loads(programs.get(f"http://127.0.0.1:{self.port}/stats"))["calls"]


def direct(upstream, ca, key_file):
    """No proxy: TLS ends at the upstream."""
    return Subject("direct", upstream.program, upstream.tls_port, {"json": "/mcp", "sse": "/sse"}, ca, {}, key_file)


class Lifeboat:
    """A fresh deployment with one role, one client and the upstream registered twice, once for each form of answer."""

    def __init__(self, binary, scratch, ttl=3600):
        self.binary, self.home = binary, os.path.join(scratch, f"lifeboat-{ttl}")
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home, mode=0o711)
        self.data = os.path.join(self.home, "data")
        self.ca, self.cert = os.path.join(self.data, "tls/ca.pem"), os.path.join(self.data, "tls/server.pem")
        self.cert_key = os.path.join(self.data, "tls/server.key")
        argv = [binary, "up", "--data", self.data, "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0"]
        self.program = Program(argv, PROXY_CPU, os.path.join(self.home, "log"), env={"RUST_LOG": "info"})
        self.port = int(wait_for("lifeboat", self._address, self.program, 60).rsplit(":", 1)[1])
        self.ttl = ttl

    def _address(self):
        try:
            with open(os.path.join(self.data, "run/addresses.json")) as file:
                return json.load(file)["proxy"]
        except ValueError:
            return None

    def cli(self, *words, stdin=None):
        options = {"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}
        return json.loads(output([self.binary, "--data", self.data, "--json", *words], **options))

    def furnish(self, upstream):
        """Registers the upstream; gives what calls it."""
        path = os.path.join(self.data, "config/lifeboat.toml")
        with open(path) as file:
            text = file.read()
        for name, value in {**SETTINGS, "ttl_seconds": self.ttl}.items():
            text, found = re.subn(rf"(?m)^#? ?{name} = .*$", f"{name} = {value}", text)
            if found != 1:
                raise Failed(f"lifeboat.toml of a first run has {found} lines `{name} = …`")
        with open(path, "w") as file:
            file.write(text)
        self.cli("config", "commit", "--as", "bench", "-m", "limits of the benchmark")
        for name, path in (("bench", "mcp"), ("bench-sse", "sse")):
            self.cli("server", "add", name, "--url", f"http://127.0.0.1:{upstream.port}/{path}", "--plain-loopback")
        self.cli("role", "set", "bench", stdin=GRANT)
        key = self.cli("client", "add", "bench", "--role", "bench", "--rate", "1000000")["key"]
        self.key_file = os.path.join(self.home, "key")
        with os.fdopen(os.open(self.key_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(key)
        paths = {"json": "/mcp/bench", "sse": "/mcp/bench-sse"}
        return Subject("lifeboat", self.program, self.port, paths, self.ca, {"authorization": f"Bearer {key}"}, self.key_file)

    def stop(self):
        self.program.stop()


NGINX = """daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  map_hash_bucket_size 256;
  map $http_authorization $client {{ default ""; "Bearer {key}" "bench"; }}
  limit_req_zone $client zone=clients:1m rate=1000000r/s;
  log_format calls escape=json '{{"ts":"$time_iso8601","client":"$client","uri":"$uri","method":"$http_mcp_method","tool":"$http_mcp_name",'
    '"remote":"$remote_addr","status":$status,"bytes_in":$request_length,"bytes_out":$body_bytes_sent,"latency":$request_time}}';
  access_log {home}/calls.log calls buffer=64k flush=1s;
  keepalive_requests 100000000; client_max_body_size 1m; client_body_buffer_size 1m; client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  upstream brisk {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {cert_key};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Authorization "";
    proxy_buffer_size 16k; proxy_buffers 64 16k; proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0;
    location /mcp {{ if ($client = "") {{ return 401; }} limit_req zone=clients burst=1000 nodelay; proxy_pass http://brisk; }}
    location /sse {{ if ($client = "") {{ return 401; }} limit_req zone=clients burst=1000 nodelay; proxy_pass http://brisk; }}
  }}
}}
"""


def nginx(scratch, lifeboat, subject, upstream):
    """One worker: TLS 1.3, a map of keys, a request limit, a JSON line per call."""
    home, port = os.path.join(scratch, "nginx"), free_port()
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home, mode=0o711)
    # Its worker drops root and must write its logs all the same.
    os.chmod(home, 0o777)
    key = subject.headers["authorization"].removeprefix("Bearer ")
    conf = NGINX.format(home=home, port=port, key=key, upstream=upstream.port, cert=lifeboat.cert, cert_key=lifeboat.cert_key)
    with os.fdopen(os.open(f"{home}/conf", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(conf)
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.path.exists(found):
        raise Failed("nginx is not installed")
    program = Program([found, "-c", f"{home}/conf", "-p", home], PROXY_CPU, f"{home}/out")
    wait_for("nginx", lambda: programs.socket.create_connection(("127.0.0.1", port), 1), program)
    return Subject("nginx", program, port, {"json": "/mcp", "sse": "/sse"}, lifeboat.ca, subject.headers, subject.key_file)
