// Package salt is what travels inside a request, a reply and a publish: the msgpack map around what is encrypted.
//
// Sources: salt/transport/zeromq.py and salt/channel/ of Salt 3006 for the maps, salt/payload.py for how they are packed.
//
//	request  {enc: clear, load: {cmd, ...}, version}       _auth and ping, the only two that a minion sends in the clear
//	         {enc: aes, load: raw, version[, id]}          everything else; id since 3006.12 and 3007.4
//	reply    raw                                           to an aes request; errors are short texts, as in "bad load"
//	         {enc: clear, load: raw, sig: raw}             to _auth
//	         {cmd: ping}                                   to ping
//	publish  {enc: aes, load: raw, sig: raw}
//
// Salt 3006 writes the raw of msgpack before version 5, which knew no difference between text and bytes: lengths of 32 to
// 255 take two bytes, and what is a string to msgpack now may be no UTF-8. So it is written here; everything later (str 8,
// bin) is read as well.
//
// Nothing here is decrypted, checked or kept. What is parsed aliases its input.
package salt
