"""One channel of a relay as Uyuni runs it: libzmq's own proxy in a process of its own.

    libzmq.py publish|request LISTEN_PORT MASTER_PORT      both on 127.0.0.1

One I/O thread, libzmq's default and Uyuni's. The high-water marks are off: nothing of what is measured may be dropped.
The backlog is what the other relays have; libzmq's default of 100 would make a rush of connections wait for SYNs to be
repeated.
"""

import sys

import zmq

channel, listen, master = sys.argv[1:]
context = zmq.Context(io_threads=1)
minions, up = {
    "publish": (zmq.XPUB, zmq.XSUB),
    "request": (zmq.ROUTER, zmq.DEALER),
}[channel]
minions, up = context.socket(minions), context.socket(up)
for s in minions, up:
    s.setsockopt(zmq.RCVHWM, 0)
    s.setsockopt(zmq.SNDHWM, 0)
    s.setsockopt(zmq.LINGER, 0)
minions.setsockopt(zmq.BACKLOG, 4096)
minions.bind(f"tcp://127.0.0.1:{listen}")
up.connect(f"tcp://127.0.0.1:{master}")
zmq.proxy(minions, up)
