package config

import "time"

// key is one thing an operator may say.
type key struct {
	name string
	of   func(c *Config) value
}

// keys are all of them, in the order of broker.example. What each means stands at its field in [Config].
var keys = []key{
	{"default_include", func(c *Config) value { return pattern{&c.DefaultInclude} }},

	{"master", func(c *Config) value { return mastersAt(&c.Master) }},
	{"master_type", func(c *Config) value { return choice{&c.MasterType, masterType} }},
	{"master_alive_interval", func(c *Config) value { return seconds(&c.MasterAliveInterval, 0, 86_400) }},
	{"master_alive_timeout", func(c *Config) value { return seconds(&c.MasterAliveTimeout, 1, 600) }},
	{"master_failback", func(c *Config) value { return boolean{&c.MasterFailback} }},
	{"master_failback_interval", func(c *Config) value { return seconds(&c.MasterFailbackInterval, 0, 86_400) }},
	{"random_master", func(c *Config) value { return boolean{&c.RandomMaster} }},
	{"master_port", func(c *Config) value { return port{&c.MasterPort} }},
	{"master_publish_port", func(c *Config) value { return port{&c.MasterPublishPort} }},
	{"source_address", func(c *Config) value { return address{p: &c.SourceAddress, optional: true} }},
	{"connect_timeout", func(c *Config) value { return milliseconds(&c.ConnectTimeout, 1, 600_000) }},
	{"recon_default", func(c *Config) value { return milliseconds(&c.ReconDefault, 1, 3_600_000) }},
	{"recon_max", func(c *Config) value { return milliseconds(&c.ReconMax, 0, 3_600_000) }},
	{"recon_randomize", func(c *Config) value { return boolean{&c.ReconRandomize} }},
	{"on_master_loss", func(c *Config) value { return choice{&c.OnMasterLoss, onMasterLoss} }},
	{"on_master_loss_after", func(c *Config) value { return seconds(&c.OnMasterLossAfter, 1, 86_400) }},

	{"interface", func(c *Config) value { return address{p: &c.Interface} }},
	{"ipv6", func(c *Config) value { return boolean{&c.IPv6} }},
	{"publish_port", func(c *Config) value { return port{&c.PublishPort} }},
	{"ret_port", func(c *Config) value { return port{&c.RetPort} }},
	{"zmq_backlog", func(c *Config) value { return count{p: &c.Backlog, least: 1, most: 65_535} }},
	{"handshake_timeout", func(c *Config) value { return seconds(&c.HandshakeTimeout, 1, 3_600) }},
	{"max_connections", func(c *Config) value { return count{p: &c.MaxConnections, least: 0, most: 1_000_000_000} }},
	{"max_connections_per_address", func(c *Config) value {
		return count{p: &c.MaxConnectionsPerAddress, least: 0, most: 1_000_000_000}
	}},
	{"allow", func(c *Config) value { return networksAt(&c.Allow) }},
	{"deny", func(c *Config) value { return networksAt(&c.Deny) }},

	// The kernel takes one byte for the count and refuses longer times (tcp.h: MAX_TCP_KEEPIDLE and its siblings).
	{"tcp_keepalive", func(c *Config) value { return keepalive{boolean{&c.TCPKeepalive}} }},
	{"tcp_keepalive_idle", func(c *Config) value { return seconds(&c.TCPKeepaliveIdle, 1, 32_767).orSystem() }},
	{"tcp_keepalive_cnt", func(c *Config) value { return count{p: &c.TCPKeepaliveCount, least: 1, most: 127, system: true} }},
	{"tcp_keepalive_intvl", func(c *Config) value { return seconds(&c.TCPKeepaliveInterval, 1, 32_767).orSystem() }},
	{"zmq_heartbeat_ivl", func(c *Config) value { return milliseconds(&c.HeartbeatInterval, 0, 3_600_000) }},
	{"zmq_heartbeat_timeout", func(c *Config) value { return milliseconds(&c.HeartbeatTimeout, 0, 36_000_000) }},

	{"pub_hwm", func(c *Config) value { return count{p: &c.PubHWM, least: 1, most: 10_000_000} }},
	{"pub_log_size", func(c *Config) value { return size{&c.PubLogSize, mebibyte, 64 * gibibyte} }},
	{"max_lost_publishes", func(c *Config) value { return count{p: &c.MaxLostPublishes, least: 0, most: 1_000_000_000} }},
	{"max_subscriptions", func(c *Config) value { return count{p: &c.MaxSubscriptions, least: 1, most: 10_000_000} }},
	{"publish_hold", func(c *Config) value { return milliseconds(&c.PublishHold, 10, 60_000) }},

	{"max_in_flight", func(c *Config) value { return count{p: &c.MaxInFlight, least: 1, most: 100_000} }},
	{"request_deadline", func(c *Config) value { return seconds(&c.RequestDeadline, 1, 86_400) }},
	{"max_message_size", func(c *Config) value { return size{&c.MaxMessageSize, mebibyte, 2 * gibibyte} }},
	{"max_buffered_bytes", func(c *Config) value { return size{&c.MaxBufferedBytes, 4 * mebibyte, 1024 * gibibyte} }},

	{"loops", func(c *Config) value { return count{p: &c.Loops, least: 0, most: 1_024} }},
	{"max_open_files", func(c *Config) value { return count{p: &c.MaxOpenFiles, least: 64, most: 1_000_000_000} }},
	{"drain_timeout", func(c *Config) value { return seconds(&c.DrainTimeout, 0, 3_600) }},
	{"user", func(c *Config) value { return user{&c.User} }},
	{"pidfile", func(c *Config) value { return path{&c.PIDFile} }},

	{"log_file", func(c *Config) value { return path{&c.LogFile} }},
	{"log_level", func(c *Config) value { return level{&c.LogLevel} }},
	{"log_level_logfile", func(c *Config) value { return level{&c.LogLevelLogfile} }},
	{"log_fmt", func(c *Config) value { return choice{&c.LogFmt, logFmt} }},

	{"status_interface", func(c *Config) value { return address{p: &c.StatusInterface} }},
	{"status_port", func(c *Config) value { return optionalPort{&c.StatusPort} }},
	{"status_pprof", func(c *Config) value { return boolean{&c.StatusPprof} }},
}

// keyNamed finds a key.
func keyNamed(name string) (key, bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

func seconds(p *time.Duration, least, most int64) period {
	return period{p: p, unit: time.Second, least: least, most: most}
}

func milliseconds(p *time.Duration, least, most int64) period {
	return period{p: p, unit: time.Millisecond, least: least, most: most}
}
