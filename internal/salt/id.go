package salt

// versionWithID is the first version of the protocol in which a minion has a session key, and its id in every wrapper.
const versionWithID = 3

// MinionID returns the id of the minion that has made a request, as far as it is to be seen: that of the wrapper, and in
// the _auth by which the session begins, which is in the clear, that of the load. Both are there from version 3 on; nil for
// others and for what is no request. It aliases p.
func MinionID(p []byte) []byte {
	w, err := parseWrapper(p) // nobody reads the error
	if err != nil || w.Version < versionWithID {
		return nil
	}
	if w.Enc == EncClear && w.LoadIsMap && string(valueOf(w.Load, keyCmd)) == cmdAuth {
		return valueOf(w.Load, keyID)
	}
	return w.ID
}

const cmdAuth = "_auth"
