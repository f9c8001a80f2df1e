package status

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page comes whole, and may do what it needs and nothing more.
func TestPage(t *testing.T) {
	answer, err := client.Get(serve(t, healthy().options()) + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || string(text) != string(page) {
		t.Errorf("%s, %d bytes of %d", answer.Status, len(text), len(page))
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": "default-src 'none'; script-src " + hashOf(page, "script") + "; style-src " + hashOf(page, "style") +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// The hash of a policy is that of the text between the tags, as CSP Level 3 has it.
func TestHash(t *testing.T) {
	const want = "'sha256-5KYv+PUboo5h+0+YAtGRPbwv5d/QxzHslP4YGnUaxRw='" // printf 'go()' | openssl dgst -sha256 -binary | base64
	if got := hashOf([]byte("<p>a</p><script>go()</script><p>b</p>"), "script"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Nothing comes from elsewhere, nothing is in the document that its policy forbids, and no text is taken for HTML.
func TestPageIsWhole(t *testing.T) {
	for _, element := range []string{"script", "style"} {
		if n := strings.Count(string(page), "<"+element); n != 1 || !strings.Contains(string(page), "<"+element+">\n") {
			t.Errorf("%d elements %s; the policy knows one, without attributes", n, element)
		}
	}
	for _, wrong := range []string{`\bsrc=`, `<link (?:[^>]*)href="[^d]`, `\bon[a-z]+="`, `\bstyle="`, `@import`, `\burl\(`, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`} {
		if found := regexp.MustCompile(wrong).Find(page); found != nil {
			t.Errorf("there is %q", found)
		}
	}
	for _, address := range regexp.MustCompile(`https?://[^"'\s]+`).FindAllString(string(page), -1) {
		if address != "http://www.w3.org/2000/svg" { // a name, not a place
			t.Errorf("there is %s", address)
		}
	}
}

var (
	// pathInScript matches a path of more than one step, and what is read by a path of one.
	pathInScript = regexp.MustCompile("[\"`]((?:[a-z_]+|\\$\\{channel\\})(?:\\[\\])?(?:\\.[a-z_0-9]+(?:\\[\\])?)+)[\"`]|\\.read\\(\"([a-z_]+(?:\\[\\])?)\"\\)")
	// readInScript matches what is read, by whichever path.
	readInScript = regexp.MustCompile(`\.read\([^)]*\)`)
)

// What the script reads is in the document: a field that is renamed there would leave a hole in the page, and no error.
func TestPageReadsWhatThereIs(t *testing.T) {
	fields := reportFields()
	known := func(path string) bool {
		return slices.ContainsFunc(fields, func(field string) bool {
			rest, ok := strings.CutPrefix(field, path)
			return ok && (rest == "" || strings.HasPrefix(rest, ".")) // a group of fields has counters by their reason
		})
	}
	read := map[string]bool{}
	for _, found := range pathInScript.FindAllStringSubmatch(string(page), -1) {
		for _, channel := range []string{publish, request} {
			read[strings.ReplaceAll(found[1]+found[2], "${channel}", channel)] = true
		}
	}
	for path := range read {
		if !known(path) {
			t.Errorf("the script reads %s, and /status has nothing of that name", path)
		}
	}
	if len(read) < 50 {
		t.Errorf("only %d paths are found in the script: %v", len(read), read)
	}
	for _, reading := range readInScript.FindAllString(string(page), -1) {
		if reading != ".read(path)" && !pathInScript.MatchString(reading) { // path is a parameter, and stands where it is given
			t.Errorf("%s: a path that is not looked at here", reading)
		}
	}
	for _, path := range []string{"request.queue.buckets", "publish.link", "publish.links.up", "request.minion"} {
		if known(path) {
			t.Errorf("%s is taken for a field", path)
		}
	}
}
