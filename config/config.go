package config

import (
	"iter"
	"time"
)

// Config is everything an operator may say, with every value at hand: after [Load] no field means "look elsewhere".
// The comment of a field begins with its key. A Config is a value: it is copied and compared with ==.
type Config struct {
	// DefaultInclude is `default_include`: a pattern of further files, relative to the directory of the main one, read
	// in the order of their names; the later wins. "" reads none.
	DefaultInclude string

	// Towards the master.

	// Master is `master`: the master, or a list of them, as [Config.Masters] takes it apart. An address is as it was
	// written: host, host:port, [IPv6 address]:port or a bare IPv6 address.
	Master string
	// MasterType is `master_type`: what several masters are to each other, one of [MasterTypeStr], [MasterTypeFailover] and
	// [MasterTypeCluster].
	MasterType string
	// MasterAliveInterval is `master_alive_interval` (s): how often each master is asked whether it lives. 0: never. With
	// several masters, or several paths to one, 30 s where nothing else is said.
	MasterAliveInterval time.Duration
	// MasterAliveTimeout is `master_alive_timeout` (s): how long each step of asking may take.
	MasterAliveTimeout time.Duration
	// MasterFailback is `master_failback`: an earlier master of the list gets its place back.
	MasterFailback bool
	// MasterFailbackInterval is `master_failback_interval` (s): how long it must have been healthy for that. 0:
	// MasterAliveInterval, as in Salt.
	MasterFailbackInterval time.Duration
	// RandomMaster is `random_master`: the list is shuffled at the start.
	RandomMaster bool
	// MasterPort is `master_port`: the master's port for requests. The same as RetPort where nothing else is said.
	MasterPort int
	// MasterPublishPort is `master_publish_port`: the master's port for publishes. The same as PublishPort where nothing
	// else is said.
	MasterPublishPort int
	// SourceAddress is `source_address`: the local address of connections to the master; "" leaves it to the system.
	SourceAddress string
	// ConnectTimeout is `connect_timeout` (ms): how long a connection to the master may take to come about.
	ConnectTimeout time.Duration
	// ReconDefault is `recon_default` (ms): the longest pause before the second attempt to reach the master. It doubles
	// with every failure.
	ReconDefault time.Duration
	// ReconMax is `recon_max` (ms): the longest pause between attempts. Less than ReconDefault: the pauses do not grow.
	ReconMax time.Duration
	// ReconRandomize is `recon_randomize`: pauses are drawn at random, so that brokers which lost the same master do
	// not come back in step.
	ReconRandomize bool
	// OnMasterLoss is `on_master_loss`: what becomes of the minions when the master is gone, one of [OnMasterLossKeep] and
	// [OnMasterLossClose].
	OnMasterLoss string
	// OnMasterLossAfter is `on_master_loss_after` (s): how long the master must be gone for that.
	OnMasterLossAfter time.Duration

	// Towards the minions.

	// Interface is `interface`: the local address that minions connect to. `::` is every address, IPv4 and IPv6; it is
	// what stands here when `ipv6` is on and `interface` is not given.
	Interface string
	// IPv6 is `ipv6`: listen on IPv6 too where Interface is not given.
	IPv6 bool
	// PublishPort is `publish_port`: where minions wait for publishes.
	PublishPort int
	// RetPort is `ret_port`: where minions send requests.
	RetPort int
	// Backlog is `zmq_backlog`: how many connections may wait to be accepted.
	Backlog int
	// HandshakeTimeout is `handshake_timeout` (s): how long a peer may take from its connection to its READY.
	HandshakeTimeout time.Duration
	// MaxConnections is `max_connections`: how many connections each port takes at a time. 0: as many as descriptors
	// allow.
	MaxConnections int
	// MaxConnectionsPerAddress is `max_connections_per_address`: how many of them from one address. 0: any number.
	MaxConnectionsPerAddress int
	// Allow is `allow`: the networks and addresses that may connect, as [Config.AllowNetworks] takes them apart. "[]": all.
	Allow string
	// Deny is `deny`: those that may not, be they in Allow or not, as [Config.DenyNetworks] takes them apart.
	Deny string

	// Both sides.

	// TCPKeepalive is `tcp_keepalive`: the system probes silent connections.
	TCPKeepalive bool
	// TCPKeepaliveIdle is `tcp_keepalive_idle` (s): the silence before the first probe. Negative: the system's.
	TCPKeepaliveIdle time.Duration
	// TCPKeepaliveCount is `tcp_keepalive_cnt`: how many probes may be lost. Negative: the system's.
	TCPKeepaliveCount int
	// TCPKeepaliveInterval is `tcp_keepalive_intvl` (s): the pause between probes. Negative: the system's.
	TCPKeepaliveInterval time.Duration
	// HeartbeatInterval is `zmq_heartbeat_ivl` (ms): the pause between ZMTP PINGs on a silent connection. 0: none.
	HeartbeatInterval time.Duration
	// HeartbeatTimeout is `zmq_heartbeat_timeout` (ms): the silence after a PING that ends a connection. 0: none does.
	// Three HeartbeatIntervals where nothing else is said.
	HeartbeatTimeout time.Duration

	// Publishes.

	// PubHWM is `pub_hwm` (messages): how many messages for it a minion may lag behind before it loses the oldest.
	PubHWM int
	// PubLogSize is `pub_log_size` (bytes): how much of the publishes is kept for minions that lag, once for all.
	PubLogSize int64
	// MaxLostPublishes is `max_lost_publishes` (messages): a minion that has lost so many is cut off. 0: never.
	MaxLostPublishes int
	// MaxSubscriptions is `max_subscriptions`: how many topics one connection may subscribe to.
	MaxSubscriptions int
	// PublishHold is `publish_hold` (ms): how long a publish may wait that a path to the master has brought which has returned,
	// for what a slower path still carries. Of no effect with one path.
	PublishHold time.Duration

	// Requests.

	// MaxInFlight is `max_in_flight` (requests): how many may be at the master or on the way at a time; the rest wait here.
	MaxInFlight int
	// RequestDeadline is `request_deadline` (s): how long a request at the master counts as in flight without a reply.
	RequestDeadline time.Duration
	// MaxMessageSize is `max_message_size` (bytes): the largest message that passes, all its frames together.
	MaxMessageSize int64

	// MaxBufferedBytes is `max_buffered_bytes` (bytes): how much all connections together may have in memory: requests that
	// wait, messages that are half read, and what peers have not read yet. Four times MaxMessageSize at least where nothing
	// else is said.
	MaxBufferedBytes int64

	// The process.

	// Loops is `loops`: the number of event loops, each with a thread of its own. 0: one for each CPU.
	Loops int
	// MaxOpenFiles is `max_open_files`: the soft limit of descriptors to ask the system for.
	MaxOpenFiles int
	// DrainTimeout is `drain_timeout` (s): how long requests under way may take to be answered when salt-broker stops.
	DrainTimeout time.Duration
	// User is `user`: the account to run as; "" is the one that starts the process.
	User string
	// PIDFile is `pidfile`: where the process leaves its number; "" is nowhere.
	PIDFile string

	// Logging.

	// LogFile is `log_file`: the log's absolute path; "" logs to the terminal only.
	LogFile string
	// LogLevel is `log_level`: how much the terminal gets, one of [Levels].
	LogLevel string
	// LogLevelLogfile is `log_level_logfile`: how much LogFile gets, one of [Levels]. The same as LogLevel where
	// nothing else is said.
	LogLevelLogfile string
	// LogFmt is `log_fmt`: what the lines of both look like, one of [LogFmtSalt] and [LogFmtJSON].
	LogFmt string

	// Numbers and health.

	// StatusInterface is `status_interface`: the local address of the status port.
	StatusInterface string
	// StatusPort is `status_port`: where metrics, health and status are asked for over HTTP. 0: nowhere.
	StatusPort int
	// StatusPprof is `status_pprof`: profiles of the process can be asked for there as well.
	StatusPprof bool
}

