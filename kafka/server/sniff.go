package server

import "strings"

// sniff says what a client that does not speak Kafka's protocol seems to speak,
// judging by its first bytes, or "".
func sniff(first []byte) string {
	if len(first) >= 2 && first[0] == 0x16 && first[1] == 3 {
		return "the client speaks TLS, but this port is plaintext (set security.protocol=PLAINTEXT in the client)"
	}
	for _, method := range []string{"GET ", "POST", "HEAD", "PUT ", "DELE", "OPTI", "PATC", "CONN", "TRAC", "PRI "} {
		if strings.HasPrefix(string(first), method) {
			return "the client speaks HTTP, but this is a Kafka port"
		}
	}
	if strings.HasPrefix(string(first), "SSH-") {
		return "the client speaks SSH, but this is a Kafka port"
	}
	return ""
}
