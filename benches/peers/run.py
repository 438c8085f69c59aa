#!/usr/bin/env python3
"""Measures CPU per request and latency of our data path beside nginx, HAProxy and the naive forwarder.

    benches/peers/run.py [--seconds 3] [--rounds 5] [--peers ours,nginx] [--loads 1k,64k,post,challenge] [--idle 5000] [--start 50]

Needs nginx, haproxy and wrk (Debian: apt-get install nginx-light haproxy wrk) and a built bench:
    cargo build --profile bench --bench peers --bin sidedoor
Every peer has two threads or workers and the same upstream (an nginx of its own); runs alternate, and medians are shown.
CPU is what the kernel has counted for the peer's processes (/proc/PID/stat), so that what wrk and the upstream need isn't in it.
"""

import argparse
import contextlib
import glob
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def tree(pid):
    """The process and its children."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path) as f:
            for child in f.read().split():
                found += tree(int(child))
    return found


def cpu_seconds(pid):
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{each}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_kib(pid):
    total = 0
    for each in tree(pid):
        with contextlib.suppress(OSError), open(f"/proc/{each}/smaps_rollup") as f:
            total += sum(int(l.split()[1]) for l in f if l.startswith("Pss:"))
    return total


class Bench:
    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        self.upstream = free_port()
        self.peers = {}

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def start(self, command, port):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=None)
        self.processes.append(process)
        wait_for(port)
        return process.pid

    def start_times(self, count):
        """Milliseconds from the start of the whole sidecar until it accepts, and its memory at rest in MiB."""
        times, memory = [], []
        for n in range(count):
            port = free_port()
            config = self.write("sidedoor.toml", f"""
state_dir = "{self.directory}/state"
listen = ["127.0.0.1:{port}"]
admin = "unix:{self.directory}/admin.sock"
metrics = "unix:{self.directory}/metrics.sock"
[nginx]
test = ["true"]
reload = ["true"]
[[app]]
name = "shop"
domains = ["shop.example"]
upstream = "http://127.0.0.1:{self.upstream}"
door = "permanent"
enabled = false
""")
            begun = time.perf_counter()
            process = subprocess.Popen([f"{ROOT}/target/release/sidedoor", "--config", config, "-q", "run"])
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
            times.append((time.perf_counter() - begun) * 1000)
            if n % 10 == 0:
                time.sleep(1)
                memory.append(memory_kib(process.pid) / 1024)
            process.terminate()
            process.wait()
        return times, memory

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                continue
            process.kill()

    def nginx(self, name, port, body, workers):
        directory = os.path.join(self.directory, name)
        os.makedirs(directory)
        config = self.write(
            f"{name}.conf",
            f"""
worker_processes {workers}; daemon off; pid {directory}/pid; error_log /dev/stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 300;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; client_max_body_size 0;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  {body.replace("LISTEN", f"listen 127.0.0.1:{port} reuseport backlog=4096;")}
}}
""",
        )
        return self.start(["nginx", "-p", directory, "-c", config, "-g", "user root;"] if os.geteuid() == 0
                          else ["nginx", "-p", directory, "-c", config], port)

    def start_upstream(self):
        os.makedirs(f"{self.directory}/www/.well-known/acme-challenge")
        for name, size in (("1k", 1024), ("64k", 65536)):
            with open(f"{self.directory}/www/{name}", "wb") as f:
                f.write(b"x" * size)
        with open(f"{self.directory}/www/.well-known/acme-challenge/{TOKEN}", "w") as f:
            f.write(TOKEN + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI")
        self.nginx("upstream", self.upstream,
                   f"server {{ LISTEN root {self.directory}/www; location = /post {{ client_body_buffer_size 64k; return 200 ok; }} }}", 1)

    def start_nginx(self):
        port = free_port()
        pid = self.nginx("peer", port, f"""
  upstream app {{ server 127.0.0.1:{self.upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ LISTEN
    location /.well-known/acme-challenge/ {{ root {self.directory}/www; default_type application/octet-stream; }}
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port;
    }}
  }}""", 2)
        return port, pid

    def start_haproxy(self):
        port = free_port()
        answer = self.write("answer.txt", TOKEN + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI")
        config = self.write("haproxy.cfg", f"""
global
  nbthread 2
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:{port} backlog 4096
  http-request return status 200 content-type application/octet-stream file {answer} if {{ path_beg /.well-known/acme-challenge/ }}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port {port}
  http-request set-header X-Real-IP %[src]
  default_backend b
