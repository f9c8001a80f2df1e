package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"net/http"
)

// page is what a browser shows of a broker: one document with its style and its script, which asks /status every second.
//
//go:embed page.html
var page []byte

// givePage answers with the page. What it may do stands in its Content-Security-Policy: apply its own style, run its own
// script, ask this server, and nothing else, so that no text from elsewhere can become more than text.
func givePage() http.HandlerFunc {
	policy := "default-src 'none'; script-src " + hashOf(page, "script") + "; style-src " + hashOf(page, "style") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		_, _ = w.Write(page) // who asked has gone
	}
}

// hashOf is what a policy calls the content of the document's only element of this name.
func hashOf(document []byte, element string) string {
	_, rest, _ := bytes.Cut(document, []byte("<"+element+">"))
	content, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	sum := sha256.Sum256(content)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