// Default is what holds for every key that is not given.
func Default() Config {
	return Config{
		DefaultInclude: "broker.d/*.conf",

		Master:                 "salt",
		MasterType:             MasterTypeStr,
		MasterAliveInterval:    0,
		MasterAliveTimeout:     5 * time.Second,
		MasterFailback:         false,
		MasterFailbackInterval: time.Minute,
		RandomMaster:           false,
		MasterPort:             4506,
		MasterPublishPort:      4505,
		SourceAddress:          "",
		ConnectTimeout:         10 * time.Second,
		ReconDefault:           time.Second,
		ReconMax:               10 * time.Second,
		ReconRandomize:         true,
		OnMasterLoss:           OnMasterLossKeep,
		OnMasterLossAfter:      30 * time.Second,

		Interface:        "0.0.0.0",
		IPv6:             false,
		PublishPort:      4505,
		RetPort:          4506,
		Backlog:          1000,
		HandshakeTimeout: 10 * time.Second,

		MaxConnections:           0,
		MaxConnectionsPerAddress: 0,
		Allow:                    "[]",
		Deny:                     "[]",

		TCPKeepalive:         true,
		TCPKeepaliveIdle:     300 * time.Second,
		TCPKeepaliveCount:    -1,
		TCPKeepaliveInterval: -time.Second,
		HeartbeatInterval:    15 * time.Second,
		HeartbeatTimeout:     45 * time.Second,

		PubHWM:           1000,
		PubLogSize:       64 * mebibyte,
		MaxLostPublishes: 10000,
		MaxSubscriptions: 100000,
		PublishHold:      time.Second,

		MaxInFlight:     512,
		RequestDeadline: 120 * time.Second,
		MaxMessageSize:  256 * mebibyte,

		MaxBufferedBytes: gibibyte,

		Loops:        0,
		MaxOpenFiles: 100000,
		DrainTimeout: 5 * time.Second,
		User:         "",
		PIDFile:      "",

		LogFile:         "/var/log/salt/broker",
		LogLevel:        "warning",
		LogLevelLogfile: "warning",
		LogFmt:          LogFmtSalt,

		StatusInterface: "127.0.0.1",
		StatusPort:      4507,
		StatusPprof:     false,
	}
}

