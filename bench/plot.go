//go:build linux

package main

import (
	"fmt"
	"math"
	"strings"
)

// A plot of how figures grow with the number of minions: small panels, an axis of minions in powers of ten, a line for each
// relay. It is SVG without a script or a font of its own, and readable on a light and on a dark page.

const (
	panelWidth, panelHeight = 300, 210
	panelLeft, panelTop     = 52, 34 // of the axes within a panel
	panelRight, panelBottom = 14, 38
	panelsAcross            = 2
	legendHeight            = 34
)

// colors of lines, in the order of relays; each stands out on white and on black.
var colors = [...]string{"#2b7fd4", "#e07b1a", "#2f9e57", "#b5479c"}

// panel is one figure over the number of minions.
type panel struct {
	title, unit string
	lines       []line
}

// line is one relay's figures.
type line struct {
	name   string
	points []point
}

type point struct{ minions, value float64 }

// growth is the panels that a record has something for.
func (r *Record) growth(names []string) []panel {
	var panels []panel
	for _, g := range grown {
		p := panel{title: g.title, unit: g.unit}
		for _, name := range names {
			l := line{name: name}
			for _, n := range g.sizes {
				s := r.scenario(fmt.Sprintf("%s-%d", g.kind, n))
				if s == nil {
					continue
				}
				if v, ok := figure(s.Rounds, name, g.key); ok {
					l.points = append(l.points, point{float64(n), v})
				}
			}
			if len(l.points) > 0 {
				p.lines = append(p.lines, l)
			}
		}
		if len(p.lines) > 0 {
			panels = append(panels, p)
		}
	}
	return panels
}

// draw is the plot of panels.
func draw(panels []panel, names []string) string {
	rows := (len(panels) + panelsAcross - 1) / panelsAcross
	width, height := panelsAcross*panelWidth, rows*panelHeight+legendHeight
	var b strings.Builder
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n",
		width, height, width)
	b.WriteString("<style>text{fill:#555}.t{font-size:12px;font-weight:bold}.g{stroke:#999;stroke-opacity:.35}" +
		"@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>\n")
	for i, p := range panels {
		fmt.Fprintf(&b, "<g transform=\"translate(%d,%d)\">\n", i%panelsAcross*panelWidth, i/panelsAcross*panelHeight)
		p.draw(&b, names)
		b.WriteString("</g>\n")
	}
	x := panelLeft
	for i, name := range names {
		fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"%d\" r=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			x, height-18, colors[i%len(colors)], x+9, height-14, name)
		x += 9*len(name) + 30
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p *panel) draw(b *strings.Builder, names []string) {
	least, most, top := math.Inf(1), 0.0, 0.0
	for _, l := range p.lines {
		for _, at := range l.points {
			least, most, top = min(least, at.minions), max(most, at.minions), max(top, at.value)
		}
	}
	step := niceStep(top)
	top = step * max(1, math.Ceil(top/step))
	const right, bottom = panelWidth - panelRight, panelHeight - panelBottom
	x := func(minions float64) float64 {
		if most == least {
			return panelLeft
		}
		return panelLeft + (right-panelLeft)*math.Log(minions/least)/math.Log(most/least)
	}
	y := func(v float64) float64 { return bottom - (bottom-panelTop)*v/top }

	fmt.Fprintf(b, "<text class=\"t\" x=\"%d\" y=\"18\">%s, %s</text>\n", panelLeft, p.title, p.unit)
	for v := 0.0; v <= top*1.001; v += step {
		fmt.Fprintf(b, "<line class=\"g\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			panelLeft, y(v), right, y(v), panelLeft-6, y(v)+4, short(v))
	}
	for _, at := range p.longest().points {
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(at.minions), bottom+16, short(at.minions))
	}
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">minions</text>\n", right, bottom+30)
	for _, l := range p.lines {
		color := colors[indexOf(names, l.name)%len(colors)]
		var path []string
		for _, at := range l.points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(at.minions), y(at.value)))
			fmt.Fprintf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x(at.minions), y(at.value), color)
		}
		fmt.Fprintf(b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\"/>\n", strings.Join(path, " "), color)
	}
}

func (p *panel) longest() *line {
	longest := &p.lines[0]
	for i := range p.lines {
		if len(p.lines[i].points) > len(longest.points) {
			longest = &p.lines[i]
		}
	}
	return longest
}

// niceStep is 1, 2 or 5 times a power of ten, so that some five of them make the axis.
func niceStep(top float64) float64 {
	if top <= 0 {
		return 1
	}
	raw := top / 5
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range [...]float64{1, 2, 5} {
		if raw <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// short is a number on an axis.
func short(v float64) string {
	if v >= 1000 {
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.1f", v/1000), "0"), ".") + "k"
	}
	return fmt.Sprint(math.Round(v*1000) / 1000)
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return 0
}