backend b
  server s 127.0.0.1:{self.upstream}
""")
        return port, self.start(["haproxy", "-db", "-f", config], port)

    def start_ours(self, kind):
        port = free_port()
        found = sorted(glob.glob(f"{ROOT}/target/release/deps/peers-*"), key=os.path.getmtime)
        found = [path for path in found if os.access(path, os.X_OK) and not path.endswith(".d")]
        if not found:
            raise SystemExit("build the bench first: cargo build --profile bench --bench peers")
        command = [os.environ.get("PEERS", found[-1]), kind, f"127.0.0.1:{port}", f"127.0.0.1:{self.upstream}", "2"]
        return port, self.start(command, port)

    def start_peer(self, name):
        if name == "nginx":
            self.peers[name] = self.start_nginx()
        elif name == "haproxy":
            self.peers[name] = self.start_haproxy()
        else:
            self.peers[name] = self.start_ours(name)

    def load(self, name, load, seconds, connections):
        port, pid = self.peers[name]
        path = {"challenge": f"/.well-known/acme-challenge/{TOKEN}"}.get(load, "/" + load)
        script = self.write("post.lua", 'wrk.method = "POST"\nwrk.body = string.rep("x", 10240)\n')
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", "Host: bench.example",
                   f"http://127.0.0.1:{port}{path}"]
        if load == "post":
            command[1:1] = ["-s", script]
        before = cpu_seconds(pid)
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        spent = cpu_seconds(pid) - before
        requests = int(re.search(r"(\d+) requests in", out)[1])
        errors = re.search(r"Non-2xx.*|Socket errors.*", out)
        if errors:
            print(f"  {name} {load}: {errors[0]}", file=sys.stderr)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
        p99 = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]
        return spent / requests * 10_000, p99, requests / seconds

    def idle(self, name, count):
        """KiB per idle kept-alive connection, and what is left after they close."""
        port, pid = self.peers[name]
        before = memory_kib(pid)
        clients = []
        request = b"GET /1k HTTP/1.1\r\nHost: bench.example\r\n\r\n"
        for _ in range(count):
            s = socket.create_connection(("127.0.0.1", port))
            s.sendall(request)
            left = None
            read = b""
            while left is None or len(read) < left:
                read += s.recv(65536)
                if left is None and b"\r\n\r\n" in read:
                    left = read.index(b"\r\n\r\n") + 4 + 1024
            clients.append(s)
        time.sleep(1)
        open_kib = memory_kib(pid)
        for s in clients:
            s.close()
        time.sleep(1.5)
        return (open_kib - before) / count, memory_kib(pid) / 1024, before / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--peers", default="nginx,haproxy,naive,ours")
    parser.add_argument("--loads", default="1k,64k,post,challenge")
    parser.add_argument("--idle", type=int, default=0, metavar="CONNECTIONS")
    parser.add_argument("--start", type=int, default=0, metavar="TIMES")
    options = parser.parse_args()
    for tool in ("nginx", "haproxy", "wrk"):
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is needed: apt-get install nginx-light haproxy wrk")
    names = options.peers.split(",")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        bench = Bench(directory)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            bench.start_upstream()
            if options.start:
                times, memory = bench.start_times(options.start)
                print(f"start: median {statistics.median(times):.1f} ms, lowest {min(times):.1f}, highest {max(times):.1f}; "
                      f"at rest {statistics.median(memory):.1f} MiB")
                return
            for name in names:
                bench.start_peer(name)
            if options.idle:
                for name in names:
                    each, left, rest = bench.idle(name, options.idle)
                    print(f"{name:8} {each:6.1f} KiB per idle connection, {left:6.1f} MiB after they closed, {rest:5.1f} MiB at rest")
                return
            results = {}
            for load in options.loads.split(","):
                for round_number in range(options.rounds):
                    # Alternating, and each round begins with another peer.
                    turn = names[round_number % len(names):] + names[: round_number % len(names)]
                    for name in turn:
                        results.setdefault((load, name), []).append(
                            bench.load(name, load, options.seconds, options.connections))
                middle = {n: [statistics.median(c) for c in zip(*results[load, n])] for n in names}
                base = middle.get("nginx", middle[names[0]])
                for name in names:
                    cpu, p99, rate = middle[name]
                    print(f"{load:9} {name:8} cpu {cpu:6.3f} s/10k ({cpu / base[0]:4.2f})  p99 {p99:7.2f} ms  {rate:8.0f}/s", flush=True)
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
