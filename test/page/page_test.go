//go:build linux

package page

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tools are what expressions here may use in the page.
const tools = `
const text = (id) => document.getElementById(id).textContent;
const state = () => document.body.dataset.state;
const card = (title) => [...document.querySelectorAll("#charts section")].find((c) => c.querySelector("h2").textContent === title);
const value = (title, name) => [...card(title).querySelectorAll("dl div")].find((d) => d.children[0].textContent === name).children[1].textContent;
const rows = (id) => [...document.querySelectorAll("#" + id + " tr")].map((row) => [...row.cells].map((cell) => cell.textContent).join("|"));
const number = (title, name) => parseFloat(value(title, name).replaceAll(",", ""));
`

// tab is the page in the browser.
type tab struct {
	*testing.T
	*browser
}

// await waits until an expression is true in the page.
func (p tab) await(what, expression string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	_, err := evaluate[bool](ctx, p.browser, fmt.Sprintf(`new Promise((resolve) => { %s
		const look = () => { if (%s) resolve(true); else setTimeout(look, 20); };
		look();
	})`, tools, expression))
	if err != nil {
		p.Fatalf("waited in vain for %s (%s): %v; the page says %q and %q, complaints: %q", what, expression, err,
			now[string](p, `text("state")`), now[string](p, `text("log")`), p.complaints())
	}
}

