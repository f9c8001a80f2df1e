// Package config is what an operator may say to salt-broker, in Salt's own words.
//
// The file is /etc/salt/broker, with /etc/salt/broker.d/*.conf after it: YAML, one key a line, as the files of a Salt
// master or minion. Where Salt has a key, its spelling, unit and default are kept (Salt: conf/master, conf/minion);
// what Salt has no word for is named in the same manner. The files of Uyuni's salt-broker are understood as well.
//
// [Default] is the only place that holds defaults. [Load] reads the files, the environment and the command line, and
// reports everything that is wrong with them at once, each [Fault] with its key, value, file and line. Nothing is
// ignored in silence: a key that nobody knows is a fault, and a key of Salt's that means nothing here is a [Warning].
//
// The package neither logs nor writes; it knows nothing of the rooms that its values are for.
package config
