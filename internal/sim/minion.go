//go:build linux

package sim

// minion is one stand-in minion. Everything belongs to its loop.
type minion struct {
	crew   *crew
	number int
	id     string
	series uint64 // of what goes to this minion alone
	gone   bool
	sub    subLink
	req    reqLink
}

func newMinion(c *crew, number int) *minion {
	one := &minion{crew: c, number: number, id: MinionID(number)}
	one.series = seriesOf([]byte(Topic(one.id)))
	one.sub.minion, one.req.minion = one, one
	switch c.all.options.Shape {
	case Short:
		one.req.short = true
	case Mixed:
		one.req.short = number%2 == 1
	case Kept:
	}
	return one
}

func (one *minion) ask() {
	if !one.gone && one.crew.all.options.Request.IsValid() {
		one.req.ask()
	}
}

func (one *minion) leave() {
	one.gone = true
	if one.sub.conn != nil {
		one.sub.conn.Close(errDone)
	}
	if one.req.conn != nil {
		one.req.conn.Close(errDone)
	}
}

func (one *minion) identity() []byte {
	if f := one.crew.all.options.Identity; f != nil {
		return f(one.number)
	}
	return nil
}