// now is the value of an expression in the page.
func now[T any](p tab, expression string) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.Context()), patience)
	defer cancel()
	value, err := evaluate[T](ctx, p.browser, fmt.Sprintf("(() => { %s return %s; })()", tools, expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return value
}

// screen has the tab on a screen of this width, in light or dark.
func (p tab) screen(width int, phone bool, scheme string) {
	p.Helper()
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": phone}, nil)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// keep leaves a picture of the whole page in the directory SALT_BROKER_ARTIFACTS.
func (p tab) keep(name string) {
	p.Helper()
	height := now[int](p, `document.documentElement.scrollHeight`)
	width := now[int](p, `innerWidth`)
	var shot struct{ Data []byte }
	p.call("Page.captureScreenshot", map[string]any{
		"captureBeyondViewport": true, "clip": map[string]int{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
	}, &shot)
	if len(shot.Data) < 10_000 {
		p.Errorf("the picture of the page has %d bytes", len(shot.Data))
	}
	dir := os.Getenv("SALT_BROKER_ARTIFACTS")
	if dir == "" {
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), smaller(p, shot.Data), 0o644); err != nil {
		p.Fatal(err)
	}
}

// smaller is the same picture with a palette: Chromium writes all colors in full.
func smaller(p tab, data []byte) []byte {
	p.Helper()
	full, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		p.Fatal(err)
	}
	seen := map[color.Color]int{}
	for y := range full.Bounds().Dy() {
		for x := range full.Bounds().Dx() {
			seen[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(seen), func(a, b color.Color) int { return seen[b] - seen[a] })
	few := image.NewPaletted(full.Bounds(), colors[:min(len(colors), 256)])
	draw.Draw(few, few.Bounds(), full, image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few); err != nil {
		p.Fatal(err)
	}
	return out.Bytes()
}

// TestPage has a broker go through its life before the eyes of somebody who watches it.
func TestPage(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	p := tab{t, b}
	master := startMaster(t)
	relay := startBroker(t, master)
	p.screen(1280, false, "light")
	p.call("Page.navigate", map[string]any{"url": fmt.Sprintf("http://%s/", relay.status)}, nil)

	p.await("a broker without minions", `document.readyState === "complete" && state() === "empty" && text("state") === "No minion is connected"`)
	startLoad(t, relay, master)
	p.await("minions", fmt.Sprintf(`state() === "served" && text("state") === "Minions are served" && number("Minions connected", "for publishes") === %d`, minions))

	p.moves()
	p.accounts(relay)
	if err := master.Stop(); err != nil {
		t.Fatal(err)
	}
	p.await("the loss of the master", `state() === "away" && text("state").startsWith("The master is away since") && text("log").includes("Master lost: 0 of 1 links for publishes")`)
	p.await("why", `text("links").includes("connection refused")`)
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	p.await("the master's return", `state() === "served" && text("log").includes("Master connected: 1 of 1 links for publishes")`)

	p.survives()
	p.lasts()
	p.calm()
	p.looks()
	if faults := p.complaints(); len(faults) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(faults, "\n"))
	}

	relay.stop()
	p.await("the loss of the broker", `state() === "lost" && text("state").startsWith("No connection to the broker since")`)
	if opacity := now[string](p, `getComputedStyle(document.querySelector("main")).opacity`); opacity != "0.45" {
		t.Errorf("old numbers look like new ones: opacity %s", opacity)
	}
	p.keep("status-page-lost.png")
}

// moves looks at numbers and drawings that change while there is load.
func (p tab) moves() {
	p.Helper()
	for _, number := range []string{
		`number("Publishes", "to minions") > 0`, `number("Publishes", "from the master") > 0`,
		`number("Requests", "requests") > 0`, `number("Requests", "replies") > 0`,
		`number("Bytes", "to minions") > 0`, `number("Bytes", "to the master") > 0`,
		`number("Fan-out of a publish", "99 % within") > 0`, `number("Requests: in the queue here", "half within") > 0`,
		// A request takes 3 ms there, or somewhat longer.
		`/^([2-9]|[1-9][0-9])(\.[0-9])? ms$/.test(value("Requests: at the master", "half within"))`,
		`number("Event loops, busy share", "requests, busiest") > 0`,
		`value("Buffered in memory", "limit") === "1 GiB"`,
	} {
		p.await("a number", number)
	}
	before := now[string](p, `value("Bytes", "to minions")`)
	p.await("another number", fmt.Sprintf(`value("Bytes", "to minions") !== %q`, before))
	p.await("a line of three answers", `card("Requests").querySelector("path.first").getAttribute("d").split("L").length > 2`)
	if wrong := now[[]string](p, `[...document.querySelectorAll("path[d]")].map((path) => path.getAttribute("d")).filter((d) => /[^MLHVZh0-9., -]/.test(d))`); len(wrong) > 0 {
		p.Errorf("the drawings have %q", wrong)
	}
}

// accounts sends away a stranger, and looks for him.
func (p tab) accounts(b *broker) {
	p.Helper()
	nc, err := net.Dial("tcp", b.publish.String())
	if err != nil {
		p.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		p.Fatal(err)
	}
	p.await("the stranger's end", `text("log").includes("Publish connections ended: 1 (") && !text("log").includes("nothing yet")`)
	reason := now[string](p, `/Publish connections ended: 1 \(([^)]*)\)/.exec(text("log"))[1]`)
	p.await("his reason", fmt.Sprintf(`rows("occurred").includes("Publish connections ended|%s|1|1")`, reason))
	absent := now[[]string](p, `rows("absent")`)
	if slices.Contains(absent, "Publish connections ended|"+reason) || !slices.Contains(absent, "Requests overdue|request_deadline") {
		p.Errorf("%s has occurred, and request_deadline has not; what has never occurred: %q", reason, absent)
	}
}

// lasts keeps the load up for as long as SALT_BROKER_PAGE_TIME says, for a picture of more than some seconds.
func (p tab) lasts() {
	p.Helper()
	text := os.Getenv("SALT_BROKER_PAGE_TIME")
	if text == "" {
		return
	}
	long, err := time.ParseDuration(text)
	if err != nil {
		p.Fatal(err)
	}
	<-time.After(long)
}

// looks tries the kinds of screens that there are.
func (p tab) looks() {
	p.Helper()
	grounds := map[string]bool{}
	for _, screen := range []struct {
		name   string
		width  int
		phone  bool
		scheme string
	}{
		{"status-page.png", 1280, false, "light"},
		{"status-page-dark.png", 1280, false, "dark"},
		{"status-page-phone.png", 360, true, "light"},
		{"status-page-phone-dark.png", 360, true, "dark"},
	} {
		p.screen(screen.width, screen.phone, screen.scheme)
		p.await("the screen", fmt.Sprintf(`innerWidth === %d && matchMedia("(prefers-color-scheme: %s)").matches`, screen.width, screen.scheme))
		p.fits(screen.name, screen.width)
		grounds[now[string](p, `getComputedStyle(document.body).backgroundColor`)] = true
		p.keep(screen.name)
	}
	if len(grounds) != 2 {
		p.Errorf("light and dark are %v", grounds)
	}
	p.screen(1280, false, "light")
}

// fits checks that nothing on the page is wider than there is room for it.
func (p tab) fits(what string, width int) {
	p.Helper()
	if wide := now[int](p, `document.scrollingElement.scrollWidth`); wide > width {
		p.Errorf("%s: the page is %d wide", what, wide)
	}
	if out := now[[]string](p, `[...document.querySelectorAll("dd, dt, .axis span, h2")].filter((e) => e.scrollWidth > e.clientWidth + 1 &&
		getComputedStyle(e).display !== "inline").map((e) => e.textContent)`); len(out) > 0 {
		p.Errorf("%s: no room for %q", what, out)
	}
	if out := now[[]string](p, `[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)`); len(out) > 0 {
		p.Errorf("%s: to be read, a table has to be pushed aside: %q", what, out)
	}
}

// calm adds up what has moved on the screen without anybody asking for it, as https://web.dev/articles/cls counts it: up
// to 0.1 is good.
func (p tab) calm() {
	p.Helper()
	shift := now[float64](p, `new Promise((resolve) => {
		let sum = 0;
		new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
			.observe({ type: "layout-shift", buffered: true });
		setTimeout(() => resolve(sum), 100); // entries that there are come at once, and none is no call
	})`)
	p.Logf("layout shift %.3f", shift)
	if shift > 0.1 {
		p.Errorf("what is on the page jumps: %.3f", shift)
	}
}
