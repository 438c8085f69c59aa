#!/usr/bin/env python3
"""Counts the instructions that one request costs our data path in user space. Steady where times are not.

    benches/peers/instructions.py [--kinds ours,logged] [--loads 1k,post,challenge] [--functions 20]

Needs valgrind and nginx, and a built bench (see run.py; with CARGO_PROFILE_BENCH_STRIP=none for names of functions).
One thread, eight connections in lockstep: each request pays for its own wake-up, and nothing is shared. What two thousand requests cost
more than one thousand is divided by a thousand, so that the start isn't in it.
"""

import argparse
import glob
import os
import re
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import run  # noqa: E402

CONNECTIONS = 8


def request(load):
    path = {"challenge": f"/.well-known/acme-challenge/{run.TOKEN}"}.get(load, "/" + load)
    fields = "Host: bench.example\r\nUser-Agent: instructions\r\nAccept: */*\r\n"
    if load == "post":
        return f"POST {path} HTTP/1.1\r\n{fields}Content-Length: 10240\r\n\r\n".encode() + b"x" * 10240
    return f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()


def read_answer(stream):
    read = b""
    while b"\r\n\r\n" not in read:
        read += stream.recv(65536)
    head, body = read.split(b"\r\n\r\n", 1)
    left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
    while left > 0:
        left -= len(stream.recv(65536))


def counted(bench, kind, load, rounds, directory):
    port = run.free_port()
    out = os.path.join(directory, f"{kind}-{load}-{rounds}")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet", binary(), kind,
               f"127.0.0.1:{port}", f"127.0.0.1:{bench.upstream}", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    run.wait_for(port)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    message = request(load)
    for _ in range(rounds):
        for client in clients:
            client.sendall(message)
        for client in clients:
            read_answer(client)
    for client in clients:
        client.close()
    process.terminate()
    process.wait()
    with open(out) as f:
        return int(re.search(r"(?m)^(?:summary|totals): (\d+)", f.read())[1]), out


def binary():
    found = sorted(glob.glob(f"{run.ROOT}/target/release/deps/peers-*"), key=os.path.getmtime)
    found = [path for path in found if os.access(path, os.X_OK) and not path.endswith(".d")]
    return os.environ.get("PEERS", found[-1] if found else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kinds", default="ours,logged")
    parser.add_argument("--loads", default="1k,post,challenge")
    parser.add_argument("--functions", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        bench = run.Bench(directory)
        try:
            bench.start_upstream()
            for load in options.loads.split(","):
                for kind in options.kinds.split(","):
                    few, _ = counted(bench, kind, load, 125, directory)
                    many, out = counted(bench, kind, load, 250, directory)
                    print(f"{load:10} {kind:8} {(many - few) / 1000:8.0f}", flush=True)
                    if options.functions:
                        shown = subprocess.run(["callgrind_annotate", out], capture_output=True, text=True).stdout
                        lines = [line for line in shown.splitlines() if re.match(r"\s*[\d,]+ \(", line)]
                        print("\n".join(line[:170] for line in lines[: options.functions]))
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
