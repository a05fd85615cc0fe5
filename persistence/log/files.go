package log

import "bytes"

// join is the path of a file in a directory.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// lines splits a text file into its lines, without the line ends.
func lines(content []byte) []string {
	var all []string
	for line := range bytes.Lines(content) {
		all = append(all, string(bytes.TrimRight(line, "\r\n")))
	}
	return all
}
