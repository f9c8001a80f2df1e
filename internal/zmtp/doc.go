// Package zmtp is what travels on a ZeroMQ connection: the greeting, READY, frames, messages and commands.
//
// Sources: RFC 23 (ZMTP 3.0) and RFC 37 (ZMTP 3.1) for the wire, RFC 28 (REQREP) for envelopes, RFC 29 (PUBSUB) for
// subscriptions. Sections of these are named where they are followed. Only the NULL mechanism is spoken.
//
//	connection = greeting READY traffic
//	greeting   = 64 bytes                                     greeting.go
//	traffic    = *(command | message)                         stream.go
//	message    = one or more frames                           frame.go
//	command    = one frame: name, data                        command.go
//
// The package is pure: it reads no socket, starts no goroutine, keeps no clock and does not log. A [Stream] is fed what
// came from one peer, in whatever pieces, and calls a [Sink] with what that was. The Append functions write what we send.
// The Parse functions and [Stream] believe nothing: whatever the bytes are they return, and with a [*Fault] where the
// bytes are wrong. A declared length is compared with a limit and never allocated; memory follows the bytes that came.
//
// Every slice that is handed out aliases the input, or is valid during a call, and says so.
package zmtp