// follow gives the keys that were not given the values of those that they follow.
func (c *Config) follow(given func(key string) bool) {
	if c.IPv6 && !given("interface") {
		c.Interface = "::"
	}
	if !given("master_port") {
		c.MasterPort = c.RetPort
	}
	if !given("master_publish_port") {
		c.MasterPublishPort = c.PublishPort
	}
	if !given("master_alive_interval") && len(c.paths()) > 1 {
		c.MasterAliveInterval = 30 * time.Second
	}
	if !given("zmq_heartbeat_timeout") {
		c.HeartbeatTimeout = 3 * c.HeartbeatInterval
	}
	if !given("max_buffered_bytes") {
		c.MaxBufferedBytes = max(c.MaxBufferedBytes, 4*c.MaxMessageSize)
	}
	if !given("log_level_logfile") {
		c.LogLevelLogfile = c.LogLevel
	}
}

// Settings yields every key with its value as a file would have it, in the order of broker.example.
func (c Config) Settings() iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for _, k := range keys {
			if !yield(k.name, k.of(&c).String()) {
				return
			}
		}
	}
}

// Changes names the keys whose values are others in next.
func (c Config) Changes(next Config) []string {
	var changed []string
	for _, k := range keys {
		if k.of(&c).String() != k.of(&next).String() {
			changed = append(changed, k.name)
		}
	}
	return changed
}
