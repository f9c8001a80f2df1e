// Package retproxy is Salt's request port (4506): ROUTER towards the minions of a region, DEALER towards the master.
//
// Nothing is shared between event loops but the credit for requests at the master (credit.go): each loop is a lane with
// minions and a way of its own to the master, so a request and its reply stay on one core (lane.go, way.go). A request
// waits here as long as its minion is connected (queue.go), goes to the master behind one routing frame that names the
// minion's connection (route.go), and holds one of max_in_flight places until the reply comes, the link is lost or a
// deadline passes (flight.go). The reply's routing frame finds the connection again, or nobody.
//
// Salt's minions are REQ; a broker behind this one is a DEALER with many requests under way. Large requests have a link
// of their own, so that they hold up nobody (link.go).
//
// Sources: RFC 23/ZMTP 3.0, RFC 37/ZMTP 3.1, RFC 28/REQREP; Salt's ret_port.
package retproxy
