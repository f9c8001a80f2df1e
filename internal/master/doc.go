// Package master is the road to a Salt master: it resolves the name, dials, shakes hands and backs off, and hands the
// live connection on. What travels over it afterwards is somebody else's.
//
// The handshake (ZMTP 3.0, RFC 23: greeting, NULL mechanism, READY) is that of github.com/go-zeromq/zmq4. Version 0.17
// of it allocates any length that a peer declares and reads past the end of malformed metadata, so [guard] stands
// between it and the network: it reads no byte more than the greeting and one command, lets the library see only what
// internal/zmtp has found to be well-formed, and remembers the peer's version, which the library forgets.
//
// Salt settings: master, source_address, recon_default, recon_max, recon_randomize, tcp_keepalive and its companions.
package master
