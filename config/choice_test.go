package config

import (
	"testing"
	"time"
)

func TestOnMasterLoss(t *testing.T) {
	for _, test := range []struct {
		text string
		want func(c *Config)
	}{
		{"on_master_loss: keep", func(*Config) {}},
		{"on_master_loss: 'close'", func(c *Config) { c.OnMasterLoss = OnMasterLossClose }},
		{"log_fmt: json", func(c *Config) { c.LogFmt = LogFmtJSON }},
		{"on_master_loss_after: 2.5", func(c *Config) { c.OnMasterLossAfter = 2500 * time.Millisecond }},
	} {
		t.Run(test.text, func(t *testing.T) {
			want := Default()
			test.want(&want)
			if c, warnings := loaded(t, test.text); c != want || warnings != nil {
				t.Errorf("%+v\nwant %+v\nwarnings %v", c, want, warnings)
			}
		})
	}
}

func TestOnMasterLossFaults(t *testing.T) {
	for text, want := range map[string]string{
		"on_master_loss: leave":   "on_master_loss: leave is not one of keep, close [broker:1]",
		"on_master_loss: True":    "on_master_loss: True is not one of keep, close [broker:1]",
		"log_fmt: xml":            "log_fmt: xml is not one of salt, json [broker:1]",
		"on_master_loss_after: 0": "on_master_loss_after: 0 is not a number of seconds from 1 to 86400 [broker:1]",
	} {
		t.Run(text, func(t *testing.T) {
			if _, _, err := fromText(text); err == nil || err.Error() != want {
				t.Errorf("%v\nwant\n%s", err, want)
			}
		})
	}
}
