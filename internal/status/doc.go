// Package status says over HTTP what a broker does: metrics for Prometheus (/metrics), whether it lives (/livez) and serves
// (/readyz), and all of it as one JSON document (/status), which the commands status and health read, and so does a page for
// a browser (/).
//
// It asks the two channels for their Stats when it is asked itself, and once a second to know what has happened when somebody
// asks later (past.go). Nothing that it does can hold up an event loop, and nothing that a loop does can hold up an answer.
//
// Names and units of metrics follow https://prometheus.io/docs/practices/naming; docs/metrics.rst has them all.
package status
