"""A libzmq peer for the tests of this directory.

It takes one step for each line of JSON on stdin, and answers each with one line of JSON on stdout: {"error": ...} when
the step failed. It ends with its stdin. Nothing here waits for longer than PATIENCE.

A frame in a step is a string of hex digits, or [seed, size]: PERIOD bytes of SHAKE128 of seed, again and
again, to size. What was received is reported as a digest of each message, which covers the sizes of its frames, or,
where "raw" is asked for, as it is.
"""

import hashlib
import json
import os
import sys
import threading

import zmq

PATIENCE = 20000  # ms
MASTER = "127.0.0.2"  # nothing else is here, so that the port of a dead master stays free for the next one
PERIOD = 65521
PROBE = [b"probe"]  # a message that tells nothing but that it came; passed over

context = zmq.Context()
sockets = {}
served = []  # digests of the requests that workers have answered, in their order
steps = {}


def step(function):
    steps[function.__name__] = function
    return function


def frame(spec):
    if isinstance(spec, str):
        return bytes.fromhex(spec)
    seed, size = spec
    block = hashlib.shake_128(seed.encode()).digest(min(size, PERIOD))
    return block * (size // PERIOD) + block[: size % PERIOD] if size > PERIOD else block


def digest(frames):
    total = hashlib.sha256()
    for f in frames:
        total.update(len(f).to_bytes(8, "big"))
        total.update(f)
    return total.hexdigest()


def receive(s):
    while s.poll(PATIENCE):
        message = s.recv_multipart()
        if message != PROBE:
            return message
    raise TimeoutError("nothing came")


def make(kind, options):
    s = context.socket(getattr(zmq, kind))
    s.linger = 0
    s.sndhwm = s.rcvhwm = 0  # nothing is lost on this side
    for name, value in options.items():
        if name == "CURVE":  # "server", or a client of a server that nobody knows
            public, secret = zmq.curve_keypair()
            s.curve_publickey, s.curve_secretkey = public, secret
            if value == "server":
                s.curve_server = True
            else:
                s.curve_serverkey = zmq.curve_keypair()[0]
        elif isinstance(value, str):
            s.setsockopt(getattr(zmq, name), value.encode())
        else:
            s.setsockopt(getattr(zmq, name), value)
    return s


@step
def has(feature):
    return {"has": bool(zmq.has(feature))}


@step
def socket(name, kind, options=None):
    sockets[name] = make(kind, options or {})


@step
def bind(name, port=0):
    """Listen on a port of MASTER; port 0 lets the kernel choose."""
    s = sockets[name]
    s.bind("tcp://%s:%s" % (MASTER, port or "*"))
    return {"port": int(s.last_endpoint.rsplit(b":", 1)[1].rstrip(b"\0"))}


@step
def connect(name, address):
    sockets[name].connect("tcp://" + address)


@step
def close(name):
    sockets.pop(name).close()


@step
def subscribe(name, topic):
    sockets[name].setsockopt(zmq.SUBSCRIBE, topic.encode())


@step
def unsubscribe(name, topic):
    sockets[name].setsockopt(zmq.UNSUBSCRIBE, topic.encode())


@step
def send(name, frames):
    sockets[name].send_multipart([frame(f) for f in frames])


@step
def try_send(name, frames):
    """Send if there is, still, a connection that takes it."""
    try:
        sockets[name].send_multipart([frame(f) for f in frames], zmq.NOBLOCK)
    except zmq.Again:
        pass


@step
def stream(name, heads, first, count, parts, size):
    """Send messages first to first+count-1. Each has the frames of one of the heads, in turns, and then parts frames of
    size bytes, which tell the message and the frame."""
    s = sockets[name]
    for i in range(first, first + count):
        head = [frame(f) for f in heads[i % len(heads)]]
        s.send_multipart(head + [frame(["%d/%d" % (i, k), size]) for k in range(parts)])


@step
def recv(name, count=1, raw=False):
    messages = [receive(sockets[name]) for _ in range(count)]
    if raw:
        return {"raw": [[f.hex() for f in m] for m in messages]}
    return {"messages": [digest(m) for m in messages]}


@step
def ask(address, requests, keep, options=None):
    """Ask as a REQ, over one connection that is kept, or over a new one for each request."""
    replies, s = [], None
    for request in requests:
        if s is None:
            s = make("REQ", options or {})
            s.connect("tcp://" + address)
        s.send_multipart([frame(f) for f in request])
        replies.append(digest(receive(s)))
        if not keep:
            s.close()
            s = None
    if s is not None:
        s.close()
    return {"messages": replies}


@step
def workers(name, count=3):
    """Be a Salt master: a ROUTER that was bound, a DEALER, and REP workers. A reply has the frames of its request, each
    with its bytes in reverse order."""
    front, back = sockets.pop(name), context.socket(zmq.DEALER)
    back.sndhwm = back.rcvhwm = 0
    back.bind("inproc://workers-" + name)

    def work():
        s = context.socket(zmq.REP)
        s.connect("inproc://workers-" + name)
        while True:
            request = s.recv_multipart()
            served.append(digest(request))
            s.send_multipart([f[::-1] for f in request])

    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    threading.Thread(target=zmq.proxy, args=(front, back), daemon=True).start()


@step
def what_was_served():
    return {"messages": list(served)}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = steps[request.pop("step")](**request) or {}
        except Exception as e:  # for the test to tell
            answer = {"error": "%s: %s" % (type(e).__name__, e)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # workers wait for ever, and an orderly end would wait for them
