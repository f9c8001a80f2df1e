// Package merge makes one sequence of publishes out of those that several paths from one master bring.
//
// Every path brings a part of what the master publishes, in the master's order, later or sooner than the others do. What
// a path does not bring is lost while it is cut, or because the publisher drops in silence past its high-water mark.
// Publishes carry no number that a relay can read; Salt encrypts each with a fresh IV, so equal bytes, topic included,
// are one publish. The first copy goes out, the others are only recognized.
//
// A path's place in the sequence is known when one of its publishes was recognized, or when nobody else could bring
// anything before. Then its next publish is after all that it has brought, and if nothing else has gone out meanwhile it
// goes out at once. A path that has returned has missed an unknown stretch, and what it brings may belong after what a
// slower path still carries: that is held until the slower path brings the same, and goes out after what came before it
// there; or until nobody is left to wait for; or for the hold at most. docs/decisions/0017-several-roads.rst has the argument.
//
// The package is arithmetic: no clock, no goroutine, no input or output.
package merge
